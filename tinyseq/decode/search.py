"""Begin, step, end: what all generations have in common. A search knows rows and scores, never models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

import numpy as np

from tinyseq.decode.options import Generation
from tinyseq.errors import OptionError
from tinyseq.kernels.instructions import (
    EMPTY,
    ENDED,
    GOES_ON,
    HEAD,
    LEAST,
    MOST,
    NODE,
    POSITION,
    ROWS,
    STATUS,
    UNITS,
    UNTIL,
)
from tinyseq.kernels.program import Buffer, Operand, Program, float_word

Processor = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]
"""Changes scores: given the tokens so far, int64 [rows, position], and the scores of the next, float32 [rows,
vocabulary], it gives the new scores, or writes them where they are and gives None."""

Streamer = Callable[[int, int, int], object]
"""Is told of each token as it is chosen: the input's number, the sequence's number, the token."""


class Steps(Protocol):
    """What a search needs of a model: rows of state, stepped together."""

    def step(
        self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray, owners: np.ndarray
    ) -> np.ndarray:
        """Scores of the next tokens, float32 [at least rows, vocabulary], which the search may overwrite: the
        same array as long as it has so many rows.

        Row i reads the state in place sources[i], is given tokens[i], and writes its state into place
        targets[i]; owners[i] is the first place of its input, where what never changes lies.
        """

    def span(self) -> range:
        """How many rows may be stepped by ``chain`` after this step; none where only ``step`` can."""

    def chain(self, program: Program, feeds: Buffer, rows: Operand) -> None:
        """Adds to a program what steps rows as ``step`` does, leaving the scores where the last step left
        them: feeds[4, places] holds what ``step`` is given, and a word in memory how many rows there are."""

    def fail(self) -> NoReturn:
        """Says why what ``chain`` added has failed."""

    def attention(self) -> np.ndarray:
        """The attention of the last step, float32 [at least rows, positions]."""

    def release(self) -> None:
        """Says that the last step has been."""


class Hypothesis(NamedTuple):
    """One generated sequence.

    ``tokens`` are the new ones, less the end token; ``token_scores`` has one score for each, and one more for
    the end token where ``finished`` says that there was one. ``score`` is what hypotheses are ordered by.
    ``attention`` [tokens and end token, positions] is there if it was asked for.
    """

    tokens: list[int]
    score: float
    token_scores: list[float]
    finished: bool
    attention: np.ndarray | None = None


class Search(ABC):
    """The search for one batch: an input has ``beams`` independent beams of ``width`` places each."""

    def __init__(
        self,
        steps: Steps,
        kind: int,
        prompts: np.ndarray,
        options: Generation,
        beams: int,
        width: int,
        processors: Sequence[Processor] = (),
    ) -> None:
        self.options = options
        self.steps = steps
        self._kind = kind
        self._processors = tuple(processors)
        self._beams, self._width, self._share = beams, width, beams * width
        inputs, self._prompt = prompts.shape
        self._slots = inputs * self._share
        self._room = self._prompt + options.max_new_tokens
        trace = np.zeros((self._room, self._slots, NODE), np.int64)
        trace[: self._prompt, :, 0] = np.repeat(prompts, self._share, axis=0).T
        trace[: self._prompt, :, 3] = np.arange(self._slots)
        self._trace, self._live = Buffer(trace), Buffer(np.arange(inputs * beams))
        self._status = Buffer(np.zeros(STATUS, np.int64))
        self._totals = memoryview(self._status.array)
        self._totals[UNITS] = self._totals[ROWS] = inputs * beams
        self._totals[POSITION] = self._prompt
        # Operands: words of the status.
        self._rows, self._now = (self._status, 8 * ROWS), (self._status, 8 * POSITION)
        self._feeds = Buffer(np.zeros((4, self._slots), np.int64))
        self._kept: list[np.ndarray] = []
        self._made: dict[tuple, tuple[Program, ...]] = {}
        self._programs: tuple[Program, ...] = ()
        self._phase: tuple = ()
        self._until = 0
        self._given: list[np.ndarray] = []
        self._y = Buffer(np.zeros((0, 0), np.float32))
        self._ys: dict[int, Buffer] = {}
        self._vocabulary = 0
        self._remembers = bool(options.repetition_penalty != 1 or options.no_repeat_ngram_size or processors)
        if self._remembers:
            self._history = Buffer(np.zeros((self._slots, NODE, self._room), np.int64))
            # The slots whose histories are laid out: the second row of the feeds' targets.
            self._ends = self._feeds, 2 * self._slots * 8
        # Steps in which some option has a say that it has in no other.
        forced = options.forced_bos_token_id is not None
        self._special = forced + bool(options.begin_suppress_tokens)
        self._most = options.max_new_tokens
        self._begin(prompts, np.arange(inputs) * self._share)

    def _begin(self, prompts: np.ndarray, first: np.ndarray) -> None:
        """Gives the decoder all but the last token of the prompts; readies the first step, a row a beam.

        ``first`` is each input's first place.
        """
        for column in range(self._prompt - 1):
            self.steps.step(np.ascontiguousarray(prompts[:, column]), first, first, first)
        owners = np.repeat(first, self._beams)
        places = self._live.array * self._width
        self._feeds.array[:, : len(places)] = np.repeat(prompts[:, -1], self._beams), owners, places, owners

    @property
    def position(self) -> int:
        """Tokens of each hypothesis, those of the prompt included."""
        return self._totals[POSITION]

    @property
    def over(self) -> bool:
        """Whether all inputs are done."""
        return not self._totals[ROWS]

    def step(self, most: int = 1) -> bool:
        """Up to ``most`` tokens for every hypothesis; False once all inputs are done."""
        end = self.position + most
        while not self.over and self.position < end:
            self._advance(end)
            if self.over:
                self.steps.release()
        return not self.over

    def _advance(self, end: int) -> None:
        """One token, or several, but not beyond position ``end``, if nothing has to be looked at between."""
        totals = self._totals
        if self.position >= self._until:
            self._choose()
        if totals[LEAST] <= totals[ROWS] <= totals[MOST]:
            totals[UNTIL] = min(self._until, end)
            if self._chained().run() >= 0:
                self.steps.fail()
            return
        self._step_rows(totals[ROWS])

    def _step_rows(self, count: int) -> None:
        """One token, the rows being stepped by a call of their own."""
        if len(self._given) == 0 or len(self._given[0]) != count:
            self._given = [row[:count] for row in self._feeds.array]
        scores = self.steps.step(*self._given)
        if scores is not self._y.array:
            self._take(scores)
        if self._wants_attention:
            self._heed(self.steps.attention()[:count])
        programs = self._ready()
        programs[0].run()
        if self._processors:
            self._process(scores[:count])
            programs[1].run()
        if not self._looks_on:
            span = self.steps.span()
            self._totals[LEAST], self._totals[MOST] = span.start, span.stop - 1

    @property
    def _looks_on(self) -> bool:
        """Whether something is done in Python between two tokens."""
        return bool(self._processors) or self._wants_attention

    def _heed(self, attention: np.ndarray) -> None:
        """Takes notice of the attention of this step."""
        self._kept.append(np.array(attention))

    @property
    def _wants_attention(self) -> bool:
        return self.options.output_attentions

    def _take(self, scores: np.ndarray) -> None:
        """Other rows of scores than in the step before."""
        if self._vocabulary != scores.shape[1]:
            self._vocabulary = scores.shape[1]
            self._check_tokens(self._vocabulary)
            self._scratch = Buffer(np.zeros(self._vocabulary, np.float32))
        self._y = self._ys.setdefault(id(scores), Buffer(scores))

    def _check_tokens(self, vocabulary: int) -> None:
        for name in ("forced_bos_token_id", "forced_eos_token_id", "eos_token_id"):
            given = getattr(self.options, name)
            for token in self.options.end_tokens if name == "eos_token_id" else (given,):
                if token is not None and token >= vocabulary:
                    raise OptionError(f"{name}={given}: the decoder has scores for {vocabulary} tokens")

    def _process(self, scores: np.ndarray) -> None:
        tokens = self._history.array[: len(scores), 0, : self.position]
        for processor in self._processors:
            given = processor(tokens, scores)
            if given is None:
                continue
            if np.shape(given) != scores.shape:
                raise OptionError(f"a logits processor gave {np.shape(given)} and must give {scores.shape}")
            scores[...] = given

    def _choose(self) -> None:
        """Finds which options have a say in this step and those after it, up to some position."""
        options, new = self.options, self.position - self._prompt
        last = new + 1 == self._most
        short = new < options.min_new_tokens
        special = new < self._special
        self._phase = (new if special else -1, short, last and options.forced_eos_token_id is not None)
        changes = (new + 1 if special else self._most, options.min_new_tokens if short else self._most)
        self._until = self._prompt + min(*changes, self._most if last else self._most - 1)

    def _ready(self) -> tuple[Program, ...]:
        """The programs of this step, for scores that are there."""
        key = (*self._phase, self._y.address)
        programs = self._made.get(key)
        if programs is None:
            programs = (Program(), Program()) if self._processors else (Program(),)
            self._prepare(programs[0], *self._phase)
            self._select(programs[-1])
            self._made[key] = programs
        return programs

    def _chained(self) -> Program:
        """The program that steps rows and chooses tokens, again and again."""
        key = (*self._phase, self._y.address, True)
        programs = self._made.get(key)
        if programs is None:
            program = Program()
            self.steps.chain(program, self._feeds, self._rows)
            self._prepare(program, *self._phase)
            self._select(program)
            program.repeat((self._status, 8 * GOES_ON))
            programs = self._made[key] = (program,)
        return programs[0]

    def _prepare(self, program: Program, new: int, short: bool, last: bool) -> None:
        """Adds what makes scores ready for token number ``new``; -1 where the number plays no part."""
        options = self.options
        size = self._y, self._rows, self._vocabulary
        self._normalise(program)
        if self._remembers:
            sizes = self._rows, self._slots, self._room
            program.add("unroll", self._trace, self._ends, self._now, 0, self._history, *sizes)
        before = self._now, NODE * self._room
        if options.repetition_penalty != 1:
            y, *sizes = size
            penalty = float_word(options.repetition_penalty)
            program.add("penalize_repetition", y, self._history, self._scratch, *sizes, *before, penalty)
        if options.no_repeat_ngram_size:
            y, *sizes = size
            program.add("ban_ngrams", y, self._history, *sizes, *before, options.no_repeat_ngram_size)
        begin = int(options.forced_bos_token_id is not None)
        for tokens, now in (
            (options.end_tokens, short),
            (options.suppress_tokens, True),
            (options.begin_suppress_tokens, new == begin),
        ):
            if tokens and now:
                program.add("ban_tokens", *size, len(tokens), *tokens)
        for token, now in ((options.forced_bos_token_id, new == 0), (options.forced_eos_token_id, last)):
            if token is not None and now:
                program.add("force_token", *size, token)

    def _normalise(self, program: Program, kind: int | None = None) -> None:
        """Adds log softmax in place, of what the model gives if ``kind`` is left out."""
        kind = self._kind if kind is None else kind
        program.add("log_softmax", self._y, self._scratch, self._rows, self._vocabulary, kind)

    @abstractmethod
    def _select(self, program: Program) -> None:
        """Adds what chooses the next tokens and readies the rows of the next step."""

    @abstractmethod
    def _results(self) -> tuple[np.ndarray, np.ndarray]:
        """Heads [inputs, places, HEAD] and last nodes [inputs, places, NODE], best first."""

    def end(self) -> list[list[Hypothesis]]:
        """For each input its hypotheses, best first; those not finished yet as they stand."""
        heads, nodes = self._results()
        there = heads[:, :, HEAD - 1] != EMPTY
        heads, nodes = heads[there], nodes[there]
        lengths = heads[:, 2].astype(np.int64) + self._prompt
        records = np.zeros((len(heads), NODE, self._room), np.int64)
        ends, before = (
            np.ascontiguousarray(nodes[:, 3]),
            np.where(lengths > self._prompt, lengths - 1, lengths),
        )
        program = Program()
        count = Buffer(np.array([len(heads)]))
        operands = self._trace, Buffer(ends), Buffer(before), 1, Buffer(records), count
        program.add("unroll", *operands, self._slots, self._room)
        program.run()
        rows = np.flatnonzero(lengths > self._prompt)
        records[rows, :, lengths[rows] - 1] = nodes[rows]
        found = [self._hypothesis(*both) for both in zip(heads.tolist(), records)]
        bounds = np.cumsum(there.sum(1)).tolist()
        return [found[start:stop] for start, stop in zip([0, *bounds], bounds)]

    def _hypothesis(self, head: list[float], record: np.ndarray) -> Hypothesis:
        score, _, length, how = head
        new = record[:, self._prompt : self._prompt + int(length)]
        finished = how == ENDED
        tokens = new[0].tolist()
        attention = None
        if self.options.output_attentions:
            given = [kept[row] for kept, row in zip(self._kept, new[1].tolist())]
            attention = np.array(given) if given else np.zeros((0, *self._kept[0].shape[1:]), np.float32)
        scores = new[2].view(np.float64).tolist()
        return Hypothesis(tokens[:-1] if finished else tokens, score, scores, finished, attention)
