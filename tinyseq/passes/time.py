"""Time: the stream's axis followed through a graph, and what its ops need of the past made state.

A stream gives in chunks what a run gives at once. For that every op along whose frames its results look at
others must have a form that carries what it needs from chunk to chunk; where one has none, there is no
stream.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model, ModelGraph, Node, Value, rows_meet
from tinyseq.ir.streaming import WINDOWED, Streaming
from tinyseq.passes import opening
from tinyseq.passes.axes import FEW, NO_RULE, Sizes, multiples
from tinyseq.passes.branches import laid_open
from tinyseq.passes.follow import Following
from tinyseq.passes.probe import scanned
from tinyseq.passes.reach import everything, reached
from tinyseq.passes.state import expose_state


def followed(model: Model) -> Streaming:
    """A model without state pairs as a stream runs it.

    Raises:
        ModelError: it cannot be computed chunk by chunk; names the node, its op and why.
    """
    for value in model.graph.inputs:
        if value.shape is None:
            raise ModelError(
                f"input {value} has no shape, so frames cannot be followed from it and the model cannot be "
                "streamed; export it with the shapes of its inputs"
            )
    try:
        return _tried(model)
    except ModelError:
        if not any(node.op == "If" for node in model.graph.nodes):
            raise
    return _tried(model._replace(graph=laid_open(model.graph)))


def _tried(model: Model) -> Streaming:
    """The streaming form, found with many frames or with few."""
    try:
        return _streaming(model, Sizes(model.graph))
    except ModelError as error:
        # Tables of positions may hold fewer frames than were tried.
        with suppress(ModelError):
            return _streaming(model, Sizes(model.graph, FEW))
        raise error


def _streaming(model: Model, sizes: Sizes) -> Streaming:
    layers = [node for node in model.graph.nodes if _carries(node)]
    times = [name for name in sizes.distinct if any(runs_along(sizes, name, node) == 0 for node in layers)]
    if layers and not times:
        return _sized(_fixed(model, layers, sizes.frames), sizes)
    ways = [_followed(model, sizes, name, layers) for name in times or sizes.distinct]
    looking = [way for way in ways if way.looking]
    if len(looking) > 1:
        raise ModelError(
            f"{looking[0].looking[0]} looks along {looking[0].size!r} and {looking[1].looking[0]} along "
            f"{looking[1].size!r}, so which of the two a stream's chunks cut is not to be told; give the one "
            "that does not grow a fixed size"
        )
    return _sized(looking[0].streaming() if looking else Streaming(expose_state(model)), sizes)


def _sized(streaming: Streaming, sizes: Sizes) -> Streaming:
    """The streaming form, whose open sizes are numbers where they must be: no chunk is of another size."""
    graph = streaming.model.graph
    known = {name: sizes.one(name) for name in sizes.names}
    inputs = tuple(
        value._replace(shape=tuple(_number(known.get(size), size) for size in value.shape))
        for value in graph.inputs
    )
    return streaming._replace(model=streaming.model._replace(graph=graph._replace(inputs=inputs)))


def _number(known: str | int | None, size: str | int) -> str | int:
    return known if isinstance(known, int) and known > 1 else size


def _carries(node: Node) -> bool:
    """Whether a node carries something from frame to frame: a recurrent layer, or a Scan."""
    return bool(node.row.state) or (
        node.op == "Scan" and len(node.inputs) > node.attributes["num_scan_inputs"]
    )


def runs_along(sizes: Sizes, name: str, node: Node) -> int | None:
    """What of a recurrent layer's input grows with a size: 0 its frames, 1 its rows, None neither."""
    if node.op == "Scan":
        grown = [sizes.growing(name, given) for given, _ in scanned(node, sizes.shape)]
        over = [axis for _, axis in scanned(node, sizes.shape)]
        return 0 if any(own == (axis,) for own, axis in zip(grown, over)) else 1 if any(grown) else None
    growing = sizes.growing(name, node.inputs[0])
    if not growing or growing[0] > 1:
        return None
    return growing[0] ^ bool(node.attributes.get("layout"))


