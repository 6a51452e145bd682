"""Weights are held once: what is packed of them is where their numbers are had from."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import helper

import tinyseq
from tests.models import Case, model, value
from tests.strategies import CASES
from tests.strategies.recurrent import LAYERS, layers_of_any_kind
from tests.test_narrow_memory import CASES as LARGE
from tests.test_narrow_memory import N, drawn, in_use, with_defaults
from tinyseq.ir import weights
from tinyseq.ir.model import constants_of
from tinyseq.ir.narrow import EXACT, PRECISIONS
from tinyseq.ir.weights import Exact, Weight
from tinyseq.kernels.formats import FORMAT_CODES, FORMATS
from tinyseq.plan.packing import panels, unpack
from tinyseq.tools.inspection import inspect

ALL = (EXACT, *PRECISIONS)

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.BroadcastWarning")


def weights_of(session: tinyseq.Session) -> list[Weight]:
    return [each for each in constants_of(session.computed.graph) if isinstance(each, Weight)]


def given_up(session: tinyseq.Session) -> list[Weight]:
    return [weight for weight in weights_of(session) if weight._stored is None]


def same_numbers(session: tinyseq.Session, other: tinyseq.Session) -> None:
    """Two sessions of one model have the same weights, to the bit."""
    for weight, right in zip(weights_of(session), weights_of(other), strict=True):
        assert weight.stored.dtype == right.stored.dtype
        same_bits(weight.stored, right.stored)
        same_bits(weight.numbers, np.asarray(right))


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def held(work: Callable[[], object]) -> int:
    """Bytes of large arrays that are held after some work, but for those of executors."""
    work()
    gc.collect()
    tracemalloc.start(4)
    try:
        kept = work()
        gc.collect()
        traces = tracemalloc.take_snapshot().traces
    finally:
        tracemalloc.stop()
    assert kept
    large = [trace for trace in traces if trace.size >= 2**14]
    return sum(trace.size for trace in large if not any("backends" in f.filename for f in trace.traceback))


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize("name", LARGE)
def test_a_session_holds_each_weight_once(tmp_path, name, precision):
    case = LARGE[name]()
    tinyseq.load(case.model, precision=precision).save(tmp_path / "m.tinyseq")
    fresh = tinyseq.load(tmp_path / "m.tinyseq")
    stored = [weight.stored.nbytes for weight in weights_of(fresh)]

    def used() -> list[object]:
        session = tinyseq.load(tmp_path / "m.tinyseq")
        return [session, in_use(session, case, tmp_path)]

    assert sum(stored) <= held(used) < 1.6 * sum(stored)
    session, _ = used()
    assert given_up(session) == weights_of(session)
    same_numbers(session, fresh)
    session.save(tmp_path / "again.tinyseq")
    assert (tmp_path / "again.tinyseq").read_bytes() == (tmp_path / "m.tinyseq").read_bytes()


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize("op", [*LAYERS, "Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "FusedMatMul"])
@given(data=st.data())
@settings(max_examples=20)
def test_weights_of_any_op_are_as_they_were(precision, op, data):
    case = data.draw(layers_of_any_kind(op) if op in LAYERS else CASES[op])
    session, fresh = (tinyseq.load(case.model, precision=precision) for _ in range(2))
    found = session.run(case.feeds)
    assert session.fingerprint == fresh.fingerprint
    same_numbers(session, fresh)
    # What is packed of numbers that were packed before.
    again = tinyseq.Session(session.model, simple=session.computed, precision=precision)
    for name, array in again.run(case.feeds).items():
        same_bits(array, found[name])


@pytest.mark.parametrize("precision", ALL)
def test_recurrent_layers_in_both_directions_give_up_their_weights(precision):
    rng = np.random.default_rng(0)
    w, r = (rng.standard_normal((2, 4 * 20, size)).astype(np.float32) for size in (7, 20))
    g = tinyseq.Graph()
    y = g.apply("LSTM", g.input("x", ["frames", "rows", 7]), w, r, hidden_size=20, direction="bidirectional")
    g.output("y", y)
    session, fresh = (tinyseq.load(g, precision=precision) for _ in range(2))
    session.run({"x": np.zeros((3, 1, 7), np.float32)})
    assert len(given_up(session)) == 2
    same_numbers(session, fresh)


@st.composite
def matrices(draw) -> np.ndarray:
    k, n = draw(st.integers(1, 40)), draw(st.integers(1, 200))
    return draw(arrays.arrays(np.uint32, (k, n), elements=st.integers(0, 2**32 - 1))).view(np.float32)


@given(matrices())
def test_any_bits_are_had_back_from_panels(matrix):
    found = np.empty_like(matrix)
    unpack(panels(matrix), FORMATS[FORMAT_CODES[EXACT]], found)
    same_bits(found, matrix)


@pytest.mark.parametrize("precision", PRECISIONS)
@given(st.data())
def test_any_narrow_matrix_is_had_back_from_panels(precision, data):
    matrix, row, of = data.draw(matrices()), PRECISIONS[precision], FORMATS[FORMAT_CODES[precision]]
    bits = matrix.view(np.uint32)
    stored = (bits >> 16).astype(np.uint16)
    if row.most is not None:
        stored = np.clip(bits.astype(np.int64) % (2 * row.most + 1) - row.most, -row.most, row.most)
    stored = stored.astype(row.dtype) if precision != "float16" else stored.view(np.float16)
    # A number that is none is made a quiet one by conversions.
    assume(precision != "float16" or not np.isnan(stored).any())
    scales = None if row.most is None else np.exp2(-np.arange(matrix.shape[1]) % 9).astype(np.float32)[None]
    found = np.empty_like(stored)
    unpack(panels(row.read(stored, scales), of), of, found)
    assert found.tobytes() == stored.tobytes()


# Bytes.


def quantised_lstm(kind: type) -> Case:
    """As onnxruntime's tools quantise a layer in both directions."""
    rng, (low, high) = np.random.default_rng(0), ((0, 256) if kind is np.uint8 else (-128, 128))
    constants: dict[str, np.ndarray] = {}
    for name in "wr":
        constants[name] = rng.integers(low, high, (2, N, 4 * N)).astype(kind)
        constants[f"{name}s"] = np.full(2, 1e-3, np.float32)
        constants[f"{name}z"] = np.full(2, low + 128, kind)
    inputs = ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"]
    node = helper.make_node(
        "DynamicQuantizeLSTM", inputs, ["y"], domain="com.microsoft", hidden_size=N, direction="bidirectional"
    )
    file = model([node], [value("x", shape=["frames", "rows", N])], [value("y")], constants)
    return Case(file, {"x": drawn(3, 1, N)})


