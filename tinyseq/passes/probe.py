"""Probing: what follows for a graph's tensors from a choice of its open sizes.

What two probes, in which every open size is another prime, agree on does not depend on the open sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, count
from types import MappingProxyType

import numpy as np

from tinyseq import reference
from tinyseq.errors import TinyseqError
from tinyseq.ir.model import Dimension, ModelGraph, Node, Value
from tinyseq.shapes import Shape, split_sizes

FIRST_PRIMES = (1009, 2003)
"""Where the primes of each probe begin: above the sizes that models have by nature."""

MOST_ELEMENTS = 2**18
"""Larger tensors take part with their shape only, not their values."""

MOST_KEPT = 2**22
"""So do all that come after values of so many elements."""


class Probe:
    """One choice of the open sizes. ``shapes`` and ``values`` hold what follows, by tensor."""

    def __init__(self, graph: ModelGraph, choice: Iterator[int]) -> None:
        sizes: dict[str, int] = {}
        self.shapes: dict[str, Shape] = {name: array.shape for name, array in graph.constants.items()}
        self.values: dict[str, np.ndarray] = dict(graph.constants)
        self._parts: dict[tuple[str, ...], dict[str, tuple[int, int]]] = {}
        self._room = MOST_KEPT
        for value in graph.inputs:
            if value.shape is not None:
                for size in value.shape:
                    if isinstance(size, str) and size not in sizes:
                        sizes[size] = next(choice)
                self.shapes[value.name] = tuple(sizes.get(size, size) for size in value.shape)
        for node in graph.nodes:
            self.follow(node)

    def within(self, graph: ModelGraph, given: Mapping[str, Shape] = MappingProxyType({})) -> Probe:
        """What follows in a graph that sees the tensors of this one, and is ``given`` its own inputs."""
        inner = Probe(ModelGraph((), (), (), {}), iter(()))
        inner.shapes |= self.shapes | {name: array.shape for name, array in graph.constants.items()}
        inner.values |= self.values | graph.constants
        inner.shapes |= given
        for name in given:
            inner.values.pop(name, None)
        for node in graph.nodes:
            inner.follow(node)
        return inner

    def follow(self, node: Node) -> None:
        """Works out a node's outputs as far as its inputs allow."""
        names = [name for name in node.inputs if name]
        if any(name not in self.shapes for name in names):
            return
        if node.op == "If":
            self._branch(node)
        if node.op == "Scan":
            self._scan(node)
        if node.graphs():
            return
        shapes = [self.shapes[name] if name else None for name in node.inputs]
        values = [self.values.get(name) if name else None for name in node.inputs]
        try:
            if node.row.sizes_only:
                values = [np.broadcast_to(np.float32(0), shapes[0])]
            results = node.row.shape(node.attributes, shapes, values)
            self.shapes.update(zip(node.outputs, results))
            known = all(value is not None for value, name in zip(values, node.inputs) if name)
            elements = sum(map(math.prod, results))
            if known and elements <= min(MOST_ELEMENTS, self._room):
                self._room -= elements
                self.values.update(zip(node.outputs, reference.apply(node, values)))
        except (TinyseqError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            # A node that does not fit, or a rule that needs a value which no probe can know; what follows
            # stays unknown too. Planning tells the user what is wrong.
            return

    def part(self, node: Node, output: str) -> tuple[int, int]:
        """Where along its axis a part begins that a Split with known sizes cuts out, and its size."""
        parts = self._parts.get(node.outputs)
        if parts is None:
            values = [self.values.get(name) for name in node.inputs]
            sizes = split_sizes(node.attributes, [self.shapes[node.inputs[0]]], values)
            starts = accumulate(sizes, initial=0)
            parts = self._parts[node.outputs] = dict(zip(node.outputs, zip(starts, sizes)))
        return parts[output]

    def _branch(self, node: Node) -> None:
        """What the branch that is taken gives, or both if that is not known and they agree."""
        taken = [graph for _, graph in self.taken(node)]
        if any(len(graph.outputs) != len(node.outputs) for graph in taken):
            return
        inner = [self.within(graph) for graph in taken]
        for place, name in enumerate(node.outputs):
            ends = [(probe, graph.outputs[place].name) for probe, graph in zip(inner, taken)]
            shapes = [probe.shapes.get(end) for probe, end in ends]
            if shapes[0] is not None and shapes == shapes[:1] * len(shapes):
                self.shapes[name] = shapes[0]
                if len(ends) == 1 and ends[0][1] in ends[0][0].values:
                    self.values[name] = ends[0][0].values[ends[0][1]]

    def _scan(self, node: Node) -> None:
        """What one turn gives, and as much of it as there are turns."""
        body, kept = node.attributes["body"], len(node.inputs) - node.attributes["num_scan_inputs"]
        if len(body.inputs) != len(node.inputs) or len(body.outputs) < len(node.outputs):
            return
        given = {}
        turns = 0
        for place, (name, value) in enumerate(zip(node.inputs, body.inputs)):
            shape = self.shapes[name]
            if place >= kept:
                axis = scan_axis(node, "input", place - kept, len(shape))
                if axis is None:
                    return
                turns, shape = shape[axis], (*shape[:axis], *shape[axis + 1 :])
            given[value.name] = shape
        inner = self.within(body, given)
        for place, (name, value) in enumerate(zip(node.outputs, body.outputs)):
            shape = inner.shapes.get(value.name)
            if shape is None or not name:
                continue
            if place >= kept:
                axis = scan_axis(node, "output", place - kept, len(shape) + 1)
                if axis is None:
                    continue
                shape = (*shape[:axis], turns, *shape[axis:])
            self.shapes[name] = shape

    def taken(self, node: Node) -> list[tuple[str, ModelGraph]]:
        """The branches of an If that may be taken."""
        condition = self.values.get(node.inputs[0])
        if condition is None or condition.size != 1:
            return node.graphs()
        key = "then_branch" if condition.any() else "else_branch"
        return [(key, node.attributes[key])]


def scan_axis(node: Node, what: str, number: int, rank: int) -> int | None:
    """Along which axis a Scan goes over one of its scan inputs, or puts one of its scan outputs together."""
    axes = node.attributes[f"scan_{what}_axes"]
    axis = axes[number] if axes else 0
    return axis % rank if -rank <= axis < rank else None


def scanned(node: Node, shape_of: Callable[[str], Shape | None]) -> Iterator[tuple[str, int]]:
    """What a Scan goes over, and along which axes; what has no shape is left out."""
    names = node.inputs[len(node.inputs) - node.attributes["num_scan_inputs"] :]
    for number, name in enumerate(names):
        shape = shape_of(name)
        axis = None if shape is None else scan_axis(node, "input", number, len(shape))
        if axis is not None:
            yield name, axis


def probes(graph: ModelGraph) -> tuple[Probe, Probe]:
    """Two probes of a graph with primes for its sizes."""
    first, second = (Probe(graph, _primes(first)) for first in FIRST_PRIMES)
    return first, second


def with_shapes(values: Iterable[Value], graph: ModelGraph) -> tuple[Value, ...]:
    """Values of a graph's tensors with the sizes that follow from the inputs' by the shape rules, where they
    do not say them, say a name only, or say a number although it is another for other inputs, as exporters
    do that wrote down an example's. A size that is neither a number nor that of an input is called by the
    tensor and its axis."""
    values = tuple(values)
    if all(
        value.shape is not None and not any(isinstance(size, str) for size in value.shape)
        for value in (*values, *graph.inputs)
    ):
        return values
    one, other = probes(graph)
    open_sizes = {
        (one.shapes[value.name][axis], other.shapes[value.name][axis]): size
        for value in graph.inputs
        for axis, size in enumerate(value.shape or ())
        if isinstance(size, str)
    }

    def shape_of(name: str) -> tuple[Dimension, ...] | None:
        pair = one.shapes.get(name), other.shapes.get(name)
        if pair[0] is None or pair[1] is None or len(pair[0]) != len(pair[1]):
            return None
        return tuple(
            int(size) if size == twin else open_sizes.get((size, twin), f"{name}.{axis}")
            for axis, (size, twin) in enumerate(zip(*pair))
        )

    return tuple([value._replace(shape=_merged(value, shape_of(value.name))) for value in values])


def _merged(value: Value, found: tuple[Dimension, ...] | None) -> tuple[Dimension, ...] | None:
    """A declared shape whose names give way to numbers that were found, and numbers and unnamed sizes to
    names."""
    if value.shape is None or found is None or len(found) != len(value.shape):
        return found if value.shape is None else value.shape
    return tuple(
        size if isinstance(size, str) and isinstance(seen, str) and size != f"{value.name}.{axis}" else seen
        for axis, (size, seen) in enumerate(zip(value.shape, found))
    )


def _primes(first: int) -> Iterator[int]:
    """Primes from ``first`` on, which is one."""
    return (n for n in count(first, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2)))
