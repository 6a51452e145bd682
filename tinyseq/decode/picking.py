"""Greedy search and sampling over rows of scores; ``Greedy`` and ``Sampling`` say what they compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyseq.decode.options import Greedy, Sampling
from tinyseq.decode.program import Rows, float_word
from tinyseq.decode.search import Processor, Search, Steps, Streamer
from tinyseq.kernels.instructions import CUT, EMPTY, HEAD, LOG_PROBABILITIES, LOGITS, NODE


class Picking(Search):
    """One batch of inputs, each with its sequences side by side.

    ``keys`` has a random number's key for each sequence of each input, int64 [inputs, sequences].
    """

    options: Greedy | Sampling
    last_word = 1

    def __init__(
        self,
        steps: Steps,
        kind: int,
        prompts: np.ndarray,
        options: Greedy | Sampling,
        processors: Sequence[Processor] = (),
        keys: np.ndarray | None = None,
        streamer: Streamer | None = None,
    ) -> None:
        sequences = options.num_return_sequences if isinstance(options, Sampling) else 1
        self._heads = np.zeros((len(prompts) * sequences, HEAD))
        self._keys = np.zeros(len(self._heads), np.int64) if keys is None else np.ascontiguousarray(keys)
        self._streamer = streamer
        super().__init__(steps, kind, prompts, options, sequences, 1, processors)

    def _normalisation(self, kind: int | None = None) -> list[tuple[str, dict[str, object]]]:
        """Options change the scores as the model gives them; only probabilities become logarithms first."""
        given = self._kind if kind is None else kind
        return super()._normalisation(LOG_PROBABILITIES if given == LOGITS and kind is None else given)

    def _selection(self) -> Rows:
        options, y = self.options, self._scores
        size = {"y": y, "rows": self._count, "count": y.shape[1]}
        draws = isinstance(options, Sampling)
        rows = super()._normalisation(LOGITS)
        if draws:
            numbers = (options.top_p, options.min_p, options.typical_p)
            words = [float_word(options.temperature), options.top_k, *map(float_word, numbers)]
            order = np.zeros(y.shape[1], np.int64)
            rows.append(("warp", size | {"order": order, "keys": self._scratch, "options": words}))
            rows += super()._normalisation(LOGITS)
        ends = options.end_tokens
        words = [int(draws), 0, self._prompt, self._share, len(ends), *ends]
        operands = {
            **{"y": y, "trace": self._trace, "heads": self._heads, "live": self._live, "keys": self._keys},
            **{"feeds": self._feeds, "status": self._status, "count": y.shape[1], "position": 0},
            **{"slots": self._slots, "options": words},
        }
        return [*rows, ("pick", operands)]

    def step(self) -> bool:
        if self._streamer is None:
            return super().step()
        live = self._live[: self._count].tolist()
        going = super().step()
        for slot in live:
            head = self._heads[slot]
            # A row without a choice has ended a token shorter than the others.
            if head[HEAD - 1] == EMPTY or head[2] == self.position - self._prompt:
                token = int(self._trace[self.position - 1, slot, 0])
                self._streamer(*divmod(slot, self._share), token)
        return going

    def _results(self) -> tuple[np.ndarray, np.ndarray]:
        heads = self._heads.copy()
        going = heads[:, HEAD - 1] == EMPTY
        heads[going, 1:] = np.stack(
            np.broadcast_arrays(heads[going, 0], self.position - self._prompt, CUT), 1
        )
        last = np.maximum(heads[:, 2].astype(np.int64) + self._prompt - 1, 0)
        nodes = self._trace[last, np.arange(self._slots)]
        shape = (self._slots // self._share, self._share)
        return heads.reshape(*shape, HEAD), nodes.reshape(*shape, NODE)