def quantised(op: str, kind: type, w: tuple[int, ...], x: tuple[int, ...]) -> Case:
    rng, (low, high) = np.random.default_rng(0), ((0, 256) if kind is np.uint8 else (-128, 128))
    constants = {"w": rng.integers(low, high, w).astype(kind), "xz": np.array(7, np.uint8)}
    constants["wz"] = np.array(low + 128, kind)
    node = helper.make_node(op, ["x", "w", "xz", "wz"], ["y"])
    shape = [name if size in (3, 17) else size for name, size in zip("abc", x)]
    file = model([node], [value("x", np.uint8, shape)], [value("y", np.int32)], constants)
    return Case(file, {"x": rng.integers(0, 256, x).astype(np.uint8)})


QUANTISED = {
    "MatMulInteger": lambda kind: quantised("MatMulInteger", kind, (N, N), (3, N)),
    "ConvInteger": lambda kind: quantised("ConvInteger", kind, (128, 64, 8), (1, 64, 17)),
    "DynamicQuantizeLSTM": quantised_lstm,
}


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("name", QUANTISED)
def test_a_session_holds_quantised_weights_once(tmp_path, name, kind):
    case = QUANTISED[name](kind)
    tinyseq.load(case.model).save(tmp_path / "m.tinyseq")

    def used() -> list[object]:
        session = tinyseq.load(tmp_path / "m.tinyseq")
        return [session, session.run(case.feeds), session.fingerprint]

    session, *_ = used()
    fresh = tinyseq.load(tmp_path / "m.tinyseq")
    stored = sum(weight.nbytes for weight in weights_of(fresh))
    assert N * N <= stored <= held(used) < 1.6 * stored
    assert given_up(session) == weights_of(session)
    same_numbers(session, fresh)
    session.save(tmp_path / "again.tinyseq")
    assert (tmp_path / "again.tinyseq").read_bytes() == (tmp_path / "m.tinyseq").read_bytes()


def test_bytes_that_are_multiplied_as_floats_are_right():
    rng = np.random.default_rng(0)
    constants = {"w": rng.integers(-128, 128, (2, 5, 4)).astype(np.int8)}
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    file = model([node], [value("x", np.uint8, [2, "rows", 5])], [value("y", np.int32)], constants)
    session, x = tinyseq.load(file), rng.integers(0, 256, (2, 3, 5)).astype(np.uint8)
    for _ in range(2):
        np.testing.assert_array_equal(session.run({"x": x})["y"], x.astype(np.int32) @ constants["w"])


