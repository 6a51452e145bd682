"""Begin, step, end: what all generations have in common. A search knows rows and scores, never models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tinyseq.decode.options import Generation
from tinyseq.decode.program import Program, Rows, float_word
from tinyseq.errors import OptionError
from tinyseq.kernels.instructions import EMPTY, ENDED, HEAD, NODE

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
        """Scores of the next tokens, float32 [at least rows, vocabulary], which the search may overwrite.

        Row i reads the state in place sources[i], is given tokens[i], and writes its state into place
        targets[i]; owners[i] is the first place of its input, where what never changes lies.
        """

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

    last_word: int

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
        self._trace = np.zeros((self._prompt + options.max_new_tokens, self._slots, NODE), np.int64)
        self._trace[: self._prompt, :, 0] = np.repeat(prompts, self._share, axis=0).T
        self._trace[: self._prompt, :, 3] = np.arange(self._slots)
        self._live = np.arange(inputs * beams)
        self._status = np.array([len(self._live)] * 2)
        self._totals = memoryview(self._status)
        self._feeds = np.zeros((4, self._slots), np.int64)
        self._kept: list[np.ndarray] = []
        self._made: dict[tuple, tuple[Program, ...]] = {}
        self._programs: tuple[Program, ...] = ()
        self._until = 0
        self._scores = np.zeros((0, 0), np.float32)
        self._remembers = bool(options.repetition_penalty != 1 or options.no_repeat_ngram_size or processors)
        if self._remembers:
            self._history = np.zeros((self._slots, NODE, len(self._trace)), np.int64)
            self._lengths = np.zeros(self._slots, np.int64)
        # Steps in which some option has a say that it has in no other.
        forced = options.forced_bos_token_id is not None
        self._special = forced + bool(options.begin_suppress_tokens)
        self._most = options.max_new_tokens
        self.position = self._prompt
        self._begin(prompts, np.arange(inputs) * self._share)

    def _begin(self, prompts: np.ndarray, first: np.ndarray) -> None:
        """Gives the decoder all but the last token of the prompts; readies the first step, a row a beam.

        ``first`` is each input's first place.
        """
        for column in range(self._prompt - 1):
            self.steps.step(np.ascontiguousarray(prompts[:, column]), first, first, first)
        owners = np.repeat(first, self._beams)
        rows = np.repeat(prompts[:, -1], self._beams), owners, self._live * self._width, owners
        self._feeds[:, : len(self._live)] = rows
        self._arrange()

    def _arrange(self) -> None:
        """Takes notice of how many rows the next step has."""
        self._count = self._totals[1]
        self._given = [row[: self._count] for row in self._feeds]
        self._until = 0

    @property
    def over(self) -> bool:
        """Whether all inputs are done."""
        return not self._count

    def step(self) -> bool:
        """One token for every hypothesis; False once all inputs are done."""
        if self.over:
            return False
        scores = self.steps.step(*self._given)
        if scores is not self._scores:
            self._take(scores)
        if self._wants_attention:
            self._kept.append(np.array(self.steps.attention()[: self._count]))
        programs = self._ready()
        programs[0].run()
        if self._processors:
            self._process(scores[: self._count])
            programs[1].run()
        self.position += 1
        if self._totals[1] != self._count:
            self._arrange()
        if self.over:
            self.steps.release()
        return not self.over

    @property
    def _wants_attention(self) -> bool:
        return self.options.output_attentions

    def _take(self, scores: np.ndarray) -> None:
        """Other rows of scores than in the step before."""
        if self._scores.shape[1] != scores.shape[1]:
            self._check_tokens(scores.shape[1])
            self._scratch = np.zeros(scores.shape[1], np.float32)
            self._made = {}
        self._scores = scores
        self._until = 0

    def _check_tokens(self, vocabulary: int) -> None:
        for name in ("forced_bos_token_id", "forced_eos_token_id", "eos_token_id"):
            given = getattr(self.options, name)
            for token in self.options.end_tokens if name == "eos_token_id" else (given,):
                if token is not None and token >= vocabulary:
                    raise OptionError(f"{name}={given}: the decoder has scores for {vocabulary} tokens")
        highest = int(self._trace[: self._prompt, :, 0].max(initial=0))
        counts = self.options.repetition_penalty != 1 or self.options.no_repeat_ngram_size
        if counts and highest >= vocabulary:
            raise OptionError(
                f"token {highest}, which the decoder is given first, has no score among its {vocabulary}: "
                "repetition_penalty and no_repeat_ngram_size cannot count it; leave them out"
            )

    def _process(self, scores: np.ndarray) -> None:
        tokens = self._history[: self._count, 0, : self.position]
        for processor in self._processors:
            given = processor(tokens, scores)
            if given is None:
                continue
            if np.shape(given) != scores.shape:
                raise OptionError(f"a logits processor gave {np.shape(given)} and must give {scores.shape}")
            scores[...] = given

    def _ready(self) -> tuple[Program, ...]:
        """The programs of this step, with what changes from step to step written in."""
        if self.position >= self._until:
            self._choose()
        for words, place in self._moving:
            words[place] = self.position
        if self._remembers:
            self._lengths[:] = self.position
        return self._programs

    def _choose(self) -> None:
        """The programs for this step and those after it in which the same options have a say."""
        options, new = self.options, self.position - self._prompt
        last = new + 1 == self._most
        short = new < options.min_new_tokens
        special = new < self._special
        phase = (new if special else -1, short, last and options.forced_eos_token_id is not None)
        programs = self._made.get(phase)
        if programs is None:
            preparation, selection = self._preparation(*phase), self._selection()
            parts = (preparation, selection) if self._processors else ([*preparation, *selection],)
            programs = self._made[phase] = tuple(Program(*part) for part in parts)
        for program in programs:
            program.bind("x", self._scores)
            program.bind("y", self._scores)
            for place in program.places("rows"):
                program.words[place] = self._count
        self._options = programs[-1].places("options")[-1]
        programs[-1].words[self._options + self.last_word] = int(last)
        self._programs = programs
        self._moving = [(own.words, place) for own in programs for place in own.places("position")]
        changes = (new + 1 if special else self._most, options.min_new_tokens if short else self._most)
        self._until = self._prompt + min(*changes, self._most if last else self._most - 1)

    def _preparation(self, new: int, short: bool, last: bool) -> Rows:
        """Instructions that make scores ready for token number ``new``; -1 where the number plays no part."""
        options, y = self.options, self._scores
        size = {"y": y, "rows": self._count, "count": y.shape[1]}
        rows = self._normalisation()
        if self._remembers:
            rows.append(self._unrolling(self._feeds[2], self._lengths, self._history))
            before = {"history": self._history, "position": 0, "record": NODE * len(self._trace)}
        if options.repetition_penalty != 1:
            penalty = [float_word(options.repetition_penalty)]
            operands = size | before | {"scratch": self._scratch, "penalty": penalty}
            rows.append(("penalize_repetition", operands))
        if options.no_repeat_ngram_size:
            rows.append(("ban_ngrams", size | before | {"size": options.no_repeat_ngram_size}))
        begin = int(options.forced_bos_token_id is not None)
        for tokens, now in (
            (options.end_tokens, short),
            (options.suppress_tokens, True),
            (options.begin_suppress_tokens, new == begin),
        ):
            if tokens and now:
                rows.append(("ban_tokens", size | {"tokens": [len(tokens), *tokens]}))
        for token, now in ((options.forced_bos_token_id, new == 0), (options.forced_eos_token_id, last)):
            if token is not None and now:
                rows.append(("force_token", size | {"token": token}))
        return rows

    def _unrolling(
        self, ends: np.ndarray, lengths: np.ndarray, history: np.ndarray
    ) -> tuple[str, dict[str, object]]:
        operands = {"trace": self._trace, "ends": ends, "lengths": lengths, "history": history}
        return "unroll", operands | {"rows": len(ends), "slots": self._slots, "room": history.shape[2]}

    def _normalisation(self, kind: int | None = None) -> list[tuple[str, dict[str, object]]]:
        """Log softmax in place, of what the model gives if ``kind`` is left out."""
        y = self._scores
        operands = {"x": y, "y": y, "scratch": self._scratch, "rows": self._count, "count": y.shape[1]}
        return [("log_softmax", operands | {"kind": self._kind if kind is None else kind})]

    @abstractmethod
    def _selection(self) -> Rows:
        """Instructions that choose the next tokens and ready the rows of the next step; word ``last_word`` of
        the last one's options says whether this step is the last."""

    @abstractmethod
    def _results(self) -> tuple[np.ndarray, np.ndarray]:
        """Heads [inputs, places, HEAD] and last nodes [inputs, places, NODE], best first."""

    def end(self) -> list[list[Hypothesis]]:
        """For each input its hypotheses, best first; those not finished yet as they stand."""
        heads, nodes = self._results()
        there = heads[:, :, HEAD - 1] != EMPTY
        heads, nodes = heads[there], nodes[there]
        lengths = heads[:, 2].astype(np.int64) + self._prompt
        records = np.zeros((len(heads), NODE, len(self._trace)), np.int64)
        ends = np.ascontiguousarray(nodes[:, 3])
        Program(self._unrolling(ends, np.where(lengths > self._prompt, lengths - 1, lengths), records)).run()
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