def _followed(model: Model, sizes: Sizes, name: str, layers: list[Node], unit: int = 1) -> Following:
    """A size followed as the frames of a stream; layers across them, from feature to feature, stay apart."""
    ways = [(node, runs_along(sizes, name, node)) for node in layers]
    apart = frozenset(id(node) for node, way in ways if way == 1 or (node.op == "Scan" and way is None))
    way = Following(model.graph, expose_state(model, apart), sizes, name, unit)
    way.follow()
    return way


def _fixed(model: Model, layers: list[Node], frames_of: Callable[[Node], int | None]) -> Streaming:
    """A model whose recurrent layers run along fixed numbers of frames: the chunks of its stream.

    It is followed as if they were open, where its weights and shapes let them be.
    """
    graph = model.graph
    for place, value in enumerate(graph.inputs):
        for axis, size in enumerate(value.shape):
            if isinstance(size, str) or not size:
                continue
            name = f"{value.name}.{axis}"
            opened = model._replace(graph=opening.opened(graph, place, axis, name))
            sizes = Sizes(opened.graph, multiples(size))
            own = [node for node in opened.graph.nodes if _carries(node)]
            if any(runs_along(sizes, name, node) == 0 for node in own):
                return _closed(_followed(opened, sizes, name, own, size).streaming(), value)
    exposed = expose_state(model)
    for node in layers:
        if frames_of(node) != 1:
            raise ModelError(
                f"{node} runs along frames whose number the graph takes for granted, so it cannot be told "
                "what a stream would have to carry and the model cannot be streamed; export it with an open "
                "number of frames"
            )
    return Streaming(exposed)


def _closed(streaming: Streaming, value: Value) -> Streaming:
    """The streaming form with a fixed number of frames in a chunk."""
    if streaming.clock is not None:
        raise ModelError(
            f"input {value} has a fixed number of frames, so the frames that this model holds back could not "
            "be had at the end of a stream; export it with an open number of frames"
        )
    graph = streaming.model.graph
    inputs = tuple(value if value.name == other.name else other for other in graph.inputs)
    return Streaming(streaming.model._replace(graph=graph._replace(inputs=inputs)))


def notes(model: Model, streaming: Streaming) -> list[str]:
    """What a user should know of a model's chunks: sentences."""
    found = []
    if rows_meet(streaming.model.graph):
        found.append("numbers are rounded to bytes by the range of a chunk, so chunks differ by the rounding")
    node = told_to_end(streaming.model.graph)
    if node is not None:
        found.append(
            f"{node} ends after as many frames as {node.inputs[4]!r} says, which in a step are those of its "
            "chunk"
        )
    if not streaming.model.state and not streaming.inputs:
        node = _sliding(model.graph)
        if node is not None:
            found.append(
                f"{node} slides along a fixed number of elements: each step of a stream is a run of its own, "
                "and keeps nothing of those before; if they are frames, export the model with an open number "
                "of them"
            )
    sizes = Sizes(model.graph) if model.state else None
    for name in sizes.distinct if sizes else ():
        node = next((one for one in _looking(model, sizes, name) if not one.row.state), None)
        if node is not None:
            found.append(
                f"{node} looks along {name!r}, within a chunk only: a step is one call of the model, which "
                "takes the chunks that it was exported for"
            )
    return found


def _looking(model: Model, sizes: Sizes, name: str) -> list[Node]:
    """The nodes that look along a size, as far as it can be followed."""
    way = Following(model.graph, model, sizes, name)
    with suppress(ModelError):
        way.follow()
    return way.looking


def told_to_end(graph: ModelGraph) -> Node | None:
    """The first recurrent layer of which an input of whole numbers says how many frames it takes."""
    told = reached(graph, {value.name: 1 for value in graph.inputs if value.dtype.kind in "iu"}, everything)
    layers = (node for node in graph.nodes if node.row.state and len(node.inputs) > 4)
    return next((node for node in layers if node.inputs[4] in told), None)


def _sliding(graph: ModelGraph) -> Node | None:
    """The first node with windows wider than one element, where all sizes but that of rows are fixed."""
    sizes = Sizes(graph)
    for node in graph.nodes if len(sizes.distinct) < 2 else ():
        shapes = [sizes.shape(name) if name else None for name in node.inputs]
        if node.op in WINDOWED and shapes[0] is not None:
            with suppress(*NO_RULE):
                if any(axis > 1 for axis in node.row.looks(node.attributes, shapes, [None] * len(shapes))[0]):
                    return node
    return None
