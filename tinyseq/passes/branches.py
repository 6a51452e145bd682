"""Branches laid open: a graph that computes both branches of an If and chooses from what they give.

What a branch remembers of a stream is then state like any other, and goes on whichever is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyseq.errors import ModelError
from tinyseq.ir.model import ModelGraph, Node, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.passes.probe import probes


def laid_open(graph: ModelGraph) -> ModelGraph:
    """The graph without If, but for those in loops: choices by Where in their place.

    Raises:
        ModelError: the branches of one may give other shapes than each other, which Where takes for one.
    """
    laid, choices = _laid_open(graph)
    one, other = probes(laid)
    for node in choices:
        for probe in (one, other):
            first, second = (probe.shapes.get(name) for name in node.inputs[1:])
            if first is None or first != second:
                raise ModelError(
                    f"the branches of node {node.name!r} (If) may give tensors of different shapes, so the "
                    "model cannot be streamed; give whole sequences to model.run"
                )
    return laid


def _laid_open(graph: ModelGraph) -> tuple[ModelGraph, list[Node]]:
    """The graph, and the choices in it."""
    choices: list[Node] = []
    nodes: list[Node] = []
    constants = dict(graph.constants)
    taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)} | constants.keys()
    taken.update(value.name for value in graph.inputs)
    for node in graph.nodes:
        if node.op != "If":
            nodes.append(node)
            continue
        ends = []
        for key, branch in node.graphs():
            own = {name for each in branch.nodes for name in each.outputs if name} | branch.constants.keys()
            names = {name: _fresh(f"{node.name}.{key}.{name}", taken) for name in sorted(own)}
            inner, within = _laid_open(_renamed(branch, names))
            choices += within
            nodes += inner.nodes
            constants |= inner.constants
            taken |= {name for each in inner.nodes for name in each.outputs} | inner.constants.keys()
            ends.append([value.name for value in inner.outputs])
        for output, one, other in zip(node.outputs, *ends):
            if output:
                attributes = filled_attributes(OPS["Where"], {}, f"node {node.name!r} (Where)")
                choices.append(Node("Where", (node.inputs[0], one, other), (output,), attributes, node.name))
                nodes.append(choices[-1])
    return graph._replace(nodes=tuple(nodes), constants=constants), choices


def _fresh(stem: str, taken: set[str]) -> str:
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}.{count}"
    taken.add(name)
    return name


def _renamed(graph: ModelGraph, names: Mapping[str, str]) -> ModelGraph:
    """The graph with some tensors under other names, in its own graphs too, where these do not make anew what
    has such a name."""
    return ModelGraph(
        graph.inputs,
        tuple(value._replace(name=names.get(value.name, value.name)) for value in graph.outputs),
        tuple(_renamed_node(node, names) for node in graph.nodes),
        {names.get(name, name): array for name, array in graph.constants.items()},
    )


def _renamed_node(node: Node, names: Mapping[str, str]) -> Node:
    graphs = {}
    for key, inner in node.graphs():
        own = {value.name for value in inner.inputs} | inner.constants.keys()
        own.update(name for each in inner.nodes for name in each.outputs)
        graphs[key] = _renamed(inner, {name: new for name, new in names.items() if name not in own})
    return node._replace(
        inputs=tuple(names.get(name, name) for name in node.inputs),
        outputs=tuple(names.get(name, name) for name in node.outputs),
        attributes={**node.attributes, **graphs},
    )
