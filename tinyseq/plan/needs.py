"""What planning must know the values of, and what it makes good use of where it can know it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from tinyseq.ir.model import ModelGraph, Node

Key = tuple[int, str]
"""A tensor: its graph's ``id`` and its name there."""

DECIDING = {"If": 1, "Loop": 2, "Scan": 0}
"""How many inputs of an op that runs graphs say which runs or how often; the graph takes the others."""

FORMAL = {"If": 0, "Loop": 2, "Scan": 0}
"""How many inputs of the graph tell of the turn; the others are the op's."""

RETURNED = {"If": 0, "Loop": 1, "Scan": 0}
"""How many outputs of the graph decide on the next turn; the others are the op's."""


class Needs:
    """A graph's tensors by what planning needs of them.

    Tensors decide shapes or branches directly, through an op's port, or through what is computed of them;
    only their shapes count where ``Shape`` or ``Size`` reads them. ``given`` names the model's inputs whose
    values planning may ask for.
    """

    def __init__(self, graph: ModelGraph, given: Iterable[str]) -> None:
        self._sources: dict[Key, list[Key]] = {}
        self._knowable: set[Key] = {(id(graph), name) for name in given}
        self._must: list[Key] = []
        self._useful: list[Key] = []
        self._read(graph, {})
        self.must = self._reached(self._must)
        self.useful = self.must | self._reached(key for key in self._useful if key in self._knowable)

    def must_know(self, graph: ModelGraph, names: Iterable[str]) -> bool:
        """Whether planning must know one of these tensors of a graph."""
        return any((id(graph), name) in self.must for name in names)

    def _reached(self, roots: Iterable[Key]) -> set[Key]:
        """The roots and all that they are computed from."""
        found: set[Key] = set()
        waiting = list(roots)
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += self._sources.get(key, ())
        return found

    def _read(self, graph: ModelGraph, outer: dict[str, Key]) -> list[Key]:
        """Notes what a graph's tensors are computed from; gives its outputs."""
        keys = outer | {name: (id(graph), name) for name in graph.constants}
        keys |= {value.name: (id(graph), value.name) for value in graph.inputs}
        self._knowable.update(keys[name] for name in graph.constants)
        for node in graph.nodes:
            inputs = [keys[name] if name else None for name in node.inputs]
            for index, key in enumerate(inputs):
                port = node.row.port(index)
                if key and (port.known or port.wanted):
                    (self._must if port.known else self._useful).append(key)
            keys |= {name: (id(graph), name) for name in node.outputs if name}
            outputs = [keys[name] if name else None for name in node.outputs]
            present = [key for key in inputs if key]
            graphs = [inner for _, inner in node.graphs()]
            for inner in graphs:
                self._enter(node, inner, inputs, outputs, self._read(inner, keys))
            for key in filter(None, outputs):
                if not graphs:
                    self._sources[key] = [] if node.row.sizes_only else present
                if self._knowable.issuperset(self._sources.get(key, ())):
                    self._knowable.add(key)
        return [keys[value.name] for value in graph.outputs]

    def _enter(self, node: Node, inner: ModelGraph, inputs: list, outputs: list, results: list[Key]) -> None:
        """Notes how a node hands tensors to a graph and back, and those that decide how often it runs."""
        formal = [(id(inner), value.name) for value in inner.inputs]
        deciding = [key for key in inputs[: DECIDING[node.op]] if key]
        kept = len(formal) - FORMAL[node.op] - node.attributes.get("num_scan_inputs", 0)
        for key in formal[: FORMAL[node.op]]:
            self._sources[key] = deciding
        handed = zip_longest(
            formal[FORMAL[node.op] :], inputs[DECIDING[node.op] :], results[RETURNED[node.op] :], outputs
        )
        for place, (key, source, result, output) in enumerate(handed):
            first = [source] if source else []
            next_ = [result] if result else []
            if key:
                self._sources[key] = first + next_ if place < kept else first
            if output:
                carried = first if place < kept else []
                self._sources.setdefault(output, []).extend(carried + next_ + deciding)


def deciding_part(body: ModelGraph) -> ModelGraph | None:
    """Of a Loop's body what decides on the next turn: its condition and the carried values it comes from.

    The other carried values are handed through; scan outputs are left out. None where neither these values
    nor the number of the turn matter, and where graphs within do.
    """
    carried = body.inputs[FORMAL["Loop"] :]
    condition, following = body.outputs[0], body.outputs[1 : 1 + len(carried)]
    makers = {name: node for node in body.nodes for name in node.outputs if name}
    after = {value.name: result.name for value, result in zip(carried, following)}
    needed: set[str] = set()
    waiting = [condition.name]
    while waiting:
        name = waiting.pop()
        if name and name not in needed:
            needed.add(name)
            waiting += makers[name].inputs if name in makers else [after[name]] if name in after else ()
    matter = {value.name for value in carried} & needed
    if not matter and body.inputs[0].name not in needed:
        return None
    nodes = tuple(node for node in body.nodes if not needed.isdisjoint(node.outputs))
    if any(node.graphs() for node in nodes):
        return None
    results = [result if value.name in matter else value for value, result in zip(carried, following)]
    return body._replace(outputs=(condition, *results), nodes=nodes)
