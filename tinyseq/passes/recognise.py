"""Recurrent cells that an exporter took apart become recurrent layers again.

A cell is a layer over one frame. Cells with the same weights, each starting where the one before ended,
are one layer over all their frames if no input depends on an output. What is no cell stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

from tinyseq.ir.model import ModelGraph, Node, captured
from tinyseq.passes.affine import Affines
from tinyseq.passes.cells import FoundCell, gated_cell, plain_cell
from tinyseq.passes.layers import Chain, Writer
from tinyseq.passes.patterns import ACTIVATIONS, FUNCTION_ENDS, GraphView
from tinyseq.passes.prune import prune
from tinyseq.passes.reach import moves_only

MOST_ROUNDS = 64
"""A graph is left as it is where so often some of its cells could not be put together for others."""

MOST_AT_ONCE = 4096
"""Chains that are followed through a graph at the same time."""


def recognise(graph: ModelGraph) -> ModelGraph:
    """The graph with recurrent layers in place of the cells in it.

    What nothing reads any more is gone.
    """
    view = GraphView(graph)
    affines = Affines(view, graph)
    chains = _chains(_settled(_cells(graph, affines), graph), graph)
    for _ in range(MOST_ROUNDS):
        if not chains:
            break
        rewritten = _rewritten(graph, chains, affines)
        if rewritten is None:
            if all(len(chain) == 1 for chain in chains):
                return graph
            # Layers that feed each other frame by frame have to go frame by frame.
            chains = [(cell,) for chain in chains for cell in chain]
            continue
        spoilt = _spoilt(chains, rewritten)
        if not any(spoilt):
            return rewritten
        apart = [(cell,) for chain, bad in zip(chains, spoilt) if bad and len(chain) > 1 for cell in chain]
        chains = [chain for chain, bad in zip(chains, spoilt) if not bad] + apart
    return graph


def _cells(graph: ModelGraph, affines: Affines) -> list[FoundCell]:
    """The cells of a graph as far as each of them alone can tell."""
    ends = [node for node in graph.nodes if _may_end_a_cell(node, affines.view)]
    gated = [gated_cell(node.op, node.outputs[0], affines) for node in ends]
    cells = [cell for cell in gated if cell is not None]
    taken = {product for cell in cells for product in cell.products}
    for node in graph.nodes:
        if node.op in ACTIVATIONS and _sums_products(node.inputs[0], affines.view) > 1:
            cell = plain_cell(node.outputs[0], affines)
            if cell is not None and taken.isdisjoint(cell.products):
                cells.append(cell)
    return cells


def _may_end_a_cell(node: Node, view: GraphView) -> bool:
    """Whether a node may be the last of a cell with gates, at a glance at what makes its inputs."""
    makers = [view.maker(name) for name in node.inputs]
    if node.op == "Mul":
        return all(maker is not None and maker.op in FUNCTION_ENDS for maker in makers)
    return node.op == "Add" and any(maker is not None and maker.op == "Mul" for maker in makers)


def _sums_products(name: str, view: GraphView, depth: int = 4) -> int:
    """How many matrix products a tensor is the sum of, at a glance: ``depth`` sums deep."""
    node = view.maker(name)
    if node is None or node.op not in ("MatMul", "Gemm", "Add") or not depth:
        return 0
    sides = node.inputs if node.op == "Add" else node.inputs[2:]
    return sum(_sums_products(side, view, depth - 1) for side in sides if side) + (node.op != "Add")


def _settled(cells: list[FoundCell], graph: ModelGraph) -> list[FoundCell]:
    """The cells with their h told from their inputs.

    A cell goes on from another one, or another one goes on from it with the same weights, or its state
    is carried into the graph. Failing that, any tensor of a gated cell will do: its meaning is the same.
    A plain cell whose state is not carried in and out is only a layer of two inputs, and left out.
    """
    makers = {cell.y_h: cell for cell in cells}
    readers = {name: cell for cell in cells for name in cell.states}
    computed, given_out = _computed(graph), _given_out(graph)
    settled = []
    for cell in cells:
        before = [name for name in cell.states if name in makers and _goes_on(cell, makers[name], name)]
        after = readers.get(cell.y_h)
        if after is not None and _goes_on(after, cell, cell.y_h):
            before += [name for name in cell.states if cell.multiplied_alike(name, after, cell.y_h)]
        carried = [name for name in cell.states if name not in computed]
        if cell.op == "RNN":
            found = before or (carried if cell.y_h in given_out else [])
        else:
            found = [*before, *carried, *cell.states]
        settled += [cell.with_state(name) for name in found[:1]]
    return settled


def _goes_on(cell: FoundCell, other: FoundCell, name: str) -> bool:
    """Whether a cell may have its state from another one, by way of the tensor ``name``."""
    if cell.op != other.op or cell.attributes != other.attributes or cell.c != other.y_c:
        return False
    return bool(cell.c) or any(cell.multiplied_alike(name, other, h) for h in other.states)


def _computed(graph: ModelGraph) -> set[str]:
    """The tensors that are not made of the model's inputs and constants by movement alone."""
    found: set[str] = set()
    for node in graph.nodes:
        if not moves_only(node) or (node.inputs and node.inputs[0] in found):
            found.update(node.outputs)
    return found


