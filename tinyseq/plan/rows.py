"""State in rows: many streams of a model in one block, any of them stepped together.

A row is one stream's state: its fields one after the other, each as the model has it less the axis of
rows. A plan for rows begins by gathering the fields of the rows it is given into tensors of the model's
layout and ends by scattering the new values into rows, so that which rows take part, and in which order,
is data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, PlanError
from tinyseq.ir.model import StatePair, Value
from tinyseq.kernels.instructions import ALIGNMENT, APART, GATHER
from tinyseq.plan.builder import STATE, Builder
from tinyseq.plan.kinds import REPORT
from tinyseq.plan.view import INTEGER, Shape, Span, View, computed, storage

SOURCES, TARGETS, OWNERS = "rows.sources", "rows.targets", "rows.owners"
"""Inputs of a plan for rows, int64 [N]: the rows whose state is read, the rows into which it is written,
and the rows that hold what never changes."""

MOST_ROWS = 2**40


class RowField(NamedTuple):
    """A tensor of which a row holds its part: ``shape`` is the part's, ``axis`` where the model has rows.

    ``output`` names its next value; None where it never changes. ``finite`` is its pair's.
    """

    name: str
    axis: int
    shape: Shape
    dtype: np.dtype
    offset: int
    output: str | None
    finite: bool


class RowLayout(NamedTuple):
    """The fields of a row and the row's size in bytes. ``fed`` are inputs and axes, one or another group of
    which must be as long as there are rows."""

    fields: tuple[RowField, ...]
    bytes: int
    fed: tuple[tuple[tuple[str, int], ...], ...] = ()

    def parts(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The fields by name of a block of bytes [rows, bytes], rows first."""
        return {field.name: self._part(block, field) for field in self.fields}

    def _part(self, block: np.ndarray, field: RowField) -> np.ndarray:
        dtype = storage(field.dtype)
        end = field.offset + math.prod(field.shape) * dtype.itemsize
        return block[:, field.offset : end].view(dtype).reshape(len(block), *field.shape)


def row_layout(
    values: Sequence[Value],
    axes: dict[str, int],
    shapes: dict[str, Shape],
    pairs: Sequence[StatePair],
    finite: bool = True,
    fed: tuple[tuple[tuple[str, int], ...], ...] = (),
) -> RowLayout:
    """Where the parts of ``values`` lie in a row; ``shapes`` are the parts'. ``finite``: whether steps are
    held to what pairs say of it. ``fed``: see ``RowLayout``."""
    own = {pair.input: pair for pair in pairs}
    fields = []
    offset = 0
    for value in values:
        shape = shapes[value.name]
        pair = own.get(value.name)
        next_value = (None, True) if pair is None else (pair.output, finite and pair.finite)
        fields.append(
            RowField(value.name, axes[value.name], shape, computed(value.dtype), offset, *next_value)
        )
        size = math.prod(shape) * storage(value.dtype).itemsize
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return RowLayout(tuple(fields), max(offset, ALIGNMENT), fed)


def check_fed(layout: RowLayout, shapes: Mapping[str, Shape], count: int) -> None:
    """
    Raises:
        FeedError: inputs of such shapes are not of ``count`` rows.
    """
    wrong = [
        next((place for place in way if place[0] in shapes and shapes[place[0]][place[1]] != count), None)
        for way in layout.fed
    ]
    if wrong and None not in wrong:
        name = wrong[0][0]
        raise wrong_rows(name, shapes[name], [axis for own, axis in wrong if own == name], count)


def wrong_rows(name: str, shape: Shape, axes: Sequence[int], count: int) -> FeedError:
    """An input is not of so many rows, along any of some axes."""
    which = f"axis {axes[0]}" if len(axes) == 1 else f"one of its axes {', '.join(map(str, axes))}"
    return FeedError(
        f"input {name!r} has shape {[int(size) for size in shape]}; {which} is that of the rows and must be "
        f"{int(count)}, as many as are stepped"
    )


class StateRows:
    """How a plan reads and writes state that lies in rows. ``finite`` states are written only if all are."""

    def __init__(self, layout: RowLayout, finite: bool) -> None:
        self.layout = layout
        self._finite = finite
        self.carried = {field.name for field in layout.fields}
        self.results = {field.output for field in layout.fields if field.output is not None}
        self.inputs = tuple(Value(name, INTEGER, ("rows",)) for name in (SOURCES, TARGETS, OWNERS))

    def read(self, builder: Builder, given: dict[str, View]) -> dict[str, View]:
        """The fields of the rows named by the inputs, gathered into tensors."""
        check_fed(self.layout, {name: view.shape for name, view in given.items()}, given[SOURCES].size)
        views = {}
        for field in self.layout.fields:
            indices = given[OWNERS if field.output is None else SOURCES]
            shape = (*field.shape[: field.axis], indices.size, *field.shape[field.axis :])
            views[field.name] = builder.allocate(shape, dtype=field.dtype)
            self._move(builder, field, indices, views[field.name], GATHER)
        return views

    def write(self, builder: Builder, outputs: dict, given: dict[str, View], read: dict[str, View]) -> None:
        """Scatters the new values of the fields into rows, after all of the program has run."""
        moves = []
        for field in self.layout.fields:
            if field.output is None:
                continue
            source, wanted = builder.view(outputs[field.output]), read[field.name].shape
            if source.kind != read[field.name].kind:
                raise PlanError(
                    f"state {field.output!r} of {source.dtype} for {field.name!r} of {field.dtype}; {REPORT}"
                )
            if source.shape != wanted:
                raise FeedError(
                    f"state {field.output!r} came out as {list(source.shape)} and {field.name!r} is "
                    f"{list(wanted)}: rows do not stay apart in this model"
                )
            source = builder.dense(source)
            if self._finite and field.finite and field.dtype.kind == "f":
                source = builder.finite(f"state {field.name!r}", source)
            moves.append((field, source))
        for field, source in moves:
            self._move(builder, field, given[TARGETS], source, APART)

    def _move(self, builder: Builder, field: RowField, rows: View, tensor: View, store: int) -> None:
        if tensor.size == 0:
            return
        outer = math.prod(field.shape[: field.axis])
        inner = math.prod(field.shape[field.axis :]) * tensor.itemsize
        place = field.offset // storage(field.dtype).itemsize
        block = View(Span(0, STATE, 0), (1,), (1,), place, field.dtype)
        dims = [MOST_ROWS, self.layout.bytes, 0]
        builder.emit("gather", block, rows, tensor, outer, inner, rows.size, 1, inner, store, dims)
