"""The rows of a decoder, as a search steps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.model import Value
from tinyseq.kernels.program import Buffer, Operand, Program
from tinyseq.runtime.rows import RowProgram, RowStepper


class DecoderChain:
    """See ``Chain``: a step of up to as many rows as it was made for."""

    def __init__(
        self, step: RowProgram, fixed: dict[str, np.ndarray], tokens: str, scores: np.ndarray, spare: int
    ) -> None:
        size = len(scores)
        self.span = range(3 * size // 4 + 1, size + 1)
        self.scores = Buffer(scores)
        self._step, self._spare, self._size = step, spare, size
        self._fixed = [
            (Buffer(np.ascontiguousarray(fixed[name], place.dtype)), Buffer(place))
            for name, place in step.inputs.items()
            if name in fixed
        ]
        self._targets = [Buffer(array) for array in (step.inputs[tokens], *step.rows)]
        self._failed = Buffer(np.zeros(1, np.int64))

    def program(self) -> Program:
        """See ``Chain``."""
        return self._step.program()

    def add(self, program: Program, feeds: Buffer, rows: Operand) -> None:
        """See ``Chain``."""
        for given, place in self._fixed:
            program.copy(given, place)
        program.add("feed", feeds, feeds.array.shape[1], rows, *self._targets, self._size, self._spare)
        self._step.add(program, self._failed)

    def fail(self) -> NoReturn:
        """See ``Chain``."""
        self._step.fail(self._failed)


class DecoderSteps:
    """The rows of batches, one after the other, as a search steps them.

    ``initial`` are the values that the model gives its state at the start, rows first, ``fixed`` inputs
    without rows, ``value`` is the input for the tokens and ``axis`` where it has its rows, ``scores`` and
    ``attention`` are outputs by name. Each input has ``share`` places; ``spare`` comes after all of them, and
    nothing reads it.
    """

    def __init__(
        self,
        rows: RowStepper,
        initial: dict[str, np.ndarray | float],
        fixed: dict[str, np.ndarray],
        value: Value,
        axis: int,
        scores: str,
        attention: str | None,
        share: int,
        spare: int,
    ) -> None:
        self._rows, self._advance = rows, rows.advance
        self._initial, self._share, self._spare = initial, share, spare
        # Copies: chains keep reading them when the caller has other things in his arrays.
        self._fixed = {name: np.array(array) for name, array in fixed.items()}
        self._value, self._axis = value, axis
        self._name, self._attention = scores, attention
        self._count = self._size = -1
        self._results: Mapping[str, np.ndarray] = {}
        self._last: np.ndarray | None = None
        self._copies = False
        self._scores = np.zeros((0, 0), np.float32)
        self._feeds: dict[str, np.ndarray] = {}

    def begin(self, parts: Mapping[str, np.ndarray]) -> None:
        """The first place of each input holds its start: ``parts`` by name, rows first, else as the model
        says."""
        for name, array in self.state.items():
            array[: self._spare : self._share] = parts.get(name, self._initial.get(name, 0))

    @property
    def nbytes(self) -> int:
        """See ``Steps``."""
        return self._rows.nbytes

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What lies in rows, rows first: the last one is spare."""
        return self._rows.state

    def step(
        self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> np.ndarray:
        """See ``Steps``."""
        self._feed(tokens, sources, targets, owners)
        self._results = self._advance(self._feeds)
        given = self._results[self._name]
        if given is not self._last or self._copies:
            self._take(given)
        return self._scores

    def _feed(self, tokens, sources, targets, owners) -> None:
        count = len(tokens)
        if count != self._count:
            self._resize(count)
        if count == self._size:
            feeds = self._feeds
            feeds[self._value.name] = self._shaped(tokens)
            self._rows.address(feeds, sources, targets, owners)
        else:
            self._pad(tokens, sources, targets, owners)

    def _take(self, given: np.ndarray) -> None:
        """Scores that lie elsewhere than those of the step before."""
        rows = self._rows_of(given, "scores")
        # What cannot be written to is a constant of the model; else a device gives a new array each time.
        self._copies |= given.dtype != np.float32 or not given.flags.writeable
        self._copies |= len(rows) == len(self._scores)
        self._last = given
        if self._copies and self._scores.shape == rows.shape:
            self._scores[...] = rows
        else:
            self._scores = np.array(rows, np.float32) if self._copies else rows

    def chain(
        self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> DecoderChain | None:
        """See ``Steps``."""
        self._feed(tokens, sources, targets, owners)
        step = self._rows.in_program(self._feeds)
        if step is None:
            return None
        scores, token = step.outputs.get(self._name), step.inputs.get(self._value.name)
        # The program computes integers in int64 and does not look whether they fit a narrower type.
        fits = token is not None and token.dtype == np.int64 and self._value.dtype.itemsize >= 4
        if not fits or scores is None or scores.dtype != np.float32:
            return None
        rows = self._rows_of(scores, "scores")
        return DecoderChain(step, self._fixed, self._value.name, rows, self._spare)

    def release(self) -> None:
        """See ``Steps``."""
        self._rows.release()

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
        self._rows.address(self._feeds, *padded[1:])
        self._feeds[self._value.name] = self._shaped(padded[0])


def rounded(count: int) -> int:
    """The next number of rows that plans are made for: three binary digits, so that they are few."""
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-count // step) * step
