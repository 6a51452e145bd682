"""Narrow weights: what each precision computes, to the bit, on every instruction set."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.export.together import compiled, same
from tests.models import recurrent
from tests.strategies import CASES
from tests.strategies.recurrent import LAYERS, layers_of_any_kind
from tests.strategies.streams import in_chunks, layered, signal
from tests.test_bits import MODELS, projected, same_bits, sequence, steps, whole
from tinyseq.errors import DeviceError, ModelError
from tinyseq.export.steps import Request, stepping
from tinyseq.ir.model import constants_of
from tinyseq.ir.narrow import EXACT, PRECISIONS, Narrow, Precision, Sums
from tinyseq.kernels import library
from tinyseq.kernels.formats import MOST_SUMMED
from tinyseq.tools.verify import random_feeds

pytestmark = pytest.mark.filterwarnings(
    "ignore::tinyseq.BroadcastWarning", "ignore::tinyseq.ConversionWarning"
)

FLOATING = [name for name, row in PRECISIONS.items() if row.exact]
WHOLE = [name for name, row in PRECISIONS.items() if not row.exact]
REACH = {"int8": 127, "int16": 127 * 256 + 127}


def rounded_alone(session: tinyseq.Session, device: str = "cpu") -> tinyseq.Session:
    """The rounded weights of a session, computed with as float32."""
    return tinyseq.Session(session.computed, device, precision=EXACT)


def narrow_of(session: tinyseq.Session) -> list[Narrow]:
    """The rounded weights of a session."""
    return [each for each in constants_of(session.computed.graph) if isinstance(each, Narrow)]


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def dense(w: np.ndarray, bias: np.ndarray | None = None) -> tinyseq.Graph:
    g = tinyseq.Graph()
    x = g.input("x", ["rows", len(w)])
    g.output("y", g.apply("Gemm", x, w, bias) if bias is not None else g.apply("MatMul", x, w))
    return g


def product(x: np.ndarray, w: np.ndarray, bias: np.ndarray, precision: str) -> np.ndarray:
    """What a product of whole numbers is, in NumPy."""
    narrow = PRECISIONS[precision].of(w, Sums((0,)), "w")
    numbers = narrow.stored.astype(np.int64)
    largest = np.maximum(np.abs(x).max(1, keepdims=True), np.float32(1e-30))
    steps, parts = (2**22 - 1, 256) if precision == "int16" else (2**15 - 1, 1)
    rounded = np.rint(x * (np.float32(steps) / largest)).astype(np.int64)
    wholes = (rounded + parts // 2) // parts
    # What is left of a whole number is multiplied with the upper bytes of weights alone.
    sums = wholes @ numbers + (rounded - parts * wholes) @ ((numbers + 128) >> 8)
    scales = largest.astype(np.float64) / (steps / parts) * narrow.scales.astype(np.float64)
    return (sums * scales).astype(np.float32) + bias


# What rounding a weight makes of it.


@pytest.mark.parametrize("row", PRECISIONS.values(), ids=PRECISIONS)
@given(seed=st.integers(0, 999), exponent=st.integers(-40, 30), axes=st.sampled_from([(0,), (1,), (0, 2)]))
def test_a_file_holds_what_a_weight_is_rounded_to(row: Precision, seed, exponent, axes):
    rng = np.random.default_rng(seed)
    array = drawn(rng, 3, 5, 4) * np.float32(
        2.0 ** (min(exponent, 12) if row.name == "float16" else exponent)
    )
    array[0, 0, 0] = 0
    narrow = row.of(array, Sums(axes), "w")
    stored, read = narrow.stored, row.read(narrow.stored.copy(), narrow.scales)
    assert stored.dtype == row.dtype
    same_bits(read.numbers, narrow.numbers)
    if not row.exact:
        largest = np.abs(array).max(axes, keepdims=True)
        assert (np.abs(stored.astype(int)) <= REACH[row.name]).all()
        assert (narrow.scales >= largest / REACH[row.name] * (1 - 1e-6)).all()
        assert (np.abs(narrow.numbers - array) <= narrow.scales / 2 * (1 + 1e-6)).all()
        exact = stored.astype(np.float64) * narrow.scales.astype(np.float64)
        np.testing.assert_array_equal(exact, narrow.numbers.astype(np.float64))


def test_floats_are_rounded_to_the_nearest_and_halves_to_even():
    one = np.array([[1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8 - 2**-20, np.nan, np.inf, -0.0]], np.float32)
    wide = PRECISIONS["bfloat16"].of(one, Sums((0,)), "w").numbers
    np.testing.assert_array_equal(wide, [[1, 1 + 2**-6, -1 - 2**-7, np.nan, np.inf, 0]])
    assert np.signbit(wide[0, -1])


@pytest.mark.parametrize("precision, number", [("float16", 7e4), ("bfloat16", 3.4e38), ("int8", np.inf)])
def test_numbers_that_a_precision_does_not_hold_are_refused_by_the_name_of_their_weight(precision, number):
    w = np.ones((3, 4), np.float32)
    w[1, 1] = number
    graph = dense(w)
    with pytest.raises(ModelError, match=f"weight '.+' holds .*{precision} does not; name it in keep"):
        tinyseq.load(graph, precision=precision)
    kept = tinyseq.load(graph, precision=precision, keep=["matmul"])
    assert not narrow_of(kept)


# Floating numbers: float32's bits.


@pytest.mark.parametrize("precision", FLOATING)
@pytest.mark.parametrize("name", MODELS)
def test_widened_weights_give_the_bits_of_float32(isa, name, precision):
    session = tinyseq.load(MODELS[name], precision=precision)
    assert narrow_of(session)
    plain = rounded_alone(session)
    for rows in (1, 3):
        x = sequence(9, rows)
        same_bits(whole(session, x), whole(plain, x))
    x = sequence(9)
    same_bits(steps(session.stream(), np.split(x, [2, 3])), whole(plain, x))


@pytest.mark.parametrize("precision", FLOATING)
@pytest.mark.parametrize("op", [*LAYERS, "Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "FusedMatMul"])
@given(data=st.data())
@settings(max_examples=25)
def test_any_op_with_widened_weights_gives_the_bits_of_float32(precision, op, data):
    case = data.draw(layers_of_any_kind(op) if op in LAYERS else CASES[op])
    session = tinyseq.load(case.model, precision=precision)
    found, right = session.run(case.feeds), rounded_alone(session).run(case.feeds)
    for name, array in right.items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("precision", FLOATING)
def test_every_float16_and_bfloat16_is_widened_exactly(isa, precision):
    bits = np.arange(2**16, dtype=np.uint16)
    numbers = (
        bits.view(np.float16).astype(np.float32)
        if precision == "float16"
        else (bits.astype(np.uint32) << 16).view(np.float32)
    )
    # Sums with what is not finite, or denormal in float32, are no copies.
    numbers = numbers[np.isfinite(numbers) & ((np.abs(numbers) > 2.0**-126) | (numbers == 0))]
    w = np.zeros((2, numbers.size), np.float32)
    w[1] = numbers
    y = tinyseq.load(dense(w), precision=precision).run({"x": np.array([[0, 1]], np.float32)})["y"]
    np.testing.assert_array_equal(y[0], numbers)


@pytest.mark.parametrize("precision", FLOATING)
def test_weights_that_are_not_finite_stay_so(isa, precision):
    w = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    y = tinyseq.load(dense(w), precision=precision).run({"x": np.ones((1, 1), np.float32)})["y"]
    np.testing.assert_array_equal(y, w)


# Whole numbers: the same exact sums everywhere.


@pytest.mark.parametrize("precision", WHOLE)
@given(
    rows=st.integers(1, 9) | st.sampled_from([48, 49, 100]),
    k=st.integers(1, 70),
    n=st.integers(1, 70) | st.sampled_from([64, 65, 130]),
    seed=st.integers(0, 99),
)
def test_a_product_is_the_exact_one_on_every_instruction_set(isa, precision, rows, k, n, seed):
    rng = np.random.default_rng(seed)
    x, w, bias = drawn(rng, rows, k), drawn(rng, k, n), drawn(rng, n)
    x[0] *= rng.choice([0, 1e-33, 1e30])
    w[:, 0] = 0
    found = tinyseq.load(dense(w, bias), precision=precision).run({"x": x})["y"]
    same_bits(found, product(x, w, bias, precision))


@pytest.mark.parametrize("precision", WHOLE)
@pytest.mark.parametrize("k", [MOST_SUMMED, MOST_SUMMED + 3, 2 * MOST_SUMMED + 1])
def test_long_sums_are_split_before_they_overflow(isa, precision, k):
    rng = np.random.default_rng(0)
    w, x = drawn(rng, k, 17), drawn(rng, 2, k)
    # All of the largest magnitude and of one sign, in one row and column.
    w[:, 3], x[1] = -5, 7
    found = tinyseq.load(dense(w), precision=precision).run({"x": x})["y"]
    same_bits(found, product(x, w, np.zeros(17, np.float32), precision))


@pytest.mark.parametrize("precision", WHOLE)
def test_a_row_with_a_number_that_is_not_finite_is_not_a_number_and_others_do_not_see_it(isa, precision):
    rng = np.random.default_rng(0)
    x, w = drawn(rng, 5, 20), drawn(rng, 20, 30)
    session = tinyseq.load(dense(w), precision=precision)
    right = session.run({"x": x})["y"]
    x[1, 3], x[3, 19] = np.nan, -np.inf
    found = session.run({"x": x})["y"]
    assert np.isnan(found[[1, 3]]).all()
    same_bits(found[[0, 2, 4]], right[[0, 2, 4]])


@pytest.mark.parametrize("precision", WHOLE)
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"lstm, constant state"}))
def test_rows_and_chunks_have_bits_of_their_own(isa, name, precision):
    session = tinyseq.load(MODELS[name], precision=precision)
    x = sequence(11, 4)
    batch = whole(session, x)
    for row in range(4):
        same_bits(np.take(batch, [row], axis=batch.ndim - 2), whole(session, x[:, row : row + 1]))
    x = sequence(11)
    same_bits(steps(session.stream(), np.split(x, [1, 4, 5])), whole(session, x))


@pytest.mark.parametrize("precision", PRECISIONS)
@given(layers=layered(), cuts=st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=25)
def test_any_layers_stream_with_the_bits_of_the_whole(precision, layers, cuts):
    model = layers.model().model
    try:
        session = tinyseq.Session(model, precision=precision)
        session.stream()
    except ModelError:
        return
    x = signal()
    found, right = in_chunks(session, x, sorted(cuts)), session.run({"x": x})["y"]
    assert found.tobytes() == right.tobytes()


@pytest.mark.parametrize("precision", WHOLE)
def test_taps_that_meet_only_padding_do_not_change_the_scale_of_the_others(precision):
    rng, g = np.random.default_rng(0), tinyseq.Graph()
    w = drawn(rng, 24, 9, 3)
    w[:, :, :2] *= 10
    x = g.input("x", ["rows", 9, "frames"])
    g.output("y", g.apply("Conv", x, w, kernel_shape=(3,), pads=(2, 0)))
    session, x = tinyseq.load(g, precision=precision), drawn(rng, 1, 9, 7)
    first = session.run({"x": x[..., :1]})["y"]
    same_bits(first, session.run({"x": x})["y"][..., :1])
    narrow = PRECISIONS[precision].of(w, Sums((1, 2)), "w")
    padded = np.concatenate([np.zeros((1, 18), np.float32), x[..., 0]], 1)
    whole = narrow.numbers.transpose(2, 1, 0).reshape(27, 24)
    np.testing.assert_allclose(first[..., 0], padded @ whole, rtol=1e-4, atol=5e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_transposed_convolutions_have_scales_for_the_columns_of_each_group(isa, precision):
    rng, g, groups = np.random.default_rng(0), tinyseq.Graph(), 3
    w = drawn(rng, 6, 5, 4)
    w[2:4] *= 1000
    x = g.input("x", ["rows", 6, "frames"])
    g.output("y", g.apply("ConvTranspose", x, w, kernel_shape=(4,), strides=(2,), group=groups))
    session, x = tinyseq.load(g, precision=precision), drawn(rng, 2, 6, 7)
    (narrow,) = narrow_of(session)
    for own, part in zip(np.split(narrow.numbers, groups), np.split(w, groups)):
        same_bits(own, PRECISIONS[precision].of(part, Sums((0, 2)), "w").numbers)
    found, right = session.run({"x": x})["y"], rounded_alone(session).run({"x": x})["y"]
    if precision in FLOATING:
        same_bits(found, right)
    for own, part in zip(np.split(found, groups, 1), np.split(right, groups, 1)):
        np.testing.assert_allclose(own, part, rtol=0, atol=1e-4 * np.abs(part).max())


@pytest.mark.parametrize("precision", WHOLE)
def test_instruction_sets_agree_to_the_bit(monkeypatch, precision):
    x, made = sequence(20, 3), {}
    for isa in library.available():
        monkeypatch.setenv(library.ISA_VARIABLE, isa)
        for name in ("gru", "lstm, projected, peepholes", "two layers and a head"):
            made.setdefault(name, {})[isa] = whole(tinyseq.load(MODELS[name], precision=precision), x)
    for found in made.values():
        # Cells themselves are rounded once more where nothing multiplies and adds in one.
        found = {isa: y for isa, y in found.items() if isa != "baseline"}
        assert len({y.tobytes() for y in found.values()}) <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_over_tokens_are_as_over_the_rows_they_stand_for(precision):
    rng = np.random.default_rng(0)
    table, tokens = drawn(rng, 7, 6), rng.integers(0, 7, (9, 2))
    weights = [drawn(rng, *shape) for shape in ((15, 6), (15, 5), (15,), (15,))]
    made = []
    for fed in (tokens, table[tokens]):
        g = tinyseq.Graph()
        x = g.input("x", list(fed.shape), fed.dtype)
        y, _ = g.gru(g.embedding(x, table) if fed is tokens else x, weights, layout="torch")
        g.output("y", y)
        made.append(tinyseq.load(g, precision=precision).run({"x": fed})["y"])
    same_bits(*made)


# What is near what.


BOUNDS = {"bfloat16": 1e-2, "float16": 1.5e-3, "int16": 2e-4, "int8": 5e-2}
"""The most that outputs of a network of tame weights differ from float32's, as a share of the largest."""


