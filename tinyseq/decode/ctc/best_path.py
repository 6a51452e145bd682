"""Best path decoding on the kernels: what a stream keeps and how chunks become calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.decode.frames.rows import check_rows, groups
from tinyseq.decode.frames.snapshots import MOST_FRAMES, emitted, ensure, field
from tinyseq.decode.hypothesis import NO_TOKENS, Emitted, Hypothesis, Partial, TokenLog, joined
from tinyseq.kernels.program import Buffer, Program
from tinyseq.kernels.search.layout import EMITTED, LAST, NONE, PROCESSED, TOTAL

if TYPE_CHECKING:
    from tinyseq.decode.ctc.options import CtcGreedy
    from tinyseq.decode.lm.options import Hotwords


MANY = 1024
"""Tokens that a stream keeps as they were written before those whose runs are over are settled."""


class PathState:
    """One stream: its state, tokens that are settled, and those written since, the last of which may still
    move. The state counts the latter only, as the kernel has no others before it."""

    __slots__ = ("running", "settled", "words")

    def __init__(self, words: np.ndarray, settled: TokenLog, running: Emitted) -> None:
        self.words, self.settled, self.running = words, settled, running

    @property
    def score(self) -> float:
        """The logarithm of the path's probability."""
        return float(self.words[TOTAL:].view(np.float64)[0])


class BestPathSearch:
    """The search of ``CtcGreedy`` over rows of ``size`` numbers."""

    width, reader = 1, None

    def __init__(self, options: CtcGreedy, size: int) -> None:
        self._options = options
        self.size = size

    def scoring(self, hotwords: Hotwords) -> None:
        """Nothing is added: there are no hotwords."""

    def begin(self, scoring: None) -> PathState:
        """A stream at its start."""
        return PathState(np.array([0, NONE, 0, 0]), TokenLog(), NO_TOKENS)

    def copy(self, path: PathState) -> PathState:
        """The same state, to go its own way."""
        return PathState(path.words.copy(), path.settled.copy(), path.running)

    def frames(self, path: PathState) -> int:
        """Rows processed."""
        return int(path.words[PROCESSED])

    def step(self, paths: list[PathState], chunks: list[np.ndarray]) -> list[PathState]:
        """The streams after a chunk each.

        Raises:
            FeedError: a row cannot be used.
        """
        following, rows = [], [Buffer(chunk) for chunk in chunks]
        for group in groups(len(paths)):
            program = Program()
            for path, chunk in zip(paths[group], rows[group]):
                count = len(chunk.array)
                room = len(path.running) + count
                after = PathState(path.words.copy(), path.settled, Emitted.room(room))
                after.running.words[:, : len(path.running)] = path.running.words
                following.append(after)
                sizes = count, self.size, self._options.blank
                written = Buffer(after.running.words)
                places = written, (written, 4 * room), (written, 8 * room)
                program.add("ctc_best_path", chunk, *sizes, Buffer(after.words), *places)
            if program.run() >= 0:
                check_rows(rows)
        for path in following:
            path.running = path.running.first(int(path.words[EMITTED]))
            if len(path.running) > MANY:
                self._settle(path, path.running)
        return following

    def _settle(self, path: PathState, emitted: Emitted) -> None:
        """Adds the tokens whose runs are over to those that are settled; the one that still runs is left."""
        path.settled = path.settled.copy()
        runs = path.words[LAST] not in (NONE, self._options.blank)
        over = len(emitted) - int(runs)
        path.settled.append(emitted.first(over))
        path.running = Emitted(emitted.words[:, over:].copy())
        path.words[EMITTED] = len(path.running)

    def _all(self, path: PathState) -> Emitted:
        return joined([path.settled.emitted, path.running]) if len(path.settled) else path.running

    def fields(self, path: PathState) -> dict[str, np.ndarray]:
        """The state as arrays."""
        words, emitted = path.words.copy(), self._all(path)
        words[EMITTED] = len(emitted)
        return {"words": words, "tokens": emitted.words}

    def restored(self, fields: Mapping[str, np.ndarray], scoring: None) -> PathState:
        """The state that ``fields`` gave."""
        path = PathState(field(fields, "words", np.int64, (4,)), TokenLog(), NO_TOKENS)
        tokens = emitted(fields, self.size)
        ensure(0 <= path.words[PROCESSED] < MOST_FRAMES and path.score <= np.inf)
        ensure(NONE <= path.words[LAST] < self.size)
        ensure(path.words[EMITTED] == len(tokens))
        ensure(path.words[LAST] in (NONE, self._options.blank) or len(tokens))
        self._settle(path, tokens)
        return path

    def partial(self, path: PathState) -> Partial:
        """The tokens whose runs are over; the one that still runs."""
        self._settle(path, path.running)
        return Partial(path.settled.emitted, path.running, path.score)

    def finish(self, path: PathState) -> list[Hypothesis]:
        """The one hypothesis."""
        return [self._all(path).hypothesis(path.score, self._options.vocabulary)]
