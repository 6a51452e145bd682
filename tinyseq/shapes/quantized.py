"""Shape rules of ops of quantised models."""

from __future__ import annotations

from tinyseq.shapes.common import Attributes, Mismatch, Shape, axis_of
from tinyseq.shapes.linear import matmul
from tinyseq.shapes.recurrent import direction_count, lstm
from tinyseq.shapes.windows import conv


def quantize(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """x with its scale and zero point: one, one for each index of an axis, or one for each block."""
    x, scale, zero_point = (*shapes, None)[:3]
    single = {(), (1,)}
    if zero_point is not None and zero_point != scale and not single.issuperset((zero_point, scale)):
        raise Mismatch(f"a zero point of {list(zero_point)} beside a scale of {list(scale)}")
    block = attributes["block_size"]
    if block:
        axis = axis_of(attributes["axis"], len(x))
        blocks = (*x[:axis], -(-x[axis] // block), *x[axis + 1 :])
        if block < 0 or scale != blocks:
            raise Mismatch(f"a scale of {list(scale)} for blocks of {block} along axis {axis} of {list(x)}")
    elif scale not in single and scale != (x[axis_of(attributes["axis"], len(x))],):
        raise Mismatch(f"a scale of {list(scale)} for axis {attributes['axis']} of {list(x)}")
    return (x,)


def dynamic_quantize(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return shapes[0], (), ()


def matmul_integer(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """Zero points: one, one for each row of a, one for each column of b, or as they broadcast."""
    a, b, a_zero_point, b_zero_point = (*shapes, None, None)[:4]
    if a_zero_point is not None and len(a_zero_point) == 1 and len(a) > 1:
        a_zero_point = (*a_zero_point, 1)
    for factor, zero_point in ((a, a_zero_point), (b, b_zero_point)):
        if zero_point is not None and not _covers(zero_point, factor):
            raise Mismatch(f"a zero point of {list(zero_point)} for a factor of {list(factor)}")
    return matmul(attributes, [a, b], values[:2])


def _covers(shape: Shape, whole: Shape) -> bool:
    """Whether one broadcasts to the other."""
    fits = all(size in (1, wanted) for size, wanted in zip(shape[::-1], whole[::-1]))
    return fits and len(shape) <= len(whole)


def conv_integer(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """One zero point for x; for w one, or one for each kernel."""
    x, w, x_zero_point, w_zero_point = (*shapes, None, None)[:4]
    if x_zero_point not in (None, (), (1,)):
        raise Mismatch(f"a zero point of {list(x_zero_point)} for x; the op takes one")
    if not w:
        raise Mismatch("weights that are one number; they are [kernels, channels, ...]")
    if w_zero_point not in (None, (), (1,), w[:1]):
        raise Mismatch(f"a zero point of {list(w_zero_point)} for {w[0]} kernels")
    return conv(attributes, [x, w], values[:2])


def dynamic_quantize_lstm(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, w, r, *others = shapes[:8]
    if len(w) != 3 or len(r) != 3:
        raise Mismatch(f"weights {list(w)} and {list(r)} are not [directions, inputs, 4 hidden]")
    directions, columns = direction_count(attributes), 4 * attributes["hidden_size"]
    for shape in shapes[8:]:
        if shape not in ((directions,), (directions, columns)):
            raise Mismatch(
                f"a scale or zero point of {list(shape)} where {[directions]} or {[directions, columns]} "
                "is needed"
            )
    turned = ((d, columns, rows) for d, rows, columns in (w, r))
    return lstm(attributes, [x, *turned, *others], values)
