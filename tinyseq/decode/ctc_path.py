"""Best path decoding on the kernels: what a stream keeps and how chunks become calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.decode.hypothesis import NOTHING, Emitted, Hypothesis, Partial, TokenLog, joined
from tinyseq.decode.rows import check_rows, groups
from tinyseq.decode.saved import MOST_FRAMES, emitted, ensure, field
from tinyseq.kernels.layout import EMITTED, HEARD, LAST, NONE, TOTAL
from tinyseq.kernels.program import Buffer, Program

if TYPE_CHECKING:
    from tinyseq.decode.ctc_options import CtcGreedy


class Path:
    """One stream: its state, the tokens whose runs are over, and the one whose run goes on and that may still
    move, if there is one. The state counts that one only, as the kernel has no others before it."""

    __slots__ = ("running", "settled", "words")

    def __init__(self, words: np.ndarray, settled: TokenLog, running: Emitted) -> None:
        self.words, self.settled, self.running = words, settled, running

    @property
    def score(self) -> float:
        """The logarithm of the path's probability."""
        return float(self.words[TOTAL:].view(np.float64)[0])


class BestPaths:
    """The search of ``CtcGreedy`` over rows of ``size`` numbers."""

    width = 1

    def __init__(self, options: CtcGreedy, size: int) -> None:
        self._options = options
        self.size = size

    def begin(self) -> Path:
        """A stream at its start."""
        return Path(np.array([0, NONE, 0, 0]), TokenLog(), NOTHING)

    def copy(self, path: Path) -> Path:
        """The same state, to go its own way."""
        return Path(path.words.copy(), path.settled.copy(), path.running)

    def frames(self, path: Path) -> int:
        """Rows heard."""
        return int(path.words[HEARD])

    def step(self, paths: list[Path], chunks: list[np.ndarray]) -> list[Path]:
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
                after = Path(path.words.copy(), path.settled, Emitted.room(room))
                after.running.words[:, : len(path.running)] = path.running.words
                following.append(after)
                sizes = count, self.size, self._options.blank
                written = Buffer(after.running.words)
                places = written, (written, 4 * room), (written, 8 * room)
                program.add("ctc_best_path", chunk, *sizes, Buffer(after.words), *places)
            if program.run() >= 0:
                check_rows(rows)
        for path in following:
            path.settled = path.settled.copy()
            self._settle(path, path.running.first(int(path.words[EMITTED])))
        return following

    def _settle(self, path: Path, emitted: Emitted) -> None:
        """Parts tokens into those whose runs are over and the one whose run goes on."""
        runs = path.words[LAST] not in (NONE, self._options.blank)
        over = len(emitted) - int(runs)
        path.settled.append(emitted.first(over))
        path.running = Emitted(emitted.words[:, over:].copy())
        path.words[EMITTED] = len(path.running)

    def _all(self, path: Path) -> Emitted:
        return joined([path.settled.emitted, path.running])

    def fields(self, path: Path) -> dict[str, np.ndarray]:
        """The state as arrays."""
        words, emitted = path.words.copy(), self._all(path)
        words[EMITTED] = len(emitted)
        return {"words": words, "tokens": emitted.words}

    def restored(self, fields: Mapping[str, np.ndarray]) -> Path:
        """The state that ``fields`` gave."""
        path = Path(field(fields, "words", np.int64, (4,)), TokenLog(), NOTHING)
        tokens = emitted(fields, self.size)
        ensure(0 <= path.words[HEARD] < MOST_FRAMES and path.score <= np.inf)
        ensure(NONE <= path.words[LAST] < self.size)
        ensure(path.words[EMITTED] == len(tokens))
        ensure(path.words[LAST] in (NONE, self._options.blank) or len(tokens))
        self._settle(path, tokens)
        return path

    def partial(self, path: Path) -> Partial:
        """The tokens whose runs are over; the one that still runs."""
        return Partial(path.settled.emitted, path.running, path.score)

    def finish(self, path: Path) -> list[Hypothesis]:
        """The one hypothesis."""
        return [self._all(path).hypothesis(path.score, self._options.vocabulary)]
