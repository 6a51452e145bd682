"""Nodes, calls and rows that meet: what one leaves to another, and what two of them share."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import tinyseq
from tests.models import Case
from tests.test_differential import agrees_with_onnxruntime, agrees_with_the_reference
from tinyseq.errors import ModelError


def written(text: str, **constants: np.ndarray) -> bytes:
    """A model in ONNX's own notation."""
    proto: onnx.ModelProto = parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]>\n{text}')
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return proto.SerializeToString()


def is_right(file: bytes, feeds: dict[str, np.ndarray]) -> None:
    agrees_with_the_reference(Case(file, feeds))
    agrees_with_onnxruntime(Case(file, feeds))


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


ZERO, ONE = np.array([0]), np.array([1])


# Biases that are computed.


@pytest.mark.parametrize("op, w", [("Conv", (3, 2, 1)), ("ConvTranspose", (2, 3, 1))])
@pytest.mark.parametrize(
    "bias",
    [
        "first = Slice(b, zero, one, one) bias = Squeeze(first, one)",
        "turned = Slice(b, last, low, zero, last) first = Slice(turned, zero, one, one) "
        "bias = Squeeze(first, one)",
        "first = Slice(b, zero, one, both, one) only = Slice(first, zero, one, zero) all = Squeeze(only) "
        "bias = Expand(all, three)",
    ],
    ids=["a column", "backwards", "one for all"],
)
def test_biases_lie_anywhere(op, w, bias):
    text = f"g (float[n,2,t] x, float[3,2] b) => (float[n,3,u] y) {{ {bias} y = {op}(x, w, bias) }}"
    places = {"zero": ZERO, "one": ONE, "last": np.array([-1]), "low": np.array([-9]), "three": np.array([3])}
    file = written(text, w=drawn(*w), both=np.array([1]), **places)
    is_right(file, {"x": drawn(1, 2, 4), "b": drawn(3, 2)})


@pytest.mark.parametrize("frames", [9, 1500])
def test_a_bias_that_is_a_row_of_a_table_is_read_before_the_windows(frames):
    text = """g (float[n,2,t] x, int64 who) => (float[n,16,u] y) {
        bias = Gather(table, who)
        y = Conv(x, w, bias)
    }"""
    file = written(text, w=drawn(16, 2, 5), table=drawn(7, 16))
    is_right(file, {"x": drawn(1, 2, frames), "who": np.array(3)})


def test_a_product_of_one_column_and_one_number():
    text = "g (float[n,3] x) => (float[n,1] y) { y = Gemm(x, w, c) }"
    is_right(written(text, w=drawn(3, 1), c=np.array(2, np.float32)), {"x": drawn(2, 3)})


# What is carried on while others read it.


def test_a_loop_carries_the_row_that_an_index_picked_before_it_went_on():
    text = """g (int64[n] start, int64 trips) => (int64[n] last, float[n,3] row) {
        cond = Constant<value = bool {1}>()
        e0 = Gather(table, start)
        last, row = Loop(trips, cond, start, e0) <body = b (int64 t, bool c, int64[n] idx, float[n,3] e)
            => (bool co, int64[n] idx2, float[n,3] y) {
            co = Identity(c)
            y = Gather(table, idx)
            step = Constant<value = int64 {1}>()
            idx2 = Add(idx, step)
        }>
    }"""
    is_right(written(text, table=drawn(5, 3)), {"start": np.array([0, 1]), "trips": np.array(3)})


def test_branches_that_give_zeros_of_both_signs_do_not_agree():
    text = """g (float[2] x) => (float[1] z) {
        s = ReduceMax<keepdims=0>(x)
        none = Constant<value=float{0.0}>()
        c = Less(none, s)
        z = If(c) <then_branch = t () => (float[1] r) { r = Identity(above) },
                   else_branch = e () => (float[1] q) { q = Identity(below) }>
    }"""
    file = written(text, above=np.array([0.0], np.float32), below=np.array([-0.0], np.float32))
    session = tinyseq.load(file)
    signs = [np.signbit(session.run({"x": np.full(2, x, np.float32)})["z"][0]) for x in (1, -1)]
    assert signs == [False, True]


