"""Functions of ``keras.ops`` that move, pick and join elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from tinyseq.converters.keras.operands import Operation, arguments, as_tensor, common, named_dtype
from tinyseq.converters.keras.settings import FLOAT, WHOLE, Settings, Tensor

from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.ir.graph import Graph

LAST = np.iinfo(np.int64).max


def axis_of(settings: Settings, axis: Any, rank: int) -> int:
    """An axis counted from the first."""
    if not is_whole(axis) or not -rank <= axis < rank:
        raise settings.refusal(f"axis={shown(axis)} of {rank} dimensions")
    return int(axis) % rank


def axes_of(settings: Settings, axes: Any, rank: int) -> list[int]:
    """Axes counted from the first; all where none are named."""
    if axes is None:
        return list(range(rank))
    return [axis_of(settings, axis, rank) for axis in (axes if isinstance(axes, (list, tuple)) else [axes])]


def _one(
    build: Callable[[Graph, Settings, Tensor], tuple[str, Sequence[int | None]]],
) -> Operation:
    """A function of one tensor of any type, which its result has too."""

    def added(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x)
        name, shape = build(graph, settings, x)
        return [Tensor(name, tuple(shape), x.dtype)]

    return added


def _get_item(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    """``x[key]``: slices, numbers, new axes and an ellipsis."""
    x, key = arguments(settings, given, "x", "key")
    x = as_tensor(graph, settings, x)
    parts = list(key) if isinstance(key, (list, tuple)) else [key]
    if parts.count(...) > 1:
        raise settings.refusal("it is indexed with two ellipses")
    taken = sum(part is not None and part is not ... for part in parts)
    if taken > x.rank:
        raise settings.refusal(f"it is indexed by {taken} numbers and slices and has {x.rank} dimensions")
    if ... not in [part for part in parts if part is ...]:
        parts.append(...)
    place = next(index for index, part in enumerate(parts) if part is ...)
    parts[place : place + 1] = [slice(None)] * (x.rank - taken)
    return [_indexed(graph, settings, x, parts)]


def _indexed(graph: Graph, settings: Settings, x: Tensor, parts: Sequence[Any]) -> Tensor:
    name, shape, picked, new = x.name, [], [], []
    starts, ends, axes, steps = [], [], [], []
    axis = 0
    for part in parts:
        if part is None:
            new.append(len(shape))
            shape.append(1)
            continue
        size = x.shape[axis]
        if isinstance(part, slice):
            bounds = _bounds(settings, part)
            shape.append(None if size is None else len(range(*part.indices(size))))
            if size is None and part == slice(None):
                shape[-1] = size
        elif is_whole(part):
            bounds = (int(part), int(part) + 1 or LAST, 1)
            picked.append(axis)
        else:
            raise settings.refusal(f"it is indexed with {shown(part)}; tinyseq takes numbers and slices")
        if bounds != (0, LAST, 1):
            for numbers, number in zip((starts, ends, axes, steps), (bounds[0], bounds[1], axis, bounds[2])):
                numbers.append(number)
        axis += 1
    if axes:
        name = graph.apply(
            "Slice", name, *(np.array(numbers, np.int64) for numbers in (starts, ends, axes, steps)),
            name=settings.name,
        )  # fmt: skip
    name = graph.squeeze(name, picked) if picked else name
    name = graph.unsqueeze(name, new) if new else name
    name = graph.apply("Identity", name) if name == x.name else name
    return Tensor(name, tuple(shape), x.dtype)


def _bounds(settings: Settings, part: slice) -> tuple[int, int, int]:
    step = 1 if part.step is None else part.step
    if step == 0:
        raise settings.refusal("it is sliced by steps of 0")
    first, last = (0, LAST) if step > 0 else (LAST, -LAST)
    return first if part.start is None else part.start, last if part.stop is None else part.stop, step


def _reshape(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    target = settings.get("newshape", None)
    target = settings.get("shape") if target is None else target
    target = [target] if is_whole(target) else list(target)
    if target and target[0] is None and None not in target[1:]:
        target[0] = -1 if -1 not in target[1:] else 0
    if not all(map(is_whole, target)):
        raise settings.refusal(f"newshape={target} leaves sizes open; write one -1")
    shape = [x.shape[0] if size == 0 else None if size == -1 else size for size in target]
    if -1 in target and None not in x.shape:
        shape[target.index(-1)] = prod(x.shape) // max(1, -prod(target))
    return graph.reshape(x.name, target), shape


def _transpose(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    order = settings.get("axes", None)
    order = list(reversed(range(x.rank))) if order is None else axes_of(settings, order, x.rank)
    return graph.transpose(x.name, order), [x.shape[axis] for axis in order]


def _swapped(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    one, other = (axis_of(settings, settings.get(f), x.rank) for f in ("axis1", "axis2"))
    order = list(range(x.rank))
    order[one], order[other] = other, one
    return graph.transpose(x.name, order), [x.shape[axis] for axis in order]


def _moved(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    source, target = (axes_of(settings, settings.get(f), x.rank) for f in ("source", "destination"))
    order = [axis for axis in range(x.rank) if axis not in source]
    for place, axis in sorted(zip(target, source)):
        order.insert(place, axis)
    return graph.transpose(x.name, order), [x.shape[axis] for axis in order]


def _squeeze(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    axes = settings.get("axis", None)
    if axes is None:
        if None in x.shape:
            raise settings.refusal("it squeezes what is of size 1, and sizes are open; name the axis")
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    axes = axes_of(settings, axes, x.rank)
    shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
    return graph.squeeze(x.name, axes), shape


def _expand_dims(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    axes = settings.get("axis")
    axes = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    axes = axes_of(settings, axes, x.rank + len(axes))
    shape = list(x.shape)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return graph.unsqueeze(x.name, axes), shape


def _ravel(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    return graph.reshape(x.name, [-1]), [None if None in x.shape else prod(x.shape)]


def _flip(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    axes = axes_of(settings, settings.get("axis", None), x.rank)
    return graph.apply(
        "Slice", x.name, *(np.full(len(axes), number, np.int64) for number in (-1, -LAST)),
        np.array(axes, np.int64), np.full(len(axes), -1, np.int64), name=settings.name,
    ), x.shape  # fmt: skip


def _tile(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    repeats = settings.get("repeats")
    repeats = [repeats] if is_whole(repeats) else list(repeats)
    rank = max(x.rank, len(repeats))
    name = graph.unsqueeze(x.name, list(range(rank - x.rank))) if rank > x.rank else x.name
    repeats = [1] * (rank - len(repeats)) + repeats
    sizes = [1] * (rank - x.rank) + list(x.shape)
    shape = [None if size is None else size * count for size, count in zip(sizes, repeats)]
    return graph.apply("Tile", name, np.array(repeats, np.int64), name=settings.name), shape


def _repeat(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    count, axis = settings.get("repeats"), settings.get("axis", None)
    if isinstance(count, (list, tuple)) and len(count) == 1:
        (count,) = count
    if not is_whole(count):
        raise settings.refusal("it repeats each element another number of times")
    if axis is None:
        x = Tensor(*_ravel(graph, settings, x), x.dtype)
    axis = 0 if axis is None else axis_of(settings, axis, x.rank)
    own = x.shape[axis]
    name = graph.unsqueeze(x.name, [axis + 1])
    name = graph.apply("Tile", name, np.array([1] * (axis + 1) + [count] + [1] * (x.rank - axis - 1)))
    sizes = graph.apply("Shape", x.name)
    factors = np.array([count if other == axis else 1 for other in range(x.rank)], np.int64)
    shape = [(None if own is None else own * count) if i == axis else size for i, size in enumerate(x.shape)]
    return graph.apply("Reshape", name, graph.mul(sizes, factors), name=settings.name), shape


def _broadcast_to(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    shape = settings.get("shape")
    if not all(map(is_whole, shape)):
        raise settings.refusal(f"shape={shown(shape)} leaves sizes open")
    return graph.apply("Expand", x.name, np.array(shape, np.int64), name=settings.name), shape


def _roll(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
    shift, axis = settings.get("shift"), settings.get("axis", None)
    if not is_whole(shift) or not is_whole(axis):
        raise settings.refusal("it rolls along several axes or all; tinyseq takes one")
    axis = axis_of(settings, axis, x.rank)
    size = x.shape[axis]
    if size is None:
        raise settings.refusal("it rolls along an axis whose size is open")
    cut = -shift % size if size else 0
    parts = [graph.slice(x.name, axis, cut, LAST), graph.slice(x.name, axis, 0, cut)]
    return graph.concat(parts, axis=axis), x.shape


def _triangle(upper: int) -> Operation:
    def build(graph: Graph, settings: Settings, x: Tensor) -> tuple[str, Sequence[int | None]]:
        k = np.array(settings.get("k", 0), np.int64)
        return graph.apply("Trilu", x.name, k, upper=upper, name=settings.name), x.shape

    return _one(build)


def _pad(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    x, *value = given
    value = value[0] if value else settings.called("constant_values")
    x = as_tensor(graph, settings, x)
    mode, width = settings.get("mode", "constant"), settings.get("pad_width")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise settings.refusal(f"mode={mode!r} is not supported")
    if value is not None and (mode != "constant" or isinstance(value, (Tensor, np.ndarray, list))):
        raise settings.refusal("its constant_values is no number")
    pairs = [[width, width]] * x.rank if is_whole(width) else list(width)
    pairs = pairs * x.rank if len(pairs) == 1 else pairs
    if len(pairs) != x.rank:
        raise settings.refusal(f"pad_width={shown(width)} for {x.rank} dimensions")
    before, after = ([pair[way] for pair in pairs] for way in (0, 1))
    fill = np.array(value or 0, x.dtype)
    y = graph.apply("Pad", x.name, np.array([*before, *after], np.int64), fill, mode=mode, name=settings.name)
    shape = [None if s is None else s + b + a for s, b, a in zip(x.shape, before, after)]
    return [Tensor(y, tuple(shape), x.dtype)]


def _listed(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (tensors,) = arguments(settings, given, "xs" if settings.kind == "Concatenate" else "x")
    dtype = common(tensors)
    return [as_tensor(graph, settings, tensor, dtype) for tensor in tensors]


def _concatenate(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    tensors = _listed(graph, settings, given)
    axis = axis_of(settings, settings.get("axis", -1), tensors[0].rank)
    sizes = [tensor.shape[axis] for tensor in tensors]
    shape = list(tensors[0].shape)
    shape[axis] = None if None in sizes else sum(sizes)
    y = graph.concat([tensor.name for tensor in tensors], axis=axis)
    return [Tensor(y, tuple(shape), tensors[0].dtype)]


def _stack(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    tensors = _listed(graph, settings, given)
    axis = axis_of(settings, settings.get("axis", 0), tensors[0].rank + 1)
    y = graph.concat([graph.unsqueeze(tensor.name, [axis]) for tensor in tensors], axis=axis)
    shape = list(tensors[0].shape)
    shape.insert(axis, len(tensors))
    return [Tensor(y, tuple(shape), tensors[0].dtype)]


def _split(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x = as_tensor(graph, settings, x)
    axis = axis_of(settings, settings.get("axis", 0), x.rank)
    where, size = settings.get("indices_or_sections"), x.shape[axis]
    if is_whole(where):
        if size is None or where < 1 or size % where:
            raise settings.refusal(f"it splits {size or 'an open size'} into {where} equal parts")
        where = range(size // where, size, size // where)
    edges = [0, *where, LAST]
    parts = []
    for start, end in pairwise(edges):
        shape = list(x.shape)
        shape[axis] = None if size is None else len(range(*slice(start, end).indices(size)))
        parts.append(Tensor(graph.slice(x.name, axis, start, end), tuple(shape), x.dtype))
    return parts


def _unstack(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x = as_tensor(graph, settings, x)
    axis = axis_of(settings, settings.get("axis", 0), x.rank)
    count = settings.get("num", None) or x.shape[axis]
    if count is None:
        raise settings.refusal("it takes apart an axis whose size is open")
    shape = tuple(size for other, size in enumerate(x.shape) if other != axis)
    return [
        Tensor(graph.squeeze(graph.slice(x.name, axis, place, place + 1), [axis]), shape, x.dtype)
        for place in range(count)
    ]


def _take(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    x, indices = arguments(settings, given, "x", "indices")
    x, axis = as_tensor(graph, settings, x), settings.get("axis", None)
    indices = as_tensor(graph, settings, indices, WHOLE)
    if axis is None:
        x, axis = Tensor(*_ravel(graph, settings, x), x.dtype), 0
    axis = axis_of(settings, axis, x.rank)
    y = graph.apply("Gather", x.name, indices.name, axis=axis, name=settings.name)
    return [Tensor(y, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)]


def _take_along(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    x, indices = arguments(settings, given, "x", "indices")
    x, axis = as_tensor(graph, settings, x), settings.get("axis", None)
    indices = as_tensor(graph, settings, indices, WHOLE)
    if axis is None or x.rank != indices.rank:
        raise settings.refusal("it takes from and by tensors of other dimensions")
    y = graph.apply("GatherElements", x.name, indices.name, axis=axis_of(settings, axis, x.rank))
    return [replace(indices, name=y, dtype=x.dtype, mask=None)]


def _one_hot(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x = as_tensor(graph, settings, x, WHOLE)
    settings.expect("sparse", False)
    count = settings.get("num_classes")
    axis = axis_of(settings, settings.get("axis", -1), x.rank + 1)
    dtype = named_dtype(settings, settings.get("dtype", None)) or FLOAT
    # Numbers below 0 are no class in Keras, and count from the end in ONNX.
    known = graph.apply("Where", graph.apply("Less", x.name, np.array(0)), np.array(count), x.name)
    values = np.array([0, 1], dtype)
    y = graph.apply("OneHot", known, np.array(count), values, axis=axis, name=settings.name)
    shape = list(x.shape)
    shape.insert(axis, count)
    return [Tensor(y, tuple(shape), dtype)]


OPERATIONS: dict[str, Operation] = {
    "BroadcastTo": _one(_broadcast_to),
    "Concatenate": _concatenate,
    "ExpandDims": _one(_expand_dims),
    "Flip": _one(_flip),
    "GetItem": _get_item,
    "Moveaxis": _one(_moved),
    "OneHot": _one_hot,
    "Pad": _pad,
    "Ravel": _one(_ravel),
    "Repeat": _one(_repeat),
    "Reshape": _one(_reshape),
    "Roll": _one(_roll),
    "Split": _split,
    "Squeeze": _one(_squeeze),
    "Stack": _stack,
    "Swapaxes": _one(_swapped),
    "Take": _take,
    "TakeAlongAxis": _take_along,
    "Tile": _one(_tile),
    "Transpose": _one(_transpose),
    "Tril": _triangle(0),
    "Triu": _triangle(1),
    "Unstack": _unstack,
}
