"""Time: the stream's axis followed through a graph, and what its ops need of the past made state.

A stream gives in chunks what a run gives at once. For that every op along whose frames its results look at
others must have a form that carries what it needs from chunk to chunk; where one has none, there is no
stream.
"""

from __future__ import annotations

from typing import NamedTuple

from tinyseq.errors import ModelError
from tinyseq.model import Graph, Model
from tinyseq.passes.axes import Sizes
from tinyseq.passes.follow import Following, frames_axis
from tinyseq.passes.state import expose_state
from tinyseq.passes.tracks import Clock


class Streaming(NamedTuple):
    """A model as a stream runs it; the inputs that have frames, with their axes; and, where steps
    differ from each other, after how many frames they do so no more."""

    model: Model
    inputs: dict[str, int]
    clock: Clock | None = None


def streaming(model: Model) -> Streaming:
    """The model as a stream runs it.

    Raises:
        ModelError: it cannot be computed chunk by chunk; names the node, its op and why.
    """
    exposed = expose_state(model)
    if model.state:
        return Streaming(model, {})
    sizes = Sizes(model.graph)
    ways = [Following(model.graph, exposed, sizes, name) for name in _times(model.graph, sizes)]
    looking = [way for way in ways if way.follow()]
    if len(looking) > 1:
        raise ModelError(
            f"{looking[0].first} looks along {looking[0].size!r} and {looking[1].first} along "
            f"{looking[1].size!r}, so which of the two a stream's chunks cut is not to be told; give the one "
            "that does not grow a fixed size"
        )
    return Streaming(exposed, {})


def _times(graph: Graph, sizes: Sizes) -> list[str]:
    """The open sizes along which recurrent layers run; without such layers, all."""
    layers = [node for node in graph.nodes if node.row.state]
    found = [
        name
        for name in sizes.distinct
        if any(frames_axis(node) in sizes.growing(name, node.inputs[0]) for node in layers)
    ]
    return found or sizes.distinct
