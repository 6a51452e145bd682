"""Lowerings of reductions, softmax, extremes and running sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.plan.lower.elementwise import apply, number, wrapped
from tinyseq.plan.lower.operands import along, as_rows, given, real
from tinyseq.plan.view import BOOL, FLOAT, INTEGER, View
from tinyseq.shapes import Mismatch, axis_of, reduce_axes

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


def start_of(function: str, dtype: np.dtype) -> float:
    """What folding elements of a type with a function starts from."""
    if function in ("add", "multiply"):
        return 0 if function == "add" else 1
    if dtype == BOOL:
        least, most = 0, 1
    elif dtype == FLOAT:
        least, most = -math.inf, math.inf
    else:
        least, most = np.iinfo(dtype).min, min(np.iinfo(dtype).max, np.iinfo(np.int64).max)
    return least if function == "maximum" else most


def folded(p: Builder, function: str, x: View, axes) -> View:
    """x with ``axes`` folded into one element each; they stay, with size 1."""
    order = [axis for axis in range(len(x.shape)) if axis not in axes] + sorted(axes)
    kept = tuple(x.shape[axis] for axis in order[: len(order) - len(axes)])
    y = p.allocate(kept, dtype=x.dtype)
    p.copy(number(p, y, start_of(function, x.dtype)), y)
    source = x.transposed(order)
    target = y.laid(source.shape, y.strides + (0,) * len(axes))
    p.elementwise(function, target, target, source)
    return y.reshaped(tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)))


def reduce(function: str, before: str = "", after: str = "", mean: bool = False):
    """A reduction: ``before`` of each element, folded, ``after`` of each result."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        x = inputs[0]
        axes = reduce_axes(node.attributes, [x.shape], [None, given(inputs, 1)])
        count = math.prod([x.shape[axis] for axis in axes])
        x = apply(p, before, x) if before else x
        y = x if count == 1 else folded(p, function, x, axes)
        if mean and count != 1:
            y = apply(p, "divide", y, number(p, y, count))
        y = apply(p, after, real(p, y)) if after else y
        return wrapped(p, y.reshaped(shapes[0]))

    return lower


def log_sum_exp(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    axes = reduce_axes(node.attributes, [x.shape], [None, given(inputs, 1)])
    top = folded(p, "maximum", x, axes)
    finite = apply(p, "clip", top, p.scalar(-3e38, top.shape), p.scalar(3e38, top.shape))
    shifted = apply(p, "exp", apply(p, "subtract", x, finite.broadcast(x.shape)))
    total = apply(p, "log", folded(p, "add", shifted, axes))
    return apply(p, "add", total, finite).reshaped(shapes[0])


def softmax(p: Builder, node: Node, inputs, shapes) -> View:
    """exp(x - max) / sum along one axis, whose elements lie side by side."""
    x = real(p, inputs[0])
    axis, rank = axis_of(node.attributes["axis"], len(x.shape)), len(x.shape)
    order = [*[a for a in range(rank) if a != axis], axis]
    source, count = x.transposed(order), x.shape[axis]
    y = p.allocate(source.shape)
    if y.size:
        rows = as_rows(p, source, y.size // count, count)
        p.emit("softmax", rows, y.size // count, rows.strides[0], count, y)
    return y.transposed([order.index(a) for a in range(rank)])


def log_softmax(p: Builder, node: Node, inputs, shapes) -> View:
    """The logarithm of softmax."""
    x = real(p, inputs[0])
    axes = [axis_of(node.attributes["axis"], len(x.shape))]
    top = folded(p, "maximum", x, axes).broadcast(x.shape)
    shifted = apply(p, "subtract", x, top)
    total = folded(p, "add", apply(p, "exp", shifted), axes)
    return apply(p, "subtract", shifted, apply(p, "log", total).broadcast(x.shape))


def _extreme(p: Builder, x: View, axis: int, largest: bool, last: bool) -> View:
    """Where x is extreme along an axis: dense int64, the axis gone."""
    source = p.dense(x)
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    y = p.allocate(x.shape[:axis] + x.shape[axis + 1 :], dtype=INTEGER)
    if x.shape[axis] == 0 and y.size:
        raise Mismatch("the extreme of nothing")
    sign = 1 if largest else -1
    p.emit(
        "extreme" if x.kind == "f" else "extreme_integer",
        source,
        y,
        outer,
        x.shape[axis],
        inner,
        sign,
        int(last),
    )
    return y


def extreme(largest: bool):
    """ArgMax and ArgMin."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        axis = axis_of(node.attributes["axis"], len(inputs[0].shape))
        y = _extreme(p, inputs[0], axis, largest, bool(node.attributes["select_last_index"]))
        return y.reshaped(shapes[0])

    return lower


def hardmax(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    axis = axis_of(node.attributes["axis"], len(x.shape))
    if x.size == 0:
        return p.allocate(x.shape)
    places = _extreme(p, x, axis, True, False)
    places = places.reshaped(tuple(1 if a == axis else n for a, n in enumerate(x.shape)))
    shape = tuple(n if a == axis else 1 for a, n in enumerate(x.shape))
    counted = p.constant(np.arange(x.shape[axis], dtype=np.int64).reshape(shape))
    same = apply(p, "equal", counted.broadcast(x.shape), places.broadcast(x.shape), dtype=INTEGER)
    return apply(p, "to_float", same, dtype=FLOAT)


def cumulate(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    axis = axis_of(int(np.ravel(inputs[1])[0]), len(x.shape))
    count = x.shape[axis]
    backward, shift = node.attributes["reverse"], int(bool(node.attributes["exclusive"]))
    y = p.allocate(x.shape, dtype=x.dtype)
    if shift:
        p.fill(y)
    if x.size == 0 or count == shift == 1:
        return y
    turned = along(y, axis, count - 1, count, -1) if backward else y
    source = along(x, axis, count - 1, count, -1) if backward else x
    source = along(source, axis, 0, count - shift)
    target = along(turned, axis, shift, count - shift)
    p.copy(along(source, axis, 0, 1), along(target, axis, 0, 1))
    # One instruction an element: each must see the one before it.
    for position in range(1, count - shift):
        before = along(target, axis, position - 1, 1)
        p.elementwise("add", along(target, axis, position, 1), before, along(source, axis, position, 1))
    return y


def top_k(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x = p.dense(p.view(inputs[0]))
    axis = axis_of(node.attributes["axis"], len(x.shape))
    values, places = p.allocate(shapes[0], dtype=x.dtype), p.allocate(shapes[1], dtype=INTEGER)
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    sizes = outer, x.shape[axis], inner, shapes[0][axis]
    name = "top_k" if x.kind == "f" else "top_k_integer"
    p.emit(name, x, values, places, *sizes, 1 if node.attributes["largest"] else -1)
    return [values, places]


LOWERINGS = {
    "ReduceSum": reduce("add"),
    "ReduceMean": reduce("add", mean=True),
    "ReduceProd": reduce("multiply"),
    "ReduceMax": reduce("maximum"),
    "ReduceMin": reduce("minimum"),
    "ReduceL1": reduce("add", before="absolute"),
    "ReduceL2": reduce("add", before="square", after="sqrt"),
    "ReduceSumSquare": reduce("add", before="square"),
    "ReduceLogSum": reduce("add", after="log"),
    "ReduceLogSumExp": log_sum_exp,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Hardmax": hardmax,
    "ArgMax": extreme(largest=True),
    "ArgMin": extreme(largest=False),
    "CumSum": cumulate,
    "TopK": top_k,
}
