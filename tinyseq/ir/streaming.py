"""What a stream of a model is: the graph of its steps, which tensors have frames, and how late they come."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinyseq.ir.model import Model

if TYPE_CHECKING:
    from tinyseq.ir.clock import Clock


class Streaming(NamedTuple):
    """A model as a stream runs it.

    ``inputs`` and ``outputs`` are those that have frames, with their axes. ``latency`` is how many frames
    late each output comes. Where steps differ, ``clock`` says after how many frames they do so no more.
    ``places`` are states that hold where in its stream a row is, which rows of one step must have in common;
    ``rows`` the axes of the rows of inputs and outputs, where these are open.
    """

    model: Model
    inputs: Mapping[str, int] = MappingProxyType({})
    outputs: Mapping[str, int] = MappingProxyType({})
    latency: Mapping[str, int] = MappingProxyType({})
    clock: "Clock | None" = None
    places: tuple[str, ...] = ()
    rows: Mapping[str, int] = MappingProxyType({})

    def frames(self, feeds: Mapping[str, np.ndarray]) -> int:
        """How many frames feeds hold."""
        name, axis = next(iter(self.inputs.items()))
        return np.shape(feeds[name])[axis]

    def ending(self, feeds: Mapping[str, np.ndarray] | None, rows: int) -> Mapping[str, np.ndarray]:
        """Feeds for the last step: no frames of the inputs that have frames and are not given."""
        feeds = {} if feeds is None else feeds
        if not isinstance(feeds, Mapping):
            return feeds
        nothing = {}
        for value in self.model.graph.inputs:
            if value.name in self.inputs:
                shape = [rows if isinstance(size, str) else size for size in value.shape or ()]
                shape[self.inputs[value.name]] = 0
                nothing[value.name] = np.zeros(shape, value.dtype)
        return nothing | dict(feeds)


WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
"""Ops whose windows slide along what may be frames."""


def calls_with_layers(model: Model, streaming: Streaming) -> bool:
    """Whether a step is a call of the model as it is, and there are recurrent layers in it."""
    return bool(model.state and not streaming.inputs) and any(node.row.state for node in model.graph.nodes)