def tame() -> tinyseq.Graph:
    """A convolution, layers that forget and a head, of weights as training leaves them."""
    rng, g = np.random.default_rng(0), tinyseq.Graph()

    def w(*shape: int) -> np.ndarray:
        return drawn(rng, *shape) / np.float32(shape[-1] ** 0.5)

    x = g.input("x", ["rows", 9, "frames"])
    y = g.apply("Conv", x, w(24, 9, 3), kernel_shape=(3,), pads=(2, 0))
    y = g.apply("Transpose", y, perm=(2, 0, 1))
    y = g.apply("GRU", y, w(1, 96, 24), w(1, 96, 32), hidden_size=32, linear_before_reset=1)
    y = g.apply("Squeeze", y, np.array([1]))
    inputs = w(1, 160, 32), w(1, 160, 20), *[None] * 5, w(1, 20, 40)
    y = g.apply("Squeeze", g.apply("LSTM", y, *inputs, hidden_size=40), np.array([1]))
    g.output("y", g.apply("MatMul", y, w(20, 20)))
    return g


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_are_near_those_of_float32_and_nearer_those_of_the_rounded_reference(precision):
    feeds = {"x": drawn(np.random.default_rng(1), 3, 9, 40)}
    session = tinyseq.load(tame(), precision=precision)
    found, right = session.run(feeds)["y"], tinyseq.load(tame()).run(feeds)["y"]
    reference = tinyseq.load(tame(), device="reference", precision=precision).run(feeds)["y"]
    scale = np.abs(right).max()
    assert np.abs(found - reference).max() <= (2e-6 if precision in FLOATING else 2e-4) * scale
    assert BOUNDS[precision] / 20 * scale <= np.abs(found - right).max() <= BOUNDS[precision] * scale
    np.testing.assert_array_equal(reference, rounded_alone(session, "reference").run(feeds)["y"])


