"""Transducer searches on the kernels: what a stream keeps, and how chunks become calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from tinyseq.decode.frames.prefix_search import BeamState, PrefixSearch, Scoring, places
from tinyseq.decode.frames.rows import groups, wrong
from tinyseq.decode.frames.snapshots import MOST_FRAMES, emitted, ensure, field
from tinyseq.decode.hypothesis import NO_TOKENS, Emitted, Hypothesis, Partial, TokenLog
from tinyseq.decode.lm.options import Hotwords, check_tokens
from tinyseq.decode.transducer.options import TransducerBeamSearch, TransducerGreedy
from tinyseq.decode.transducer.requests import RequestQueue, TransducerModel
from tinyseq.errors import FeedError
from tinyseq.kernels.instructions import LOGITS, PROBABILITIES, SCRATCH
from tinyseq.kernels.program import Buffer, Program, float_word
from tinyseq.kernels.search.layout import (
    EMITTED,
    HEADER,
    LIVING,
    PATH,
    PLACE,
    PROCESSED,
    RECORD,
    REQUESTED,
    SYMBOLS,
    TOTAL,
    WAITING,
)

MOST_PLACES = 512
"""Places of the predictor that are filled at once; more streams are searched group after group."""


@dataclass(slots=True)
class GreedyState:
    """A greedy stream: its words, see ``layout.py``, and its tokens, none of which moves any more."""

    words: Buffer
    emitted: TokenLog
    room: Emitted = NO_TOKENS
    """Where a step writes the tokens of its frames."""


SearchState = TypeVar("SearchState", GreedyState, BeamState)


@dataclass(slots=True)
class StreamState(Generic[SearchState]):
    """A stream: what is found, and its places of the predictor: arrays by name, places first."""

    found: SearchState
    state: dict[str, np.ndarray]


if TYPE_CHECKING:
    from tinyseq.decode.lm.spelling import WordReader


class _Search(ABC, Generic[SearchState]):
    """What greedy and beam search have in common: frames are fed to the models as streams ask for them."""

    defers_predictor: bool
    """Whether predictions wait until no stream asks for rows."""
    width: int
    reader: WordReader | None = None

    def __init__(self, options: TransducerGreedy | TransducerBeamSearch, model: TransducerModel) -> None:
        check_tokens(options, model.vocabulary_size)
        self._options, self._model = options, model
        self.size = model.frame_size

    @abstractmethod
    def _start(self, scoring: Scoring | None) -> SearchState: ...

    def scoring(self, hotwords: Hotwords) -> Scoring | None:
        """What is added to the scores of a stream that has hotwords of its own; None of greedy search."""
        return None

    @abstractmethod
    def _copied(self, found: SearchState) -> SearchState: ...

    @abstractmethod
    def _add(self, program: Program, found: SearchState, where: tuple[Buffer, Buffer, int, int, int]) -> int:
        """Adds a stream's step; ``where`` are scores, queue, first frame, frames, first place."""

    def begin(self, scoring: Scoring | None) -> StreamState[SearchState]:
        """A stream at its start."""
        state = {}
        for name, first in self._model.first.items():
            state[name] = np.zeros((self.width, *first.shape), first.dtype)
            state[name][0] = first
        return StreamState(self._start(scoring), state)

    def copy(self, stream: StreamState[SearchState]) -> StreamState[SearchState]:
        """The same state, to go its own way."""
        state = {name: array.copy() for name, array in stream.state.items()}
        return StreamState(self._copied(stream.found), state)

    @abstractmethod
    def _found_fields(self, found: SearchState) -> dict[str, np.ndarray]: ...

    @abstractmethod
    def _found_restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring | None) -> SearchState: ...

    def fields(self, stream: StreamState[SearchState]) -> dict[str, np.ndarray]:
        """The state as arrays."""
        return self._found_fields(stream.found) | stream.state

    def restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring | None) -> StreamState[SearchState]:
        """The state that ``fields`` gave."""
        state = {
            name: field(fields, name, first.dtype, (self.width, *first.shape))
            for name, first in self._model.first.items()
        }
        return StreamState(self._found_restored(fields, scoring), state)

    def step(
        self, streams: list[StreamState[SearchState]], chunks: list[np.ndarray]
    ) -> list[StreamState[SearchState]]:
        """The streams after a chunk each.

        Raises:
            FeedError: a frame or a row of scores cannot be used.
        """
        for sequence, chunk in enumerate(chunks):
            if not np.isfinite(chunk).all():
                row = int(np.flatnonzero(~np.isfinite(chunk).all(1))[0])
                raise FeedError(
                    f"frame {row} of sequence {sequence} holds NaN or infinity. Nothing was decoded"
                )
        following = [self.copy(stream) for stream in streams]
        share = max(1, MOST_PLACES // self.width)
        for start in range(0, len(streams), share):
            self._process(following[start : start + share], chunks[start : start + share])
        return following

    def _process(self, streams: list[StreamState[SearchState]], chunks: list[np.ndarray]) -> None:
        """Takes streams through their chunks."""
        rows = self._model.rows(len(streams) * self.width)
        for name, array in rows.state.items():
            np.concatenate([stream.state[name] for stream in streams], out=array)
        queue = RequestQueue(rows, np.concatenate(chunks), len(streams) * self.width)
        program, scores = Program(), Buffer(np.zeros((0, 0), np.float32))
        count = Buffer(np.zeros(1, np.int64))
        bad = self._prepare(program, scores, count)
        found, first = {}, 0
        for k, (stream, chunk) in enumerate(zip(streams, chunks)):
            where = scores, queue.buffer, first, len(chunk), k * self.width
            found[self._add(program, stream.found, where)] = stream.found
            first += len(chunk)
        self._run(program, found)
        while queue.is_asked:
            given = queue.serve(self.defers_predictor)
            count.array[0] = queue.served
            if given is not None and given is not scores.array:
                scores.move(given)
                program.moved()
            if self._run(program, found) >= 0:
                what = wrong(given[bad.array[0]])
                raise FeedError(f"the joiner gives a row of scores that holds {what}. Nothing was decoded")
        for name, array in rows.state.items():
            for k, stream in enumerate(streams):
                stream.state[name] = array[k * self.width : (k + 1) * self.width].copy()
        self._model.give_back(rows)

    @abstractmethod
    def _run(self, program: Program, found: dict[int, SearchState]) -> int:
        """Runs a program for streams, by the places of their steps; -1, or the place of what failed."""

    def _prepare(self, program: Program, scores: Buffer, count: Buffer) -> Buffer:
        """Adds what makes log-probabilities of scores and fails at those that nothing can be made of; gives
        where the number of such a row will be."""
        options, kind = self._options, self._model.kind
        size = count, self._model.vocabulary_size
        scratch, bad = Buffer(np.zeros(max(size[1], SCRATCH), np.float32)), Buffer(np.zeros(1, np.int64))
        program.add("usable_rows", scores, *size, bad)
        if kind == PROBABILITIES:
            program.add("log_softmax", scores, scratch, *size, kind)
            program.add("usable_rows", scores, *size, bad)
        scaling = options.blank_penalty, options.temperature
        if scaling != (0.0, 1.0):
            program.add("apply_temperature", scores, *size, options.blank, *map(float_word, scaling))
        if kind == LOGITS or scaling != (0.0, 1.0):
            program.add("log_softmax", scores, scratch, *size, LOGITS)
        return bad


class GreedySearch(_Search[GreedyState]):
    """The search of ``TransducerGreedy``."""

    defers_predictor, width = True, 1

    def _start(self, scoring: Scoring | None) -> GreedyState:
        return GreedyState(Buffer(np.zeros(PATH, np.int64)), TokenLog())

    def _copied(self, found: GreedyState) -> GreedyState:
        return GreedyState(Buffer(found.words.array.copy()), found.emitted.copy())

    def _add(self, program: Program, found: GreedyState, where: tuple[Buffer, Buffer, int, int, int]) -> int:
        scores, queue, first, frames, place = where
        options, words = self._options, found.words.array
        room = Emitted.room(frames * options.max_symbols)
        found.room = room
        words[EMITTED] = 0
        return program.add(
            "transducer_path",
            *(scores, self._model.vocabulary_size, options.blank, options.max_symbols),
            *(queue, first, frames, int(words[PROCESSED]), place, found.words, *places(room, len(room))),
        )

    def _run(self, program: Program, found: dict[int, GreedyState]) -> int:
        return program.run()

    def step(
        self, streams: list[StreamState[GreedyState]], chunks: list[np.ndarray]
    ) -> list[StreamState[GreedyState]]:
        following = super().step(streams, chunks)
        for stream in following:
            path = stream.found
            path.emitted.append(path.room.first(int(path.words.array[EMITTED])))
            path.room = NO_TOKENS
        return following

    def _found_fields(self, found: GreedyState) -> dict[str, np.ndarray]:
        return {"words": found.words.array, "tokens": found.emitted.emitted.words}

    def _found_restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring | None) -> GreedyState:
        words = field(fields, "words", np.int64, (PATH,))
        ensure(0 <= words[PROCESSED] < MOST_FRAMES and words[TOTAL:].view(np.float64)[0] <= np.inf)
        ensure(words[SYMBOLS] == words[REQUESTED] == words[WAITING] == 0)
        return GreedyState(Buffer(words), TokenLog(emitted(fields, self._model.vocabulary_size)))

    def frames(self, stream: StreamState[GreedyState]) -> int:
        """Frames processed."""
        return int(stream.found.words.array[PROCESSED])

    def partial(self, stream: StreamState[GreedyState]) -> Partial:
        """All tokens, for none is ever taken back; nothing."""
        return Partial(stream.found.emitted.emitted, NO_TOKENS, self._score(stream.found))

    def finish(self, stream: StreamState[GreedyState]) -> list[Hypothesis]:
        """The one hypothesis."""
        path = stream.found
        return [path.emitted.emitted.hypothesis(self._score(path), self._options.vocabulary)]

    def _score(self, path: GreedyState) -> float:
        return float(path.words.array[TOTAL:].view(np.float64)[0])


