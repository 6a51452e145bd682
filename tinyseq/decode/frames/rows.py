"""Rows of scores that searches are given: checked, and shared out among programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.kernels.instructions import SEGMENT_SHIFT
from tinyseq.kernels.program import Buffer, Program

MOST_STREAMS = 1 << (62 - SEGMENT_SHIFT - 4)
"""Streams of one program: each takes up to eight segments."""


def groups(count: int) -> Iterator[slice]:
    """Slices of so many streams that one program can take."""
    for start in range(0, count, MOST_STREAMS):
        yield slice(start, start + MOST_STREAMS)


def check_rows(chunks: Sequence[Buffer]) -> None:
    """Checks the rows of float32 arrays [T, V].

    Raises:
        FeedError: one holds NaN or infinity, or nothing above ``-inf``.
    """
    found, lengths = Buffer(np.zeros(1, np.int64)), Buffer(np.array([len(chunk.array) for chunk in chunks]))
    for group in groups(len(chunks)):
        program = Program()
        which = {
            program.add("usable_rows", chunk, (lengths, 8 * sequence), chunk.array.shape[1], found): sequence
            for sequence, chunk in enumerate(chunks[group], group.start)
        }
        failed = program.run()
        if failed >= 0:
            row = found.array[0]
            what = wrong(chunks[which[failed]].array[row])
            raise FeedError(
                f"row {row} of sequence {which[failed]} holds {what}; rows are logarithms of probabilities. "
                "Nothing was decoded"
            )


def wrong(row: np.ndarray) -> str:
    """What makes a row of scores unusable."""
    if np.isnan(row).any():
        return "NaN"
    return "infinity" if np.isposinf(row).any() else "probability zero for every token"
