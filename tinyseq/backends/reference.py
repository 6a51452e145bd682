"""The float64 reference as a backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinyseq import reference
from tinyseq.feeds import checked_array, checked_feeds
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
            for name, array in results.items():
                checked_array(Value(name, np.dtype(np.float64), array.shape), out[name], "out")[...] = array
            results = dict(out)
        for name, array in self.state.items():
            array[...] = following[name]
        return results
