"""State of a model in rows, as decoders step it: any rows, in any order, by calls or within programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq.ir.model import StatePair, Value
from tinyseq.kernels.program import Buffer, Program
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS, row_layout

if TYPE_CHECKING:
    from tinyseq.backends.executor import Executor
    from tinyseq.runtime.session import Session


class RowStepper:
    """A model and ``count`` rows of state.

    A row holds a part of each of the inputs ``values``: of the shape ``shapes`` says, its axis of rows, which
    ``axes`` says, left out. ``state`` has them by name, rows first. What ``pairs`` carry is written at each
    step, the rest is only read.

    Raises:
        ModelError: the model cannot be computed step by step; says which layer and why.
    """

    def __init__(
        self,
        session: Session,
        values: Sequence[Value],
        axes: dict[str, int],
        shapes: dict[str, tuple[int, ...]],
        pairs: Sequence[StatePair],
        count: int,
    ) -> None:
        # What a state that is not finite leads to are scores that no search takes.
        self._runner = session.rows(row_layout(values, axes, shapes, pairs, finite=False), count)
        self.state: dict[str, np.ndarray] = self._runner.state
        self.advance = self._runner.advance
        """Runs a step for feeds by name; its arrays hold until the next one and may be written to."""

    @property
    def nbytes(self) -> int:
        """The memory of state and plans at work."""
        return self._runner.nbytes

    def address(
        self, feeds: dict[str, np.ndarray], sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> None:
        """Adds to feeds the rows that a step reads, writes, and has what never changes from, int64 [n]."""
        feeds[SOURCES], feeds[TARGETS], feeds[OWNERS] = sources, targets, owners

    def in_program(self, feeds: Mapping[str, np.ndarray]) -> RowProgram | None:
        """The step for such feeds as part of programs; None where only ``advance`` can do it."""
        executor = self._runner.bound(feeds)
        return None if executor is None or not executor.joins else RowProgram(executor)

    def release(self) -> None:
        """Gives back what others can use; the state stays."""
        self._runner.release()


class RowProgram:
    """A step of so many rows: ``inputs`` and what it computes, ``outputs``, by name, and ``rows``, those
    read, written and read from for what never changes, where they lie."""

    def __init__(self, executor: Executor) -> None:
        self.inputs, self.outputs = executor.joined()
        self.rows = [self.inputs[name] for name in (SOURCES, TARGETS, OWNERS)]
        self._executor = executor

    def program(self) -> Program:
        """An empty program that the step can be part of."""
        return self._executor.program()

    def add(self, program: Program, failed: Buffer) -> None:
        """Adds the step to a program; ``failed`` is a word that tells ``fail`` of what went wrong."""
        self._executor.join(program, failed)

    def fail(self, failed: Buffer) -> NoReturn:
        """Says why the step could not be taken.

        Raises:
            FeedError: always.
        """
        self._executor.fail(int(failed.array[0]))
