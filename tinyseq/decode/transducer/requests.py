"""The request queue by which a transducer search asks for rows of scores, and what serves it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from tinyseq.kernels.program import Buffer
from tinyseq.kernels.search.layout import (
    ACTIVE,
    CAPACITY,
    JOIN_FRAMES,
    JOIN_PLACES,
    JOINER_ROWS,
    LOOKAHEAD,
    PREDICT_SOURCES,
    PREDICT_TARGETS,
    PREDICT_TOKENS,
    PREDICTED,
    PREDICTOR_TOKENS,
    QUEUE_HEADER,
    ROWS_READ,
)

AHEAD = 6
"""Rows of scores that greedy search asks for at once at the least, as long as streams have frames: as many as
one tile of a product has, so that the joiner's weights are read once for all; most frames are blank."""


class TransducerRows(Protocol):
    """What a transducer search needs of models: places for the predictor's state and output.

    ``state`` has what a place holds: arrays by name, places first.
    """

    state: dict[str, np.ndarray]

    def join(self, frames: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Scores float32 [at least n, V], which the search may overwrite, of frames [n, C] with the
        predictor's outputs in places[n]; they hold until the next call."""

    def predict(self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> None:
        """Lets the predictor take tokens: each reads the state in its source, all before any writes its state
        and output into its target."""


class TransducerModel(Protocol):
    """What a transducer search knows of models: sizes, the start, and rows.

    ``first`` is a place's part of ``TransducerRows.state`` at the start of a stream. ``weights`` is all that
    decides results, for a checksum.
    """

    frame_size: int
    vocabulary_size: int
    kind: int
    start_tokens: int
    first: dict[str, np.ndarray]
    weights: Iterable[bytes]

    def rows(self, count: int) -> TransducerRows:
        """Rows with so many places, for nobody else until they are given back."""

    def give_back(self, rows: TransducerRows) -> None:
        """Says that rows are free for others."""


class RequestQueue:
    """What streams have asked for, rows of scores and predictions; see ``kernels/search/transducer.py``."""

    def __init__(self, rows: TransducerRows, frames: np.ndarray, room: int) -> None:
        self._rows, self._frames = rows, frames
        room = max(room, AHEAD)
        words = np.zeros(QUEUE_HEADER + 5 * room, np.int64)
        words[CAPACITY] = room
        self.buffer = Buffer(words)
        self._head = memoryview(words)
        self._lists = words[QUEUE_HEADER:].reshape(5, room)
        self._head[LOOKAHEAD] = 1
        self.served = 0

    @property
    def is_asked(self) -> bool:
        """Whether anybody has asked for anything."""
        return bool(self._head[JOINER_ROWS] or self._head[PREDICTOR_TOKENS])

    def serve(self, defer_predictor: bool) -> np.ndarray | None:
        """The rows of scores that were asked for, ``served`` many, for the next run; None if none were.

        Before that the predictor takes its tokens; with ``defer_predictor``, once nobody asks for rows.
        """
        head = self._head
        joins = self.served = head[JOINER_ROWS]
        head[PREDICTED] = 0
        if head[PREDICTOR_TOKENS] and not (defer_predictor and joins):
            given = self._lists[:, : head[PREDICTOR_TOKENS]]
            self._rows.predict(given[PREDICT_TOKENS], given[PREDICT_SOURCES], given[PREDICT_TARGETS])
            head[ACTIVE] = head[PREDICTOR_TOKENS]
            head[PREDICTOR_TOKENS] = 0
            head[PREDICTED] = 1
        head[LOOKAHEAD] = max(1, AHEAD // max(1, head[ACTIVE]))
        head[JOINER_ROWS] = head[ROWS_READ] = head[ACTIVE] = 0
        if not joins:
            return None
        wanted = self._lists[:, :joins]
        return self._rows.join(self._frames[wanted[JOIN_FRAMES]], wanted[JOIN_PLACES])
