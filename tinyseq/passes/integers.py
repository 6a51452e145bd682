"""Products of numbers that stand for bytes become products of the bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyseq.ir.model import ModelGraph, Node
from tinyseq.ir.ops import OPS

MOST_SUMMED = 2**15
"""Products of differences of two bytes whose sum any int32 holds."""

LEAST_SCALE, MOST_SCALE = 1e-30, 1e30
"""Between them, no scale and no scaled sum comes near the ends of float32."""

BYTES = (np.uint8, np.int8)


class _Quantized(NamedTuple):
    """Numbers ``(values - zero_point) * scale``: the names of the values and of their zero point, the latter
    ``""`` where it is 0."""

    values: str
    zero_point: str
    scale: np.ndarray


def integer_products(graph: ModelGraph) -> ModelGraph:
    """The graph with its MatMul and Gemm of dequantised numbers, the second factor known, as products of
    bytes, summed exactly and scaled behind. Sub-graphs stay as they are."""
    return _Products(graph).graph()


class _Products:
    def __init__(self, graph: ModelGraph) -> None:
        self._graph = graph
        self._constants = dict(graph.constants)
        self._sources = {
            node.outputs[0]: node for node in graph.nodes if node.op == "DequantizeLinear" and node.outputs
        }

    def graph(self) -> ModelGraph:
        nodes: list[Node] = []
        for node in self._graph.nodes:
            nodes += self._product(node) or [node]
        return self._graph._replace(nodes=tuple(nodes), constants=self._constants)

    def _product(self, node: Node) -> list[Node] | None:
        """The nodes that do what a product does, if it is one of bytes."""
        turned = node.op == "Gemm" and bool(node.attributes["transB"])
        if node.op == "Gemm":
            plain = node.attributes["alpha"] == node.attributes["beta"] == 1 and not node.attributes["transA"]
        else:
            plain = node.op == "MatMul"
        if not plain:
            return None
        x, w = (self._sources.get(name) for name in node.inputs[:2])
        if x is None or w is None:
            return None
        a, b = self._quantized(x), self._known(w, 0 if turned else 1)
        if a is None or b is None or a.scale.size != 1:
            return None
        scale = a.scale.astype(np.float64).ravel() * b.scale.astype(np.float64).ravel()
        if not ((scale > LEAST_SCALE) & (scale < MOST_SCALE)).all():
            return None
        return self._nodes(node, a, b, turned, scale.astype(np.float32))

    def _quantized(self, source: Node) -> _Quantized | None:
        """Bytes with one scale and zero point that are known."""
        values, scale, *zero_point = source.inputs
        names = [name for name in (scale, *zero_point) if name]
        known = [self._constants.get(name) for name in names]
        if any(array is None for array in known) or source.attributes["block_size"]:
            return None
        if known[0].dtype != np.float32 or source.attributes["output_dtype"] not in (None, np.float32):
            return None
        if len(known) > 1 and (known[1].dtype not in BYTES or known[1].size != known[0].size):
            return None
        return _Quantized(values, names[1] if len(names) > 1 else "", known[0])

    def _known(self, source: Node, axis: int) -> _Quantized | None:
        """A known matrix of bytes, with a scale and a zero point of its own for each index of an axis, or one
        for all."""
        found, values = self._quantized(source), self._constants.get(source.inputs[0])
        if found is None or values is None or values.dtype not in BYTES or values.ndim != 2:
            return None
        depth, columns = values.shape[1 - axis], values.shape[axis]
        own = source.attributes["axis"] % 2 == axis and found.scale.shape == (columns,)
        fits = depth <= MOST_SUMMED and (own or found.scale.size == 1)
        return found if fits else None

    def _nodes(self, node: Node, a: _Quantized, b: _Quantized, turned: bool, scale: np.ndarray) -> list[Node]:
        y, name = node.outputs[0], node.name
        w, offset = b.values, b.zero_point
        if turned:
            w = f"{y}: bytes"
            self._constants[w] = np.ascontiguousarray(self._constants[b.values].T)
        if offset and self._constants[offset].size > 1:
            self._constants[offset] = self._constants[offset].ravel()
        self._constants[f"{y}: scale"] = scale
        names = [f"{y}: sums", f"{y}: floats", f"{y}: scaled"]
        added = node.inputs[2] if len(node.inputs) > 2 else ""
        names[2] = names[2] if added else y
        made = [
            _node("MatMulInteger", (a.values, w, a.zero_point, offset), names[0], name),
            _node("Cast", (names[0],), names[1], name, to=np.dtype(np.float32)),
            _node("Mul", (names[1], f"{y}: scale"), names[2], name),
        ]
        return [*made, _node("Add", (names[2], added), y, name)] if added else made


def _node(op: str, inputs: tuple[str, ...], output: str, name: str, **attributes: object) -> Node:
    defaults = {attribute.name: attribute.default for attribute in OPS[op].attributes}
    return Node(op, inputs, (output,), {**defaults, **attributes}, name)