# What is no layout of all.


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def tell(weight: Weight, name: object, lay: Callable[[np.ndarray], np.ndarray]) -> None:
    """As a layout that holds a copy."""
    copy = lay(weight.stored).copy()
    weight.held(name, lay, lambda part: np.copyto(part, copy))


def test_a_weight_is_given_up_once_its_parts_are_all_held():
    weight = Exact(numbers(3, 4, 5))
    for part in (slice(2, 3), slice(0, 1)):
        tell(weight, part.start, lambda own, part=part: own[part])
        assert weight._stored is not None
        assert not weight.is_asking(part.start)
    tell(weight, "last", lambda own: own[1].T)
    assert weight._stored is None
    assert not weight.is_asking("more")
    same_bits(weight.numbers, numbers(3, 4, 5))
    same_bits(np.asarray(weight), numbers(3, 4, 5))


@pytest.mark.parametrize(
    "lay",
    [
        lambda own: own[1:],
        lambda own: own[::2],
        lambda own: own.copy(),
        lambda own: own.transpose(1, 0, 2).reshape(4, 15),
        lambda own: np.broadcast_to(own[:1], own.shape),
    ],
    ids=["a part", "every second", "a copy", "laid anew", "one for all"],
)
def test_what_does_not_hold_all_of_it_gives_nothing_up(lay):
    weight = Exact(numbers(3, 4, 5))
    tell(weight, 0, lay)
    assert weight._stored is not None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_numbers_come_back_to_where_they_were_however_they_lie(order):
    lying = np.ascontiguousarray(numbers(3, 4, 5).transpose(order)).transpose(np.argsort(order))
    weight, other = Exact(lying), Exact(lying)
    tell(weight, 0, lambda own: own.reshape(12, 5))
    assert weight._stored is None
    # A view of this array alone, so that it would not be written to.
    tell(other, 0, lambda own: own.transpose(order).reshape(-1, own.shape[order[-1]]))
    same_bits(weight.numbers, numbers(3, 4, 5))
    same_bits(other.numbers, numbers(3, 4, 5))


def test_small_weights_are_kept(monkeypatch):
    monkeypatch.setattr(weights, "LEAST_BYTES", 2**16)
    assert not Exact(numbers(2**14 - 1)).is_asking(0)
    assert Exact(numbers(2**14)).is_asking(0)


def untouched(session: tinyseq.Session, feeds: dict[str, np.ndarray]) -> None:
    """Running a session leaves its weights alone."""
    before = [(weight, weight.stored) for weight in weights_of(session)]
    assert before
    session.run(feeds)
    assert all(weight.stored is stored for weight, stored in before)


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_matrices_that_are_packed_in_pieces_are_kept(precision):
    g = tinyseq.Graph()
    g.output("y", g.apply("MatMul", g.input("x", ["rows", 33_000]), drawn(33_000, 2)))
    untouched(tinyseq.load(g, precision=precision), {"x": drawn(1, 33_000)})


def test_inspecting_a_model_leaves_its_weights_alone():
    session = tinyseq.load(LARGE["LSTM"]().model)
    inspect(session, session.model, [{"x": np.zeros((3, 1, N), np.float32)}])
    assert weights_of(session) and not given_up(session)


@pytest.mark.parametrize("flips", [(1,), (1, 2), (0, 1, 2)])
def test_numbers_of_an_array_that_is_read_backwards_come_back(flips):
    weight = Exact(np.flip(numbers(3, 4, 5), flips))
    right = weight.numbers.copy()
    tell(weight, 0, lambda own: own.reshape(3, 20))
    assert weight._stored is None
    same_bits(weight.numbers, right)


def test_nobody_writes_to_a_weight():
    with pytest.raises(ValueError, match="read-only"):
        Exact(numbers(3, 4)).numbers[0] = 1


@pytest.mark.parametrize("precision", ALL)
def test_weights_that_a_file_turns_round_come_back(tmp_path, precision):
    constants = {"w": drawn(64, 16, 32)}
    constants |= {"s": np.array([-1, -1]), "e": np.array([-100, -100]), "a": np.array([1, 2])}
    nodes = [
        helper.make_node("Slice", ["w", "s", "e", "a", "s"], ["v"]),
        helper.make_node("Einsum", ["x", "v"], ["y"], equation="ab,bcd->acd"),
    ]
    file = model(nodes, [value("x", shape=["rows", 64])], [value("y")], constants)
    session, x = tinyseq.load(file, precision=precision), {"x": drawn(3, 64)}
    right = session.run(x)["y"]
    session.save(tmp_path / "m.tinyseq")
    same_bits(tinyseq.load(tmp_path / "m.tinyseq").run(x)["y"], right)
    assert session.fingerprint == tinyseq.load(file, precision=precision).fingerprint