LEAST_DECIBELS = {"bfloat16": 40, "float16": 55, "int16": 82, "int8": 30}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["dtln-1", "dtln-2"])
def test_denoisers_keep_their_signal(asset, name, precision):
    session, exact = (tinyseq.load(asset(name), precision=p) for p in (precision, "float32"))
    feeds = random_feeds(exact, {}, {}, seed=1)
    found, right = session.run(feeds), exact.run(feeds)
    for key, array in right.items():
        lost = np.sum((found[key] - array) ** 2, dtype=np.float64)
        assert 10 * np.log10(np.sum(array**2, dtype=np.float64) / lost) >= LEAST_DECIBELS[precision]
    if precision in FLOATING:
        plain = rounded_alone(session).run(feeds)
        for key, array in plain.items():
            same_bits(found[key], array)


# Files.


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_holds_narrow_weights_and_gives_the_same_bits(tmp_path, precision):
    graph, feeds = projected(40, 30), {"x": sequence(7, 2)}
    sizes = {}
    for name in ("float32", precision):
        tinyseq.load(graph, precision=name).save(tmp_path / f"{name}.tinyseq")
        sizes[name] = (tmp_path / f"{name}.tinyseq").stat().st_size
    session, loaded = (
        tinyseq.load(graph, precision=precision),
        tinyseq.load(tmp_path / f"{precision}.tinyseq"),
    )
    assert loaded.precision == precision and loaded.fingerprint == session.fingerprint
    same_bits(loaded.run(feeds)["y"], session.run(feeds)["y"])
    assert sizes[precision] < 0.75 * sizes["float32"]
    loaded.save(tmp_path / "again.tinyseq")
    assert (tmp_path / "again.tinyseq").read_bytes() == (tmp_path / f"{precision}.tinyseq").read_bytes()
    wide = tinyseq.load(tmp_path / f"{precision}.tinyseq", precision="float32")
    same_bits(wide.run(feeds)["y"], rounded_alone(session).run(feeds)["y"])


