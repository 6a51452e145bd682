"""Begin, step, end: what all generations have in common. A search knows rows and scores, never models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import numpy as np

from tinyseq.common.given import as_array
from tinyseq.decode.calls import CALL_SECONDS
from tinyseq.decode.generation.chain import Chain, Steps
from tinyseq.decode.generation.options import Generation
from tinyseq.decode.generation.trace import Found, Reader
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.errors import OptionError
from tinyseq.kernels.instructions import (
    GOES_ON,
    MAX_ROWS,
    MIN_ROWS,
    NODE,
    POSITION,
    ROWS,
    SCRATCH,
    STATUS,
    UNITS,
    UNTIL,
)
from tinyseq.kernels.program import Buffer, Program, float_word

MOST_AT_ONCE = 2**10
"""Tokens that a native call may choose."""

Processor = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]
"""Changes scores: given the tokens so far, int64 [rows, position], and the scores of the next, float32 [rows,
vocabulary], it gives the new scores, or writes them where they are and gives None."""


class Search(ABC):
    """The search for batches of so many inputs, one after the other, each from ``begin`` to ``end``.

    An input has ``beams`` independent beams of ``width`` places each, and a prompt of ``length`` tokens.
    """

    def __init__(
        self,
        steps: Steps,
        kind: int,
        inputs: int,
        length: int,
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
        self._inputs, self._prompt = inputs, length
        self._slots = inputs * self._share
        self._room = self._prompt + options.max_new_tokens
        self._trace = Buffer(np.zeros((self._room, self._slots, NODE), np.int64))
        self._trace.array[: self._prompt, :, 3] = np.arange(self._slots)
        self._live = Buffer(np.zeros(inputs * beams, np.int64))
        self._status = Buffer(np.zeros(STATUS, np.int64))
        self._totals = memoryview(self._status.array)
        # Operands: words of the status.
        self._rows, self._now = (self._status, 8 * ROWS), (self._status, 8 * POSITION)
        self._feeds = Buffer(np.zeros((4, self._slots), np.int64))
        self._kept: list[np.ndarray] = []
        self._made: dict[tuple, tuple[Program, ...]] = {}
        self._phase: tuple = ()
        self._until = 0
        self._at_once = 1
        self._chainable = True
        self._y = Buffer(np.zeros((0, 0), np.float32))
        self._ys: dict[int, Buffer] = {}
        self._chains: list[Chain] = []
        self._away: list[Program] = []
        self._vocabulary = 0
        self._remembers = bool(options.repetition_penalty != 1 or options.no_repeat_ngram_size or processors)
        if self._remembers:
            self._history = Buffer(np.zeros((self._slots, NODE, self._room), np.int64))
            # The slots whose histories are laid out: the second row of the feeds' targets.
            self._ends = self._feeds, 2 * self._slots * 8
        # Steps to which some option applies that applies to no other.
        forced = options.forced_bos_token_id is not None
        self._special = forced + bool(options.begin_suppress_tokens)
        self._most = options.max_new_tokens
        self._reader = Reader(self._trace, self._prompt, options.output_attentions)

    def begin(
        self, parts: Mapping[str, np.ndarray], prompts: np.ndarray, keys: np.ndarray | None = None
    ) -> None:
        """Begins a batch: gives the model its inputs ``parts``, as of ``Steps.begin``, and all but the last
        token of the prompts [inputs, length]; readies the first step, a row a beam.

        ``keys`` has a random number's key for each sequence of each input, int64 [inputs, sequences].
        """
        self.steps.begin(parts)
        self._changed()
        self._kept = []
        self._until = 0
        self._trace.array[: self._prompt, :, 0] = np.repeat(prompts, self._share, axis=0).T
        count = self._inputs * self._beams
        self._totals[UNITS] = self._totals[ROWS] = count
        self._totals[POSITION] = self._prompt
        self._live.array[:] = np.arange(count)
        first = np.arange(self._inputs) * self._share
        for column in range(self._prompt - 1):
            self._feed(prompts[:, column], first, first)
            self._prefill()
        owners = np.repeat(first, self._beams)
        self._feed(np.repeat(prompts[:, -1], self._beams), owners, self._live.array * self._width)

    def _feed(self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> None:
        """What the next step is given; each source is the first place of its input."""
        self._feeds.array[:, : len(tokens)] = tokens, sources, targets, sources
        self._totals[ROWS] = len(tokens)
        self._changed(self._feeds, self._status)

    def _changed(self, *buffers: Buffer) -> None:
        """Says that arrays were written to, of some buffers or of all."""
        for program in self._away:
            program.changed(*buffers)

    def _fetch(self) -> None:
        """Brings what was computed elsewhere to the arrays."""
        for program in self._away:
            program.fetch()

    def _empty(self, chain: Chain) -> Program:
        """A program for steps of a chain."""
        program = chain.program()
        self._away.append(program)
        return program

    def _prefill(self) -> None:
        """A step over a token of the prompt, whose scores are not asked for."""
        chain = self._chain()
        if chain is None:
            self.steps.step(*self._given())
            return
        key = "prefill", chain.scores.address
        if key not in self._made:
            self._made[key] = (self._empty(chain),)
            chain.add(self._made[key][0], self._feeds, self._rows)
        if self._made[key][0].run() >= 0:
            chain.fail()

    @property
    def position(self) -> int:
        """Tokens of each hypothesis, those of the prompt included."""
        return self._totals[POSITION]

    @property
    def rows(self) -> int:
        """Hypotheses that the next step continues."""
        return self._totals[ROWS]

    @property
    def over(self) -> bool:
        """Whether all inputs are done."""
        return not self.rows

    def step(self, most: int = 1) -> bool:
        """Up to ``most`` tokens for every hypothesis; False once all inputs are done."""
        end = self.position + most
        while not self.over and self.position < end:
            self._advance(end)
        return not self.over

    @property
    def is_reusable(self) -> bool:
        """Whether another batch finds here what it needs; else it may as well begin anew."""
        return bool(self._chains) and self._chainable

    @property
    def nbytes(self) -> int:
        """The memory of the trace and of the model's rows."""
        return self._trace.array.nbytes + self.steps.nbytes

    def release(self) -> None:
        """Says that this search will not step again."""
        self.steps.release()

    def _given(self) -> list[np.ndarray]:
        """The rows of the next step."""
        return [row[: self._totals[ROWS]] for row in self._feeds.array]

    def _chain(self) -> Chain | None:
        """What steps the next rows within a program; None where there is no such thing."""
        rows = self._totals[ROWS]
        for chain in self._chains:
            if rows in chain.span:
                return chain
        chain = None if self._steps_in_python or not self._chainable else self.steps.chain(*self._given())
        self._chainable = chain is not None
        if chain is not None:
            self._chains.append(chain)
        return chain

    def _advance(self, end: int) -> None:
        """One token, or several, but not beyond position ``end``, if nothing has to be looked at between."""
        totals = self._totals
        if self.position >= self._until:
            self._set_phase()
        chain = self._chain()
        if chain is None or not self._chained(chain).runnable:
            self._step_rows(totals[ROWS])
            return
        totals[MIN_ROWS], totals[MAX_ROWS] = chain.span.start, chain.span.stop - 1
        totals[UNTIL] = until = min(self._until, end)
        if until - self.position > self._at_once:
            self._advance_timed(chain)
        elif self._chained(chain).run() >= 0:
            chain.fail()

    def _advance_timed(self, chain: Chain) -> None:
        """As many tokens as are known to take no longer than a call may, and how many that is from now on."""
        begin = self.position
        self._totals[UNTIL] = until = begin + self._at_once
        program, before = self._chained(chain), perf_counter()
        if program.run() >= 0:
            chain.fail()
        if self.position == until:
            spent = (perf_counter() - before) / (until - begin)
            self._at_once = max(1, int(min(CALL_SECONDS / max(spent, 1e-9), MOST_AT_ONCE)))

    def _step_rows(self, count: int) -> None:
        """One token, the rows being stepped by a call of their own."""
        self._fetch()
        scores = self.steps.step(*self._given())
        if scores is not self._y.array:
            self._take(self._ys.setdefault(id(scores), Buffer(scores)))
        if self._wants_attention:
            self._keep_attention(self.steps.attention()[:count])
        programs = self._ready()
        programs[0].run()
        if self._processors:
            self._process(scores[:count])
            programs[1].run()
        self._changed()

    @property
    def _steps_in_python(self) -> bool:
        """Whether something is done in Python between two tokens."""
        return bool(self._processors) or self._wants_attention

    def _keep_attention(self, attention: np.ndarray) -> None:
        """Keeps the attention of this step."""
        self._kept.append(np.array(attention))

    @property
    def _wants_attention(self) -> bool:
        return self.options.output_attentions

    def _take(self, y: Buffer) -> None:
        """Other rows of scores than in the step before."""
        vocabulary = y.array.shape[1]
        if self._vocabulary != vocabulary:
            self._check_tokens(vocabulary)
            self._vocabulary = vocabulary
            self._scratch = Buffer(np.zeros(max(vocabulary, SCRATCH), np.float32))
        self._y = y

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
            try:
                changed = as_array(given)
            except ValueError as error:
                raise OptionError(f"a logits processor gave no array: {error}") from error
            if changed.shape != scores.shape or changed.dtype.kind not in "fiu":
                raise OptionError(
                    f"a logits processor gave {changed.dtype}{list(changed.shape)} and must give numbers "
                    f"{list(scores.shape)}"
                )
            scores[...] = changed

    def _set_phase(self) -> None:
        """Finds which options apply to this step and those after it, up to some position."""
        options, new = self.options, self.position - self._prompt
        last = new + 1 == self._most and options.forced_eos_token_id is not None
        short = new < options.min_new_tokens
        special = new < self._special
        self._phase = (new if special else -1, short, last)
        ends = [
            new + 1 if special else self._most,
            options.min_new_tokens if short else self._most,
            self._most if last or options.forced_eos_token_id is None else self._most - 1,
        ]
        self._until = self._prompt + min(ends)

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

    def _chained(self, chain: Chain) -> Program:
        """The program that steps rows and chooses tokens, again and again."""
        key = (*self._phase, chain.scores.address)
        programs = self._made.get(key)
        if programs is None:
            program = self._empty(chain)
            self._take(chain.scores)
            chain.add(program, self._feeds, self._rows)
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
    def _results(self) -> list[list[Found]]:
        """For each input its hypotheses, best first."""

    def end(self) -> list[list[Hypothesis]]:
        """For each input its hypotheses, best first; those not finished yet as they stand."""
        self._fetch()
        found = self._results()
        read = iter(self._reader.read([one for own in found for one in own], self._kept))
        return [[next(read) for _ in own] for own in found]
