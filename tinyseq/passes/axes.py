"""Axes: which dimensions of a graph's tensors grow with which of its open sizes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, islice
from typing import NamedTuple

from tinyseq.errors import TinyseqError
from tinyseq.ir.model import ModelGraph, Node
from tinyseq.passes.probe import Probe, _primes, scanned
from tinyseq.shapes import Shape

LONG = 27_720
"""Frames that are more than any window has."""


class Numbers(NamedTuple):
    """What the size that is looked into is taken for, and where the others' numbers come from.

    ``looked_into`` are two, multiples of what strides divide by; ``odd`` some that nothing divides; ``least``
    the smallest; ``most`` more than any stream has. The others are multiples of a factor by primes: ``rest``
    is where these begin, and it.
    """

    looked_into: tuple[int, int]
    odd: tuple[int, ...]
    least: tuple[int, ...]
    rest: tuple[int, int] = (1009, 24)
    most: int = 2**40


MANY = Numbers((LONG, 32_760), (997, 4001), (1, 2))
"""More frames than any window has."""

FEW = Numbers((12, 24), (11, 23, 997, 4001), (1, 2), (17, 1))
"""No more than any table has."""


def multiples(size: int) -> Numbers:
    """As ``MANY``, of frames that come so many at a time."""
    least = 12 * -(-LONG // (12 * size))
    looked_into = least * size, (least + 12) * size
    odd = min(least + 1, MANY.odd[0]) * size, min(least + 7, MANY.odd[1]) * size
    return Numbers(looked_into, odd, (size, 2 * size))


MOST_TOGETHER = 3
"""Sizes that one node may tell of at once."""

MOST_TRIED = 2000
"""Ways in which the sizes that meet in a node may be the same that are tried."""

NO_RULE = (TinyseqError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What shape rules raise where shapes do not fit, or where they need values that nobody knows."""


