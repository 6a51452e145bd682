"""Lowerings of movement: nearly all of it is a View and costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.plan.builder import STATE
from tinyseq.plan.lower.operands import along, given, joined, order_of, reshaped
from tinyseq.plan.ring import LONG, behind
from tinyseq.plan.sizes import known_sizes
from tinyseq.plan.view import View
from tinyseq.shapes import axes_of, axis_of, pad_widths, slice_bounds, split_sizes

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


def concat(p: Builder, node: Node, inputs, shapes) -> View:
    parts, axis = [p.view(part) for part in inputs], axis_of(node.attributes["axis"], len(shapes[0]))
    if len(parts) == 2 and _is_ring(*parts, axis):
        return behind(p, *parts, shapes[0])
    return joined(p, parts, axis)


def _is_ring(past: View, new: View, axis: int) -> bool:
    """Whether a tensor is a long part of a stream's state whose elements stay in a row if others are put
    behind it."""
    if past.buffer.segment != STATE or new.buffer.segment == STATE or new.kind != "f":
        return False
    return past.dense and past.size >= LONG and all(size == 1 for size in past.shape[:axis])


def split(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x = inputs[0]
    axis = axis_of(node.attributes["axis"], len(x.shape))
    values = [None, given(inputs, 1)]
    parts, start = [], 0
    for size in split_sizes(node.attributes, [x.shape], values):
        parts.append(along(x, axis, start, size))
        start += size
    return parts


def slice_(p: Builder, node: Node, inputs, shapes) -> View:
    return inputs[0].sliced(slice_bounds(inputs[0].shape, inputs))


def reshape(p: Builder, node: Node, inputs, shapes) -> View:
    return reshaped(p, inputs[0], shapes[0])


def squeeze(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    axes = given(inputs, 1)
    gone = range(len(x.shape)) if axes is None else axes_of(axes, len(x.shape))
    gone = {axis for axis in gone if x.shape[axis] == 1}
    return x.laid(shapes[0], tuple([stride for axis, stride in enumerate(x.strides) if axis not in gone]))


def unsqueeze(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    added = axes_of(inputs[1], len(shapes[0]))
    rest = iter(x.strides)
    return x.laid(shapes[0], tuple([0 if axis in added else next(rest) for axis in range(len(shapes[0]))]))


def shape_of(p: Builder, node: Node, inputs, shapes) -> np.ndarray:
    return known_sizes(inputs[0].shape[node.attributes["start"] : node.attributes["end"]])


def size_of(p: Builder, node: Node, inputs, shapes) -> np.ndarray:
    return known_sizes([inputs[0].size]).reshape(())


def transpose(p: Builder, node: Node, inputs, shapes) -> View:
    rank = len(inputs[0].shape)
    order = node.attributes["perm"]
    return inputs[0].transposed(range(rank)[::-1] if order is None else order)


def expand(p: Builder, node: Node, inputs, shapes) -> View:
    return inputs[0].broadcast(shapes[0])


def pad(p: Builder, node: Node, inputs, shapes) -> View:
    x, value = p.view(inputs[0]), given(inputs, 2)
    value = 0.0 if value is None else value.item() if isinstance(value, np.ndarray) else value
    y = p.allocate(shapes[0], order_of(x, shapes[0]), x.dtype, x.narrow)
    return padded(p, x, pad_widths(x.shape, inputs), y, node.attributes["mode"], value)


def padded(p: Builder, x: View, widths, y: View, mode: str, value: float | View = 0.0) -> View:
    """A copy of x in the middle of y, a new tensor, then its border, axis by axis."""
    shape = y.shape
    x = x.sliced(
        [(max(0, -a), 1, max(0, size + min(0, a) + min(0, b))) for size, (a, b) in zip(x.shape, widths)]
    )
    widths = [(max(0, a), max(0, b)) for a, b in widths]
    inside = [(a, 1, size) for (a, _), size in zip(widths, x.shape)]
    if mode == "constant" and any(a or b for a, b in widths):
        if y.kind == "f" and y.size >= LARGE:
            _surrounded(p, y, inside, value)
        elif isinstance(value, View):
            p.copy(reshaped(p, value, ()).broadcast(shape), y)
        else:
            p.fill(y, value)
    p.copy(x, y.sliced(inside))
    if mode == "constant":
        return y
    for axis, ((before, after), size) in enumerate(zip(widths, x.shape)):
        for start, run in _border(mode, before, size, after):
            target = (start, 1, run[2])
            source, target = (y.sliced([*inside[:axis], r, *inside[axis + 1 :]]) for r in (run, target))
            p.copy(source, target)
        inside[axis] = (0, 1, shape[axis])
    return y


LARGE = 2**14
"""Elements from which on only the border of a tensor is filled, and not all of it."""


def _surrounded(p: Builder, y: View, inside: list[tuple[int, int, int]], value: float | View) -> None:
    """Sets what of y lies outside of a run of each axis."""
    source = reshaped(p, value, ()) if isinstance(value, View) else p.scalar(value, ())
    kept = list(inside)
    for axis, ((start, _, count), size) in enumerate(zip(inside, y.shape)):
        for run in ((0, 1, start), (start + count, 1, size - start - count)):
            if run[2] > 0:
                target = y.sliced([*kept[:axis], run, *kept[axis + 1 :]])
                p.copy(source.broadcast(target.shape), target)
        kept[axis] = (0, 1, size)


def _border(mode: str, before: int, size: int, after: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Where along an axis a piece of the border begins and the run (start, step, count) that it repeats:
    of one element (edge), of the inside walked backwards (reflect), or of its other end (wrap): there the
    runs double, for each repeats what is there already."""
    end = before + size
    if mode == "edge":
        yield 0, (before, 0, before)
        yield end, (end - 1, 0, after)
    elif mode == "reflect":
        yield 0, (2 * before, -1, before)
        yield end, (end - 2, -1, after)
    else:
        stop, period = before, size
        while stop > 0:
            count = min(period, stop)
            stop -= count
            yield stop, (stop + period, 1, count)
            period *= 2
        start, period = end, size
        while start < end + after:
            count = min(period, end + after - start)
            yield start, (start - period, 1, count)
            start += count
            period *= 2


