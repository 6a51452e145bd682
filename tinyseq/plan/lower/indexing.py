"""Lowerings of ops whose indices are computed at run time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.kernels.instructions import APART, GATHER, OVERWRITE, STORES
from tinyseq.plan.lookup import Lookup, gather_rows
from tinyseq.plan.lower.elementwise import apply, number, wrapped
from tinyseq.plan.lower.operands import along, joined, put_together, reshaped, whole
from tinyseq.plan.lower.places import Table, coordinates, is_known
from tinyseq.plan.view import BOOL, BYTE, INTEGER, SIGNED, View, dense_strides
from tinyseq.shapes import Mismatch, axis_of, whole_numbers

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


MOST_PIECES = 8
"""Copies that put known places side by side; more of them are one gather."""


def gather(p: Builder, node: Node, inputs, shapes) -> View:
    """Tables of bytes stay bytes."""
    indices = inputs[1]
    axis = axis_of(node.attributes["axis"], len(inputs[0].shape))
    if _is_table(p, inputs[0], axis) and isinstance(indices, View):
        return _looked_up(p, node, inputs[0], p.dense(whole(p, indices)), shapes[0])
    x = p.narrow(inputs[0]) if inputs[0].dtype in (BYTE, SIGNED) else p.view(inputs[0])
    if isinstance(indices, np.ndarray):
        return picked(p, node, x, axis, indices, shapes[0])
    return _gathered(p, node, x, axis, p.dense(whole(p, indices)), shapes[0])


def _gathered(p: Builder, node: Node, x: View, axis: int, indices: View, shape) -> View:
    x, y = p.dense(x), p.allocate(shape, dtype=x.dtype, narrow=x.narrow)
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


def picked(p: Builder, node: Node, x: View, axis: int, indices: np.ndarray, shape) -> View:
    """Known places along an axis: a View where they are evenly spaced, else a few copies, else a gather."""
    picks = np.array(whole_numbers(indices, "indices"), np.int64)
    table = Table([picks.reshape(indices.shape)], indices.shape, x.shape[axis : axis + 1])
    if not table.inside:
        raise Mismatch(f"an index outside the {x.shape[axis]} elements of axis {axis}")
    box = table.box()
    if box is not None:
        axes = (axis, *[a for a in range(len(x.shape)) if a != axis])
        picked = box.of(x.transposed(axes))
        rank = len(box.shape)
        order = (*range(rank, rank + axis), *range(rank), *range(rank + axis, len(shape)))
        return picked.transposed(order)
    pieces = [along(x, axis, start, count, step) for start, step, count in table.runs()]
    if len(pieces) <= MOST_PIECES:
        return reshaped(p, joined(p, pieces, axis), shape)
    return _gathered(p, node, x, axis, p.constant(indices), shape)


def _table(shape, depth: int, itemsize: int, step: int) -> tuple[list[int], int]:
    """The tail of a gather over the first ``depth`` dimensions, and the bytes that one index tuple moves."""
    strides = dense_strides(shape)
    inner = math.prod(shape[depth:]) * itemsize
    return [*shape[:depth], *[stride * itemsize for stride in strides[:depth]], step], inner


def gather_nd(p: Builder, node: Node, inputs, shapes) -> View:
    x, batch = p.view(inputs[0]), node.attributes["batch_dims"]
    if is_known(inputs[1]):
        places = (*coordinates(inputs[1].shape[:-1])[:batch], *np.moveaxis(inputs[1], -1, 0))
        box = Table(places, inputs[1].shape[:-1], x.shape).box()
        if box is not None:
            return box.of(x)
    x, indices = p.dense(x), p.dense(whole(p, inputs[1]))
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
    x, updates = p.view(inputs[0]), p.view(inputs[2])
    store = _store(node, x)
    if is_known(inputs[1]):
        table = Table(np.moveaxis(inputs[1], -1, 0), inputs[1].shape[:-1], x.shape)
        y = _put(p, x, table, updates, store)
        if y is not None:
            return wrapped(p, y)
        store = APART if store == OVERWRITE and table.distinct() else store
    indices, updates = p.dense(whole(p, inputs[1])), p.dense(updates)
    y = p.copy(x, p.allocate(x.shape, dtype=x.dtype))
    depth = indices.shape[-1]
    count = math.prod(indices.shape[:-1])
    dims, inner = _table(x.shape, depth, x.itemsize, 0)
    p.emit_checked(node, "gather", y, indices, updates, 1, 0, count, depth, inner, store, dims)
    return wrapped(p, y)


def _put(p: Builder, x: View, table: Table, updates: View, store: int) -> View | None:
    """x with ``updates`` put into, or folded with, the box that known places fill; None where they do not."""
    box = table.box()
    if box is None or not table.distinct():
        return None
    y = p.allocate(x.shape, dtype=x.dtype)
    target = box.of(y)
    function, _ = STORES[store]
    if store == OVERWRITE:
        return put_together(p, y, [(y, x), (target, updates)])
    p.copy(x, y)
    p.elementwise(function, target, target, updates)
    return y


def _store(node: Node, x: View) -> int:
    """The code of what a scatter does to elements like x's."""
    reduction = node.attributes["reduction"]
    if reduction == "none":
        return OVERWRITE
    if x.dtype == BOOL:
        raise UnsupportedError(f"reduction={reduction!r} of booleans; cast them to integers")
    function = {"add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}[reduction]
    return STORES.index((function, x.kind))


def _along_axis(indices: np.ndarray, axis: int) -> list[np.ndarray]:
    """The coordinates, by dimensions, to which indices along an axis lead."""
    return [indices if a == axis else at for a, at in enumerate(coordinates(indices.shape))]


def _same_but(x: View, indices: View, axis: int) -> View:
    """x cut to the indices' shape in all dimensions but one."""
    return x.sliced([(0, 1, n if a == axis else indices.shape[a]) for a, n in enumerate(x.shape)])


def gather_elements(p: Builder, node: Node, inputs, shapes) -> View:
    x, axis = p.view(inputs[0]), axis_of(node.attributes["axis"], len(inputs[0].shape))
    if is_known(inputs[1]):
        box = Table(_along_axis(inputs[1], axis), inputs[1].shape, x.shape).box()
        if box is not None:
            return box.of(x)
    indices = p.dense(whole(p, inputs[1]))
    x = p.dense(_same_but(x, indices, axis))
    y = p.allocate(indices.shape, dtype=x.dtype)
    _elements(p, node, x, indices, y, axis, GATHER)
    return y


def scatter_elements(p: Builder, node: Node, inputs, shapes) -> View:
    x, updates, store = p.view(inputs[0]), p.view(inputs[2]), _store(node, p.view(inputs[0]))
    axis = axis_of(node.attributes["axis"], len(x.shape))
    if is_known(inputs[1]):
        table = Table(_along_axis(inputs[1], axis), inputs[1].shape, x.shape)
        y = _put(p, x, table, updates, store)
        if y is not None:
            return wrapped(p, y)
        store = APART if store == OVERWRITE and table.distinct() else store
    indices, updates = p.dense(whole(p, inputs[1])), p.dense(updates)
    y = p.copy(x, p.allocate(x.shape, dtype=x.dtype))
    part = _same_but(y, indices, axis)
    if part.dense:
        _elements(p, node, part, indices, updates, axis, store)
        return wrapped(p, y)
    inside = p.copy(part, p.allocate(part.shape, dtype=x.dtype))
    _elements(p, node, inside, indices, updates, axis, store)
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


def compress(p: Builder, node: Node, inputs, shapes) -> View:
    places, axis = np.flatnonzero(inputs[1]), node.attributes["axis"]
    x = p.view(inputs[0])
    if axis is None:
        x, axis = reshaped(p, x, (x.size,)), 0
    if 0 in shapes[0]:
        return p.allocate(shapes[0], dtype=x.dtype)
    return picked(p, node, x, axis_of(axis, len(x.shape)), places, shapes[0])


def eye_like(p: Builder, node: Node, inputs, shapes) -> np.ndarray:
    dtype = node.attributes["dtype"] or inputs[0].dtype
    return np.eye(*inputs[0].shape, k=node.attributes["k"], dtype=dtype)


LOWERINGS = {
    "ReverseSequence": reverse_sequence,
    "Trilu": trilu,
    "OneHot": one_hot,
    "EyeLike": eye_like,
    "Compress": compress,
    "Gather": gather,
    "GatherND": gather_nd,
    "GatherElements": gather_elements,
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
}