class Sizes:
    """A graph's tensors under choices of its open sizes. Sizes that must be the same for a node, or must be
    numbers, are taken to be."""

    def __init__(self, graph: ModelGraph, numbers: Numbers = MANY) -> None:
        self._choice = numbers
        self._graph = graph
        shapes = [value.shape for value in graph.inputs if value.shape is not None]
        self.names = list(dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str)))
        self._is: dict[str, str | int] = {}
        self._tried: dict[tuple[str, int], Probe] = {}
        self._base = self._probed({})
        for node in graph.nodes:
            if not node.graphs() and self._given(node) and not self._follows(node):
                self._unite(node)

    def one(self, name: str) -> str | int:
        """What a size is: a name that stands for all that are the same, or a number."""
        while name in self._is:
            name = self._is[name]
        return name

    @property
    def distinct(self) -> list[str]:
        """The sizes that are open and not the same as another."""
        return [name for name in self.names if name not in self._is]

    def number(self, name: str) -> int:
        """A size where it is not looked into."""
        return self._numbers({})[name]

    def along(self, name: str) -> tuple[Probe, Probe]:
        """Two probes that differ in one size."""
        first, other = self._choice.looked_into
        return self._of(name, first), self._of(name, other)

    def trials(self, name: str) -> dict[int, Probe]:
        """Probes in which a size is what nothing divides."""
        return {number: self._of(name, number) for number in self._choice.odd}

    def least(self, name: str) -> list[Probe]:
        """Probes in which a size is the least that it can be, and little more."""
        return [self._of(name, number) for number in self._choice.least]

    def others(self, name: str) -> list[Probe]:
        """Probes in which a size is any of all those that are not looked into."""
        return [*self.least(name), *self.trials(name).values(), self._of(name, self._choice.most)]

    def _of(self, name: str, number: int) -> Probe:
        """The probe in which a size is a number, each made once."""
        made = self._tried.get((name, number))
        if made is None:
            made = self._tried[name, number] = self._probed({name: number})
        return made

    def frames(self, layer: Node) -> int | None:
        """How many frames a recurrent layer or a Scan takes; None if that cannot be told."""
        if layer.op == "Scan":
            name, axis = next(iter(scanned(layer, self.shape)), ("", 0))
        else:
            name, axis = layer.inputs[0], 1 if layer.attributes.get("layout") else 0
        shape = self.shape(name)
        return None if shape is None else shape[axis]

    def shape(self, name: str) -> Shape | None:
        """The shape of a tensor where no size is looked into."""
        return self._base.shapes.get(name)

    def growing(self, name: str, tensor: str) -> tuple[int, ...]:
        """The dimensions of a tensor that grow with a size; none of a tensor of unknown shape."""
        shapes = [probe.shapes[tensor] for probe in self.along(name) if tensor in probe.shapes]
        return growing(*shapes) if len(shapes) == 2 else ()

    def _numbers(self, changed: dict[str, int]) -> dict[str, int]:
        first, factor = self._choice.rest
        numbers = dict(zip(self.names, (prime * factor for prime in _primes(first))))
        numbers |= {name: number for name, number in changed.items() if isinstance(number, int)}
        ones = {name: self.one(name) for name in self.names}
        return {name: numbers[one] if isinstance(one, str) else one for name, one in ones.items()}

    def _probed(self, changed: dict[str, int]) -> Probe:
        numbers = self._numbers(changed)
        return Probe(self._graph, iter([numbers[name] for name in self.names]))

    def _given(self, node: Node) -> bool:
        return all(name in self._base.shapes for name in node.inputs if name)

    def _follows(self, node: Node) -> bool:
        return all(name in self._base.shapes for name in node.outputs if name)

    def _unite(self, node: Node) -> None:
        """Takes sizes for the same, or for numbers, where a node cannot be otherwise."""
        meeting = list(self._meeting(node))
        ways = chain.from_iterable(combinations(meeting, count) for count in range(1, MOST_TOGETHER + 1))
        for chosen in islice(ways, MOST_TRIED):
            if self._fits(node, dict(chosen)) and self._must_be(node, dict(chosen)):
                self._is.update(chosen)
                self._base = self._probed({})
                return

    def _must_be(self, node: Node, chosen: dict[str, str | int]) -> bool:
        """Whether a node refuses other numbers than those chosen; what cuts or repeats to size does not."""
        met = {int(size) for name in node.inputs if name for size in self._base.shapes[name]}
        for name, number in chosen.items():
            if isinstance(number, str):
                continue
            for other in ({1, 2, number - 1, number + 1} | met) - {0, number, self.number(name)}:
                probe = self._probed({**chosen, name: other})
                if all(output in probe.shapes for output in node.outputs if output):
                    return False
        return True

    def _meeting(self, node: Node) -> Iterator[tuple[str, str | int]]:
        """The sizes that meet in a node, and others or numbers that each of them may be."""
        shapes = [self._base.shapes[name] for name in node.inputs if name]
        sizes = list(dict.fromkeys(int(size) for shape in shapes for size in shape))
        met = [name for name in self.distinct if self.number(name) in sizes]
        numbers = [size for size in sizes if all(size != self.number(name) for name in met)]
        for place, name in enumerate(met):
            for other in (*met[:place], *numbers):
                yield name, other

    def _fits(self, node: Node, chosen: dict[str, str | int]) -> bool:
        """Whether a node takes its inputs if sizes are what is chosen."""
        becomes = {
            self.number(name): other if isinstance(other, int) else self.number(other)
            for name, other in chosen.items()
        }
        shapes = [
            tuple(becomes.get(size, size) for size in self._base.shapes[name]) if name else None
            for name in node.inputs
        ]
        values = [self._base.values.get(name) if name else None for name in node.inputs]
        try:
            node.row.shape(node.attributes, shapes, values)
        except NO_RULE:
            return False
        return True


def growing(one: Shape, other: Shape) -> tuple[int, ...]:
    """The dimensions in which two shapes of one tensor differ."""
    return tuple(axis for axis, pair in enumerate(zip(one, other)) if pair[0] != pair[1])
