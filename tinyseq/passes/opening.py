"""Opening: a fixed size of an input made open, and what the graph takes for granted of it with it.

Exporters write the sizes of their example into a graph. Where such a number is that of frames, and says no
more than where they lie, the graph means any number of them.
"""

from __future__ import annotations

from itertools import repeat
from math import prod

import numpy as np

from tinyseq.ir.model import ModelGraph, Node
from tinyseq.passes.axes import growing
from tinyseq.passes.probe import Probe
from tinyseq.shapes import Shape, axis_of
from tinyseq.shapes.looks import ENDLESS

TIMES = 3, 5
"""By how much more frames than the graph has what it says of them is tried."""


def opened(graph: ModelGraph, place: int, axis: int, name: str) -> ModelGraph:
    """The graph with one size of one input open, which ``name`` names; nodes that move frames and name their
    number take any multiple of it, if there is more than one."""
    value = graph.inputs[place]
    shape = (*value.shape[:axis], name, *value.shape[axis + 1 :])
    inputs = (*graph.inputs[:place], value._replace(shape=shape), *graph.inputs[place + 1 :])
    if value.shape[axis] == 1:
        return graph._replace(inputs=inputs)
    opening = _Opening(graph, place, axis)
    nodes = tuple(map(opening.node, graph.nodes))
    return graph._replace(inputs=inputs, nodes=nodes, constants=graph.constants | opening.constants)


class _Opening:
    """A graph that is opened node by node: ``once`` as it is, and ``more`` for more frames."""

    def __init__(self, graph: ModelGraph, place: int, axis: int) -> None:
        self.constants: dict[str, np.ndarray] = {}
        value, size = graph.inputs[place], graph.inputs[place].shape[axis]

        def probe(times: int) -> Probe:
            shape = (*value.shape[:axis], size * times, *value.shape[axis + 1 :])
            inputs = (*graph.inputs[:place], value._replace(shape=shape), *graph.inputs[place + 1 :])
            return Probe(graph._replace(inputs=inputs, nodes=()), repeat(OPEN))

        self.once, *self.more = map(probe, (1, *TIMES))

    def node(self, node: Node) -> Node:
        """The node for any number of frames, where it names theirs."""
        shapes = [probe.shapes.get(node.inputs[0]) if node.inputs else None for probe in self.more]
        axes = growing(*shapes) if None not in shapes else ()
        self.once.follow(node)
        rewrite = REWRITES.get(node.op)
        if rewrite is not None and len(axes) == 1 and node.outputs[0] in self.once.shapes:
            node = rewrite(self, node, axes[0]) or node
        for probe in self.more:
            probe.follow(node)
        return node

    def numbers(self, node: Node, numbers) -> str:
        """A new constant of whole numbers."""
        name = f"{node.outputs[0]}.any"
        self.constants[name] = array = np.array(numbers, np.int64)
        for probe in (self.once, *self.more):
            probe.shapes[name], probe.values[name] = array.shape, array
        return name

    def shape(self, name: str) -> Shape:
        return self.once.shapes[name]

    def value(self, name: str) -> np.ndarray | None:
        return self.once.values.get(name)


OPEN = 1009
"""What open sizes are taken for."""


def _laid(before: Shape, axis: int, after: Shape) -> int | None:
    """Where the frames of a shape lie in another one of as many elements: behind what they lay behind."""
    outside = prod(before[:axis])
    places = [place for place, size in enumerate(after) if prod(after[:place]) == outside and size != 1]
    return places[0] if places else None


def _target(before: Shape, axis: int, after: Shape) -> list[int] | None:
    """What a Reshape to a shape makes of any number of frames."""
    place = _laid(before, axis, after)
    if place is None:
        return None
    kept = [own for own, size in enumerate(after[: len(before)]) if before[own] == size]
    open_sizes = [own for own, size in enumerate(after) if size % OPEN == 0 and own != place]
    target = [0 if own in kept and own in (*open_sizes, place) else size for own, size in enumerate(after)]
    left = [own for own in (*open_sizes, place) if target[own]]
    if len(left) > 1 or (place in kept and place != axis):
        return None
    for own in left:
        target[own] = -1
    return target


def _reshape(opening: _Opening, node: Node, axis: int) -> Node | None:
    if node.attributes["allowzero"]:
        return None
    target = _target(opening.shape(node.inputs[0]), axis, opening.shape(node.outputs[0]))
    return target and node._replace(inputs=(node.inputs[0], opening.numbers(node, target)))


def _gather(opening: _Opening, node: Node, axis: int) -> Node | None:
    """Places one after the other, in rows: frames put together."""
    before, places = opening.shape(node.inputs[0]), opening.value(node.inputs[1])
    own = axis_of(node.attributes["axis"], len(before)) == axis
    if not own or places is None or not np.array_equal(places.ravel(), np.arange(before[axis])):
        return None
    target = _target(before, axis, (*before[:axis], *places.shape, *before[axis + 1 :]))
    if target is None:
        return None
    inputs = (node.inputs[0], opening.numbers(node, target))
    return Node("Reshape", inputs, node.outputs, {"allowzero": 0}, node.name)


def _slice(opening: _Opening, node: Node, axis: int) -> Node | None:
    """All frames, named by their number."""
    before = opening.shape(node.inputs[0])
    starts, ends, axes, *_ = [opening.value(name) for name in (*node.inputs[1:], "", "")]
    if starts is None or ends is None:
        return None
    axes = range(len(ends)) if axes is None else [axis_of(int(own), len(before)) for own in axes]
    ends = [ENDLESS if own == axis and end == before[axis] else int(end) for own, end in zip(axes, ends)]
    return node._replace(inputs=(*node.inputs[:2], opening.numbers(node, ends), *node.inputs[3:]))


def _expand(opening: _Opening, node: Node, axis: int) -> Node | None:
    """Frames beside others, named by their number."""
    before, sizes = opening.shape(node.inputs[0]), opening.value(node.inputs[1])
    place = len(() if sizes is None else sizes) - len(before) + axis
    if sizes is None or place < 0 or sizes[place] != before[axis]:
        return None
    sizes = [1 if own == place else int(size) for own, size in enumerate(sizes)]
    return node._replace(inputs=(node.inputs[0], opening.numbers(node, sizes)))


REWRITES = {"Reshape": _reshape, "Gather": _gather, "Slice": _slice, "Expand": _expand}
