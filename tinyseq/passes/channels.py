"""Channel by channel: what is multiplied and added behind a convolution becomes part of its weights."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from tinyseq.ir.model import ModelGraph, Node, captured

PRODUCTS = ("Conv", "ConvTranspose", "Gemm")
SCALED = ("BatchNormalization", "Add", "Sub", "Mul", "Div")


class Scaling(NamedTuple):
    """``y = x * factor + shift`` for each channel, in float64."""

    factor: np.ndarray
    shift: np.ndarray


def absorbed(graph: ModelGraph) -> ModelGraph:
    """The graph with such nodes gone: a batch normalisation of a convolution or Gemm with constant weights
    that nothing else reads, and a sum, product and so on of a convolution with constants by channel. Weights
    are worked out in float64 and rounded once."""
    return _Absorption(graph).graph()


class _Absorption:
    def __init__(self, graph: ModelGraph) -> None:
        self._graph = graph
        self._constants = dict(graph.constants)
        self._nodes: dict[str | int, Node] = {}
        self._readers: Counter[str] = Counter(value.name for value in graph.outputs)
        for node in graph.nodes:
            self._readers.update(set(node.inputs))
            for _, sub_graph in node.graphs():
                self._readers.update(captured(sub_graph))

    def graph(self) -> ModelGraph:
        for node in self._graph.nodes:
            sub_graphs = {key: absorbed(sub_graph) for key, sub_graph in node.graphs()}
            if sub_graphs:
                node = node._replace(attributes=node.attributes | sub_graphs)
            node = self._taken(node) or node
            first = node.outputs[0] if node.outputs else ""
            self._nodes[first or len(self._nodes)] = node
        return self._graph._replace(nodes=tuple(self._nodes.values()), constants=self._constants)

    def _taken(self, node: Node) -> Node | None:
        """The product that does what a node does behind it, instead of both."""
        for place, name in enumerate(node.inputs[:2] if node.op in SCALED else ()):
            product = self._nodes.get(name)
            scaling = None if product is None else self._scaling(node, place, product)
            if scaling is not None:
                scaled = self._scaled(self._nodes[name], scaling, node.outputs[0])
                if scaled is not None:
                    del self._nodes[name]
                return scaled
        return None

    def _scaling(self, node: Node, place: int, product: Node) -> Scaling | None:
        """What a node does to each channel of a product; None if it is no such node."""
        channels = self._channels(product)
        if channels is None or self._readers[product.outputs[0]] != 1:
            return None
        if node.op == "BatchNormalization":
            found = self._normalisation(node) if place == 0 and len(node.outputs) == 1 else None
        elif product.op == "Gemm":
            # What cells are written with; passes put them together from it.
            found = None
        else:
            found = self._arithmetic(node, place, channels, self._constants[product.inputs[1]].ndim)
        return found and Scaling(*(np.broadcast_to(part, channels) for part in found))

    def _channels(self, product: Node) -> int | None:
        """How many channels a product with known weights has."""
        if product.op not in PRODUCTS:
            return None
        known = [self._constants.get(name) for name in product.inputs[1:3] if name]
        if any(array is None or array.dtype != np.float32 for array in known):
            return None
        w = known[0]
        if product.op == "Conv":
            return w.shape[0]
        if product.op == "ConvTranspose":
            return w.shape[1] * product.attributes["group"]
        count = w.shape[0 if product.attributes["transB"] else 1]
        plain = product.attributes["alpha"] == product.attributes["beta"] == 1
        fits = len(known) < 2 or known[1].shape in ((), (1,), (1, 1), (count,), (1, count))
        return count if plain and fits else None

    def _normalisation(self, node: Node) -> Scaling | None:
        known = [self._constants.get(name) for name in node.inputs[1:]]
        if len(known) != 4 or any(array is None for array in known):
            return None
        scale, bias, mean, variance = (array.astype(np.float64) for array in known)
        with np.errstate(all="ignore"):
            factor = scale / np.sqrt(variance + node.attributes["epsilon"])
            return Scaling(factor, bias - mean * factor)

    def _arithmetic(self, node: Node, place: int, channels: int, rank: int) -> Scaling | None:
        """Of a sum, difference, product or quotient with a constant of one number a channel."""
        constant = self._constants.get(node.inputs[1 - place])
        if constant is None or constant.dtype != np.float32 or constant.ndim > rank:
            return None
        shape = (1,) * (rank - constant.ndim) + constant.shape
        if shape[1] not in (1, channels) or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
            return None
        number, one, none = constant.astype(np.float64).ravel(), np.ones(1), np.zeros(1)
        if node.op == "Add":
            return Scaling(one, number)
        if node.op == "Sub":
            return Scaling(one, -number) if place == 0 else Scaling(-one, number)
        if node.op == "Mul":
            return Scaling(number, none)
        with np.errstate(divide="ignore"):
            return Scaling(1 / number, none) if place == 0 else None

    def _scaled(self, product: Node, scaling: Scaling, output: str) -> Node | None:
        """The product with the scaling in its weights; None where these would not be finite."""
        w = np.asarray(self._constants[product.inputs[1]], np.float64)
        given = product.inputs[2] if len(product.inputs) > 2 else ""
        bias = np.asarray(self._constants[given], np.float64) if given else np.zeros(1)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.broadcast_to(bias.ravel(), len(scaling.factor)) * scaling.factor + scaling.shift
            made = [a.astype(np.float32) for a in (_by_channel(product, w, scaling.factor), moved)]
        if not all(np.isfinite(array).all() for array in made):
            return None
        names = f"{output}: weights", f"{output}: bias"
        self._constants |= dict(zip(names, made))
        return product._replace(inputs=(product.inputs[0], *names), outputs=(output,))


def _by_channel(product: Node, w: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Weights times the factor of their channel."""
    if product.op == "Gemm":
        return w * (factor[:, None] if product.attributes["transB"] else factor)
    if product.op == "Conv":
        return w * factor.reshape(-1, *[1] * (w.ndim - 1))
    groups = product.attributes["group"]
    parts = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
    return (parts * factor.reshape(groups, 1, w.shape[1], 1)).reshape(w.shape)
