"""What the families of lowerings share: operands as tensors and new tensors shaped like them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.plan.builder import STATE
from tinyseq.plan.pieces import Pieces
from tinyseq.plan.view import Shape, View, dense_strides

if TYPE_CHECKING:
    from tinyseq.plan.builder import Builder


def given(inputs: list, index: int):
    """An optional input: None where it is absent."""
    return inputs[index] if index < len(inputs) else None


def real(p: Builder, value: np.ndarray | View) -> View:
    """An operand as a float32 tensor.

    Raises:
        UnsupportedError: it is of another type.
    """
    view = p.view(value)
    if view.kind != "f":
        raise UnsupportedError(f"an operand of {view.dtype} where the CPU computes with float32")
    return view


def whole(p: Builder, value: np.ndarray | View) -> View:
    """An operand as an integer tensor; raises ``UnsupportedError`` if it is not one."""
    view = p.wide(p.view(value))
    if view.kind != "i":
        raise UnsupportedError(f"an operand of {view.dtype} where integers or booleans are needed")
    return view


def like(p: Builder, x: View, dtype: np.dtype | None = None) -> View:
    """A new tensor of x's shape whose elements lie in the order of x's, so that walking is linear."""
    dtype = x.dtype if dtype is None else dtype
    return p.allocate(x.shape, order_of(x, x.shape), dtype, x.narrow and dtype == x.dtype)


def order_of(x: View, shape: Shape) -> Shape:
    """Strides of a shape of x's rank, without gaps, that keep the order of x's dimensions in memory."""
    if x.dense:
        return dense_strides(shape)
    order = sorted(range(len(shape)), key=lambda axis: -abs(x.strides[axis]))
    strides = [0] * len(shape)
    step = 1
    for axis in reversed(order):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def like_any(p: Builder, operands: list[View], dtype: np.dtype) -> View:
    """A new tensor laid out as the first operand that is not broadcast."""
    first = operands[0]
    return p.allocate(
        first.shape, order_of_any(operands, first.shape), dtype, first.narrow and dtype == first.dtype
    )


def order_of_any(operands: list[View], shape: Shape) -> Shape:
    """``order_of`` the first operand that is not broadcast; C order where all are."""
    whole = next((x for x in operands if not _is_broadcast(x)), None)
    return dense_strides(shape) if whole is None else order_of(whole, shape)


def _is_broadcast(x: View) -> bool:
    return any([stride == 0 and size != 1 for size, stride in zip(x.shape, x.strides)])


def along(x: View, axis: int, start: int, count: int, step: int = 1) -> View:
    """A run of one dimension."""
    return x.sliced([(start, step, count) if a == axis else (0, 1, n) for a, n in enumerate(x.shape)])


def as_rows(p: Builder, x: View, rows: int, count: int) -> View:
    """The elements of x as [rows, count], those of a row side by side; rows may lie anywhere."""
    view = x.reshaped((rows, count))
    if view is None or (count > 1 and view.strides[1] != 1):
        view = p.fresh(x).reshaped((rows, count))
    return view


def put_together(p: Builder, y: View, parts: list[tuple[View, View]]) -> View:
    """A tensor that has all elements of its buffer, made of views of it and their sources, one after the
    other: at once or, if parts of the state are among them, where something reads it as a whole. Gives y."""
    pieces = Pieces(y, parts)
    of_state = any([part.buffer.segment == STATE or part.buffer in p.pieces for _, part in parts])
    if p.straight and of_state and pieces.known():
        p.pieces[y.buffer] = pieces
        p.postpone(y, lambda: _copy_all(p, pieces.seen()))
    else:
        _copy_all(p, parts)
    return y


def _copy_all(p: Builder, parts: list[tuple[View, View]]) -> None:
    for target, source in parts:
        p.copy(source, target)


def joined(p: Builder, parts: list[View], axis: int) -> View:
    """The parts side by side in a new tensor, laid out as the first one that is not broadcast."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    strides = order_of_any(parts, tuple(shape))
    y = p.allocate(tuple(shape), strides, parts[0].dtype, parts[0].narrow)
    start, placed = 0, []
    for part in parts:
        placed.append((along(y, axis, start, part.shape[axis]), part))
        start += part.shape[axis]
    return put_together(p, y, placed)


def reshaped(p: Builder, x: View, shape: Shape) -> View:
    """The same elements in another shape, copied only if they must be: then to lie in the order of x's, as
    far as dimensions stay apart."""
    view = x.reshaped(shape)
    if view is None:
        view = p.copy(x, p.allocate(x.shape, _kept_apart(x, shape), x.dtype, x.narrow)).reshaped(shape)
    return p.dense(x).reshaped(shape) if view is None else view


def _kept_apart(x: View, shape: Shape) -> Shape:
    """Strides for a copy of x, of which dimensions that another shape joins or splits lie in C order, and
    others in x's order."""
    groups, group, mine, other, place = [], [], 1, 1, 0
    for axis, size in enumerate(x.shape):
        group.append(axis)
        mine *= size
        while other < mine and place < len(shape):
            other *= shape[place]
            place += 1
        if other == mine:
            groups.append(group)
            group = []
    groups += [group] if group else []
    steps = [[abs(x.strides[axis]) for axis in axes if x.shape[axis] != 1] for axes in groups]
    order = sorted(range(len(groups)), key=lambda number: -min(steps[number], default=0))
    groups = [groups[number] for number in order]
    strides, step = [0] * len(x.shape), 1
    for axis in reversed([axis for axes in groups for axis in axes]):
        strides[axis] = step
        step *= max(x.shape[axis], 1)
    return tuple(strides)
