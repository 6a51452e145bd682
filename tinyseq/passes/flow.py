"""Flow: which elements of a model's outputs are the next values of which elements of its inputs.

The elements of every floating-point input are numbered and followed through all that only moves them: to
where a recurrent layer begins, and to where the frames of the past are put before new ones. What the layer
ends with, and the last of those frames, is the next value of what it began with; that is followed to the
outputs. No name takes part in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tinyseq import reference
from tinyseq.errors import TinyseqError
from tinyseq.ir.model import ModelGraph, Node
from tinyseq.passes.probe import Probe
from tinyseq.passes.reach import GATED, SHIFTED, recasts
from tinyseq.shapes import axis_of

MOST_MOVED = 2**22
"""Elements that a node may put out to be followed through."""

MOST_ELEMENTS = 2**18
"""Inputs of more elements than this are not followed."""


class Way(NamedTuple):
    """What may be taken for a state and its next value.

    ``frames``: the last frame of a layer, beside its final state; past frames that are put behind new ones
    instead of before them. ``turned``: of a cell with one frame whose input and state are multiplied alike,
    the input.
    """

    frames: bool = False
    turned: bool = False


class Carry(NamedTuple):
    """An output holds the next value of an input."""

    input: str
    output: str


class _Names(NamedTuple):
    """What is known of the tensors that a graph sees, by name.

    ``begins``: of each element the number of the input's element that it is, 0 for none; ``follows``: the
    number of the input's element whose next value it is.
    """

    begins: dict[str, np.ndarray]
    follows: dict[str, np.ndarray]
    probe: Probe


def probed(graph: ModelGraph, sizes: Mapping[str, int]) -> Probe:
    """A probe of a graph with such sizes, before its first node."""
    shapes = [
        value._replace(shape=value.shape and tuple(sizes.get(size, size) for size in value.shape))
        for value in graph.inputs
    ]
    return Probe(graph._replace(inputs=tuple(shapes), nodes=()), iter(()))


class Flow:
    """A graph followed once, from some of its inputs and for the open sizes of a probe, which learns what
    follows of them. ``alike`` names the layers that take input and state alike.

    ``claims`` are the pairs of input and output found.
    """

    def __init__(
        self,
        graph: ModelGraph,
        inputs: Sequence[str],
        probe: Probe,
        way: Way,
        alike: frozenset[str] = frozenset(),
    ) -> None:
        self._way, self._alike = way, alike
        self._numbers: dict[str, np.ndarray] = {}
        self._begun: set[tuple[str, ...]] = set()
        first = 1
        for name in inputs:
            count = math.prod(probe.shapes.get(name, (MOST_ELEMENTS, 2)))
            if count <= MOST_ELEMENTS:
                numbers = np.arange(first, first + count, dtype=np.int32)
                self._numbers[name] = numbers.reshape(probe.shapes[name])
                first += count
        names = _Names(dict(self._numbers), {}, probe)
        self._follow(graph, names)
        self.claims = list(self._claims(graph, names.follows))

    def _claims(self, graph: ModelGraph, follows: dict[str, np.ndarray]) -> Iterator[Carry]:
        for value in graph.outputs:
            found = follows.get(value.name)
            if found is None or not found.any():
                continue
            held = found > 0
            for name, numbers in self._numbers.items():
                if numbers.shape == found.shape and np.array_equal(numbers[held], found[held]):
                    yield Carry(name, value.name)

    def _follow(self, graph: ModelGraph, names: _Names) -> None:
        shapes = names.probe.shapes
        for node in graph.nodes:
            if any(name and name not in shapes for name in node.outputs):
                names.probe.follow(node)
            if node.op == "If":
                self._branches(node, names)
            elif node.row.state:
                self._layer(node, names)
            elif node.op == "Scan":
                self._scan(node, names)
            else:
                for table in (names.begins, names.follows):
                    self._move(node, table, names.probe)
                if node.op == "Concat":
                    self._join(node, names)
                if node.op in SHIFTED:
                    self._shift(node, names)
                if node.op in GATED:
                    self._gate(node, names)
            for name in node.outputs:
                for table in (names.begins, names.follows):
                    if name in table:
                        shapes.setdefault(name, table[name].shape)

    def _move(self, node: Node, table: dict[str, np.ndarray], probe: Probe) -> None:
        """Follows the elements through a node that only moves them."""
        if recasts(node):
            if node.inputs[0] in table:
                table[node.outputs[0]] = table[node.inputs[0]]
            return
        places = [place for place in range(len(node.inputs)) if node.row.place(place) in node.row.moves]
        if all(node.inputs[place] not in table for place in places):
            return
        met = (*node.outputs, *(node.inputs[place] for place in places))
        if sum(math.prod(probe.shapes.get(name, (0,))) for name in met) > MOST_MOVED:
            return
        inputs: list[np.ndarray | None] = []
        for place, name in enumerate(node.inputs):
            if place in places:
                known = table.get(name)
                if known is None and name in probe.shapes:
                    known = np.zeros(probe.shapes[name], np.int32)
            else:
                known = np.array(0, np.int32) if node.op == "Pad" and place == 2 else probe.values.get(name)
            if known is None and name:
                return
            inputs.append(known)
        try:
            made = reference.apply(node, inputs)
            table.update((name, numbers) for name, numbers in zip(node.outputs, made) if numbers.any())
        except (TinyseqError, ValueError, LookupError):
            # It does not fit for these sizes; planning tells the user what is wrong.
            return

    def _shift(self, node: Node, names: _Names) -> None:
        for place, name in enumerate(node.inputs):
            if math.prod(names.probe.shapes.get(node.inputs[1 - place], (0,))) == 1:
                for table in (names.begins, names.follows):
                    if name in table and table[name].shape == names.probe.shapes.get(
                        node.outputs[0], table[name].shape
                    ):
                        table[node.outputs[0]] = table[name]

    def _gate(self, node: Node, names: _Names) -> None:
        shape = names.probe.shapes.get(node.outputs[0])
        given = [names.begins.get(name) for name in node.inputs[node.op == "Where" :]]
        whole = [numbers for numbers in given if numbers is not None and numbers.shape == shape]
        if len(whole) == 1:
            names.begins[node.outputs[0]] = whole[0]

    def _join(self, node: Node, names: _Names) -> None:
        """Frames of the past that are put before new ones: the last of them all are the next past."""
        past, new = (node.inputs[0], node.inputs[1:])
        if self._way.frames:
            past, new = (node.inputs[-1], node.inputs[:-1])
        numbers, whole = names.begins.get(past), names.begins.get(node.outputs[0])
        if numbers is None or whole is None or not new or all(name in names.probe.values for name in new):
            return
        axis = axis_of(node.attributes["axis"], whole.ndim)
        count = numbers.shape[axis]
        places = slice(0, count) if self._way.frames else slice(whole.shape[axis] - count, None)
        following = np.zeros_like(whole)
        following[(slice(None),) * axis + (places,)] = numbers
        known = names.follows.get(node.outputs[0], following)
        names.follows[node.outputs[0]] = np.where(known > 0, known, following)

    def _layer(self, node: Node, names: _Names) -> None:
        given = {port.name: name for port, name in zip(node.row.inputs, node.inputs) if name}
        made = {port.name: name for port, name in zip(node.row.outputs, node.outputs) if name}
        begun = False
        for port_in, port_out in node.row.state:
            initial = given.get(port_in)
            if port_in == "initial_h" and self._way.turned and node.name in self._alike:
                initial = given["x"]
            numbers = names.begins.get(initial)
            if numbers is None and node.inputs[1:3] in self._begun and initial in names.follows:
                numbers = self._went_on(names.follows[initial], names)
            if numbers is None:
                continue
            begun = True
            if port_out in made:
                names.follows[made[port_out]] = numbers
            if port_out == "y_h" and self._way.frames and "y" in made and "lengths" not in given:
                self._last_frame(node, made["y"], numbers, names)
        if begun:
            self._begun.add(node.inputs[1:3])

    def _went_on(self, numbers: np.ndarray, names: _Names) -> np.ndarray:
        """What a layer that goes on from its own last state began with; that state is no longer the last."""
        for name, known in names.follows.items():
            names.follows[name] = np.where(np.isin(known, numbers), 0, known)
        return numbers

    def _last_frame(self, node: Node, y: str, numbers: np.ndarray, names: _Names) -> None:
        shape = names.probe.shapes.get(y)
        if shape is None or node.attributes["direction"] != "forward" or math.prod(shape) > MOST_MOVED:
            return
        frames = np.zeros(shape, np.int32)
        last = frames[:, -1:] if node.attributes["layout"] else frames[-1:]
        if last.size == numbers.size:
            last[...] = numbers.reshape(last.shape)
            names.follows[y] = frames

    def _scan(self, node: Node, names: _Names) -> None:
        count = len(node.inputs) - node.attributes["num_scan_inputs"]
        for given, made in zip(node.inputs[:count], node.outputs):
            if given in names.begins:
                names.follows[made] = names.begins[given]

    def _branches(self, node: Node, names: _Names) -> None:
        """Both branches; what comes of them is what they agree on, as far as both say something."""
        ends = []
        graphs = [graph for _, graph in names.probe.taken(node)]
        if any(len(graph.outputs) != len(node.outputs) for graph in graphs):
            return
        for graph in graphs:
            inner = _Names(
                dict(names.begins), dict(names.follows), names.probe.within(graph._replace(nodes=()))
            )
            self._follow(graph, inner)
            ends.append((inner, [value.name for value in graph.outputs]))
        for index, name in enumerate(node.outputs):
            for table in ("begins", "follows"):
                found = [getattr(inner, table).get(outputs[index]) for inner, outputs in ends]
                found = [numbers for numbers in found if numbers is not None]
                agree = found and all(numbers.shape == found[0].shape for numbers in found)
                if agree:
                    same = np.logical_and.reduce([numbers == found[0] for numbers in found])
                    getattr(names, table)[name] = np.where(same, found[0], 0)
