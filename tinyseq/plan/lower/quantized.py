"""Lowerings of ops of quantised models.

Bytes go from op to op as narrow tensors. A product with known weights runs on bytes; any other runs on
float32, in which the sum of ``EXACT`` products is exact.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.ir.weights import Constant, Lay, widened
from tinyseq.kernels.formats import BYTE_BLOCK, QuantizedMatrix
from tinyseq.plan.lower.elementwise import apply, bounded, converted, wrapped
from tinyseq.plan.lower.indexing import reversed_rows
from tinyseq.plan.lower.linear import linear, matmul, row_strides
from tinyseq.plan.lower.operands import along, given, order_of, real
from tinyseq.plan.lower.recurrent import BACKWARD, Layer, Sizes
from tinyseq.plan.lower.sliding import flattened
from tinyseq.plan.lower.windows import Used, convolution, taps_of
from tinyseq.plan.view import BYTE, FLOAT, INTEGER, NARROW, SIGNED, WORD, Factor, View
from tinyseq.shapes import axis_of

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder

Operand = np.ndarray | View

EXACT = 256
"""Products of two differences of bytes whose sum is below 2**24."""


def _bytes(p: Builder, value: Operand, what: str) -> View:
    """An operand of 8 bits as a narrow tensor."""
    if value.dtype not in (BYTE, SIGNED):
        raise UnsupportedError(f"{what} of {value.dtype} where the op takes int8 or uint8")
    return p.narrow(value)


def _zero_point(value: Operand | None, x: Operand) -> Operand:
    """The zero point of x; 0 where there is none."""
    if value is None:
        return np.zeros((), x.dtype)
    if value.dtype != x.dtype:
        raise UnsupportedError(f"a zero point of {value.dtype} for {x.dtype}; they must be of one type")
    return value


def _scale(p: Builder, value: Operand) -> View:
    if isinstance(value, np.ndarray) and not np.isfinite(value).all():
        raise UnsupportedError("a scale that is not finite; quantise the model again")
    return real(p, value)


def _spread(p: Builder, node: Node, value: View, x: View) -> View:
    """A scale or zero point as it applies to x: one for all, for each index of an axis, or for each block."""
    block = node.attributes["block_size"]
    if not value.shape or (value.size == 1 and not block):
        return value.reshaped(()).broadcast(x.shape)
    axis = axis_of(node.attributes["axis"], len(x.shape))
    if not block:
        return value.reshaped(tuple(n if a == axis else 1 for a, n in enumerate(x.shape))).broadcast(x.shape)
    head, tail = value.shape[: axis + 1], value.shape[axis + 1 :]
    repeated = p.dense(value.reshaped((*head, 1, *tail)).broadcast((*head, block, *tail)))
    whole = repeated.reshaped((*head[:-1], head[-1] * block, *tail))
    return along(whole, axis, 0, x.shape[axis])


def quantize(p: Builder, node: Node, inputs, shapes) -> View:
    """round(x / scale) + zero point, held in the range of its type; not-a-number counts as 0."""
    x = converted(p, p.view(inputs[0]), FLOAT)
    dtype = node.attributes["output_dtype"] or BYTE
    zero_point = np.zeros((), dtype) if given(inputs, 2) is None else inputs[2]
    if node.attributes["output_dtype"] not in (None, zero_point.dtype):
        raise UnsupportedError(f"output_dtype={dtype} but a zero point of {zero_point.dtype}")
    scale = _spread(p, node, _scale(p, inputs[1]), x)
    dtype = zero_point.dtype
    if dtype in (BYTE, SIGNED):
        y = p.allocate(x.shape, order_of(x, x.shape), dtype, narrow=True)
        return p.elementwise("quantize", y, x, scale, _spread(p, node, p.narrow(zero_point), x))
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        raise UnsupportedError(f"quantising to {dtype}; int8, uint8, int16 and uint16 are supported")
    shift = _spread(p, node, converted(p, p.view(zero_point), FLOAT), x)
    steps = apply(p, "round", apply(p, "divide", x, scale))
    steps = apply(
        p, "where", apply(p, "is_nan", steps, dtype=INTEGER), p.scalar(0, x.shape), steps, dtype=FLOAT
    )
    limits = np.iinfo(dtype)
    held = bounded(p, apply(p, "add", steps, shift), limits.min, limits.max)
    return apply(p, "truncate", held, dtype=dtype)


def dequantize(p: Builder, node: Node, inputs, shapes) -> View:
    """(x - zero point) * scale."""
    if node.attributes["output_dtype"] not in (None, FLOAT):
        raise UnsupportedError(
            f"output_dtype={node.attributes['output_dtype']}; the CPU computes with float32"
        )
    x, zero_point = inputs[0], _zero_point(given(inputs, 2), inputs[0])
    if x.dtype in NARROW and x.dtype != WORD:
        # Both hold 128 too much if they are signed.
        x, shift = p.narrow(x), p.narrow(zero_point)
        scale = _spread(p, node, _scale(p, inputs[1]), x)
        return apply(p, "dequantize", x, _spread(p, node, shift, x), scale, dtype=FLOAT)
    x = p.wide(p.view(x))
    if x.kind == "f":
        raise UnsupportedError("dequantising float32; the op takes integers")
    shift = _spread(p, node, p.wide(p.view(zero_point)), x)
    x = apply(p, "to_float", apply(p, "subtract", x, shift), dtype=FLOAT)
    return apply(p, "multiply", x, _spread(p, node, _scale(p, inputs[1]), x))


def dynamic_quantize(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x = real(p, inputs[0])
    order = order_of(x, x.shape)
    if any(size > 1 and a != b for size, a, b in zip(x.shape, x.strides, order)):
        x = p.copy(x, p.allocate(x.shape, order))
    y = p.allocate(x.shape, order, BYTE, narrow=True)
    scale, zero_point = p.allocate(()), p.allocate((), dtype=BYTE, narrow=True)
    p.emit("quantize_dynamic", x, x.size, y, scale, zero_point)
    return [y, scale, zero_point]


def _product(p: Builder, x: View, zero_point: View, block: Factor) -> View:
    """x[..., k] less its zero point times a block's [k, n], int32."""
    x, rows = row_strides(p, x)
    y = p.allocate((*x.shape[:-1], block.n), dtype=WORD, narrow=True)
    if y.size:
        p.emit("linear_bytes", x, *rows, x.shape[-1], block.view, block.n, zero_point, y)
    return y


