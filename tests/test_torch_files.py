"""The files of torch.save: what they hold, and everything that may be wrong with them."""

from __future__ import annotations

import io
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tinyseq.converters import torch

import tinyseq
from tests.test_errors import survives
from tinyseq.errors import ConversionWarning

DATA = Path(__file__).parent / "data"
FORMATS = ["layers.pt", "layers_legacy.pt"]


def test_both_formats_hold_the_same():
    one, other = (torch.read(DATA / name) for name in FORMATS)
    assert list(one) == list(other)
    assert one["epoch"] == 3
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_types_views_numbers_and_nesting():
    with pytest.warns(ConversionWarning) as notes:
        found = torch.read(DATA / "odd.pt")
    for kind in ("float16", "bfloat16", "float64"):
        assert any(kind in str(note.message) for note in notes)
    for name in ("half", "bfloat16"):
        np.testing.assert_array_equal(found[name], np.array([0.5, -2], np.float32))
    np.testing.assert_array_equal(found["double"], np.array([0.1, -2], np.float32))
    assert found["words"].tolist() == [3, -1] and found["flags"].tolist() == [True, False]
    assert found["parameter"] == 2.5 and found["parameter"].dtype == np.float32
    assert found["history.0"] == 1 and found["history.1"] == 2.5 and found["history.2.loss"] == [0.25]
    assert "history.3" not in found and "history.4" not in found and "history.5" not in found
    base = np.arange(12, dtype=np.float32)
    np.testing.assert_array_equal(found["views.rows"], base.reshape(3, 4).T)
    np.testing.assert_array_equal(found["views.tail"], base[5:9:2])
    assert found["views.none"].shape == (0, 3)
    assert np.shares_memory(found["views.rows"], found["views.base"])
    with pytest.raises(ValueError, match="read-only"):
        found["views.base"][0] = 1


class Reduces:
    """Pickles to a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def zipped(path: Path, pickled: bytes, storage: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", storage)
    return path


def touch(path: Path):
    raise AssertionError(f"{path} ran")


HOSTILE = {
    "system": (Reduces(__import__("os").system, "true"), "system"),
    "eval": (Reduces(eval, "1/0"), ".eval'"),
    "deep": ({"a": [{"b": Reduces(exec, "1/0")}]}, ".exec'"),
    "in an OrderedDict": (OrderedDict(a=Reduces(getattr, "x", "y")), ".getattr'"),
    "a class": (SimpleNamespace(a=1), "refused"),
    "a function": (touch, "touch"),
    "an array": (np.zeros(2), "refused"),
    "a set": ({1, 2}, "refused"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(("content", "word"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_could_run_code_is_refused_by_name(tmp_path, content, word, protocol):
    path = zipped(tmp_path / "bad.pt", pickle.dumps(content, protocol))
    with pytest.raises(tinyseq.UnsupportedError) as caught:
        torch.read(path)
    assert word in str(caught.value)
    if protocol == 2:
        legacy = tmp_path / "legacy.pt"
        parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, [])
        legacy.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
        with pytest.raises(tinyseq.UnsupportedError):
            torch.read(legacy)


def tensor_pickle(count=4, offset=0, shape=(4,), strides=(1,), kind=b"FloatStorage") -> bytes:
    """A pickle of one tensor in the archive's storage "0"."""

    def plain(value) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    key = (
        b"(" + plain("storage") + b"ctorch\n" + kind + b"\n" + plain("0") + plain("cpu") + plain(count) + b"t"
    )
    sizes = plain(offset) + plain(shape) + plain(strides)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + key + b"Q" + sizes + b"tR."


FOUR = struct.pack("<4f", 1, 2, 3, 4)


def test_a_tensor_written_by_hand_is_read(tmp_path):
    path = zipped(tmp_path / "x.pt", tensor_pickle(shape=(2, 2), strides=(1, 2)), FOUR)
    np.testing.assert_array_equal(torch.read(path)[""], [[1, 3], [2, 4]])


BOUNDS = {
    "storage shorter than it says": dict(count=5),
    "huge storage": dict(count=2**40),
    "more than the storage holds": dict(shape=(5,)),
    "a huge tensor of one number": dict(shape=(2**40,), strides=(0,)),
    "past the end": dict(offset=1),
    "negative offset": dict(offset=-1),
    "negative stride": dict(strides=(-1,)),
    "negative size": dict(shape=(-4,)),
    "strides of another rank": dict(strides=(1, 1)),
    "sizes that overflow": dict(shape=(2**62, 2**62), strides=(0, 0)),
    "an empty tensor of huge sizes": dict(shape=(0, 2**62, 2**62), strides=(0, 0, 0)),
    "no sizes": dict(shape=("a",)),
    "count is no number": dict(count="4"),
    "complex numbers": dict(kind=b"ComplexFloatStorage"),
}


@pytest.mark.parametrize("wrong", BOUNDS.values(), ids=BOUNDS.keys())
def test_tensors_outside_their_storage_are_refused(tmp_path, wrong):
    path = zipped(tmp_path / "x.pt", tensor_pickle(**wrong), FOUR)
    with pytest.raises(tinyseq.ModelError, match=r"x\.pt"):
        torch.read(path)


def nested_twice(levels: int) -> list:
    inner: list = [1]
    for _ in range(levels):
        inner = [inner, inner]
    return inner


def in_itself() -> list:
    inner: list = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize("content", [nested_twice(30), in_itself()], ids=["doubling", "cycle"])
def test_containers_that_grow_without_end_are_refused(tmp_path, content):
    path = zipped(tmp_path / "x.pt", pickle.dumps(content, 2))
    with pytest.raises(tinyseq.ModelError, match="too many or too deep"):
        torch.read(path)


def test_a_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(count=10**7, shape=(10**7,)))
        archive.writestr("archive/data/0", bytes(4 * 10**7))
    with pytest.raises(tinyseq.ModelError, match="compressed"):
        torch.read(path)


WRONG_FILES = {
    "empty": (b"", "empty"),
    "no pickle": (b"RIFF" * 9, "beginning"),
    "another pickle": (pickle.dumps({"a": 1}, 2), "beginning"),
    "no end": (b"\x80\x02]", "STOP"),
}


@pytest.mark.parametrize(("content", "word"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_other_files_are_refused(tmp_path, content, word):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(tinyseq.ModelError, match=word):
        torch.read(path)
    with pytest.raises(tinyseq.ModelError, match="check the path"):
        torch.read(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("name", [*FORMATS, "odd.pt"])
def test_damaged_files_are_survived(tmp_path, name):
    """Mutations of the whole file, and for archives, whose checksums find those, of the pickle within."""
    whole, dice, path = (DATA / name).read_bytes(), random.Random(name), tmp_path / name
    archive = zipfile.ZipFile(io.BytesIO(whole)) if zipfile.is_zipfile(io.BytesIO(whole)) else None
    inner = archive.read(f"{Path(name).stem}/data.pkl") if archive else whole
    storages = [n for n in archive.namelist() if "/data/" in n] if archive else []
    for round_ in range(300):
        damaged = bytearray(inner if round_ % 2 else whole)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        if dice.random() < 0.2:
            del damaged[dice.randrange(len(damaged)) :]
        if archive and round_ % 2:
            with zipfile.ZipFile(path, "w") as rewritten:
                rewritten.writestr("x/data.pkl", bytes(damaged))
                for storage in storages:
                    rewritten.writestr(f"x/data/{storage.split('/')[-1]}", archive.read(storage))
        else:
            path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConversionWarning)
            survives(lambda: torch.read(path))
