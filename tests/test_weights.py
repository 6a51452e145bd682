"""Weights from safetensors and NumPy files, and what hands them out."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file
from tinyseq.converters.weights import Weights, npz, safetensors

import tinyseq
from tests.test_errors import survives
from tinyseq.errors import ConversionWarning

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.c": np.array([1, -2]),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3), np.float32),
}


def same(found: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "w.npz", **ARRAYS)
    same(npz.read(tmp_path / "w.npz"))


def test_npz_in_other_orders(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "w.npz", fortran=np.asfortranarray(array), big=array.astype(">f4"))
    for found in npz.read(tmp_path / "w.npz").values():
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.float32


def test_safetensors(tmp_path):
    save_file(ARRAYS, tmp_path / "w.safetensors")
    same(safetensors.read(tmp_path / "w.safetensors"))


def test_other_precisions_become_float32_with_a_warning(tmp_path):
    halves = np.array([0.5, -2.0])
    upper = (halves.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + upper)
    for dtype in ("f2", "f8"):
        np.savez(tmp_path / f"{dtype}.npz", x=halves.astype(dtype))
    readers = (
        lambda: safetensors.read(tmp_path / "w.safetensors"),
        lambda: npz.read(tmp_path / "f2.npz"),
        lambda: npz.read(tmp_path / "f8.npz"),
    )
    for read in readers:
        with pytest.warns(ConversionWarning, match="become float32"):
            found = read()["x"]
        assert found.dtype == np.float32 and found.tolist() == halves.tolist()


def test_numbers_too_large_for_float32_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", x=np.array([1e300]))
    with pytest.raises(tinyseq.ModelError, match="too large for float32"):
        npz.read(tmp_path / "w.npz")


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", x=np.array([print], object))
    with pytest.raises(tinyseq.UnsupportedError, match="never loaded"):
        npz.read(tmp_path / "w.npz")


def test_a_bomb_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", x=np.zeros(10**6))
    with pytest.raises(tinyseq.ModelError, match="inflates"):
        npz.read(tmp_path / "w.npz")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("x.npy", file.getvalue())
    with pytest.raises(tinyseq.ModelError, match="0 bytes"):
        npz.read(tmp_path / "w.npz")


@pytest.mark.parametrize("reader", [npz, safetensors])
def test_wrong_files_are_explained(tmp_path, reader):
    with pytest.raises(tinyseq.ModelError, match="check the path"):
        reader.read(tmp_path / "nowhere")
    (tmp_path / "junk").write_bytes(b"RIFF" * 20)
    with pytest.raises(tinyseq.ModelError, match="damaged"):
        reader.read(tmp_path / "junk")


@pytest.mark.parametrize("reader", [npz, safetensors])
def test_damaged_files_are_survived(tmp_path, reader):
    np.savez(tmp_path / "npz", **ARRAYS)
    save_file(ARRAYS, tmp_path / "safetensors")
    path = tmp_path / "npz.npz" if reader is npz else tmp_path / "safetensors"
    whole, dice = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.randrange(len(damaged)) if dice.random() < 0.2 else None])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConversionWarning)
            survives(lambda: reader.read(path))


def test_leftovers_are_refused():
    one = np.zeros(1)
    with (
        pytest.raises(tinyseq.ModelError, match="no layer uses 'b'"),
        Weights({"a": one, "b": one}) as weights,
    ):
        weights.take("a")
    weights = Weights({"a": one, "b.c": one, "b.d": one})
    weights.leave("b")
    with pytest.raises(tinyseq.ModelError, match="no layer uses 'a'"):
        weights.finish()
    with pytest.raises(tinyseq.ModelError, match="there is no 'e'"):
        weights.leave("e")


def test_weights_that_are_not_there_are_named():
    weights = Weights({"a.b": np.zeros(1)})
    for act, words in (
        (lambda: weights.take("b"), "no 'b'; there are 'a.b'"),
        (lambda: weights.take("a.b", 2), r"'a.b' is \[1\] where \[2\]"),
        (lambda: weights.take("a.b", None, 1), r"where \[\?, 1\]"),
        (lambda: weights.under("c"), "no name begins with 'c.'"),
    ):
        with pytest.raises(tinyseq.ModelError, match=words):
            act()
    assert weights.find("b") is None
    assert weights.under("a").find("b", None) is not None


def test_what_is_taken_under_a_prefix_is_taken():
    """Of the whole too; what is left there is refused by its whole name, and by the part for itself."""
    one = np.ones(1, np.float32)
    arrays = {f"encoder.{name}": one for name in ("fc.weight", "fc.bias", "extra")}
    with (
        pytest.raises(tinyseq.ModelError, match=r"no layer uses 'encoder.extra'; build"),
        Weights(arrays) as w,
    ):
        inner = w.under("encoder")
        inner.under("fc").take("weight")
        inner.take("fc.bias")
    with pytest.raises(tinyseq.ModelError, match=r"encoder: no layer uses 'extra'; build"):
        inner.finish()
    inner.under("fc").finish()
    inner.leave("extra")
    w.finish()
    assert repr(w) == "Weights(the weights: 3 arrays, 0 not taken yet)"


def test_counters_are_no_weights():
    """Such as how many batches a norm has seen, or how large a vocabulary is."""
    counters = {"norm.num_batches_tracked": np.array(7), "size": np.array([5000], np.int32)}
    with Weights({"w": np.ones(2, np.float32)} | counters) as weights:
        weights.take("w")
    assert weights.take("size").tolist() == [5000]
    for other in (np.array(1.0), np.array([1, 2])):
        with pytest.raises(tinyseq.ModelError, match="no layer uses 'size'"):
            Weights({"size": other}).finish()
