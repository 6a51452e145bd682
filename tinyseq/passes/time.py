"""Time: the stream's axis followed through a graph, and what its ops need of the past made state.

A stream gives in chunks what a run gives at once. For that every op along whose frames its results look at
others must have a form that carries what it needs from chunk to chunk; where one has none, there is no
stream.
"""

from __future__ import annotations

from tinyseq.errors import ModelError
from tinyseq.model import Graph, Model
from tinyseq.passes.axes import Sizes
from tinyseq.passes.follow import Following, frames_axis
from tinyseq.passes.state import expose_state
from tinyseq.streaming import Streaming


def streaming(model: Model) -> Streaming:
    """The model as a stream runs it.

    Raises:
        ModelError: it cannot be computed chunk by chunk; names the node, its op and why.
    """
    exposed = expose_state(model)
    if model.state:
        return Streaming(model)
    for value in model.graph.inputs:
        if value.shape is None:
            raise ModelError(
                f"input {value} has no shape, so frames cannot be followed from it and the model cannot be "
                "streamed; export it with the shapes of its inputs"
            )
    sizes = Sizes(model.graph)
    ways = [Following(model.graph, exposed, sizes, name) for name in _times(model.graph, sizes)]
    looking = [way for way in ways if way.follow()]
    if len(looking) > 1:
        raise ModelError(
            f"{looking[0].first} looks along {looking[0].size!r} and {looking[1].first} along "
            f"{looking[1].size!r}, so which of the two a stream's chunks cut is not to be told; give the one "
            "that does not grow a fixed size"
        )
    return looking[0].streaming() if looking else Streaming(exposed)


def _times(graph: Graph, sizes: Sizes) -> list[str]:
    """The open sizes along which recurrent layers run; without such layers, all."""
    layers = [node for node in graph.nodes if node.row.state]
    found = [
        name
        for name in sizes.distinct
        if any(frames_axis(node) in sizes.growing(name, node.inputs[0]) for node in layers)
    ]
    return found or sizes.distinct
