"""float16 and float64 models, computed in float32."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from tinyseq.errors import ConversionWarning
from tinyseq.ir.model import ModelGraph, needed_values
from tinyseq.ir.precision import narrowed

MOST_LISTED = 8
"""Names that a warning lists before it says how many more there are."""


def narrow(graph: ModelGraph) -> ModelGraph:
    """The graph with float32 weights. Inputs and outputs keep their types, in which callers give and get
    them; whatever is not float32 is named in one warning.

    Raises:
        ModelError: a weight is too large for float32; names it.
    """
    edges = [value for value in (*graph.inputs, *graph.outputs) if _is_other(value.dtype)]
    weights = list(_weights(graph))
    if not edges and not weights:
        return graph
    named = [f"{what} {name!r} ({dtype})" for what, name, dtype in (
        *(("tensor", value.name, value.dtype) for value in edges),
        *(("weight", name, array.dtype) for name, array in weights),
    )]  # fmt: skip
    more = f" and {len(named) - MOST_LISTED} more" if len(named) > MOST_LISTED else ""
    warnings.warn(
        f"computed in float32: {', '.join(named[:MOST_LISTED])}{more}", ConversionWarning, stacklevel=5
    )
    return _narrowed(graph) if weights else graph


def _is_other(dtype: np.dtype) -> bool:
    return dtype.kind == "f" and dtype != np.float32


def _weights(graph: ModelGraph) -> Iterator[tuple[str, np.ndarray]]:
    """The constants that are to become float32, those of sub-graphs included."""
    yield from _own_weights(graph)
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _weights(sub_graph)


def _own_weights(graph: ModelGraph) -> list[tuple[str, np.ndarray]]:
    """The constants of one graph that are to become float32: not those from which sizes are worked out."""
    found = [(name, array) for name, array in graph.constants.items() if _is_other(array.dtype)]
    deciding = _deciding(graph) if found else ()
    return [(name, array) for name, array in found if name not in deciding]


def _deciding(graph: ModelGraph) -> set[str]:
    """What is read by the nodes whose results planning must know."""
    needed = needed_values(graph)
    return {name for node in graph.nodes if not needed.isdisjoint(node.outputs) for name in node.inputs}


def _narrowed(graph: ModelGraph) -> ModelGraph:
    changed = {name: narrowed(array, f"constant {name!r}") for name, array in _own_weights(graph)}
    nodes = []
    for node in graph.nodes:
        inner = {key: _narrowed(sub_graph) for key, sub_graph in node.graphs()}
        nodes.append(node._replace(attributes=node.attributes | inner) if inner else node)
    return graph._replace(nodes=tuple(nodes), constants=graph.constants | changed)
