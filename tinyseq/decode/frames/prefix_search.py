"""What prefix beam searches have in common: a stream's state, and what is found in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinyseq.decode.frames.snapshots import check_block, emitted, ensure, field
from tinyseq.decode.hypothesis import NO_TOKENS, Emitted, Hypothesis, Partial, TokenLog, joined
from tinyseq.decode.lm.options import Hotwords, PrefixSearchOptions, weighed
from tinyseq.decode.lm.shallow_fusion import Fusion, boosted, fusion, spelt_hotwords
from tinyseq.decode.lm.spelling import Spelling
from tinyseq.errors import StateError
from tinyseq.kernels.program import Buffer, Program
from tinyseq.kernels.search.layout import (
    DEEPEST,
    FRAMES,
    FREE,
    HEADER,
    IS_ALIGNMENT,
    LIVING,
    MIN_LOGP,
    NODE_BYTES,
    NODES,
    NODES_FREE,
    NODES_USED,
    NONE,
    PREFIX,
    RECORD,
    SEARCH,
    SETTLED,
    UNKNOWN_LABEL,
)

NODE_WORDS = NODE_BYTES // 8
"""Words of a node."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is added to the scores of a stream, and all that follows from it.

    Attributes:
        fusion: what is added.
        settings: of the search, see ``layout.py``.
        most: how many tokens of a row are looked at.
        start: the state of a stream at its start.
    """

    fusion: Fusion
    settings: Buffer
    most: int
    start: np.ndarray

    @property
    def operands(self) -> tuple[Buffer, ...]:
        """What the instructions of a step are given behind the working memory."""
        return self.settings, *self.fusion.buffers


class BeamState:
    """One stream: its state in one block, the tokens that are settled for good, and what is added."""

    __slots__ = ("scoring", "settled", "state")

    def __init__(self, state: Buffer, settled: TokenLog, scoring: Scoring) -> None:
        self.state, self.settled, self.scoring = state, settled, scoring

    @property
    def unsettled(self) -> int:
        """The tokens of the longest hypothesis that are not settled."""
        return max(0, int(self.state.array[DEEPEST] - self.state.array[SETTLED]))

    def grow(self) -> None:
        """Doubles the pool of nodes: the state moves."""
        words = self.state.array
        nodes = int(words[NODES])
        grown = np.zeros(words.size + nodes * NODE_WORDS, np.int64)
        grown[: words.size] = words
        grown[[NODES, NODES_FREE]] += nodes
        self.state.move(grown)


class PrefixSearch:
    """A search over rows of ``tokens`` scores, ``width`` hypotheses of which go on.

    Args:
        limited, most: how many tokens of a row are looked at, and whether the user said so.
        norm: the tokens that a hypothesis without any counts as where scores are a token's share, else 0.
    """

    def __init__(
        self,
        options: PrefixSearchOptions,
        tokens: int,
        most: int | None = None,
        limited: bool = False,
        norm: int = 0,
    ) -> None:
        self._options, self._tokens, self.width = options, tokens, options.beam_width
        self._limits = most, limited, norm
        is_plain = options.lm is None and options.lexicon is None
        self._plain = fusion(options, None if is_plain else self._spelling)
        self.reader = self._plain.reader
        self._hotwords = self._spelt(weighed(options.hotwords, options.hotword_weight))
        self._scoring = self._scored(self._hotwords)

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self._options, self._tokens)

    def _spelt(self, hotwords: Hotwords) -> dict[tuple[int, ...], float]:
        return spelt_hotwords(hotwords, self._options.blank, self._spelling) if hotwords else {}

    def scoring(self, hotwords: Hotwords) -> Scoring:
        """What is added to the scores of a stream with hotwords of its own, beside those of the options.

        Raises:
            OptionError: some cannot be spelt.
        """
        return self._scored(self._hotwords | self._spelt(hotwords)) if hotwords else self._scoring

    def _scored(self, hotwords: dict[tuple[int, ...], float]) -> Scoring:
        fused = boosted(self._plain, self._spelling, hotwords) if hotwords else self._plain
        options, (most, limited, norm) = self._options, self._limits
        if most is None:
            # Without anything added, no token behind the width-th that is neither blank, nor repeated, nor
            # merged can be among the best: 2 * width + 1 are enough.
            most = self._tokens if fused.parts else min(self._tokens, 2 * self.width + 1)
        hypotheses, least = options.pruning
        words = np.zeros(SEARCH, np.int64)
        words[:MIN_LOGP] = self._tokens, options.blank, self.width, most, limited, fused.parts
        words[MIN_LOGP:UNKNOWN_LABEL].view(np.float64)[:] = (
            np.float32(least),
            hypotheses,
            fused.gain,
            options.alpha,
            options.beta,
            options.unk_score_offset,
        )
        words[UNKNOWN_LABEL:] = fused.unknown, fused.closed, fused.end, options.horizon or 0, norm
        return Scoring(fused, Buffer(words), most, self._first_state(fused))

    def _first_state(self, fused: Fusion) -> np.ndarray:
        """One hypothesis: nothing, of probability one; as CTC sees it, ended by a blank."""
        nodes = 6 * self.width + 64
        words = np.zeros(HEADER + RECORD * self.width + NODE_WORDS * nodes, np.int64)
        words[[LIVING, NODES, NODES_FREE, NODES_USED, FREE]] = 1, nodes, nodes - 2, 2, NONE
        record = words[HEADER : HEADER + RECORD]
        record[:PREFIX].view(np.float64)[:] = 0.0, -np.inf, 0.0, fused.granted, 0.0, -np.inf
        record[PREFIX:] = 0, 1, 1, *fused.start
        pool = words[HEADER + RECORD * self.width :].view(np.int32)
        # The empty prefix: no parent, one reference, no token, depth 0, no relatives, place 0.
        pool[:8] = NONE, 1, NONE, 0, NONE, NONE, NONE, 0
        # The empty alignment, which the hypothesis points to twice.
        pool[8:16] = NONE, 2, NONE, 0, 0, 0, 0, IS_ALIGNMENT
        return words

    def begin(self, scoring: Scoring) -> BeamState:
        """A stream at its start."""
        return BeamState(Buffer(scoring.start.copy()), TokenLog(), scoring)

    def copy(self, beam: BeamState) -> BeamState:
        """The same state, to go its own way."""
        return BeamState(Buffer(beam.state.array.copy()), beam.settled.copy(), beam.scoring)

    def frames(self, beam: BeamState) -> int:
        """Rows processed."""
        return int(beam.state.array[FRAMES])

    def scratch(self, beams: list[BeamState]) -> Buffer:
        """Working memory for one of several streams after the other."""
        most = max((beam.scoring.most for beam in beams), default=0)
        return Buffer(np.empty((2 * RECORD + 2) * self.width + 2 * most, np.int64))

    def run(self, program: Program, beams: dict[int, BeamState]) -> int:
        """Runs instructions, which stand in their places for ``beams``, until none lacks anything; -1, or the
        place of one that failed and stands for no beam."""
        with self._plain.lock:
            place = program.run()
            while place >= 0:
                if not self._plain.answer():
                    if place not in beams:
                        return place
                    beams[place].grow()
                place = program.resume(place)
        return place

    def settling(self, program: Program, beams: list[BeamState], rooms: list[int]) -> Callable[[], None]:
        """Adds what takes the tokens that all hypotheses of a stream have in common, so many at most, out of
        its state; gives what keeps them once it has run."""
        written = np.zeros(len(beams), np.int64)
        counts = Buffer(written)
        taken = [Emitted.room(room) for room in rooms]
        for k, (beam, room) in enumerate(zip(beams, taken)):
            program.add("settle", beam.state, self.width, (counts, 8 * k), *places(room, len(room)))

        def keep() -> None:
            for beam, room, count in zip(beams, taken, written.tolist()):
                if count:
                    beam.settled.append(room.first(count))

        return keep

    def _best(self, beam: BeamState, ended: bool) -> list[tuple[float, Emitted]]:
        """The best hypotheses' scores, and their tokens behind what is settled."""
        best, room = min(self._options.nbest, self.width) if ended else 1, beam.unsettled
        counts, scores = np.zeros(best + 1, np.int64), np.empty(best)
        emitted = Emitted.room(best, room)
        program = Program()
        sizes = int(ended), best, room
        outputs = Buffer(counts), Buffer(scores), *places(emitted, best * room)
        settings, *added = beam.scoring.operands
        operands = beam.state, self.scratch([beam]), settings, *sizes, *outputs
        program.add("hypotheses", *operands, *added)
        self.run(program, {})
        return [(scores[k], Emitted(emitted.words[:, k, : counts[k + 1]])) for k in range(counts[0])]

    def fields(self, beam: BeamState) -> dict[str, np.ndarray]:
        """The state as arrays, and the settings that it is for."""
        if self._plain.is_asked:
            raise StateError(
                "a stream cannot be saved whose language model is asked (read_kenlm): its states have "
                "numbers in this process only; those of an ARPA file have them everywhere"
            )
        settled = beam.settled.emitted.words
        return {"settings": beam.scoring.settings.array, "block": beam.state.array, "tokens": settled}

    def restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring) -> BeamState:
        """The state that ``fields`` gave."""
        settings = field(fields, "settings", np.int64, (SEARCH,))
        ensure(np.array_equal(settings, scoring.settings.array) and not self._plain.is_asked)
        block, settled = field(fields, "block", np.int64, (None,)), emitted(fields, self._tokens)
        check_block(block, self.width, self._tokens, scoring.fusion.state_ranges)
        ensure(len(settled) == block[SETTLED])
        return BeamState(Buffer(block), TokenLog(settled), scoring)

    def partial(self, beam: BeamState) -> Partial:
        """What is settled; the best hypothesis behind it."""
        found = self._best(beam, ended=False)
        score, rest = found[0] if found else (-np.inf, NO_TOKENS)
        return Partial(beam.settled.emitted, rest, float(score))

    def finish(self, beam: BeamState) -> list[Hypothesis]:
        """The best hypotheses. Where all end within a word of a lexicon, the best of them."""
        found = self._best(beam, ended=True)
        if not found and self.reader is not None:
            found = self._best(beam, ended=False)
        settled, vocabulary = beam.settled.emitted, self._options.vocabulary
        whole = [(score, joined([settled, rest])) for score, rest in found]
        return [one.hypothesis(score, vocabulary, reader=self.reader) for score, one in whole]


def places(room: Emitted, count: int) -> tuple[Buffer, tuple[Buffer, int], tuple[Buffer, int]]:
    """Where tokens, frames and logarithms are written."""
    buffer = Buffer(room.words)
    return buffer, (buffer, 4 * count), (buffer, 8 * count)
