"""The rows of a decoder, as a search steps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from tinyseq.backends import RowRunner
from tinyseq.errors import ModelError
from tinyseq.kernels.program import Buffer, Operand, Program
from tinyseq.model import Value
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS


class DecoderSteps:
    """The rows of one batch, as a search steps them.

    ``fixed`` are inputs without rows, ``value`` is the input for the tokens and ``axis`` where it has its
    rows, ``scores`` and ``attention`` are outputs by name. ``spare`` is a row that nothing reads.
    """

    def __init__(
        self,
        runner: RowRunner,
        fixed: dict[str, np.ndarray],
        value: Value,
        axis: int,
        scores: str,
        attention: str | None,
        spare: int,
    ) -> None:
        self._runner, self._advance = runner, runner.advance
        self._fixed, self._value, self._axis = fixed, value, axis
        self._name, self._attention = scores, attention
        self._spare = spare
        self._count = self._size = -1
        self._results: Mapping[str, np.ndarray] = {}
        self._given: np.ndarray | None = None
        self._copies = False
        self._scores = np.zeros((0, 0), np.float32)
        self._failed = Buffer(np.zeros(1, np.int64))
        self._feeds: dict[str, np.ndarray] = {}

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What lies in rows, rows first: the last one is spare."""
        return self._runner.state

    def step(
        self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> np.ndarray:
        """See ``Steps``."""
        count = len(tokens)
        if count != self._count:
            self._resize(count)
        if count == self._size:
            feeds = self._feeds
            feeds[self._value.name] = self._shaped(tokens)
            feeds[SOURCES], feeds[TARGETS], feeds[OWNERS] = sources, targets, owners
        else:
            self._pad(tokens, sources, targets, owners)
        self._results = self._advance(self._feeds)
        given = self._results[self._name]
        if given is not self._given or self._copies:
            self._take(given)
        return self._scores

    def _take(self, given: np.ndarray) -> None:
        """Scores that lie elsewhere than those of the step before."""
        rows = self._rows_of(given, "scores")
        # What cannot be written to is a constant of the model; else a device gives a new array each time.
        self._copies |= given.dtype != np.float32 or not given.flags.writeable
        self._copies |= len(rows) == len(self._scores)
        self._given = given
        if self._copies and self._scores.shape == rows.shape:
            self._scores[...] = rows
        else:
            self._scores = np.array(rows, np.float32) if self._copies else rows

    def span(self) -> range:
        """See ``Steps``."""
        executor = self._runner.executor
        if executor is None or executor.context is None or self._copies:
            return range(0)
        token = executor.inputs.get(self._value.name)
        # The program computes integers in int64 and does not look whether they fit a narrower type.
        if token is None or token.dtype != np.int64 or self._value.dtype.itemsize < 4:
            return range(0)
        return range(3 * self._size // 4 + 1, self._size + 1)

    def chain(self, program: Program, feeds: Buffer, rows: Operand) -> None:
        """See ``Steps``."""
        executor = self._runner.executor
        for name, array in self._fixed.items():
            if name in executor.inputs:
                target = executor.inputs[name]
                program.copy(Buffer(np.ascontiguousarray(array, target.dtype)), Buffer(target))
        targets = [Buffer(executor.inputs[name]) for name in (self._value.name, SOURCES, TARGETS, OWNERS)]
        program.add("feed", feeds, feeds.array.shape[1], rows, *targets, self._size, self._spare)
        program.add("run", Buffer(executor.context), self._failed)
        program.keep(executor)

    def fail(self) -> NoReturn:
        """See ``Steps``."""
        self._runner.executor.fail(int(self._failed.array[0]))

    def release(self) -> None:
        """See ``Steps``."""
        self._runner.release()

    def attention(self) -> np.ndarray:
        """See ``Steps``."""
        return self._rows_of(self._results[self._attention], "attention").astype(np.float32)

    def _rows_of(self, array: np.ndarray, what: str) -> np.ndarray:
        """[rows, last dimension that is not of size 1], the others being of size 1."""
        sizes = list(array.shape)
        while len(sizes) > 2 and sizes[-1] == 1:
            sizes.pop()
        if len(sizes) < 2 or array.size != self._size * sizes[-1]:
            raise ModelError(
                f"the decoder's {what} are {list(array.shape)} for {self._size} rows; they must be "
                "[rows, ...] with one dimension beside the rows and no other"
            )
        return array.reshape(self._size, sizes[-1])

    def _resize(self, count: int) -> None:
        self._count = count
        if not 3 * self._size < 4 * count <= 4 * self._size:
            self._size = rounded(count)
        shape = [1] * len(self._value.shape)
        shape[self._axis] = self._size
        self._shape = tuple(shape)
        self._feeds = dict(self._fixed)

    def _shaped(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens as the decoder takes them."""
        return tokens.reshape(self._shape).astype(self._value.dtype, copy=False)

    def _pad(self, tokens, sources, targets, owners) -> None:
        """Lets the rows that are too many repeat the first one and write beside all others."""
        padded = np.empty((4, self._size), np.int64)
        given = (tokens, sources, targets, owners)
        for row, array, filler in zip(padded, given, (tokens[0], sources[0], self._spare, owners[0])):
            row[: self._count] = array
            row[self._count :] = filler
        self._feeds |= dict(zip((SOURCES, TARGETS, OWNERS), padded[1:]))
        self._feeds[self._value.name] = self._shaped(padded[0])


def rounded(count: int) -> int:
    """The next number of rows that plans are made for: three binary digits, so that they are few."""
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-count // step) * step