def tile(p: Builder, node: Node, inputs, shapes) -> View:
    x, repeats = inputs[0], inputs[1].ravel().tolist()
    y = p.allocate(shapes[0], dtype=x.dtype)
    pairs = tuple(n for pair in zip(repeats, x.shape) for n in pair)
    doubled = x.reshaped(tuple(n for size in x.shape for n in (1, size)))
    doubled = (
        doubled if doubled is not None else p.dense(x).reshaped(tuple(n for s in x.shape for n in (1, s)))
    )
    p.copy(doubled.broadcast(pairs), y.reshaped(pairs))
    return y


def depth_to_space(p: Builder, node: Node, inputs, shapes) -> View:
    x, block = inputs[0], node.attributes["blocksize"]
    n, c, h, w = x.shape
    if node.attributes["mode"] == "DCR":
        view, order = reshaped(p, x, (n, block, block, c // block**2, h, w)), (0, 3, 4, 1, 5, 2)
    else:
        view, order = reshaped(p, x, (n, c // block**2, block, block, h, w)), (0, 1, 4, 2, 5, 3)
    return reshaped(p, view.transposed(order), shapes[0])


def space_to_depth(p: Builder, node: Node, inputs, shapes) -> View:
    x, block = inputs[0], node.attributes["blocksize"]
    n, c, h, w = x.shape
    view = reshaped(p, x, (n, c, h // block, block, w // block, block))
    order = (0, 3, 5, 1, 2, 4) if node.attributes["mode"] == "DCR" else (0, 1, 3, 5, 2, 4)
    return reshaped(p, view.transposed(order), shapes[0])


LOWERINGS = {
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Shape": shape_of,
    "Size": size_of,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Reshape": reshape,
    "Flatten": reshape,
    "Transpose": transpose,
    "Expand": expand,
    "Pad": pad,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
