"""What a search needs of a model: rows of state, stepped by calls or within a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

import numpy as np

from tinyseq.kernels.program import Buffer, Operand, Program


class Chain(Protocol):
    """Rows of a model, stepped within a program. ``span``: how many; ``scores`` [at least rows, vocabulary]:
    where it leaves them."""

    span: range
    scores: Buffer

    def program(self) -> Program:
        """An empty program for ``add``."""

    def add(self, program: Program, feeds: Buffer, rows: Operand) -> None:
        """Adds a step: feeds[4, places] holds what ``Steps.step`` is given, and a word in memory how many
        rows there are."""

    def fail(self) -> NoReturn:
        """Says why the program has failed."""


class Steps(Protocol):
    """What a search needs of a model: rows of state, stepped as a batch."""

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""

    def begin(self, parts: Mapping[str, np.ndarray]) -> None:
        """Begins a batch: the first place of each input gets its start, inputs by name, rows first."""

    def step(
        self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> np.ndarray:
        """Scores of the next tokens, float32 [at least rows, vocabulary], which the search may overwrite: the
        same array as long as it has so many rows.

        Row i reads the state in place sources[i], is given tokens[i], and writes its state into place
        targets[i]; owners[i] is the first place of its input, where what never changes lies.
        """

    def chain(
        self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> Chain | None:
        """What takes such a step within a program; None where only ``step`` can. Nothing is stepped yet."""

    def attention(self) -> np.ndarray:
        """The attention of the last step, float32 [at least rows, positions]."""

    def release(self) -> None:
        """Says that the last step has been: what ``chain`` added does not run again."""
