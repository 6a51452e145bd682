"""What tensors are as sums of matrix products: the layer behind an exporter's Gemm, MatMul, Add and Split."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tinyseq.ir.model import ModelGraph, Node
from tinyseq.ir.weights import Constant, widened
from tinyseq.passes.patterns import GraphView
from tinyseq.passes.probe import Probe, probes
from tinyseq.shapes import Shape, axis_of, slice_bounds

MOST_NESTED = 16
"""A sum within more sums than this is taken as a tensor itself."""

MOST_TERMS, MOST_BYTES = 64, 2**28
"""So is one of more terms, and all those after matrices of so many bytes had to be added up for others."""


class Affine(NamedTuple):
    """``sum of tensor @ matrix over the terms, + bias``, along the last dimension, K wide.

    ``terms`` maps tensors to matrices [F, K], or to None for the tensor itself; ``bias`` is [K];
    ``products`` names the results of the matrix products in it.
    """

    terms: dict[str, np.ndarray | None]
    bias: np.ndarray
    products: frozenset[str] = frozenset()

    @property
    def whole(self) -> list[str]:
        """The terms that are tensors themselves."""
        return [name for name, matrix in self.terms.items() if matrix is None]

    def columns(self, part: slice) -> Affine | None:
        """Some of the columns; None where that would cut a tensor itself."""
        if self.whole:
            return None
        terms = {name: matrix[:, part] for name, matrix in self.terms.items()}
        return Affine(terms, self.bias[part], self.products)

    def times(self, factor: float) -> Affine | None:
        """A multiple; None where it is one of a tensor itself."""
        if factor == 1:
            return self
        if self.whole:
            return None
        factor = np.float32(factor)
        terms = {name: matrix * factor for name, matrix in self.terms.items()}
        return Affine(terms, self.bias * factor, self.products)

    def plus(self, other: Affine) -> Affine | None:
        """The sum; None where it is no such sum."""
        terms = dict(self.terms)
        for name, matrix in other.terms.items():
            if name in terms and (matrix is None or terms[name] is None):
                return None
            terms[name] = terms[name] + matrix if name in terms else matrix
        return Affine(terms, self.bias + other.bias, self.products | other.products)


class Affines:
    """The affine forms of a graph's tensors, each worked out once."""

    def __init__(self, view: GraphView, graph: ModelGraph) -> None:
        self.view = view
        self._graph = graph
        self._made: dict[str, Affine | None] = {}
        self._matrices: dict[str, np.ndarray] = {}
        self._transposed: dict[str, np.ndarray] = {}
        self._added: set[int] = set(map(id, graph.constants.values()))
        self._bytes = 0
        self._depth = 0

    @cached_property
    def probes(self) -> tuple[Probe, Probe]:
        """The shapes of the graph's tensors, worked out when they are first asked for."""
        return probes(self._graph)

    def shapes(self, name: str) -> tuple[Shape | None, ...]:
        """The shape of a tensor under each probe."""
        first, second = self.probes
        return first.shapes.get(name), second.shapes.get(name)

    def width(self, name: str) -> int | None:
        """The last size of a tensor if it is known and the same for all inputs."""
        first, second = (shape and shape[-1] for shape in self.shapes(name))
        return first if first and first == second else None

    def of(self, name: str) -> Affine | None:
        """A tensor as a sum of products; at the least, as itself. None if its width is unknown."""
        name = self.view.source(name)
        if name not in self._made:
            self._depth += 1
            self._made[name] = self._worked_out(name)
            self._depth -= 1
        return self._made[name]

    def _worked_out(self, name: str) -> Affine | None:
        constant = self.view.constants.get(name)
        if constant is not None:
            row = constant.shape[-1] if constant.ndim else 1
            same_for_all = constant.size == row and constant.dtype == np.float32
            return Affine({}, np.ravel(constant)) if same_for_all else None
        node, width = self.view.makers.get(name), self.width(name)
        if width is None:
            return None
        rule = RULES.get(node.op) if node is not None and self._depth < MOST_NESTED else None
        found = rule(self, node, name) if rule else None
        itself = found is None or len(found.terms) > MOST_TERMS or not self._has_room(found)
        return Affine({name: None}, np.zeros(width, np.float32)) if itself else found

    def _has_room(self, found: Affine) -> bool:
        """Whether the matrices that were made so far, with these, are not too large to be kept."""
        for matrix in found.terms.values():
            if matrix is not None and matrix.flags.owndata and id(matrix) not in self._added:
                self._added.add(id(matrix))
                self._bytes += matrix.nbytes
        return self._bytes <= MOST_BYTES

    def product(self, name: str, x: str, w: str, transposed: bool = False) -> Affine | None:
        """``x @ w``, x taken apart where it is put together from others; None unless w is a constant."""
        x, w = self.view.source(x), self.view.source(w)
        constant = self.view.constants.get(w)
        if constant is None or constant.ndim != 2 or constant.dtype != np.float32:
            return None
        if x in self.view.constants:
            return None
        matrix = self._matrix(w, constant)
        if transposed:
            matrix = self._transposed.setdefault(w, matrix.T)
        parts = self._parts(x) if self.width(x) == len(matrix) else [x]
        if len(parts) == 1:
            return Affine({x: matrix}, np.zeros(matrix.shape[1], np.float32), frozenset([name]))
        stops = np.cumsum([self.width(part) for part in parts[:-1]])
        terms: dict[str, np.ndarray | None] = {}
        for part, rows in zip(parts, np.split(matrix, stops)):
            terms[part] = terms[part] + rows if part in terms else rows
        return Affine(terms, np.zeros(matrix.shape[1], np.float32), frozenset([name]))

    def _matrix(self, w: str, constant: Constant) -> np.ndarray:
        """The numbers of a constant, which are not counted among the matrices that are made."""
        if w not in self._matrices:
            self._matrices[w] = widened(constant)
            self._added.add(id(self._matrices[w]))
        return self._matrices[w]

    def _parts(self, x: str, depth: int = 0) -> list[str]:
        """The tensors that lie side by side in each row of x."""
        node, shape = self.view.makers.get(x), self.probes[0].shapes.get(x)
        if node is None or node.op != "Concat" or shape is None or depth == MOST_NESTED:
            return [x]
        parts = [self.view.source(part) for part in node.inputs]
        fixed = all(self.width(part) and part not in self.view.constants for part in parts)
        if axis_of(node.attributes["axis"], len(shape)) != len(shape) - 1 or not fixed:
            return [x]
        return [inner for part in parts for inner in self._parts(part, depth + 1)]


