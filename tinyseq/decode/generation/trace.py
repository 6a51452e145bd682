"""What a search leaves behind, a trace of tokens (see ``kernels/search/beam.py``), read as hypotheses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.kernels.instructions import ENDED, NODE
from tinyseq.kernels.program import Buffer, Program

Found = tuple[list[float], np.ndarray]
"""A hypothesis as a search has it: its head, HEAD numbers, and its last node [NODE]."""


class Reader:
    """Follows hypotheses of a trace[positions, slots, NODE] back from their ends.

    The first ``prompt`` positions are the prompt's. With ``attends``, rows of attention are picked too.
    """

    def __init__(self, trace: Buffer, prompt: int, attends: bool) -> None:
        self._trace, self._prompt, self._attends = trace, prompt, attends
        # Made for the first hypotheses that are read.
        self._most = -1

    def _make(self, most: int) -> None:
        """Room and a program for so many hypotheses."""
        self._most = most
        room, slots, _ = self._trace.array.shape
        self._ends, self._lengths = Buffer(np.zeros(most, np.int64)), Buffer(np.zeros(most, np.int64))
        self._count = Buffer(np.zeros(1, np.int64))
        self._records = Buffer(np.zeros((most, NODE, room), np.int64))
        self._program = Program()
        operands = self._trace, self._ends, self._lengths, 1, self._records, self._count, slots, room
        self._program.add("unroll", *operands)

    def read(self, found: Sequence[Found], kept: Sequence[np.ndarray]) -> list[Hypothesis]:
        """The hypotheses; ``kept`` has the attention [rows, positions] of each step."""
        count = len(found)
        if self._most < count:
            self._make(count)
        self._count.array[0] = count
        self._ends.array[:count] = [last[3] for _, last in found]
        self._lengths.array[:count] = [self._prompt + max(int(head[2]) - 1, 0) for head, _ in found]
        self._program.run()
        return [self._hypothesis(*one, record, kept) for one, record in zip(found, self._records.array)]

    def _hypothesis(
        self, head: list[float], last: np.ndarray, record: np.ndarray, kept: Sequence[np.ndarray]
    ) -> Hypothesis:
        score, _, length, how = head
        new = record[:, self._prompt : self._prompt + int(length)]
        new[:, -1:] = last[:, None]
        finished = how == ENDED
        tokens = new[0].tolist()
        attention = None
        if self._attends:
            given = [rows[row] for rows, row in zip(kept, new[1].tolist())]
            attention = np.array(given) if given else np.zeros((0, *kept[0].shape[1:]), np.float32)
        scores = new[2].view(np.float64).tolist()
        tokens = tokens[:-1] if finished else tokens
        return Hypothesis(tokens, score, token_scores=scores, finished=finished, attention=attention)
