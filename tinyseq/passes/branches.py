"""Branches laid open: a graph that computes both branches of an If and chooses from what they give.

What a branch remembers of a stream is then state like any other, and goes on whichever is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyseq.ir.model import ModelGraph, Node, filled_attributes
from tinyseq.ir.ops import OPS


def laid_open(graph: ModelGraph) -> ModelGraph:
    """The graph without If, but for those in loops: choices by Where in their place."""
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
            inner = laid_open(_renamed(branch, names))
            nodes += inner.nodes
            constants |= inner.constants
            taken |= {name for each in inner.nodes for name in each.outputs} | inner.constants.keys()
            ends.append([value.name for value in inner.outputs])
        for output, one, other in zip(node.outputs, *ends):
            if output:
                attributes = filled_attributes(OPS["Where"], {}, f"node {node.name!r} (Where)")
                nodes.append(Node("Where", (node.inputs[0], one, other), (output,), attributes, node.name))
    return graph._replace(nodes=tuple(nodes), constants=constants)


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
