"""Chunks of models that take their state as inputs: what looks along the frames sees those of one chunk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model, Node, Value
from tinyseq.ir.streaming import WINDOWED
from tinyseq.passes.axes import Sizes
from tinyseq.passes.follow import Following
from tinyseq.passes.reach import everything, reached
from tinyseq.passes.time import runs_along

SHORTENS = ("Slice", "Concat")
"""Ops that make fewer frames of a chunk, or put frames before it that the model takes."""


def axes(model: Model) -> tuple[dict[str, int], dict[str, int]]:
    """The axes of the frames of inputs and of outputs: of the open size along which layers run. None where
    there is no such size."""
    sizes = Sizes(model.graph)
    for name in _frames(model, sizes):
        return _grown(sizes, name, model.graph.inputs), _grown(sizes, name, model.graph.outputs)
    return {}, {}


def unlike_a_run(model: Model) -> str:
    """What makes chunks give other results than a run of the whole gives, though as many frames: a sentence;
    empty if nothing is known to."""
    sizes = Sizes(model.graph)
    for name in _frames(model, sizes):
        for what in _differing(model, sizes, name):
            return (
                f"{what}, and nothing of the chunk before is in the state that the model takes as inputs, so "
                "chunks give other results than a run of the whole: export the model without its state as "
                "inputs, then all that is needed is carried, or give it the chunks that it was made for"
            )
    return ""


def _frames(model: Model, sizes: Sizes) -> Iterator[str]:
    layers = [node for node in model.graph.nodes if node.row.state]
    return (name for name in sizes.distinct if any(runs_along(sizes, name, layer) == 0 for layer in layers))


def _grown(sizes: Sizes, name: str, values: tuple[Value, ...]) -> dict[str, int]:
    grown = {value.name: sizes.growing(name, value.name) for value in values}
    return {value: places[0] for value, places in grown.items() if places}


def _differing(model: Model, sizes: Sizes, name: str) -> Iterator[str]:
    """What of a chunk's results is not that of a run's."""
    way = Following(model.graph, model, sizes, name)
    with suppress(ModelError):
        way.follow()
    for node in way.looking:
        if node.op in WINDOWED:
            track = way.tracks.get(node.inputs[0])
            if track is not None and _pads(node, track.axis - 2):
                yield f"{node} pads each chunk along {name!r}"
        elif not node.row.state and node.op not in SHORTENS:
            yield f"{node} looks along {name!r}, within a chunk only"
    if way.rings.places:
        yield f"the frames of each chunk along {name!r} are numbered from its first"
    if way.refused is not None:
        node, refusal = way.refused
        if not _caches(model).intersection(node.inputs):
            yield f"{node} {refusal}"


def _pads(node: Node, axis: int) -> bool:
    """Whether a node with windows adds to an axis, or takes off it, at its ends."""
    attributes = node.attributes
    if attributes["auto_pad"] not in ("NOTSET", "VALID") or attributes.get("ceil_mode"):
        return True
    pads = attributes["pads"] or ()
    return any(pads[axis :: len(pads) // 2] if pads else ())


def _caches(model: Model) -> Collection[str]:
    """What comes of states at which no layer begins: what the model itself keeps of the frames before."""
    begins = {name for node in model.graph.nodes if node.row.state for name in node.inputs[1:]}
    kept = {pair.input: 1 for pair in model.state if pair.input not in begins}
    return set(reached(model.graph, kept, everything))
