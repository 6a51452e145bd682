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
        self._feeds = np.zeros((4, self._slots), np.int64)
        self._kept: list[np.ndarray] = []
        self._programs: dict[tuple, tuple[Program, ...]] = {}
        self._scores = np.zeros((0, 0), np.float32)
        self._remembers = bool(options.repetition_penalty != 1 or options.no_repeat_ngram_size or processors)
        # Steps in which some option has a say that it has in no other.
        forced = options.forced_bos_token_id is not None
        self._special = forced + bool(options.begin_suppress_tokens)
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
        self._count = int(self._status[1])
        self._given = [row[: self._count] for row in self._feeds]
        self._programs = {}

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
        if self._status[1] != self._count:
            self._arrange()
        if self.over:
            self.steps.release()
        return not self.over

    @property
    def _wants_attention(self) -> bool:
        return self.options.output_attentions

    def _take(self, scores: np.ndarray) -> None:
        """New rows of scores: programs made for others hold other addresses."""
        if self._scores.shape[1] != scores.shape[1]:
            self._check_tokens(scores.shape[1])
            self._scratch = np.zeros(scores.shape[1], np.float32)
        self._scores = scores
        self._programs = {}

    def _check_tokens(self, vocabulary: int) -> None:
        for name in ("forced_bos_token_id", "forced_eos_token_id", "eos_token_id"):
            given = getattr(self.options, name)
            for token in self.options.end_tokens if name == "eos_token_id" else (given,):
                if token is not None and token >= vocabulary:
                    raise OptionError(f"{name}={given}: the decoder has scores for {vocabulary} tokens")

    def _process(self, scores: np.ndarray) -> None:
        tokens = self._history[:, 0, : self.position]
        for processor in self._processors:
            given = processor(tokens, scores)
            if given is None:
                continue
            if np.shape(given) != scores.shape:
                raise OptionError(f"a logits processor gave {np.shape(given)} and must give {scores.shape}")
            scores[...] = given

    def _ready(self) -> tuple[Program, ...]:
        """The programs of this step, with what changes from step to step written in."""
        options, new = self.options, self.position - self._prompt
        last = new + 1 == options.max_new_tokens
        phase = (new if new < self._special else -1, new < options.min_new_tokens, last)
        programs = self._programs.get(phase)
        if programs is None:
            rows = self._preparation(*phase), self._selection(last)
            parts = rows if self._processors else ([*rows[0], *rows[1]],)
            programs = self._programs[phase] = tuple(Program(*part) for part in parts)
        if self._remembers:
            self._lengths[:] = self.position
        for program in programs:
            self._write(program)
        return programs

    def _write(self, program: Program) -> None:
        """Writes what changes from step to step into a program."""
        for place in program.places("position"):
            program.words[place] = self.position

    def _preparation(self, new: int, short: bool, last: bool) -> Rows:
        """Instructions that make scores ready for token number ``new``; -1 where the number plays no part."""
        options, y = self.options, self._scores
        size = {"y": y, "rows": self._count, "count": y.shape[1]}
        rows = self._normalisation()
        if self._remembers:
            rows.append(self._remembering())
            before = {"history": self._history, "position": 0, "record": self._history[0].size}
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

    def _remembering(self) -> tuple[str, dict[str, object]]:
        """The instruction that lays out the tokens of each row."""
        self._history = np.zeros((self._count, NODE, len(self._trace)), np.int64)
        self._lengths = np.zeros(self._count, np.int64)
        return self._unrolling(self._given[2], self._lengths, self._history)

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
    def _selection(self, last: bool) -> Rows:
        """Instructions that choose the next tokens and ready the rows of the next step."""

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
