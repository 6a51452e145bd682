"""Lowerings of ops whose indices are computed at run time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.kernels.instructions import GATHER, OVERWRITE, STORES
from tinyseq.plan.lookup import Lookup, gather_rows
from tinyseq.plan.lower.elementwise import apply, number, wrapped
from tinyseq.plan.lower.operands import along, joined, reshaped, whole
from tinyseq.plan.view import BOOL, BYTE, INTEGER, SIGNED, View, dense_strides
from tinyseq.shapes import Mismatch, axis_of, whole_numbers

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


def gather(p: Builder, node: Node, inputs, shapes) -> View:
    """Tables of bytes stay bytes."""
    indices = inputs[1]
    axis = axis_of(node.attributes["axis"], len(inputs[0].shape))
    if _is_table(p, inputs[0], axis) and isinstance(indices, View):
        return _looked_up(p, node, inputs[0], p.dense(whole(p, indices)), shapes[0])
    x = p.narrow(inputs[0]) if inputs[0].dtype in (BYTE, SIGNED) else p.view(inputs[0])
    if isinstance(indices, np.ndarray):
        return _picked(p, x, axis, whole_numbers(indices, "indices"), shapes[0])
    x, indices = p.dense(x), p.dense(whole(p, indices))
    y = p.allocate(shapes[0], dtype=x.dtype, narrow=x.narrow)
    inner = math.prod(x.shape[axis + 1 :]) * x.itemsize
    size = x.shape[axis]
    # Where nothing is moved, the indices are still looked at.
    outer, inner = (math.prod(x.shape[:axis]), inner) if y.size else (1, 0)
    dims = [size, inner, 0]
    p.emit_checked(node, "gather", x, indices, y, outer, size * inner, indices.size, 1, inner, GATHER, dims)
    return y


def _is_table(p: Builder, x: np.ndarray | View, axis: int) -> bool:
    """Whether x is a matrix of weights of which rows are picked."""
    table = isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype == np.float32 and x.size > 0
    return table and axis == 0 and p.owns(x)


def _looked_up(p: Builder, node: Node, table: np.ndarray, indices: View, shape) -> View:
    """Rows of a table: computed where something reads them as they are."""
    y = p.allocate(shape)
    y.buffer.lookup = Lookup(node, table, indices)
    p.postpone(y, lambda: gather_rows(p, node, p.constant(table), table.shape, indices, y))
    return y


def _picked(p: Builder, x: View, axis: int, picks: list[int], shape) -> View:
    """Known places along an axis: a View where they are evenly spaced, else copies."""
    size = x.shape[axis]
    if picks and not (-size <= min(picks) and max(picks) < size):
        raise Mismatch(f"an index outside the {size} elements of axis {axis}")
    picks = [pick % size for pick in picks]
    first, second = (*picks[:2], 0, 0)[:2]
    step = second - first if len(picks) > 1 else 1
    if all(pick == first + step * i for i, pick in enumerate(picks)):
        return reshaped(p, along(x, axis, first, len(picks), step), shape)
    return reshaped(p, joined(p, [along(x, axis, pick, 1) for pick in picks], axis), shape)


def _table(shape, depth: int, itemsize: int, step: int) -> tuple[list[int], int]:
    """The tail of a gather over the first ``depth`` dimensions, and the bytes that one index tuple moves."""
    strides = dense_strides(shape)
    inner = math.prod(shape[depth:]) * itemsize
    return [*shape[:depth], *[stride * itemsize for stride in strides[:depth]], step], inner


def gather_nd(p: Builder, node: Node, inputs, shapes) -> View:
    x, indices = p.dense(p.view(inputs[0])), p.dense(whole(p, inputs[1]))
    batch = node.attributes["batch_dims"]
    depth = indices.shape[-1]
    outer = math.prod(x.shape[:batch])
    rest = x.shape[batch:]
    count = math.prod(indices.shape[batch:-1])
    y = p.allocate(shapes[0], dtype=x.dtype)
    dims, inner = _table(rest, depth, x.itemsize, count * depth)
    per_row = math.prod(rest) * x.itemsize
    outer = outer if indices.size else 0
    p.emit_checked(node, "gather", x, indices, y, outer, per_row, count, depth, inner, GATHER, dims)
    return y


def scatter_nd(p: Builder, node: Node, inputs, shapes) -> View:
    x, indices, updates = p.view(inputs[0]), p.dense(whole(p, inputs[1])), p.dense(p.view(inputs[2]))
    y = p.copy(x, p.allocate(x.shape, dtype=x.dtype))
    depth = indices.shape[-1]
    count = math.prod(indices.shape[:-1])
    dims, inner = _table(x.shape, depth, x.itemsize, 0)
    p.emit_checked(node, "gather", y, indices, updates, 1, 0, count, depth, inner, _store(node, x), dims)
    return wrapped(p, y)


def _store(node: Node, x: View) -> int:
    """The code of what a scatter does to elements like x's."""
    reduction = node.attributes["reduction"]
    if reduction == "none":
        return OVERWRITE
    if x.dtype == BOOL:
        raise UnsupportedError(f"reduction={reduction!r} of booleans; cast them to integers")
    function = {"add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}[reduction]
    return STORES.index((function, x.kind))


def _same_but(x: View, indices: View, axis: int) -> View:
    """x cut to the indices' shape in all dimensions but one."""
    return x.sliced([(0, 1, n if a == axis else indices.shape[a]) for a, n in enumerate(x.shape)])


def gather_elements(p: Builder, node: Node, inputs, shapes) -> View:
    indices = p.dense(whole(p, inputs[1]))
    axis = axis_of(node.attributes["axis"], len(indices.shape))
    x = p.dense(_same_but(p.view(inputs[0]), indices, axis))
    y = p.allocate(indices.shape, dtype=x.dtype)
    _elements(p, node, x, indices, y, axis, GATHER)
    return y


def scatter_elements(p: Builder, node: Node, inputs, shapes) -> View:
    x, indices, updates = p.view(inputs[0]), p.dense(whole(p, inputs[1])), p.dense(p.view(inputs[2]))
    axis = axis_of(node.attributes["axis"], len(x.shape))
    y = p.copy(x, p.allocate(x.shape, dtype=x.dtype))
    part = _same_but(y, indices, axis)
    if part.dense:
        _elements(p, node, part, indices, updates, axis, _store(node, x))
        return wrapped(p, y)
    inside = p.copy(part, p.allocate(part.shape, dtype=x.dtype))
    _elements(p, node, inside, indices, updates, axis, _store(node, x))
    p.copy(inside, part)
    return wrapped(p, y)


def _elements(p: Builder, node: object, x: View, indices: View, y: View, axis: int, store: int) -> None:
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    counts = x.shape[axis], indices.shape[axis]
    if indices.size:
        p.emit_checked(node, "gather_elements", x, indices, y, outer, *counts, inner, x.itemsize, store)


def reverse_sequence(p: Builder, node: Node, inputs, shapes) -> View:
    x = p.view(inputs[0])
    time, batch = node.attributes["time_axis"], node.attributes["batch_axis"]
    lengths = p.dense(whole(p, inputs[1]))
    p.emit_checked(node, "within", lengths, x.shape[batch], 0, x.shape[time])
    return reversed_rows(p, x, lengths, time, batch)


def reversed_rows(p: Builder, x: View, lengths: View, time: int, batch: int) -> View:
    """Frame t of a row of length l is frame l - 1 - t of the input below l, frame t above."""
    frames, rows = x.shape[time], x.shape[batch]
    turned = (frames, rows)
    lengths = lengths.broadcast(turned)
    t = p.constant(np.arange(frames, dtype=np.int64)[:, None]).broadcast(turned)
    last = apply(p, "subtract", lengths, number(p, lengths, 1))
    mirrored = apply(p, "subtract", last, t)
    picks = apply(p, "where", apply(p, "less", t, lengths), mirrored, t)
    source = p.dense(x.transposed((time, batch, *[a for a in range(len(x.shape)) if a not in (time, batch)])))
    indices = p.dense(picks.reshaped((*turned, *[1] * (len(x.shape) - 2))).broadcast(source.shape))
    y = p.allocate(source.shape, dtype=x.dtype)
    _elements(p, "the reversed rows", source, indices, y, 0, GATHER)
    rest = iter(range(2, len(x.shape)))
    return y.transposed([0 if a == time else 1 if a == batch else next(rest) for a in range(len(x.shape))])


def trilu(p: Builder, node: Node, inputs, shapes) -> View:
    x = p.view(inputs[0])
    k = inputs[1].item() if len(inputs) > 1 and inputs[1] is not None else 0
    ones = np.ones(x.shape[-2:], bool)
    mask = p.constant(np.triu(ones, k) if node.attributes["upper"] else np.tril(ones, k))
    return apply(p, "where", mask.broadcast(x.shape), x, number(p, x, 0), dtype=x.dtype)


def one_hot(p: Builder, node: Node, inputs, shapes) -> View:
    """The second of ``values`` where an index, counted from the end if negative, is the place."""
    indices = p.view(inputs[0])
    if indices.kind == "f":
        indices = apply(p, "truncate", indices, dtype=INTEGER)
    depth = int(inputs[1].item())
    axis = axis_of(node.attributes["axis"], len(indices.shape) + 1)
    shape = shapes[0]
    one = (*indices.shape[:axis], 1, *indices.shape[axis:])
    indices = reshaped(p, indices, one).typed(INTEGER).broadcast(shape)
    raised = apply(p, "add", indices, number(p, indices, depth))
    indices = apply(p, "where", apply(p, "less", indices, number(p, indices, 0)), raised, indices)
    places = np.arange(depth, dtype=np.int64).reshape([depth if a == axis else 1 for a in range(len(shape))])
    hit = apply(p, "equal", indices, p.constant(places).broadcast(shape))
    values = p.view(inputs[2])
    off, on = (along(values, 0, i, 1).reshaped(()).broadcast(shape) for i in (0, 1))
    return apply(p, "where", hit, on, off, dtype=values.dtype)


def eye_like(p: Builder, node: Node, inputs, shapes) -> np.ndarray:
    dtype = node.attributes["dtype"] or inputs[0].dtype
    return np.eye(*inputs[0].shape, k=node.attributes["k"], dtype=dtype)


LOWERINGS = {
    "ReverseSequence": reverse_sequence,
    "Trilu": trilu,
    "OneHot": one_hot,
    "EyeLike": eye_like,
    "Gather": gather,
    "GatherND": gather_nd,
    "GatherElements": gather_elements,
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
}
