"""The float64 reference as a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tinyseq import reference
from tinyseq.backends.overlap import check_out
from tinyseq.errors import FeedError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import Model, ModelGraph, given_out
from tinyseq.kernels.call import Step, never
from tinyseq.kernels.instructions import REMEMBERED
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS, RowLayout, check_fed
from tinyseq.plan.stream import StateLayout


class ReferenceBackend:
    """Interprets the Model; floating-point outputs are float64."""

    def __init__(self, model: Model, streaming: Callable[[], Model], finite: bool) -> None:
        self._model = model
        self._streaming = streaming
        self._finite = finite

    def run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        return _results(self._model, checked_feeds(self._model.graph.inputs, feeds))

    def runner(self) -> ReferenceRunner:
        return ReferenceRunner(self._streaming(), self._finite)

    def rows(self, layout: RowLayout, count: int) -> ReferenceRows:
        return ReferenceRows(self._streaming(), layout, count, self._finite)


class ReferenceRunner:
    """One stream, its state kept in float64."""

    def __init__(self, model: Model, finite: bool) -> None:
        self._model = model
        self._finite = finite
        carried = {pair.input for pair in model.state}
        self._inputs = [value for value in model.graph.inputs if value.name not in carried]
        self.state = {name: np.zeros(shape, np.float64) for name, shape in StateLayout(model).shapes.items()}

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        results = _results(self._model, checked_feeds(self._inputs, feeds) | self.state)
        following = {pair.input: results[pair.output] for pair in self._model.state}
        for pair in self._model.state:
            shape = self.state[pair.input].shape
            _check_following(pair.input, following[pair.input], shape, self._finite and pair.finite)
        results = _given(self._model.graph, results, [pair.output for pair in self._model.state])
        if out is not None:
            check_out(out, results, self.state)
            for name, array in results.items():
                out[name][...] = array
            results = out
        for name, array in self.state.items():
            array[...] = following[name]
        return results

    def quick(self, feeds: Mapping[str, object] | None) -> Step:
        return never


class ReferenceRows:
    """Many streams, floating-point state kept in float64."""

    def __init__(self, model: Model, layout: RowLayout, count: int, finite: bool) -> None:
        self._model = model
        self._finite = finite
        self._layout = layout
        self.state = {
            field.name: np.zeros(
                (count, *field.shape), np.float64 if field.dtype.kind == "f" else field.dtype
            )
            for field in layout.fields
        }

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        feeds = dict(feeds)
        sources, targets, owners = (feeds.pop(name) for name in (SOURCES, TARGETS, OWNERS))
        carried = {field.name for field in self._layout.fields}
        own = [value for value in self._model.graph.inputs if value.name not in carried]
        feeds = checked_feeds(own, feeds)
        check_fed(self._layout, {name: array.shape for name, array in feeds.items()}, len(sources))
        carried = {
            field.name: np.moveaxis(
                self.state[field.name][owners if field.output is None else sources], 0, field.axis
            )
            for field in self._layout.fields
        }
        results = _results(self._model, feeds | carried)
        following = {
            field.name: np.moveaxis(results[field.output], field.axis, 0)
            for field in self._layout.fields
            if field.output is not None
        }
        finite = {field.name: self._finite and field.finite for field in self._layout.fields}
        for name, array in following.items():
            _check_following(name, array, (len(targets), *self.state[name].shape[1:]), finite[name])
        results = _given(self._model.graph, results, [field.output for field in self._layout.fields])
        if out is not None:
            check_out(out, results, self.state)
            for name, array in results.items():
                out[name][...] = array
            results = out
        for name, array in following.items():
            self.state[name][targets] = array
        return results

    @property
    def nbytes(self) -> int:
        """The memory of the state."""
        return sum([array.nbytes for array in self.state.values()])

    def bound(self, feeds: Mapping[str, object]) -> None:
        """None: nothing is planned."""

    def advance(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        return self.step(feeds, None)

    def release(self) -> None:
        """Nothing is shared."""


def _results(model: Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs, in memory of their own: ops that change nothing give what they are given."""
    return {name: np.array(array) for name, array in reference.run(model, feeds).items()}


def _given(graph: ModelGraph, results: Mapping[str, np.ndarray], carried: list) -> dict[str, np.ndarray]:
    """What a step gives."""
    return {value.name: results[value.name] for value in given_out(graph, carried)}


def _check_following(name: str, array: np.ndarray, shape: tuple[int, ...], finite: bool) -> None:
    if array.shape != shape:
        raise FeedError(
            f"the next state {name!r} came out as {list(array.shape)} and the state is {list(shape)}; "
            "give inputs of as many rows as are stepped"
        )
    if finite and not np.isfinite(array).all():
        raise FeedError(f"state {name!r} {REMEMBERED}. No state was changed")