def _given_out(graph: ModelGraph) -> set[str]:
    """The tensors that reach the model's outputs by movement alone."""
    found = {value.name for value in graph.outputs}
    for node in reversed(graph.nodes):
        if moves_only(node) and not found.isdisjoint(node.outputs):
            found.update(filter(None, node.inputs))
    return found


def _chains(cells: list[FoundCell], graph: ModelGraph) -> list[Chain]:
    """Cells put in rows of those that one layer can run."""
    following: dict[tuple[str, str], list[FoundCell]] = {}
    for cell in cells:
        following.setdefault((cell.h, cell.c), []).append(cell)
    nexts = {}
    for cell in cells:
        after = following.get((cell.y_h, cell.y_c), [])
        if len(after) == 1 and _alike(cell, after[0]):
            nexts[cell.y_h] = after[0]
    begun = {cell.y_h for cell in nexts.values()}
    chains = []
    for cell in cells:
        if cell.y_h not in begun:
            chain = [cell]
            while chain[-1].y_h in nexts:
                chain.append(nexts[chain[-1].y_h])
            chains.append(tuple(chain))
    chains = [
        part
        for chain, good in zip(chains, _independent(chains, graph))
        for part in ([chain] if good else [(one,) for one in chain])
    ]
    independent = _independent(chains, graph)
    return [chain for chain, good in zip(chains, independent) if good]


def _alike(cell: FoundCell, other: FoundCell) -> bool:
    """Whether two cells are one layer at different frames."""
    if cell.op != other.op or cell.attributes != other.attributes or len(cell.x) != len(other.x):
        return False
    if len(cell.gates) != len(other.gates) or not np.array_equal(cell.recurrent_bias, other.recurrent_bias):
        return False
    names = list(zip((*cell.x, cell.h), (*other.x, other.h)))
    if all(cell.multiplied_alike(name, other, of) for name, of in names):
        return all(
            np.array_equal(*np.broadcast_arrays(a.bias, b.bias)) for a, b in zip(cell.gates, other.gates)
        )
    return all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(cell.weights(), other.weights()))


def _independent(chains: list[Chain], graph: ModelGraph) -> list[bool]:
    """For each chain whether no input of its cells depends on what they put out."""
    found = []
    for start in range(0, len(chains), MOST_AT_ONCE):
        some = chains[start : start + MOST_AT_ONCE]
        marks: dict[str, int] = {}
        for place, chain in enumerate(some):
            for name in (name for cell in chain for name in (cell.y_h, cell.y_c) if name):
                marks[name] = marks.get(name, 0) | 1 << place
        behind = _behind(graph, marks)
        found += [
            not any(behind.get(name, 0) >> place & 1 for cell in chain for name in cell.x)
            for place, chain in enumerate(some)
        ]
    return found


def _behind(graph: ModelGraph, marks: dict[str, int]) -> dict[str, int]:
    """For each tensor the bits of all marks on it and on what it is computed from."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        bits = 0
        for name in _reads(node):
            bits |= found.get(name, 0)
        for name in node.outputs:
            own = bits | marks.get(name, 0)
            if own:
                found[name] = own
    return found


def _reads(node: Node) -> Iterator[str]:
    """The tensors that a node needs, sub-graphs included."""
    yield from (name for name in node.inputs if name)
    for _, sub_graph in node.graphs():
        yield from captured(sub_graph)


def _rewritten(graph: ModelGraph, chains: list[Chain], affines: Affines) -> ModelGraph | None:
    """The graph with a layer for each chain; None if its nodes cannot be put in order."""
    writer = Writer(graph, affines)
    for chain in chains:
        writer.layer(chain)
    nodes: list[Node] = []
    for node in graph.nodes:
        replacing = [made for name in node.outputs for made in writer.replacing.get(name, [])]
        nodes += replacing if any(name in writer.replacing for name in node.outputs) else [node]
    ordered = _in_order(nodes)
    if len(ordered) < len(nodes):
        return None
    return prune(graph._replace(nodes=tuple(ordered), constants=graph.constants | writer.constants))


def _in_order(nodes: list[Node]) -> list[Node]:
    """The nodes, each after those that it reads, otherwise as they were; less those in a circle."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    waits = [{makers[name] for name in _reads(node) if name in makers} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for place, others in enumerate(waits):
        for other in others:
            readers[other].append(place)
    ready = [place for place, others in enumerate(waits) if not others]
    heapify(ready)
    ordered = []
    while ready:
        place = heappop(ready)
        ordered.append(nodes[place])
        for reader in readers[place]:
            waits[reader].discard(place)
            if not waits[reader]:
                heappush(ready, reader)
    return ordered


def _spoilt(chains: list[Chain], graph: ModelGraph) -> list[bool]:
    """For each chain whether something else in the graph needs what only the cells' own nodes computed: a
    cell state between two frames, or a product, which would then be computed twice."""
    made = {name for node in graph.nodes for name in node.outputs}
    needed = {name for node in graph.nodes for name in _reads(node)} | {v.name for v in graph.outputs}
    return [
        any(not made.isdisjoint(cell.products) for cell in chain)
        or any(cell.y_c in needed for cell, _ in pairwise(chain) if cell.y_c)
        for chain in chains
    ]