def _matmul(affines: Affines, node: Node, name: str) -> Affine | None:
    return affines.product(name, node.inputs[0], node.inputs[1])


def _gemm(affines: Affines, node: Node, name: str) -> Affine | None:
    attributes = node.attributes
    if attributes["transA"]:
        return None
    product = affines.product(name, node.inputs[0], node.inputs[1], bool(attributes["transB"]))
    product = product and product.times(attributes["alpha"])
    if product is None or len(node.inputs) < 3 or not node.inputs[2]:
        return product
    start = affines.of(node.inputs[2])
    if start is None or (start.terms and affines.shapes(node.inputs[2]) != affines.shapes(name)):
        return None
    start = start.times(attributes["beta"])
    return start and product.plus(start)


def _add(affines: Affines, node: Node, name: str) -> Affine | None:
    sides = _sides(affines, node, name)
    return sides and sides[0].plus(sides[1])


def _sub(affines: Affines, node: Node, name: str) -> Affine | None:
    sides = _sides(affines, node, name)
    negated = sides and sides[1].times(-1)
    return negated and sides[0].plus(negated)


def _sides(affines: Affines, node: Node, name: str) -> list[Affine] | None:
    """The two sides of a sum; None where one is repeated to fit the other."""
    sides = []
    for given in node.inputs:
        side = affines.of(given)
        if side is None or (side.terms and affines.shapes(given) != affines.shapes(name)):
            return None
        sides.append(side)
    return sides


def part_bounds(node: Node, name: str, probes: tuple[Probe, Probe]) -> list[tuple[int, int, int]] | None:
    """For each dimension (start, step, count) of what a Split or Slice cuts out of its input, sizes being
    those of the first probe; None where the part is not the same for all inputs."""
    found = []
    for probe in probes:
        shape = probe.shapes.get(node.inputs[0])
        if node.op not in ("Split", "Slice") or shape is None:
            return None
        if any(given not in probe.values for given in node.inputs[1:] if given):
            return None
        values = [probe.values.get(given) for given in node.inputs]
        bounds = [(0, 1, size) for size in shape]
        if node.op == "Slice":
            bounds = slice_bounds(shape, values)
        else:
            start, size = probe.part(node, name)
            bounds[axis_of(node.attributes["axis"], len(shape))] = (start, 1, size)
        whole = [(0, 1, size) for size in shape]
        found.append((bounds, [None if bound == all_ else bound for bound, all_ in zip(bounds, whole)]))
    return found[0][0] if found[0][1] == found[1][1] else None


def _columns(affines: Affines, node: Node, name: str) -> Affine | None:
    """Some columns of a node's first input, if they are the same for all sizes."""
    bounds, whole = part_bounds(node, name, affines.probes), affines.of(node.inputs[0])
    if bounds is None or whole is None:
        return None
    *others, (start, step, count) = bounds
    shape = affines.probes[0].shapes[node.inputs[0]]
    if others != [(0, 1, size) for size in shape[:-1]] or step < 1:
        return None
    return whole.columns(slice(start, start + step * count, step))


RULES: dict[str, Callable[[Affines, Node, str], Affine | None]] = {
    "Add": _add,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Slice": _columns,
    "Split": _columns,
    "Sub": _sub,
}
"""By op: the affine form of what a node makes, or None where it has no other than itself."""
