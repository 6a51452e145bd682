"""What nothing reads is dropped."""

from __future__ import annotations

from tinyseq.ir.model import ModelGraph, Node, captured


def prune(graph: ModelGraph) -> ModelGraph:
    """Drops the nodes and constants that no output needs, and such outputs of nodes that may be without."""
    needed = {value.name for value in graph.outputs}
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        pruned = {key: prune(sub_graph) for key, sub_graph in node.graphs()}
        spare = [bool(pruned) or port.optional for port in node.row.outputs]
        outputs = [
            "" if name not in needed and spare[min(place, len(spare) - 1)] else name
            for place, name in enumerate(node.outputs)
        ]
        node = node._replace(outputs=trimmed(outputs), attributes=node.attributes | pruned)
        needed.update(node.inputs)
        for sub_graph in pruned.values():
            needed.update(captured(sub_graph))
        nodes.append(node)
    constants = {name: array for name, array in graph.constants.items() if name in needed}
    return graph._replace(nodes=tuple(reversed(nodes)), constants=constants)


def trimmed(names: list[str]) -> tuple[str, ...]:
    """Names of results without absent ones at the end."""
    while names and not names[-1]:
        names.pop()
    return tuple(names)
