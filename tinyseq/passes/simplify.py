"""What constants alone decide is computed; what nothing reads is dropped; cells are put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tinyseq.ir.effort import Allowance, bytes_of, effort, predicted
from tinyseq.ir.model import Model, ModelGraph, Node
from tinyseq.passes.prune import prune

FOLDING_EFFORT, FOLDED_BYTES = 2**28, 2**28
"""What folding may take and make, see ``effort.py``; what takes or makes more is left to run time."""

A_STORED_BYTE = 8
"""What folding may take and make besides for each byte of the constants that there are."""


def simplify(model: Model) -> Model:
    """Everything that the constants alone decide is computed; what nothing reads is gone; products of numbers
    that stand for bytes are products of these; weights are float32; what is multiplied and added by channel
    behind convolutions is in their weights; layer normalisations and recurrent cells that an exporter took
    apart are one node again.

    Raises:
        ModelError: a constant cannot be computed, or is too large for float32; names it.
    """
    graph = model.graph
    if any(node.op == "DequantizeLinear" for node in graph.nodes):
        # Imported here, as the next: few models need it.
        from tinyseq.passes.integers import integer_products

        graph = integer_products(graph)
    graph = prune(_fold(graph, {}, _allowance(graph)))
    if any(dtype.kind == "f" and dtype != np.float32 for dtype in _dtypes(graph)):
        from tinyseq.passes.precision import narrow

        graph = narrow(graph)
    ops = Counter(_ops(graph))
    if any(op in ops for op in ("Conv", "ConvTranspose", "BatchNormalization")):
        from tinyseq.passes.channels import absorbed

        graph = prune(absorbed(graph))
    if ops["ReduceMean"] > 1 and ops["Sqrt"]:
        from tinyseq.passes.norms import layer_norms

        graph = prune(layer_norms(graph))
    if _may_hold_cells(graph):
        from tinyseq.passes.recognise import recognise

        graph = recognise(graph)
    return model._replace(graph=graph, defaults=())


def _dtypes(graph: ModelGraph) -> Iterator[np.dtype]:
    """The types of a graph's inputs, outputs and constants, sub-graphs included."""
    yield from (value.dtype for value in (*graph.inputs, *graph.outputs))
    yield from (array.dtype for array in graph.constants.values())
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _dtypes(sub_graph)


def _ops(graph: ModelGraph) -> Iterator[str]:
    """The ops of a graph, sub-graphs included."""
    for node in graph.nodes:
        yield node.op
        for _, sub_graph in node.graphs():
            yield from _ops(sub_graph)


def _may_hold_cells(graph: ModelGraph) -> bool:
    """Whether a graph has what every recurrent cell is written with: two products, or one and gates."""
    products = sum(node.op in ("Gemm", "MatMul") for node in graph.nodes)
    return products > 1 or (products == 1 and any(node.op == "Mul" for node in graph.nodes))


def _allowance(graph: ModelGraph) -> Allowance:
    """What folding a graph may take and make."""
    further = A_STORED_BYTE * _stored(graph)
    return Allowance(FOLDING_EFFORT + further, FOLDED_BYTES + further)


def _stored(graph: ModelGraph) -> int:
    """The bytes of all constants, sub-graphs included."""
    inner = (sub_graph for node in graph.nodes for _, sub_graph in node.graphs())
    return sum(array.nbytes for array in graph.constants.values()) + sum(map(_stored, inner))


def _fold(graph: ModelGraph, outer: dict[str, np.ndarray], allowance: Allowance) -> ModelGraph:
    """Computes the nodes whose inputs are constants, here and in sub-graphs."""
    known = dict(outer)
    for value in graph.inputs:
        known.pop(value.name, None)
    known |= graph.constants
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        results = _computed(node, known, allowance)
        if results is not None:
            computed = {name: array for name, array in zip(node.outputs, results) if name}
            constants |= computed
            known |= computed
            continue
        folded = {key: _fold(sub_graph, known, allowance) for key, sub_graph in node.graphs()}
        nodes.append(node._replace(attributes=node.attributes | folded) if folded else node)
    return graph._replace(nodes=tuple(nodes), constants=constants)


def _computed(
    node: Node, known: dict[str, np.ndarray], allowance: Allowance
) -> tuple[np.ndarray, ...] | None:
    if node.graphs() or not all(name in known for name in node.inputs if name):
        return None
    # Imported here: importing tinyseq need not wait for what only a model needs.
    from tinyseq import reference

    inputs = [known[name] if name else None for name in node.inputs]
    shapes = predicted(node, inputs)
    takes, makes = effort(node, inputs, shapes), bytes_of(inputs, shapes)
    if not (allowance.takes(takes) and allowance.holds(makes)):
        return None
    allowance.spend(takes, makes)
    return reference.apply(node, inputs)
