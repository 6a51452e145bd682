"""Rows of scores that searches are given: checked, and shared out among programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tinyseq.common.given import as_array
from tinyseq.errors import FeedError
from tinyseq.kernels.instructions import SEGMENT_SHIFT
from tinyseq.kernels.program import Buffer, Program

FLOAT32 = np.dtype(np.float32)

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


SCORES = ("logp", "logits", "probabilities")
"""What the numbers of rows may be."""

NEAR = 1e-3
"""How far from 1 the sum of probabilities may be."""


def logarithms(rows: np.ndarray, scores: str) -> np.ndarray:
    """Rows [..., V] of ``scores`` as natural logarithms of probabilities, in float32.

    Raises:
        FeedError: they are probabilities, and one is below 0.
    """
    if scores == "logp" or not rows.size:
        return rows
    wide = rows.astype(np.float64)
    if scores == "logits":
        with np.errstate(invalid="ignore"):
            wide -= wide.max(axis=-1, keepdims=True)
        return (wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))).astype(np.float32)
    if wide.min() < 0:
        raise FeedError("probabilities are at least 0; are the rows scores='logits'? Nothing was decoded")
    with np.errstate(divide="ignore"):
        return np.log(wide).astype(np.float32)


def are_probabilities(row: np.ndarray) -> bool:
    """Whether a row can be nothing but probabilities: none is below 0, and they add up to 1."""
    return row[0] >= 0 and len(row) > 1 and row.min() >= 0 and abs(row.sum(dtype=np.float64) - 1) < NEAR


def wrong(row: np.ndarray) -> str:
    """What makes a row of scores unusable."""
    if np.isnan(row).any():
        return "NaN"
    return "infinity" if np.isposinf(row).any() else "probability zero for every token"


def as_floats(rows: object) -> np.ndarray:
    """An array of numbers in float32, in C order.

    Raises:
        FeedError: it is none.
    """
    try:
        array = as_array(rows)
        if array.dtype == FLOAT32 and array.flags.c_contiguous:
            return array
        if array.dtype.kind not in "fiu":
            raise TypeError(f"of dtype {array.dtype}")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise FeedError(f"rows are an array of numbers: {error}") from error


def as_chunk(chunk: object) -> np.ndarray:
    """A chunk float32[T, size].

    Raises:
        FeedError: it is none.
    """
    array = as_floats(chunk)
    if array.ndim != 2 or array.shape[1] == 0:
        raise FeedError(f"a chunk is [T, size], the size at least 1, not {list(array.shape)}")
    return array


def as_lengths(lengths: Sequence[int] | None, shape: tuple[int, ...]) -> list[int]:
    """How many rows of each of the sequences of an array [N, T, ...] count.

    Raises:
        FeedError: they are none of these.
    """
    if lengths is None:
        return [shape[1]] * shape[0]
    try:
        array = as_array(lengths)
    except ValueError as error:
        raise FeedError(f"lengths are {shape[0]} whole numbers, one for each sequence: {error}") from error
    if array.shape != shape[:1] or (array.dtype.kind not in "iu" and array.size):
        raise FeedError(f"lengths are {shape[0]} whole numbers, one for each sequence")
    if array.size and not (array.min() >= 0 and array.max() <= shape[1]):
        raise FeedError(f"lengths lie between 0 and the {shape[1]} frames of the sequences")
    return array.tolist()
