"""Recurrent layers written into a graph in place of chains of cells."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from tinyseq.ir.model import ModelGraph, Node, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.passes.affine import Affines, part_bounds
from tinyseq.passes.cells import FoundCell
from tinyseq.shapes import axis_of

Chain = tuple[FoundCell, ...]
"""Cells that one layer runs, a frame each."""


class FrameOf(NamedTuple):
    """One place along an axis of a tensor of more than one frame."""

    source: str
    axis: int
    place: int


class Writer:
    """The nodes and constants of new layers. ``replacing`` maps a tensor to the nodes that stand for the one
    that made it; an empty list where another tensor's nodes make it."""

    def __init__(self, graph: ModelGraph, affines: Affines) -> None:
        self.constants: dict[str, np.ndarray] = {}
        self.replacing: dict[str, list[Node]] = {}
        self._affines = affines
        self._graph = graph
        self._taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)}
        self._taken.update(graph.constants, (value.name for value in graph.inputs))
        self._numbers: dict[str, int] = {}
        self._nodes: list[Node] = []
        self._weights: dict[tuple, list[tuple[str, np.ndarray]]] = {}

    def layer(self, chain: Chain) -> None:
        """Adds the layer of a chain."""
        first, last = chain[0], chain[-1]
        name = self._affines.view.makers[first.y_h].name
        self._nodes = []
        x, direction = self._sequence(chain, name)
        weights = [self._weight(array, f"{name}.{what}") for array, what in zip(first.weights(), "wrb")]
        starts = [
            self._node("Unsqueeze", name, state, self._axes(0)) for state in (first.h, first.c) if state
        ]
        outputs = [self._fresh(f"{name}.{what}") for what in ("y", "y_h", "y_c")[: 1 + len(starts)]]
        kept = outputs if len(chain) > 1 else ["", *outputs[1:]]
        attributes = {"hidden_size": first.hidden, "direction": direction, **first.attributes}
        self._add(first.op, name, (x, *weights, "", *starts), kept, attributes)
        for cell in chain:
            self.replacing |= {made: [] for made in (cell.y_h, cell.y_c) if made}
        for made, wanted in zip(outputs[1:], (last.y_h, last.y_c)):
            self._node("Squeeze", name, made, self._axes(0), output=wanted)
        if len(chain) > 1:
            frames = self._node("Squeeze", name, outputs[0], self._axes(1))
            places = range(len(chain)) if direction == "forward" else range(len(chain))[::-1]
            self._apart(name, frames, {cell.y_h: place for cell, place in zip(chain[:-1], places)})
            self._together(name, frames, {cell.y_h: place for cell, place in zip(chain, places)})
        self.replacing[first.y_c or first.y_h] = self._nodes

    def _sequence(self, chain: Chain, name: str) -> tuple[str, str]:
        """The frames of all cells as one tensor [T, N, F], and the direction in which they are run."""
        frames = [self._frame(cell.x[0]) if len(cell.x) == 1 else None for cell in chain]
        if len(chain) > 1 and None not in frames:
            source, axis, _ = frames[0]
            same = all(frame[:2] == (source, axis) for frame in frames)
            shapes = self._affines.shapes(source)
            if same and all(len(shape) == 3 and shape[axis] == len(chain) for shape in shapes) and axis < 2:
                places = [frame.place for frame in frames]
                x = source if axis == 0 else self._node("Transpose", name, source, perm=(1, 0, 2))
                if places == list(range(len(chain))):
                    return x, "forward"
                if places == list(range(len(chain)))[::-1]:
                    return x, "reverse"
        parts = [
            cell.x[0] if len(cell.x) == 1 else self._node("Concat", name, *cell.x, axis=-1) for cell in chain
        ]
        parts = [self._node("Unsqueeze", name, part, self._axes(0)) for part in parts]
        return parts[0] if len(parts) == 1 else self._node("Concat", name, *parts, axis=0), "forward"

    def _frame(self, name: str) -> FrameOf | None:
        """The frame that a tensor is, if it is one."""
        view, probe = self._affines.view, self._affines.probes[0]
        node = view.maker(name)
        if node is None or node.inputs[0] not in probe.shapes:
            return None
        if node.op == "Gather" and (place := view.constants.get(view.source(node.inputs[1]))) is not None:
            shape = probe.shapes[node.inputs[0]]
            axis = axis_of(node.attributes["axis"], len(shape))
            if place.ndim or not -shape[axis] <= place < shape[axis]:
                return None
            return FrameOf(view.source(node.inputs[0]), axis, int(place) % shape[axis])
        if node.op != "Squeeze" or (part := view.maker(node.inputs[0])) is None:
            return None
        bounds = part_bounds(part, view.source(node.inputs[0]), self._affines.probes)
        shape = probe.shapes.get(part.inputs[0], ())
        cut = [axis for axis, (size, bound) in enumerate(zip(shape, bounds or ())) if bound != (0, 1, size)]
        if len(cut) != 1 or bounds[cut[0]][2] != 1 or len(probe.shapes[node.inputs[0]]) != len(shape):
            return None
        squeezed = probe.values.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if squeezed is None or [int(axis) % len(shape) for axis in squeezed.ravel()] != cut:
            return None
        return FrameOf(view.source(part.inputs[0]), cut[0], bounds[cut[0]][0])

    def _apart(self, name: str, frames: str, places: dict[str, int]) -> None:
        """Each output that is read alone, out of all of them [T, N, H]."""
        for wanted, place in places.items():
            bounds = [self._constant(np.array([number]), f"{name}.place") for number in (place, place + 1)]
            one = self._node("Slice", name, frames, *bounds, self._axes(0))
            self._node("Squeeze", name, one, self._axes(0), output=wanted)

    def _together(self, name: str, frames: str, places: dict[str, int]) -> None:
        """What puts all outputs together again, each with a dimension of its own, takes them as they are."""
        wanted = sorted(places.values())
        for node, parts, sources in self._stacks.get(min(places, key=places.get), ()):
            order = [places.get(source) for source in sources]
            axes = {axis for part in parts for axis in self._unsqueezed(part)} | {node.attributes["axis"]}
            if order == wanted and axes in ({0}, {1}):
                perm = (0, 1, 2) if axes == {0} else (1, 0, 2)
                self.replacing[node.outputs[0]] = []
                self._node("Transpose", name, frames, perm=perm, output=node.outputs[0])

    @cached_property
    def _stacks(self) -> dict[str, list[tuple[Node, list[Node], list[str]]]]:
        """What puts tensors together that each have a dimension of their own: by the first of these tensors,
        the Concat, the nodes that give them the dimension, and all of the tensors."""
        view = self._affines.view
        found: dict[str, list[tuple[Node, list[Node], list[str]]]] = {}
        for node in self._graph.nodes:
            if node.op != "Concat" or not node.inputs:
                continue
            parts = [view.maker(part) for part in node.inputs]
            if all(part is not None and part.op == "Unsqueeze" for part in parts):
                sources = [view.source(part.inputs[0]) for part in parts]
                found.setdefault(sources[0], []).append((node, parts, sources))
        return found

    def _unsqueezed(self, node: Node) -> tuple[int, ...]:
        """The axes that an Unsqueeze adds; none if they are not constants."""
        axes = self._affines.view.constants.get(node.inputs[1])
        return tuple(axes.ravel().tolist()) if axes is not None else (-1,)

    def _axes(self, axis: int) -> str:
        return self._constant(np.array([axis]), f"axis{axis}")

    def _constant(self, array: np.ndarray, name: str) -> str:
        name = self._fresh(name)
        self.constants[name] = array
        return name

    def _weight(self, array: np.ndarray, name: str) -> str:
        """A constant; equal ones of several layers are one."""
        alike = self._weights.setdefault((array.shape, hash(array.tobytes())), [])
        for known, weight in alike:
            if np.array_equal(weight, array):
                return known
        alike.append((self._constant(array, name), array))
        return alike[-1][0]

    def _node(self, op: str, name: str, *inputs: str, output: str = "", **attributes) -> str:
        output = output or self._fresh(f"{name}.{op.lower()}")
        self._add(op, name, inputs, [output], attributes)
        return output

    def _add(self, op: str, name: str, inputs, outputs, attributes) -> None:
        filled = filled_attributes(OPS[op], attributes, f"node {name!r} ({op})")
        self._nodes.append(Node(op, tuple(inputs), tuple(outputs), filled, name))

    def _fresh(self, stem: str) -> str:
        name, number = stem, self._numbers.get(stem, 1)
        while name in self._taken:
            number += 1
            name = f"{stem}{number}"
        self._numbers[stem] = number
        self._taken.add(name)
        return name