# What one call leaves to the next.


def test_known_inputs_of_the_same_bytes_and_other_shapes_have_plans_of_their_own():
    text = """g (float[n,t,3] x, int64[n,t] mask) => (int64[u] places, float[n] lengths, float[n,3] y) {
        l = ReduceSum<keepdims=0>(mask, one)
        longest = ReduceMax<keepdims=0>(l)
        places = Range(none, longest, single)
        lengths = Cast<to=1>(l)
        y = ReduceSum<keepdims=0>(x, one)
    }"""
    session = tinyseq.load(written(text, one=ONE, none=np.array(0), single=np.array(1)))
    for rows, frames in ((4, 6), (6, 4), (3, 8), (8, 3), (2, 12), (24, 1)):
        mask = np.ones((rows, frames), np.int64)
        found = session.run({"x": np.ones((rows, frames, 3), np.float32), "mask": mask})
        np.testing.assert_array_equal(found["places"], np.arange(frames))
        np.testing.assert_array_equal(found["lengths"], np.full(rows, frames))


def test_a_long_past_is_read_backwards():
    text = """g (float[1,1,t] x, float[1,1,2048] s) => (float[1,1,u] y, float[1,1,2048] s2) {
        b = Concat<axis=2>(s, x)
        r = Slice(b, last, low, two, last)
        c = Slice(r, zero, eight, two)
        y = Conv(c, w)
        s2 = Slice(b, kept, high, two)
    }"""
    places = {"last": [-1], "two": [2], "zero": [0], "eight": [8], "kept": [-2048]}
    places |= {"low": [-(2**62)], "high": [2**62]}
    constants = {name: np.array(value) for name, value in places.items()}
    file = written(text, w=np.array([[[1, 10, 100]]], np.float32), **constants)
    ours, right = (
        tinyseq.load(file, device=device, state={"s": "s2"}).stream() for device in ("cpu", "reference")
    )
    for start in (1, 5, 9):
        x = np.arange(start, start + 4, dtype=np.float32).reshape(1, 1, 4)
        np.testing.assert_array_equal(ours.step({"x": x})["y"], right.step({"x": x})["y"])


# What rows of a pool would see of each other.


@pytest.mark.parametrize(
    "inner",
    [
        "top = ReduceMax<keepdims=1>(tok) f = Cast<to=1>(top) t = Cast<to=1>(tok) r = Div(t, f) "
        "rr = Unsqueeze(r, one) hn = Add(h, rr)",
        "n = Shape<start=0, end=1>(tok) f = Cast<to=1>(n) hn = Div(h, f)",
        "n = Shape<start=0, end=1>(tok) many = Greater(n, one) less = Neg(h) hn = Where(many, less, h)",
        "top = ReduceMax<keepdims=1>(tok) picked = Gather(table, top) hn = Add(h, picked)",
    ],
    ids=["the greatest token", "how many", "whether there are others", "a row of a table"],
)
def test_numbers_of_other_rows_refuse_a_pool(inner):
    file = written(
        f"g (int64[n] tok, float[n,2] h) => (float[n,2] hn) {{ {inner} }}", one=ONE, table=drawn(9, 2)
    )
    session = tinyseq.load(file, state={"h": "hn"})
    with pytest.raises(ModelError, match="computes with several rows at once"):
        session.pool(2)
    session.stream().step({"tok": np.array([3])})


@pytest.mark.parametrize(
    "inner",
    [
        "n = Shape<start=0, end=1>(tok) two = Constant<value=int64[1] {2}>() s = Concat<axis=0>(n, two) "
        "z = Expand(half, s) hn = Add(h, z)",
        "e = Gather(table, tok) hn = Add(h, e)",
        "k = Greater(tok, one) kk = Unsqueeze(k, one) less = Neg(h) hn = Where(kk, less, h)",
    ],
    ids=["a shape", "rows of a table", "each by itself"],
)
def test_numbers_of_each_row_do_not(inner):
    constants = {"one": ONE, "table": drawn(9, 2), "half": np.array(0.5, np.float32)}
    file = written(f"g (int64[n] tok, float[n,2] h) => (float[n,2] hn) {{ {inner} }}", **constants)
    session = tinyseq.load(file, state={"h": "hn"})
    pool, alone = session.pool(2), session.stream()
    found = pool.step([pool.open(), pool.open()], {"tok": np.array([3, 1])})["hn"]
    np.testing.assert_array_equal(found[:1], alone.step({"tok": np.array([3])})["hn"])