def test_files_without_narrow_weights_are_of_the_version_that_older_packages_read(tmp_path):
    for precision, version in (("float32", b'\\"version\\":1,'), ("int8", b'\\"version\\":2,')):
        tinyseq.load(projected(9, 5), precision=precision).save(tmp_path / "m.tinyseq")
        assert version in (tmp_path / "m.tinyseq").read_bytes()


PAIR = rb"[\"0\",\"1\"]"
"""What a file calls a weight's numbers and scales."""


@pytest.mark.parametrize(
    "stored, damage",
    [
        (b"int8", b"int4"),
        (b"int8", b"bf16"),
        (PAIR, rb"[\"1\",\"0\"]"),
        (PAIR, rb"[\"0\", null]"),
        (b'"dtype":"I8"', b'"dtype":"U8"'),
    ],
)
def test_a_damaged_file_of_narrow_weights_is_refused(tmp_path, stored, damage):
    path = tmp_path / "m.tinyseq"
    tinyseq.load(dense(np.eye(4, dtype=np.float32)), precision="int8").save(path)
    data = path.read_bytes()
    assert stored in data and len(stored) == len(damage)
    path.write_bytes(data.replace(stored, damage))
    with pytest.raises(ModelError, match="damaged"):
        tinyseq.load(path)