def matmul_integer(p: Builder, node: Node, inputs, shapes) -> View:
    a, b = inputs[:2]
    a_shift, b_shift = _zero_point(given(inputs, 2), a), _zero_point(given(inputs, 3), b)
    known = not isinstance(b, View) and isinstance(b_shift, np.ndarray)
    if (
        not known
        or b.ndim > 2
        or b_shift.ndim > 1
        or b_shift.size not in (1, *b.shape[1:])
        or a_shift.size != 1
    ):
        return _by_floats(p, node, [a, widened(b), *inputs[2:]], shapes)
    x = _bytes(p, a, "a factor")
    columns = math.prod(b.shape[1:])
    block = byte_block(p, b, "matmul", columns, lambda own: own.reshape(len(own), columns), b_shift)
    x = x.reshaped((1, *x.shape)) if len(x.shape) == 1 else x
    return _product(p, x, p.narrow(a_shift), block).reshaped(shapes[0])


def byte_block(p: Builder, source: Constant, key: object, n: int, lay: Lay, offsets, scales=None) -> Factor:
    """The matrix [..., n] that ``lay`` makes of bytes as a block; one offset and scale for all columns or
    each."""
    if source.dtype not in (BYTE, SIGNED):
        raise UnsupportedError(f"weights of {source.dtype} where the op takes int8 or uint8")
    scales = np.ones(1, np.float32) if scales is None else scales
    full_key = (key, offsets.tobytes(), scales.tobytes())
    quantised = partial(QuantizedMatrix, offsets=offsets, scales=scales)
    return p.factor(source, full_key, n, lay, BYTE_BLOCK, quantised)


def _by_floats(p: Builder, node: Node, inputs, shapes) -> View:
    """Any product of bytes, ``EXACT`` rows of the second factor at a time."""
    a, b = (_centred(p, inputs[place], given(inputs, 2 + place), across=place == 0) for place in (0, 1))
    depth, total = a.shape[-1], None
    for start in range(0, max(depth, 1), EXACT):
        count = min(EXACT, depth - start)
        factors = [along(a, len(a.shape) - 1, start, count), along(b, max(len(b.shape) - 2, 0), start, count)]
        part = apply(p, "truncate", matmul(p, node, factors, shapes), dtype=WORD)
        total = part if total is None else apply(p, "add", total, part)
    return wrapped(p, total)


