"""Quantised ops beyond what onnxruntime takes: exactness, odd parameters, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import Case, model, one_node, value
from tests.test_kernels import SIZES

BYTES = [np.uint8, np.int8]


def run(case: Case, device: str = "cpu") -> dict[str, np.ndarray]:
    return tinyseq.load(case.model, device=device).run(case.feeds)


def agree(case: Case) -> None:
    exact = run(case, "reference")
    for name, array in run(case).items():
        np.testing.assert_array_equal(array, exact[name].astype(array.dtype))


def bytes_of(rng: np.random.Generator, shape, dtype) -> np.ndarray:
    """Any bytes, the ends often."""
    limits = np.iinfo(dtype)
    ends = rng.choice([limits.min, limits.max], shape)
    return np.where(rng.integers(0, 2, shape), ends, rng.integers(limits.min, limits.max + 1, shape)).astype(
        dtype
    )


@given(
    rows=SIZES,
    inner=SIZES,
    columns=SIZES,
    types=st.tuples(*[st.sampled_from(BYTES)] * 2),
    seed=st.integers(0, 99),
)
def test_products_are_exact_and_rows_independent(isa, rows, inner, columns, types, seed):
    rng = np.random.default_rng(seed)
    a, b = bytes_of(rng, (rows, inner), types[0]), bytes_of(rng, (inner, columns), types[1])
    shifts = bytes_of(rng, (), types[0]), bytes_of(rng, [(), (columns,)][seed % 2], types[1])
    case = one_node("MatMulInteger", [a, b, *shifts], fed=(0,), dtype=np.int32)
    y = run(case)["y"]
    wide = [array.astype(np.int64) for array in (a, b, *shifts)]
    np.testing.assert_array_equal(y, (wide[0] - wide[2]) @ (wide[1] - wide[3]))
    row = seed % rows
    np.testing.assert_array_equal(run(Case(case.model, {"a": a[row : row + 1]}))["y"], y[row : row + 1])


@pytest.mark.parametrize("known", [True, False])
def test_sums_wrap_as_int32_does(known):
    """66,000 products of 255 by 255 pass 2**32."""
    count = 66_000
    a, b = np.full((1, count), 255, np.uint8), np.full((count, 2), 255, np.uint8)
    case = one_node("MatMulInteger", [a, b], fed=(0,) if known else None, dtype=np.int32)
    expected = np.array(count * 255 * 255).astype(np.int32)
    assert (run(case)["y"] == expected).all()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_products_of_nothing(isa, shape, known):
    rows, inner, columns = shape
    a, b = np.ones((rows, inner), np.uint8), np.ones((inner, columns), np.int8)
    agree(one_node("MatMulInteger", [a, b, np.uint8(3)], fed=(0,) if known else (0, 1), dtype=np.int32))


def test_zero_points_of_rows():
    rng = np.random.default_rng(0)
    a, b = bytes_of(rng, (3, 5), np.uint8), bytes_of(rng, (5, 4), np.int8)
    agree(one_node("MatMulInteger", [a, b, bytes_of(rng, 3, np.uint8)], fed=(0,), dtype=np.int32))


@given(seed=st.integers(0, 99), group=st.integers(1, 3), types=st.tuples(*[st.sampled_from(BYTES)] * 2))
def test_zero_points_of_kernels(isa, seed, group, types):
    rng = np.random.default_rng(seed)
    x, w = bytes_of(rng, (2, 2 * group, 6, 5), types[0]), bytes_of(rng, (2 * group, 2, 3, 2), types[1])
    shifts = bytes_of(rng, (), types[0]), bytes_of(rng, 2 * group, types[1])
    settings = {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2], "group": group}
    agree(one_node("ConvInteger", [x, w, *shifts], fed=(0,), dtype=np.int32, **settings))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("place", [(), (3,)])
def test_what_is_not_a_number_counts_as_zero(isa, dtype, place):
    x = np.array([[np.nan, np.inf, -np.inf], [0.5, 1.5, -2.5], [0, 3e38, -3e38]], np.float32)
    scale, shift = np.full(place, 1, np.float32), np.full(place, 3, dtype)
    case = one_node("QuantizeLinear", [x, scale, shift], fed=(0,), opset=21, dtype=dtype, axis=1)
    limits = np.iinfo(dtype)
    low, high = limits.min, limits.max
    expected = [[3, high, low], [3, 5, max(1, low)], [3, high, low]]
    np.testing.assert_array_equal(run(case)["y"], np.array(expected, dtype))
    agree(case)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32])
def test_dequantised_of_every_type(isa, dtype):
    x = np.array([np.iinfo(dtype).min, 0, 1, 100, np.iinfo(dtype).max], dtype)
    for shift in (0, 7):
        parameters = np.float32(0.25), np.array(shift, dtype)
        agree(one_node("DequantizeLinear", [x, *parameters], fed=(0,), opset=21))


def test_a_scale_of_zero_takes_the_ends():
    x = np.array([-1, 0, 1], np.float32)
    case = one_node("QuantizeLinear", [x, np.float32(0), np.int8(5)], fed=(0,), opset=13, dtype=np.int8)
    np.testing.assert_array_equal(run(case)["y"], np.array([-128, 5, 127], np.int8))
    agree(case)


@pytest.mark.parametrize(
    "values", [[np.nan, 1, -2], [np.nan] * 3, [0, 0, 0], [np.inf, 1, -1], [-np.inf, 0, 1], []]
)
def test_dynamic_parameters_of_odd_inputs(isa, values):
    x = np.array(values, np.float32)
    names, types = ["y", "scale", "zero_point"], [np.uint8, np.float32, np.uint8]
    agree(one_node("DynamicQuantizeLinear", [x], outputs=names, dtype=types))


def test_bytes_pass_through_other_ops(isa):
    """Bytes are narrow between quantised ops and int64 elsewhere: values must survive either way."""
    graph = tinyseq.Graph()
    x = graph.input("x", ["rows", 6])
    parameters = np.float32(0.1), np.int8(-3)
    settings = {"axis": 1, "block_size": 0, "output_dtype": None}
    q = graph.apply("QuantizeLinear", x, *parameters, precision=None, saturate=1, **settings)
    turned = graph.apply("Transpose", graph.concat([q, q], axis=1), perm=(1, 0))
    picked = graph.apply("Gather", turned, np.array([3, 1]), axis=0)
    graph.output("y", graph.apply("DequantizeLinear", picked, *parameters, **settings))
    graph.output("z", graph.apply("Cast", q, to=np.dtype(np.float32), saturate=1, round_mode="up"))
    graph.output("q", q)
    data = {"x": np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)}
    ours, exact = (tinyseq.load(graph, device=device).run(data) for device in ("cpu", "reference"))
    for name in ours:
        np.testing.assert_allclose(ours[name], exact[name], rtol=1e-6)


def test_a_table_of_bytes_stays_small_and_right(isa):
    """An embedding: rows of three bytes, looked up at run time, then turned into numbers."""
    table = bytes_of(np.random.default_rng(0), (9, 3), np.int8)
    graph = tinyseq.Graph()
    ids = graph.input("ids", ["count"], np.int64)
    picked = graph.apply("Gather", table, ids, axis=0)
    settings = {"axis": 1, "block_size": 0, "output_dtype": None}
    graph.output("y", graph.apply("DequantizeLinear", picked, np.float32(0.5), np.int8(3), **settings))
    picks = np.array([8, 0, -2, 5])
    y = tinyseq.load(graph).run({"ids": picks})["y"]
    np.testing.assert_array_equal(y, (table[picks].astype(np.float32) - 3) / 2)


def byte_layer(
    hidden: int = 20, features: int = 7, direction: str = "forward", lengths: bool = False
) -> bytes:
    """A layer of bytes whose scales are those of trained weights."""
    rng = np.random.default_rng(0)
    count = 2 if direction == "bidirectional" else 1
    sizes = [(count, rows, 4 * hidden) for rows in (features, hidden)]
    w, r = (rng.integers(-127, 128, size).astype(np.int8) for size in sizes)
    parameters = np.full(count, hidden**-0.5 / 127, np.float32), np.zeros(count, np.int8)
    given = np.ones(1, np.int32) if lengths else None
    inputs = [
        np.zeros((1, 1, features), np.float32),
        w,
        r,
        None,
        given,
        *[None] * 3,
        *parameters,
        *parameters,
    ]
    settings = {"hidden_size": hidden, "direction": direction}
    return one_node("DynamicQuantizeLSTM", inputs, fed=(0, 4), outputs=["y"], **settings).model


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_rows_of_different_lengths_share_their_ranges(isa, direction):
    """Which rows make up a frame decides how h is rounded, so this is near only if the same ones do."""
    x = np.random.default_rng(3).standard_normal((9, 3, 7)).astype(np.float32)
    feeds = {"x": x, "lengths": np.int32([9, 2, 5])}
    model = byte_layer(direction=direction, lengths=True)
    ours, exact = (tinyseq.load(model, device=device).run(feeds)["y"] for device in ("cpu", "reference"))
    np.testing.assert_allclose(ours, exact, rtol=0, atol=2e-6)


def test_streams_of_bytes_do_not_meet(isa):
    session = tinyseq.load(byte_layer())
    x = np.random.default_rng(1).standard_normal((2, 30, 1, 1, 7)).astype(np.float32)
    alone = [session.stream() for _ in x]
    expected = [[stream.step({"x": frame})["y"] for frame in frames] for stream, frames in zip(alone, x)]
    together = [session.stream() for _ in x]
    for t in range(30):
        for which, stream in enumerate(together):
            np.testing.assert_array_equal(stream.step({"x": x[which, t]})["y"], expected[which][t])


@pytest.mark.parametrize(("frames", "rows"), [(0, 2), (3, 0), (0, 0)])
def test_a_layer_of_bytes_over_nothing(isa, frames, rows):
    x = np.zeros((frames, rows, 7), np.float32)
    assert tinyseq.load(byte_layer()).run({"x": x})["y"].shape == (frames, 1, rows, 20)


def test_chunks_of_bytes_differ_by_the_rounding_only(isa):
    session = tinyseq.load(byte_layer())
    x = np.random.default_rng(1).standard_normal((300, 1, 7)).astype(np.float32)
    whole = session.run({"x": x})["y"]
    stream = session.stream()
    pieces = np.concatenate([stream.step({"x": frame[None]})["y"] for frame in x])
    difference = np.abs(pieces - whole).max(axis=(1, 2, 3))
    assert 0 < difference.max() < 0.02
    assert difference[200:].max() < 2 * difference[:100].max()


@pytest.mark.parametrize("known", [True, False])
def test_a_bias_of_int32_is_added_before_casting(isa, known):
    """As older quantisers write it; sums past 2**31 wrap."""
    rng = np.random.default_rng(0)
    a, w, bias = (
        bytes_of(rng, (3, 5), np.uint8),
        bytes_of(rng, (5, 4), np.uint8),
        np.int32([7, -9, 2**31 - 9, 0]),
    )
    graph = tinyseq.Graph()
    feeds = {graph.input("a", ["rows", 5], np.uint8): a}
    if not known:
        feeds[graph.input("bias", [4], np.int32)] = bias
    sums = graph.apply("Add", graph.apply("MatMulInteger", "a", w), bias if known else "bias")
    graph.output("y", graph.apply("Cast", sums, to=np.dtype(np.float32), saturate=1, round_mode="up"))
    graph.output("sums", sums)
    results = tinyseq.load(graph).run(feeds)
    exact = (a.astype(np.int64) @ w.astype(np.int64) + bias).astype(np.int32)
    np.testing.assert_array_equal(results["sums"], exact)
    np.testing.assert_array_equal(results["y"], exact.astype(np.float32))


X, U, I = np.ones((2, 3), np.float32), np.ones((2, 3), np.uint8), np.ones((3, 4), np.int8)  # noqa: E741
IMAGE, KERNEL = np.ones((1, 2, 4, 4), np.uint8), np.ones((3, 2, 1, 1), np.uint8)


def lstm(w_scale, w_zero_point) -> Case:
    w, r = np.ones((1, 3, 8), np.int8), np.ones((1, 2, 8), np.int8)
    plain = np.ones(1, np.float32), np.zeros(1, np.int8)
    inputs = [np.ones((4, 1, 3), np.float32), w, r, *[None] * 5, w_scale, w_zero_point, *plain]
    return one_node("DynamicQuantizeLSTM", inputs, fed=(0,), hidden_size=2)


REFUSED = {
    "scale of another size": (
        one_node("QuantizeLinear", [X, np.ones(2, np.float32)], fed=(0,), opset=13, dtype=np.uint8),
        r"a scale of \[2\] for axis 1",
    ),
    "zero point of another shape": (
        one_node("DequantizeLinear", [U, np.ones(3, np.float32), np.uint8(0)], fed=(0,), opset=13),
        r"a zero point of \[\] beside a scale of \[3\]",
    ),
    "scale that is not a number": (
        one_node("DequantizeLinear", [U, np.float32(np.nan)], fed=(0,), opset=13),
        "a scale that is not finite",
    ),
    "zero point of another type": (
        one_node("DequantizeLinear", [U, np.float32(1), np.int8(0)], fed=(0,), opset=13),
        "'x'.*uint8.*'zero_point'.*int8.*one type",
    ),
    "factor of another type": (
        one_node("MatMulInteger", [U.astype(np.int32), I], fed=(0,), dtype=np.int32),
        "'a'.*int32.*int8 or uint8",
    ),
    "zero point of a factor of another type": (
        one_node("MatMulInteger", [U, I, np.int8(0)], fed=(0,), dtype=np.int32),
        "'a'.*uint8.*'a_zero_point'.*int8.*one type",
    ),
    "zero points of other rows": (
        one_node("MatMulInteger", [U, I, np.zeros(3, np.uint8)], fed=(0,), dtype=np.int32),
        r"a zero point of \[3, 1\] for a factor of \[2, 3\]",
    ),
    "zero points of other kernels": (
        one_node(
            "ConvInteger", [IMAGE, KERNEL, np.uint8(0), np.zeros(2, np.uint8)], fed=(0,), dtype=np.int32
        ),
        r"a zero point of \[2\] for 3 kernels",
    ),
    "layer with a scale that is not a number": (
        lstm(np.full(1, np.nan, np.float32), np.zeros(1, np.int8)),
        "a scale that is not finite",
    ),
    "layer with zero points of another type": (
        lstm(np.ones(1, np.float32), np.zeros(1, np.uint8)),
        "'w'.*int8.*'w_zero_point'.*uint8.*one type",
    ),
    "layer with scales of other columns": (
        lstm(np.ones((1, 7), np.float32), np.zeros(1, np.int8)),
        r"a scale or zero point of \[1, 7\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_parameters_are_refused(name):
    case, message = REFUSED[name]
    with pytest.raises(tinyseq.TinyseqError, match=f"(?s)it.*{message}"):
        run(case)


def test_a_layer_whose_weights_are_one_constant_has_scales_for_each_use():
    rng, size = np.random.default_rng(0), 20
    w = rng.integers(-128, 128, (1, size, 4 * size)).astype(np.int8)
    scales = {"ws": np.array([1e-3], np.float32), "rs": np.array([5e-3], np.float32)}
    constants = {"w": w, "r": w.copy(), "z": np.zeros(1, np.int8), **scales}
    feeds = {"x": rng.standard_normal((3, 1, size)).astype(np.float32)}

    def run(r: str) -> np.ndarray:
        inputs = ["x", "w", r, "", "", "", "", "", "ws", "z", "rs", "z"]
        node = helper.make_node(
            "DynamicQuantizeLSTM", inputs, ["y"], domain="com.microsoft", hidden_size=size
        )
        file = model([node], [value("x", shape=["t", "n", size])], [value("y")], constants)
        return tinyseq.load(file).run(feeds)["y"]

    np.testing.assert_array_equal(run("w"), run("r"))