def turned() -> Case:
    """A product with a weight that simplification turns round."""
    nodes = [helper.make_node("Transpose", ["w"], ["v"]), helper.make_node("MatMul", ["x", "v"], ["y"])]
    file = model(nodes, [value("x", shape=["rows", N])], [value("y")], {"w": drawn(N, N)})
    return Case(file, {"x": drawn(1, N)})


def by_onnxruntime(file: bytes, feeds: dict[str, np.ndarray]) -> list[object]:
    session = tinyseq.InferenceSession(file)
    return [session, session.run(None, feeds)]


def by_tinyseq(file: bytes, feeds: dict[str, np.ndarray]) -> list[object]:
    session = tinyseq.load(file)
    return [session, session.run(feeds)]


@pytest.mark.parametrize("run", [by_tinyseq, by_onnxruntime])
@pytest.mark.parametrize("made", [turned, LARGE["MatMul"], LARGE["Conv, BatchNormalization"]])
def test_what_a_file_has_in_the_place_of_a_weight_is_not_kept(run, made):
    case = made()
    assert 4 * N * N <= held(lambda: run(case.model, case.feeds)) < 1.6 * 4 * N * N


def test_a_product_and_a_dense_layer_share_what_is_packed():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Gemm", ["x", "w", "b"], ["z"])]
    constants = {"w": drawn(N, N), "b": drawn(N)}
    file = model(nodes, [value("x", shape=["rows", N])], [value("y"), value("z")], constants)
    assert held(lambda: by_tinyseq(file, {"x": drawn(1, N)})) < 1.6 * 4 * N * N


# Other readers.


def test_a_table_is_held_once(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((2000, 64)).astype(np.float32)
    g = tinyseq.Graph()
    x = g.input("x", ["frames"], np.int64)
    g.output("y", g.apply("Tanh", g.apply("Gather", table, x)))
    path, feeds = tmp_path / "m.tinyseq", {"x": np.array([1, 1999, 7])}
    tinyseq.load(g).save(path)

    def used() -> list[object]:
        session = tinyseq.load(path)
        return [session, session.run(feeds)]

    assert table.nbytes <= held(used) < 1.1 * table.nbytes
    session, found = used()
    np.testing.assert_allclose(found["y"], np.tanh(table[feeds["x"]]), rtol=1e-6)
    assert session.fingerprint == tinyseq.load(g).fingerprint


@pytest.mark.parametrize("precision", ALL)
def test_a_table_that_is_an_output_layer_too_is_had_by_both(precision):
    table = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    constants = {"table": table}
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("Tanh", ["e"], ["t"]),
        helper.make_node("Gemm", ["t", "table"], ["y"], transB=1),
    ]
    file = model(nodes, [value("x", np.int64, ["frames"])], [value("y")], constants)
    session, x = tinyseq.load(file, precision=precision), np.array([3, 499])
    right = np.tanh(table[x]) @ table.T
    for _ in range(2):
        found = session.run({"x": x})["y"]
        np.testing.assert_allclose(found, right, rtol=0, atol=0.02 * np.abs(right).max())
    assert session.fingerprint == tinyseq.load(file, precision=precision).fingerprint


@pytest.mark.parametrize("precision", ALL)
def test_what_is_fed_in_the_place_of_a_weight_that_was_given_up_counts(precision):
    case = LARGE["MatMul"]()
    session = tinyseq.load(with_defaults(case), precision=precision)
    first = session.run(case.feeds)
    assert given_up(session)
    ((name, default),) = ((value.name, value) for value in session.model.defaults)
    other = drawn(*default.shape)[::-1].copy()
    ((_, x),) = case.feeds.items()
    found = session.run({**case.feeds, name: other})["y"]
    np.testing.assert_allclose(found, x @ other, rtol=1e-4, atol=1e-4)
    same_bits(session.run(case.feeds)["y"], first["y"])


def test_the_reference_and_the_search_for_errors_read_what_was_given_up():
    case = LARGE["LSTM"]()
    session = tinyseq.load(case.model)
    found = session.run(case.feeds)
    assert given_up(session)
    exact = tinyseq.Session(session.model, device="reference", simple=session.computed).run(case.feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, exact[name], rtol=0, atol=1e-5)


def test_a_graph_has_copies_of_what_it_was_given():
    w = drawn(N, N)
    g = tinyseq.Graph()
    g.output("y", g.apply("MatMul", g.input("x", ["rows", N]), w))
    session, x = tinyseq.load(g), drawn(3, N)
    right = x @ w
    w[:] = 0
    np.testing.assert_allclose(session.run({"x": x})["y"], right, rtol=0, atol=1e-5)