class ModifiedBeamSearch(_Search[BeamState]):
    """The search of ``TransducerBeamSearch``."""

    defers_predictor = False

    def __init__(self, options: TransducerBeamSearch, model: TransducerModel) -> None:
        super().__init__(options, model)
        self.width = options.beam_width
        norm = max(1, model.start_tokens) if options.length_norm else 0
        self._prefixes = PrefixSearch(options, model.vocabulary_size, norm=norm)
        self.reader = self._prefixes.reader

    def scoring(self, hotwords: Hotwords) -> Scoring:
        return self._prefixes.scoring(hotwords)

    def _start(self, scoring: Scoring | None) -> BeamState:
        return self._prefixes.begin(scoring)

    def _copied(self, found: BeamState) -> BeamState:
        return self._prefixes.copy(found)

    def _add(self, program: Program, found: BeamState, where: tuple[Buffer, Buffer, int, int, int]) -> int:
        scores, queue, first, frames, place = where
        return program.add(
            "transducer_beam",
            *(scores, queue, first, frames, self._prefixes.frames(found), place, found.state),
            *(self._prefixes.scratch([found]), *found.scoring.operands),
        )

    def _run(self, program: Program, found: dict[int, BeamState]) -> int:
        return self._prefixes.run(program, found)

    def step(
        self, streams: list[StreamState[BeamState]], chunks: list[np.ndarray]
    ) -> list[StreamState[BeamState]]:
        following = super().step(streams, chunks)
        beams = [stream.found for stream in following]
        for group in groups(len(beams)):
            program = Program()
            keep = self._prefixes.settling(program, beams[group], [beam.unsettled for beam in beams[group]])
            program.run()
            keep()
        return following

    def _found_fields(self, found: BeamState) -> dict[str, np.ndarray]:
        return self._prefixes.fields(found)

    def _found_restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring | None) -> BeamState:
        beam = self._prefixes.restored(fields, scoring)
        words = beam.state.array
        own = words[HEADER : HEADER + RECORD * self.width].reshape(self.width, RECORD)[: words[LIVING], PLACE]
        ensure(((own >= 0) & (own < self.width)).all() and len(set(own.tolist())) == len(own))
        return beam

    def frames(self, stream: StreamState[BeamState]) -> int:
        """Frames processed."""
        return self._prefixes.frames(stream.found)

    def partial(self, stream: StreamState[BeamState]) -> Partial:
        """What is settled; the best hypothesis behind it."""
        return self._prefixes.partial(stream.found)

    def finish(self, stream: StreamState[BeamState]) -> list[Hypothesis]:
        """The best hypotheses."""
        return self._prefixes.finish(stream.found)
