"""The float64 reference as a backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinyseq import reference
from tinyseq.errors import FeedError
from tinyseq.feeds import checked_feeds
from tinyseq.model import Model, Value
from tinyseq.plan.planner import state_layout


class ReferenceBackend:
    """Interprets the Model; floating-point outputs are float64."""

    def __init__(self, model: Model, streaming: Model | None) -> None:
        self._model = model
        self._streaming = streaming

    def run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        return reference.run(self._model, checked_feeds(self._model.graph.inputs, feeds))

    def runner(self) -> ReferenceRunner:
        return ReferenceRunner(self._streaming)


class ReferenceRunner:
    """One stream, its state kept in float64."""

    def __init__(self, model: Model) -> None:
        self._model = model
        carried = {pair.input for pair in model.state}
        self._inputs = [value for value in model.graph.inputs if value.name not in carried]
        self.state = {field.name: np.zeros(field.shape, np.float64) for field in state_layout(model).fields}

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        results = reference.run(self._model, checked_feeds(self._inputs, feeds) | self.state)
        following = {pair.input: results.pop(pair.output) for pair in self._model.state}
        if out is not None:
            _check_out(out, results)
            for name, array in results.items():
                out[name][...] = array
            results = dict(out)
        for name, array in self.state.items():
            array[...] = following[name]
        return results


def _check_out(out: object, results: Mapping[str, np.ndarray]) -> None:
    if not isinstance(out, Mapping) or set(out) != set(results):
        raise FeedError(f"out must be a dict with an array for each of {', '.join(results)}")
    for name, array in results.items():
        given = out[name]
        if not isinstance(given, np.ndarray) or given.shape != array.shape or given.dtype != array.dtype:
            raise FeedError(f"out[{name!r}] must be an array for {Value(name, array.dtype, array.shape)}")
        if not given.flags.writeable:
            raise FeedError(f"out[{name!r}] is read-only; give an array that can be written to")
