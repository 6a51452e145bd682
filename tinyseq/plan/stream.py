"""The state of one stream: named fields in a block, which a plan reads and writes where it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, UnsupportedError
from tinyseq.kernels.instructions import ALIGNMENT
from tinyseq.model import Model, StatePair, Value
from tinyseq.plan.builder import STATE, Builder
from tinyseq.plan.view import FLOAT, Buffer, Shape, View, dense_strides


class StateField(NamedTuple):
    """One named field of a state row, ``offset`` bytes into it."""

    name: str
    shape: Shape
    dtype: np.dtype
    offset: int


class StateLayout(NamedTuple):
    """The fields of a state row and the row's size in bytes."""

    fields: tuple[StateField, ...]
    bytes: int

    def parts(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a block of bytes by name."""
        ends = [field.offset + math.prod(field.shape) * field.dtype.itemsize for field in self.fields]
        return {
            field.name: block[field.offset : end].view(field.dtype).reshape(field.shape)
            for field, end in zip(self.fields, ends)
        }


NO_STATE = StateLayout((), 0)


def state_layout(model: Model) -> StateLayout:
    """The state of one stream. Sizes that the model leaves open are those of one row: 1."""
    inputs = {value.name: value for value in model.graph.inputs}
    fields = []
    offset = 0
    for pair in model.state:
        value = inputs[pair.input]
        if value.dtype.kind != "f" or value.shape is None:
            raise UnsupportedError(f"state {value} is not a floating-point tensor of known rank")
        shape = tuple(1 if isinstance(size, str) else size for size in value.shape)
        fields.append(StateField(value.name, shape, FLOAT, offset))
        offset += -(-math.prod(shape) * FLOAT.itemsize // ALIGNMENT) * ALIGNMENT
    return StateLayout(tuple(fields), offset)


class StateInPlace:
    """How a plan reads and writes the state of one stream: where it lies."""

    def __init__(self, layout: StateLayout, pairs: Sequence[StatePair]) -> None:
        self.layout = layout
        self._pairs = pairs
        self.carried = {pair.input for pair in pairs}
        self.results = {pair.output for pair in pairs}
        self.inputs: tuple[Value, ...] = ()

    def read(self, builder: Builder, given: dict[str, View]) -> dict[str, View]:
        """The fields of the state as tensors."""
        buffer = Buffer(self.layout.bytes, STATE, 0)
        return {
            field.name: View(buffer, field.shape, dense_strides(field.shape), field.offset // 4)
            for field in self.layout.fields
        }

    def write(self, builder: Builder, outputs: dict, given: dict[str, View], read: dict[str, View]) -> None:
        """Copies the state outputs over the state, after all of it has been read."""
        moves = []
        for pair in self._pairs:
            target = read[pair.input]
            source = builder.view(outputs[pair.output])
            if source.shape != target.shape:
                raise FeedError(
                    f"state {pair.output!r} came out as {list(source.shape)} and {pair.input!r} of a stream "
                    f"is {list(target.shape)}: a stream is one row; give inputs of one row"
                )
            moves.append((source, target))
        builder.move(moves)
