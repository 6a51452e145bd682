"""Shape rules of ops of quantised models."""

from __future__ import annotations

from tinyseq.shapes.common import Attributes, Mismatch, Shape, axis_of
from tinyseq.shapes.linear import matmul
from tinyseq.shapes.recurrent import direction_count, lstm


def quantize(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """x with its scale and zero point: one, one for each index of an axis, or one for each block."""
    x, scale, zero_point = (*shapes, None)[:3]
    if zero_point is not None and zero_point != scale:
        raise Mismatch(f"a zero point of {list(zero_point)} beside a scale of {list(scale)}")
    block = attributes["block_size"]
    if block:
        axis = axis_of(attributes["axis"], len(x))
        blocks = (*x[:axis], -(-x[axis] // block), *x[axis + 1 :])
        if block < 0 or scale != blocks:
            raise Mismatch(f"a scale of {list(scale)} for blocks of {block} along axis {axis} of {list(x)}")
    elif scale not in ((), (1,)) and scale != (x[axis_of(attributes["axis"], len(x))],):
        raise Mismatch(f"a scale of {list(scale)} for axis {attributes['axis']} of {list(x)}")
    return (x,)


def dynamic_quantize(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return shapes[0], (), ()


def matmul_integer(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return matmul(attributes, shapes[:2], values[:2])


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
