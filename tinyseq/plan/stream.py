"""The state of one stream: named fields in a block, which a plan reads and writes where it lies."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.errors import FeedError, PlanError, UnsupportedError
from tinyseq.ir.model import Model, Value
from tinyseq.kernels.instructions import ALIGNMENT
from tinyseq.plan.builder import STATE, Builder
from tinyseq.plan.kinds import REPORT
from tinyseq.plan.view import FLOAT, Shape, Span, View, dense_strides


class StateLayout:
    """Where the fields of one stream's state lie, float32: shapes and offsets in bytes by name.

    Sizes that the model leaves open are those of one row: 1.
    """

    def __init__(self, model: Model) -> None:
        self.pairs = model.state
        self.shapes: dict[str, Shape] = {}
        self.offsets: dict[str, int] = {}
        self.bytes = 0
        inputs = {value.name: value for value in model.graph.inputs}
        for pair in self.pairs:
            value = inputs[pair.input]
            if value.dtype.kind != "f" or value.shape is None:
                raise UnsupportedError(f"state {value} is not a floating-point tensor of known rank")
            shape = tuple(1 if isinstance(size, str) else size for size in value.shape)
            self.shapes[value.name], self.offsets[value.name] = shape, self.bytes
            self.bytes += -(-math.prod(shape) * FLOAT.itemsize // ALIGNMENT) * ALIGNMENT

    def parts(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a block of bytes by name."""
        numbers = block.view(FLOAT)
        starts = {name: offset // FLOAT.itemsize for name, offset in self.offsets.items()}
        return {
            name: numbers[starts[name] : starts[name] + math.prod(shape)].reshape(shape)
            for name, shape in self.shapes.items()
        }


class StateInPlace:
    """How a plan reads and writes the state of one stream: where it lies. A ``finite`` state is written only
    if all of it is, but for pairs that begin at other numbers."""

    def __init__(self, layout: StateLayout, finite: bool) -> None:
        self.layout = layout
        self._finite = finite
        self.carried = {pair.input for pair in layout.pairs}
        self.results = {pair.output for pair in layout.pairs}
        self.inputs: tuple[Value, ...] = ()

    def read(self, builder: Builder, given: dict[str, View]) -> dict[str, View]:
        """The fields of the state as tensors."""
        buffer = Span(self.layout.bytes, STATE, 0)
        return {
            name: View(buffer, shape, dense_strides(shape), self.layout.offsets[name] // FLOAT.itemsize)
            for name, shape in self.layout.shapes.items()
        }

    def write(self, builder: Builder, outputs: dict, given: dict[str, View], read: dict[str, View]) -> None:
        """Copies the state outputs over the state, after all of it has been read."""
        moves, shifts = [], []
        for pair in self.layout.pairs:
            target = read[pair.input]
            source = builder.view(outputs[pair.output])
            if source.kind != target.kind:
                raise PlanError(
                    f"state {pair.output!r} of {source.dtype} for {pair.input!r} of {target.dtype}; {REPORT}"
                )
            if source.shape != target.shape:
                raise FeedError(
                    f"state {pair.output!r} came out as {list(source.shape)} and {pair.input!r} of a stream "
                    f"is {list(target.shape)}: a stream is one row; give inputs of one row"
                )
            ring = builder.ring(source)
            new = ring.next_part(source) if ring is not None and ring.past.same(target) else None
            if new is not None:
                checked = self._finite and pair.finite
                shifts.append((target, builder.finite(f"state {pair.input!r}", new) if checked else new))
                continue
            builder.demand(source)  # what reads the state reads it before any of it is written
            if self._finite and pair.finite and not source.same(target):
                source = builder.finite(f"state {pair.input!r}", source)
            moves.append((source, target))
        builder.move(moves)
        for target, new in shifts:
            left = target.size - new.size
            builder.emit("shift", target, left, new.size)
            builder.copy(new.laid((new.size,), (1,)), target.laid((new.size,), (1,), target.offset + left))
