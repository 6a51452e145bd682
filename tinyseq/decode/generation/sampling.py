"""Greedy search and sampling over rows of scores; ``Greedy`` and ``Sampling`` say what they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tinyseq.decode.generation.chain import Steps
from tinyseq.decode.generation.options import Greedy, Sampling
from tinyseq.decode.generation.search import Processor, Search
from tinyseq.decode.generation.trace import Found
from tinyseq.kernels.instructions import CUT, EMPTY, HEAD, LOG_PROBABILITIES, LOGITS
from tinyseq.kernels.program import Buffer, Program, float_word


class SamplingSearch(Search):
    """Batches of inputs, each with its sequences side by side."""

    options: Greedy | Sampling

    def __init__(
        self,
        steps: Steps,
        kind: int,
        inputs: int,
        length: int,
        options: Greedy | Sampling,
        processors: Sequence[Processor] = (),
        streamer: Callable[[int, int, int], object] | None = None,
    ) -> None:
        sequences = options.num_return_sequences if isinstance(options, Sampling) else 1
        self._heads = Buffer(np.zeros((inputs * sequences, HEAD)))
        self._keys = Buffer(np.zeros((inputs, sequences), np.int64))
        self._streamer = streamer
        super().__init__(steps, kind, inputs, length, options, sequences, 1, processors)

    def begin(
        self, parts: Mapping[str, np.ndarray], prompts: np.ndarray, keys: np.ndarray | None = None
    ) -> None:
        self._heads.array[:] = EMPTY
        self._keys.array[:] = 0 if keys is None else keys
        super().begin(parts, prompts)

    def _normalise(self, program: Program, kind: int | None = None) -> None:
        """Options change the scores as the model gives them; only probabilities become logarithms first."""
        given = self._kind if kind is None else kind
        super()._normalise(program, LOG_PROBABILITIES if given == LOGITS and kind is None else given)

    def _select(self, program: Program) -> None:
        options, draws = self.options, isinstance(self.options, Sampling)
        super()._normalise(program, LOGITS)
        if draws:
            order = Buffer(np.zeros(self._vocabulary, np.int64))
            numbers = map(float_word, (options.top_p, options.min_p, options.typical_p))
            words = float_word(options.temperature), options.top_k, *numbers
            program.add("warp", self._y, order, self._scratch, self._rows, self._vocabulary, *words)
            super()._normalise(program, LOGITS)
        ends = options.end_tokens
        program.add(
            "pick",
            *(self._y, self._trace, self._heads, self._live, self._keys, self._feeds, self._status),
            *(self._vocabulary, self._slots),
            *(int(draws), self._prompt, self._most, self._share, len(ends), *ends),
        )

    @property
    def _steps_in_python(self) -> bool:
        return super()._steps_in_python or self._streamer is not None

    def _step_rows(self, count: int) -> None:
        live = self._live.array[:count].tolist()
        super()._step_rows(count)
        if self._streamer is None:
            return
        for slot in live:
            head = self._heads.array[slot]
            # A row without a choice has ended a token shorter than the others.
            if head[HEAD - 1] == EMPTY or head[2] == self.position - self._prompt:
                token = int(self._trace.array[self.position - 1, slot, 0])
                self._streamer(*divmod(slot, self._share), token)

    def _results(self) -> list[list[Found]]:
        heads = self._heads.array.copy()
        going = heads[:, HEAD - 1] == EMPTY
        heads[going, 1] = heads[going, 0]
        heads[going, 2:] = self.position - self._prompt, CUT
        last = np.maximum(heads[:, 2].astype(np.int64) + self._prompt - 1, 0)
        nodes = self._trace.array[last, np.arange(self._slots)]
        found = list(zip(heads.tolist(), nodes))
        return [found[start : start + self._share] for start in range(0, len(found), self._share)]
