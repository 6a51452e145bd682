"""Cases of ops of quantised models."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.models import one_node
from tests.strategies.drawing import axis_in, case_of, numbers, shapes

BYTES = st.sampled_from([np.uint8, np.int8])


def integers(draw, shape, dtype) -> np.ndarray:
    """Any elements of an integer type."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def parameters(draw, x, dtype) -> tuple[list[np.ndarray], dict]:
    """A scale and maybe a zero point, one or one for each index of an axis, and the axis."""
    shape, given = (), {}
    if x.ndim > 1 and draw(st.booleans()):
        axis = axis_in(draw, x.ndim)
        shape, given = (x.shape[axis],), {"axis": axis}
    scale = np.abs(numbers(draw, shape)) / 8 + np.float32(0.01)
    return [np.asarray(scale, np.float32), np.asarray(integers(draw, shape, dtype))], given


@case_of("QuantizeLinear")
def quantize(draw, op):
    dtype = draw(BYTES)
    x = numbers(draw, draw(shapes(1, 3, least=1)))
    given, attributes = parameters(draw, x, dtype)
    if draw(st.booleans()):
        given, dtype = given[:1], np.uint8
    return one_node(op, [x, *given], fed=(0,), opset=13, dtype=dtype, **attributes)


@case_of("DequantizeLinear")
def dequantize(draw, op):
    dtype = draw(BYTES)
    x = integers(draw, draw(shapes(1, 3, least=1)), dtype)
    given, attributes = parameters(draw, x, dtype)
    return one_node(op, [x, *given[: draw(st.integers(1, 2))]], fed=(0,), opset=13, **attributes)


@case_of("DequantizeLinear: blocks")
def dequantize_blocks(draw, op):
    block, count, rest = (draw(st.integers(1, 4)) for _ in range(3))
    x = integers(draw, (rest, block * count), np.int8)
    scale = np.abs(numbers(draw, (rest, count))) + np.float32(0.01)
    offset = integers(draw, (rest, count), np.int8)
    return one_node(op, [x, scale, offset], fed=(0,), opset=21, axis=1, block_size=block)


@case_of("DynamicQuantizeLinear")
def dynamic_quantize(draw, op):
    x = numbers(draw, draw(shapes(1, 3, least=1))) + np.float32(draw(st.sampled_from([0, 3, -3])))
    names = ["y", "scale", "zero_point"]
    return one_node(op, [x], outputs=names, dtype=[np.uint8, np.float32, np.uint8])


@case_of("MatMulInteger")
def matmul_integer(draw, op):
    *rows, inner = draw(shapes(2, 3, least=1))
    columns = draw(st.integers(1, 70))
    dtype = draw(BYTES)
    a, b = integers(draw, (*rows, inner), np.uint8), integers(draw, (inner, columns), dtype)
    shape = draw(st.sampled_from([(), (columns,)]))
    offsets = [integers(draw, (), np.uint8), integers(draw, shape, dtype)][: draw(st.integers(0, 2))]
    return one_node(op, [a, b, *map(np.asarray, offsets)], fed=(0,), dtype=np.int32)


@case_of("MatMulInteger: computed")
def matmul_integer_computed(draw, op):
    """Both factors and their zero points are inputs, of any dimensions."""
    batch, row, inner, columns = (draw(st.integers(1, most)) for most in (3, 3, 5, 4))
    dtypes = draw(st.sampled_from([(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]))
    left = draw(st.sampled_from([(inner,), (row, inner), (batch, row, inner)]))
    right = draw(st.sampled_from([(inner, columns), (batch, inner, columns)]))
    factors = [integers(draw, shape, dtype) for shape, dtype in zip((left, right), dtypes)]
    offsets = [np.asarray(integers(draw, (), dtype)) for dtype in dtypes][: draw(st.integers(0, 2))]
    return one_node(op, [*factors, *offsets], dtype=np.int32)


@case_of("ConvInteger")
def conv_integer(draw, op):
    channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, pads = [draw(st.integers(1, 3)) for _ in range(2)], [draw(st.integers(0, 1)) for _ in range(4)]
    group = draw(st.integers(1, 2))
    x = integers(draw, (2, channels * group, 5, 5), np.uint8)
    w = integers(draw, (filters * group, channels, *kernel), np.uint8)
    offsets = [np.asarray(integers(draw, (), np.uint8)) for _ in range(draw(st.integers(0, 2)))]
    return one_node(op, [x, w, *offsets], fed=(0,), dtype=np.int32, pads=pads, group=group)


@case_of("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(draw, op):
    frames, rows, features, hidden = (draw(st.integers(1, most)) for most in (6, 3, 5, 12))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    directions = 2 if direction == "bidirectional" else 1
    dtype = draw(BYTES)

    def weights(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        per_column = draw(st.booleans())
        shape = (directions, 4 * hidden) if per_column else (directions,)
        scale = (np.abs(numbers(draw, shape)) / 400 + 0.001).astype(np.float32)
        offset = np.full(shape, 128 if dtype is np.uint8 else 0, dtype)
        return integers(draw, (directions, rows, 4 * hidden), dtype), scale, offset

    (w, *w_parameters), (r, *r_parameters) = weights(features), weights(hidden)
    state = (directions, rows, hidden)
    bias = numbers(draw, (directions, 8 * hidden)) / 4 if draw(st.booleans()) else None
    initial = [numbers(draw, state) / 2 if draw(st.booleans()) else None for _ in range(2)]
    peepholes = numbers(draw, (directions, 3 * hidden)) / 4 if draw(st.booleans()) else None
    x = numbers(draw, (frames, rows, features))
    lengths = draw(st.none() | st.lists(st.integers(1, frames), min_size=rows, max_size=rows))
    lengths = None if lengths is None else np.array(lengths, np.int32)
    return one_node(
        op, [x, w, r, bias, lengths, *initial, peepholes, *w_parameters, *r_parameters], fed=(0, 4, 5, 6),
        outputs=["y", "y_h", "y_c"], hidden_size=hidden, direction=direction,
    )  # fmt: skip