def test_fingerprints_tell_precisions_apart_whose_results_differ():
    graph = dense(np.ones((4, 4), np.float32))
    found = {name: tinyseq.load(graph, precision=name).fingerprint for name in ("float32", *PRECISIONS)}
    # Weights that lose nothing as floating numbers give what they gave.
    assert found["float32"] == found["bfloat16"] == found["float16"]
    assert len({found["float32"], found["int8"], found["int16"]}) == 3
    with pytest.raises(tinyseq.TinyseqError):
        other = tinyseq.load(MODELS["lstm"], precision="int8").stream()
        other.restore(tinyseq.load(MODELS["lstm"]).stream().snapshot())


# Which weights.


def two_heads() -> tinyseq.Graph:
    rng, g = np.random.default_rng(0), tinyseq.Graph()
    x = g.input("x", ["rows", 20])
    y = g.apply("MatMul", x, drawn(rng, 20, 30), name="/body/MatMul")
    g.output("a", g.apply("MatMul", y, drawn(rng, 30, 20), name="/head/MatMul"))
    g.output("b", g.apply("MatMul", y, drawn(rng, 30, 10), name="/other_head/MatMul"))
    return g


@pytest.mark.parametrize(
    "keep, count",
    [([], 3), (["head"], 2), (["/head/MatMul"], 2), (["head", "body"], 1), (["MatMul"], 0)],
)
def test_weights_that_are_kept_stay_float32(keep, count):
    session = tinyseq.load(two_heads(), precision="int8", keep=keep)
    assert len(narrow_of(session)) == count