def _centred(p: Builder, x: Operand, zero_point: Operand | None, across: bool) -> View:
    """x less its zero point, in float32; a vector of zero points is one per row if ``across``."""
    zero_point = _zero_point(zero_point, x)
    numbers = [apply(p, "to_float", _bytes(p, value, "a factor"), dtype=FLOAT) for value in (x, zero_point)]
    x, shift = numbers
    if across and len(shift.shape) == 1 and len(x.shape) > 1:
        shift = shift.reshaped((*shift.shape, 1))
    return apply(p, "subtract", x, shift.broadcast(x.shape))


def conv_integer(p: Builder, node: Node, inputs, shapes) -> View:
    x, w = inputs[:2]
    shift = p.narrow(_zero_point(given(inputs, 2), x)).reshaped(())
    offsets = np.broadcast_to(_zero_point(given(inputs, 3), w).ravel(), w.shape[0])

    def product(windows: View, head: int, kernels: slice, used: Used) -> View:
        own, lay = np.ascontiguousarray(offsets[kernels]), partial(taps_of, kernels=kernels, used=used)
        layout = (kernels.start, kernels.stop, *used)
        return _product(p, flattened(p, windows, head), shift, byte_block(p, w, layout, len(own), lay, own))

    return convolution(p, node, _bytes(p, x, "an input"), w, shapes[0], product, shift)


class _QuantizedLayer(Layer):
    """A layer whose weights w[D, I, 4H] and r[D, H, 4H] are bytes, and which quantises x and h as it runs.

    Rows that are quantised together share a range, so it matters which meet in a frame: a direction that
    runs backward over rows of different lengths starts them together, forward over rows turned round.
    """

    def __init__(self, p: Builder, node: Node, inputs: list) -> None:
        super().__init__(p, node, inputs[:8], "LSTM")
        self._of_input, self._of_state = inputs[8:10], inputs[10:12]

    def input_product(self, d: int) -> View:
        x = self._turned(self.x) if self._turns(d) else self.x
        w = self._block(self.w, d, *self._of_input)
        return linear(self.p, x, w, self.bias(d, self.sides), self.lengths)

    def recurrent_weights(self, d: int) -> list[Factor]:
        return [self._block(self.r, d, *self._of_state)]

    def _block(self, w: Constant, d: int, scales: np.ndarray, offsets: np.ndarray) -> Factor:
        directions = w.shape[0]
        scales, offsets = (own.reshape(directions, -1)[d] for own in (scales, offsets))
        return byte_block(self.p, w, d, w.shape[2], lambda own: own[d], offsets, scales)

    def _turns(self, d: int) -> bool:
        return self.lengths is not None and bool(BACKWARD[self.node.attributes["direction"]][d])

    def _turned(self, x: View) -> View:
        return reversed_rows(self.p, x, self.lengths, 0, 1)

    def emit(self, d: int, initials: list[View], y: View | None, sizes: Sizes) -> None:
        if not self._turns(d):
            super().emit(d, initials, y, sizes)
            return
        frames, rows, hidden, units, *_, flags = sizes
        own = None if y is None else self.p.allocate((frames, rows, hidden))
        super().emit(d, initials, own, (frames, rows, hidden, units, 0, rows * hidden, hidden, flags))
        if own is not None:
            self.p.copy(self._turned(own), along(y, 2, 0, 1).reshaped(own.shape))


def dynamic_quantize_lstm(p: Builder, node: Node, inputs, shapes) -> list[View | None]:
    """As onnxruntime defines it: one range covers all frames and rows of x, and one all rows of h in a
    frame. So a result depends on the rows beside it and on where a sequence is cut."""
    for place in (8, 10):
        if inputs[place].dtype != FLOAT or not np.isfinite(inputs[place]).all():
            raise UnsupportedError("a scale that is not finite float32; quantise the model again")
        if inputs[place + 1].dtype != inputs[1 if place == 8 else 2].dtype:
            raise UnsupportedError("weights and their zero points of different types")
    return _QuantizedLayer(p, node, inputs).run()


LOWERINGS = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic_quantize,
    "MatMulInteger": matmul_integer,
    "ConvInteger": conv_integer,
    "DynamicQuantizeLSTM": dynamic_quantize_lstm,
}
