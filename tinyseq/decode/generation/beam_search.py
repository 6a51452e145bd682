"""Beam search over rows of scores; ``Beam`` says what it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from tinyseq.decode.generation.options import Beam
from tinyseq.decode.generation.search import Processor, Search, Steps
from tinyseq.decode.generation.trace import Found
from tinyseq.kernels.instructions import CUT, EMPTY, FIRST_FULL, HEAD, KEEP_OPEN, MOST_HOPEFUL, NODE
from tinyseq.kernels.program import Buffer, Program, float_word

_STOPPING = {False: KEEP_OPEN, True: FIRST_FULL, "never": MOST_HOPEFUL}


def _finished(heads: list[list[float]], nodes: np.ndarray) -> list[Found]:
    """The hypotheses that there are."""
    return [(head, node) for head, node in zip(heads, nodes) if head[HEAD - 1] != EMPTY]


def _descending(found: Found) -> float:
    return -found[0][0]


class BeamSearch(Search):
    """Batches of inputs, each with ``num_beam_groups`` beams."""

    options: Beam

    def __init__(
        self,
        steps: Steps,
        kind: int,
        inputs: int,
        length: int,
        options: Beam,
        processors: Sequence[Processor] = (),
    ) -> None:
        beams = inputs * options.num_beam_groups
        self._wanted = options.width
        if not options.compete:
            self._wanted *= max(2, 1 + len(options.end_tokens))
        self._counts = Buffer(np.zeros(beams, np.int64))
        self._running = Buffer(np.zeros((beams, options.width)))
        self._heads = Buffer(np.zeros((beams, options.places, HEAD)))
        self._pool = Buffer(np.zeros((beams, options.places, NODE), np.int64))
        self._ranking = Buffer(np.zeros((beams, self._wanted, 2)))
        lengths = np.arange(1, options.max_new_tokens + 1, dtype=np.float64)
        self._norms = Buffer(lengths**options.length_penalty)
        self._hopeful = options.early_stopping == "never" and options.length_penalty > 0
        self._positions = 0
        self._attention = Buffer(np.zeros((0, 0), np.float32))
        self._coverage = Buffer(np.zeros((2, 0, 0), np.float32))
        sizes = options.num_beam_groups, options.width
        super().__init__(steps, kind, inputs, length, options, *sizes, processors)

    def begin(
        self, parts: Mapping[str, np.ndarray], prompts: np.ndarray, keys: np.ndarray | None = None
    ) -> None:
        self._counts.array[:] = 1
        self._running.array[:] = 0
        self._heads.array[:] = EMPTY
        self._coverage.array[:] = 0
        super().begin(parts, prompts)

    @property
    def _wants_attention(self) -> bool:
        return self.options.output_attentions or self.options.coverage_penalty != 0

    def _select(self, program: Program) -> None:
        options = self.options
        program.add(
            "beam",
            *(self._y, self._running, self._trace, self._pool, self._heads, self._ranking, self._live),
            *(self._counts, self._feeds, self._status, self._norms, self._attention, self._coverage),
            *(self._width, self._vocabulary, self._slots),
            *(self._share, self._beams, self._wanted, options.places, int(options.compete)),
            *(_STOPPING[options.early_stopping], self._prompt, self._most, self._positions),
            *(int(self._hopeful), *map(float_word, (options.diversity_penalty, options.coverage_penalty))),
            *(len(options.end_tokens), *options.end_tokens),
        )

    def _keep_attention(self, attention: np.ndarray) -> None:
        super()._keep_attention(attention)
        if not self.options.coverage_penalty:
            return
        positions = attention.shape[1]
        if self._positions != positions:
            # Room for the attention that the beams have given to each position of the source.
            self._positions = positions
            self._coverage.move(np.zeros((2, self._slots, positions), np.float32))
            self._attention.move(np.zeros((self._slots, positions), np.float32))
        self._attention.array[: len(attention)] = attention

    def _results(self) -> list[list[Found]]:
        beams = list(map(_finished, self._heads.array.tolist(), self._pool.array))
        if not self.over:
            going = self._trace.array[self.position - 1].reshape(*self._running.array.shape, NODE)
            for found, standing in zip(beams, map(_finished, self._standing().tolist(), going)):
                found += standing
        inputs = [beams[start : start + self._beams] for start in range(0, len(beams), self._beams)]
        most = self.options.num_return_sequences
        return [sorted(chain.from_iterable(own), key=_descending)[:most] for own in inputs]

    def _standing(self) -> np.ndarray:
        """Heads of the hypotheses that are still going on."""
        running = self._running.array
        heads = np.zeros((*running.shape, HEAD))
        length = self.position - self._prompt
        going = np.isfinite(running)
        # Before the first step there is one hypothesis, of no tokens.
        going[:, 1:] &= length > 0
        heads[:, :, 0] = running / max(length, 1) ** self.options.length_penalty
        heads[:, :, 1] = running
        heads[:, :, 2] = length
        heads[:, :, 3] = np.where(going, CUT, EMPTY)
        return heads