# What a stream would give otherwise than a run.


def gru(inner: str, h0: np.ndarray | None = None, rows: int | str = "n") -> bytes:
    constants = {"W": drawn(1, 6, 3), "R": drawn(1, 6, 2)} | ({} if h0 is None else {"h0": h0})
    return written(f"g (float[t,{rows},3] x) => (float[t,1,{rows},2] y) {{ {inner} }}", **constants)


def test_rows_that_begin_at_states_of_their_own_are_no_streams():
    inner = "y = GRU<hidden_size=2>(x, W, R, , , h0)"
    apart = tinyseq.load(gru(inner, np.array([[[0, 0], [5, 5]]], np.float32), 2))
    with pytest.raises(ModelError, match="starts the rows of a batch at different states"):
        apart.pool(2)
    alike = tinyseq.load(gru(inner, np.full((1, 2, 2), 5, np.float32), 2))
    pool, x = alike.pool(2), drawn(1, 2, 3)
    found = pool.step([pool.open(), pool.open()], {"x": x})["y"]
    np.testing.assert_array_equal(found, alike.run({"x": x})["y"])


def test_rows_that_begin_at_their_numbers_are_no_streams():
    inner = """n = Shape<start=1, end=2>(x)
        count = Squeeze(n)
        none = Constant<value=int64 {0}>()
        single = Constant<value=int64 {1}>()
        numbers = Range(none, count, single)
        floats = Cast<to=1>(numbers)
        axes = Constant<value=int64[2] {0, 2}>()
        wide = Unsqueeze(floats, axes)
        first = Constant<value=int64[1] {1}>()
        units = Constant<value=int64[1] {2}>()
        shape = Concat<axis=0>(first, n, units)
        h0 = Expand(wide, shape)
        y = GRU<hidden_size=2>(x, W, R, , , h0)"""
    with pytest.raises(ModelError, match="starts the rows of a batch at different states"):
        tinyseq.load(gru(inner)).stream()


@pytest.mark.parametrize("limit", [5, 5000, 10**6])
def test_what_the_number_of_frames_decides_is_no_stream(limit):
    text = """g (float[t,n] x) => (float[t,n] y) {
        s = Shape<start=0, end=1>(x)
        c = CumSum(x, axis)
        big = Greater(s, limit)
        less = Neg(c)
        y = Where(big, less, c)
    }"""
    file = written(text, axis=np.array(0), limit=np.array([limit]))
    with pytest.raises(ModelError, match="decides by how many frames there are"):
        tinyseq.load(file).stream()


def test_branches_of_other_shapes_are_no_stream():
    text = """g (float[t,n,3] x, float[1] p) => (float[t,1,n,2] y) {
        none = Constant<value=float[1] {0.0}>()
        above = Less(none, p)
        c = Squeeze(above)
        y = If(c) <then_branch = a () => (float[t,1,n,2] r) { r, h = GRU<hidden_size=2>(x, W, R) },
            else_branch = b () => (float[t,1,n,1] q) {
                whole, last = GRU<hidden_size=2>(x, W, R)
                end = Constant<value=int64[1] {1}>()
                begin = Constant<value=int64[1] {0}>()
                axis = Constant<value=int64[1] {3}>()
                q = Slice(whole, begin, end, axis)
            }>
    }"""
    session = tinyseq.load(written(text, W=drawn(1, 6, 3), R=drawn(1, 6, 2)))
    with pytest.raises(ModelError, match="may give tensors of different shapes"):
        session.stream()
    assert session.run({"x": drawn(3, 1, 3), "p": np.array([-1], np.float32)})["y"].shape == (3, 1, 1, 1)