@pytest.mark.parametrize("keep", [["heads"], ["head", "hea"], [""], ["/"]])
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_what_is_kept_must_be_there(keep, precision):
    with pytest.raises(ModelError, match=r"no weight and no node .* there are .*'/body/MatMul'"):
        tinyseq.load(two_heads(), precision=precision, keep=keep)


@pytest.mark.parametrize("keep", ["head", [3], 3])
def test_what_is_kept_is_a_list_of_names(keep):
    with pytest.raises(ModelError, match="keep names weights or nodes in a list"):
        tinyseq.load(two_heads(), precision="int8", keep=keep)


def test_a_table_that_is_also_a_weight_is_rounded_as_a_weight_alone():
    rng, g = np.random.default_rng(0), tinyseq.Graph()
    table = drawn(rng, 11, 20)
    tokens = g.input("x", ["rows"], np.int64)
    rows = g.apply("Gather", table, tokens, axis=0)
    g.output("rows", rows)
    g.output("y", g.apply("Gemm", rows, table, transB=1))
    found = tinyseq.load(g, precision="int8").run({"x": np.arange(11)})
    same_bits(found["rows"], table)
    assert 0 < np.abs(found["y"] - table @ table.T).max() < 0.2


def test_a_projection_is_kept_with_the_loop_that_it_is_part_of():
    case = projected(9, 20)
    for keep, count in (((), 3), (("layer",), 0)):
        assert len(narrow_of(tinyseq.load(case, precision="int8", keep=keep))) == count


def test_weights_that_come_at_run_time_and_models_without_any_stay_as_they_are():
    case = recurrent("GRU", fed=(0, 1, 2, 4, 5))
    found, right = (tinyseq.load(case.model, precision=p).run(case.feeds) for p in ("int8", "float32"))
    for name, array in right.items():
        same_bits(found[name], array)


def test_a_device_that_does_not_compute_in_a_precision_refuses_it_by_name():
    with pytest.raises(DeviceError, match=r"'cuda' does not compute in precision='int8'.*device='cpu'"):
        tinyseq.load(two_heads(), device="cuda", precision="int8")
    with pytest.raises(DeviceError, match="precision='int4' is unknown; choose 'float32'"):
        tinyseq.load(two_heads(), precision="int4")
    with pytest.raises(DeviceError, match="keep has no meaning there"):
        tinyseq.load(two_heads(), device="cuda", precision="bfloat16", keep=["head"])


# C libraries.


def test_libraries_have_the_bits_of_python(tmp_path):
    names = ("gru", None), ("lstm, projected", 3), ("lstm, projected", 3), ("gru", None)
    made = [
        stepping(tinyseq.load(MODELS[name], precision=precision), Request(frames=frames))
        for precision, (name, frames) in zip(PRECISIONS, names)
    ]
    for native in compiled(made, tmp_path):
        assert same(native, 12)


# The command line.


def command(*arguments: object) -> str:
    run = [sys.executable, "-m", "tinyseq", *map(str, arguments)]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def test_convert_tells_what_is_saved_and_lost(tmp_path):
    tinyseq.load(tame()).save(tmp_path / "wide.tinyseq")
    out = command("convert", tmp_path / "wide.tinyseq", tmp_path / "n.tinyseq", "--precision", "int8")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][0] == "wrote" and [line[0] for line in lines[2:]] == ["float32", "int8"]
    exact, narrow = lines[2], lines[3]
    assert exact[3:] == ["0", "inf"] and 0 < float(narrow[3]) < 0.1 and 20 < float(narrow[4]) < 80
    assert int(narrow[1].replace(",", "")) == (tmp_path / "n.tinyseq").stat().st_size
    out = command("convert", tmp_path / "wide.tinyseq", "--compare")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["float32", *PRECISIONS]
    out = command("verify", tmp_path / "n.tinyseq")
    assert "reference" in out and "DIFFERS" not in out
    out = command("verify", tmp_path / "wide.tinyseq", "--precision", "int16", "--stream")
    assert "BROKEN" not in out
