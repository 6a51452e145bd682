"""Prefix beam search on the kernels: what a stream keeps and how chunks become calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.decode.fusion import fusion
from tinyseq.decode.hypothesis import NOTHING, Emitted, Hypothesis, joined
from tinyseq.decode.program import Buffer, Program, check_rows, groups
from tinyseq.kernels.ctc_layout import (
    ALIGNMENT,
    DEEPEST,
    FRAMES,
    FREE,
    HEAD,
    LEAST,
    LIVING,
    NODE_BYTES,
    NODES,
    NODES_FREE,
    NODES_USED,
    NONE,
    PREFIX,
    RECORD,
    SEARCH,
    SETTLED,
    UNKNOWN,
)

if TYPE_CHECKING:
    from tinyseq.decode.ctc_options import CtcBeamSearch

NODE = NODE_BYTES // 8
"""Words of a node."""


class Beam:
    """One stream: its state in one block, and the tokens that are settled for good."""

    __slots__ = ("settled", "state")

    def __init__(self, state: Buffer, settled: list[Emitted]) -> None:
        self.state, self.settled = state, settled

    @property
    def unsettled(self) -> int:
        """The tokens of the longest hypothesis that are not settled."""
        return max(0, int(self.state.array[DEEPEST] - self.state.array[SETTLED]))


class Beams:
    """The search of ``CtcBeamSearch`` over rows of ``tokens`` numbers."""

    def __init__(self, options: CtcBeamSearch, tokens: int) -> None:
        self._options = options
        self._fusion = fusion(options, tokens)
        self.tokens = tokens
        self._width = width = options.beam_width
        # Without anything added, no token behind the width-th that is neither blank, nor repeated, nor merged
        # can be among the best: 2 * width + 1 are enough.
        most = tokens if self._fusion.parts else min(tokens, 2 * width + 1)
        limit = options.tokens_per_frame
        limited = limit is not None and limit < tokens
        self._most = limit if limited else most
        self._search = Buffer(self._settings(limited))
        self._start = self._first_state()

    def _settings(self, limited: bool) -> np.ndarray:
        """The words of a search, see ``kernels/ctc_layout.py``."""
        options, fused = self._options, self._fusion
        words = np.zeros(SEARCH, np.int64)
        words[:LEAST] = self.tokens, options.blank, self._width, self._most, limited, fused.parts
        words[LEAST:UNKNOWN].view(np.float64)[:] = (
            np.float32(options.token_min_logp),
            options.beam_prune_logp,
            fused.gain,
            options.alpha,
            options.beta,
            options.unk_score_offset,
        )
        words[UNKNOWN:] = fused.unknown, fused.closed, fused.end, options.horizon or 0
        return words

    def _first_state(self) -> np.ndarray:
        """One hypothesis: nothing, of probability one, ended by a blank."""
        nodes = 6 * self._width + 64
        words = np.zeros(HEAD + RECORD * self._width + NODE * nodes, np.int64)
        words[[LIVING, NODES, NODES_FREE, NODES_USED, FREE]] = 1, nodes, nodes - 2, 2, NONE
        record = words[HEAD : HEAD + RECORD]
        record[:PREFIX].view(np.float64)[:] = 0.0, -np.inf, 0.0, self._fusion.granted, 0.0, -np.inf
        record[PREFIX:] = 0, 1, 1, *self._fusion.start
        pool = words[HEAD + RECORD * self._width :].view(np.int32)
        # The empty prefix: no parent, one reference, no token, depth 0, no relatives, place 0.
        pool[:8] = NONE, 1, NONE, 0, NONE, NONE, NONE, 0
        # The empty alignment, which the hypothesis points to twice.
        pool[8:16] = NONE, 2, NONE, 0, 0, 0, 0, ALIGNMENT
        return words

    def begin(self) -> Beam:
        """A stream at its start."""
        return Beam(Buffer(self._start.copy()), [])

    def copy(self, beam: Beam) -> Beam:
        """The same state, to go its own way."""
        return Beam(Buffer(beam.state.array.copy()), list(beam.settled))

    def frames(self, beam: Beam) -> int:
        """Rows heard."""
        return int(beam.state.array[FRAMES])

    def _scratch(self) -> Buffer:
        return Buffer(np.empty((2 * RECORD + 2) * self._width + 2 * self._most, np.int64))

    def step(self, beams: list[Beam], chunks: list[np.ndarray]) -> list[Beam]:
        """Feeds a chunk to each stream; the same streams.

        Raises:
            FeedError: a row cannot be used; no stream has changed.
        """
        rows = [Buffer(chunk) for chunk in chunks]
        check_rows(rows)
        for group in groups(len(beams)):
            self._advance(beams[group], rows[group])
        return beams

    def _advance(self, beams: list[Beam], chunks: list[Buffer]) -> None:
        program, scratch, places = Program(), self._scratch(), {}
        written = np.zeros(len(beams), np.int64)
        counts = Buffer(written)
        rooms = [Emitted.room(beam.unsettled + len(chunk.array)) for beam, chunk in zip(beams, chunks)]
        for k, (beam, chunk, room) in enumerate(zip(beams, chunks, rooms)):
            operands = chunk, len(chunk.array), self.frames(beam), beam.state, scratch, self._search
            places[program.add("ctc_beam", *operands, *self._fusion.buffers)] = beam
            program.add("ctc_settle", beam.state, self._width, (counts, 8 * k), *_places(room, len(room)))
        with self._fusion.turn:
            place = program.run()
            while place >= 0:
                if not self._fusion.answer():
                    _grow(places[place].state)
                place = program.resume(place)
        for beam, room, count in zip(beams, rooms, written.tolist()):
            if count:
                beam.settled.append(room.first(count))

    def _best(self, beam: Beam, ended: bool) -> tuple[Emitted, list[tuple[float, Emitted]]]:
        """What is settled, and the best hypotheses' scores and tokens behind it."""
        best, room = min(self._options.nbest, self._width) if ended else 1, beam.unsettled
        counts, scores = np.zeros(best + 1, np.int64), np.empty(best)
        emitted = Emitted.room(best, room)
        program = Program()
        sizes = int(ended), best, room
        outputs = Buffer(counts), Buffer(scores), *_places(emitted, best * room)
        operands = beam.state, self._scratch(), self._search, *sizes, *outputs
        program.add("ctc_hypotheses", *operands, *self._fusion.buffers)
        with self._fusion.turn:
            place = program.run()
            while place >= 0:
                self._fusion.answer()
                place = program.resume(place)
        found = [(scores[k], Emitted(emitted.words[:, k, : counts[k + 1]])) for k in range(counts[0])]
        return self._settled(beam), found

    def _settled(self, beam: Beam) -> Emitted:
        if not beam.settled:
            return NOTHING
        beam.settled = [joined(beam.settled)]
        return beam.settled[0]

    def partial(self, beam: Beam) -> tuple[Hypothesis, Hypothesis]:
        """What is settled; the best hypothesis behind it."""
        settled, found = self._best(beam, ended=False)
        score, rest = found[0] if found else (-np.inf, NOTHING)
        vocabulary = self._options.vocabulary
        return settled.hypothesis(score, vocabulary), rest.hypothesis(score, vocabulary)

    def finish(self, beam: Beam) -> list[Hypothesis]:
        """The best hypotheses."""
        settled, found = self._best(beam, ended=True)
        return [joined([settled, rest]).hypothesis(score, self._options.vocabulary) for score, rest in found]


def _places(room: Emitted, count: int) -> tuple[Buffer, tuple[Buffer, int], tuple[Buffer, int]]:
    """Where tokens, frames and logarithms are written."""
    buffer = Buffer(room.words)
    return buffer, (buffer, 4 * count), (buffer, 8 * count)


def _grow(state: Buffer) -> None:
    """Doubles the pool of nodes: the state moves."""
    nodes = int(state.array[NODES])
    grown = np.zeros(state.array.size + nodes * NODE, np.int64)
    grown[: state.array.size] = state.array
    grown[[NODES, NODES_FREE]] += nodes
    state.move(grown)
