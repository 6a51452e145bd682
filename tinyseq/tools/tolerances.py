"""How far results may differ: by the rounding of float32, or by the steps that quantised numbers go in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinyseq import reference
from tinyseq.ir.model import Model, ModelGraph, Node

ABSOLUTE = 1e-5
RELATIVE = 1e-4
"""A result differs if |a - b| > ABSOLUTE * max(1, largest |b|) + RELATIVE * |b| anywhere, b being the other
side's: sums of float32 err by a share of their largest terms."""

ABSOLUTE_OF_16_BITS = 1e-3
"""``ABSOLUTE`` where what is multiplied with weights is rounded to 16 bits."""

STEPS = 5
"""Steps by which a quantised result may differ besides. A number beside the edge of two steps may be rounded
to either, for a difference in the last bit of what was done before; layers and frames add such steps up."""

LEVELS = 255
"""Steps of the range of a tensor that bytes distinguish."""

NUDGE = 1e-6
"""The largest share by which numbers are changed to see how far quantised results move."""

ROUNDING = frozenset(["QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM"])
"""Ops that round computed numbers to steps."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from another side's.

    Attributes:
        quantised: whether it comes of numbers that are rounded to steps.
        scale: the size of a step, where the output itself goes in steps that the model gives.
        given: what a user allows instead of all this, as a share of max(1, largest |value|).
        moved: how far the reference moves when all numbers are nudged, where that was tried. Twice as much
            is allowed if it is more than the steps.
        absolute: what is allowed in any case, as a share of max(1, largest |value|), if not ``ABSOLUTE``.
    """

    quantised: bool = False
    scale: float | None = None
    given: float | None = None
    moved: float = 0.0
    absolute: float | None = None

    def step(self, other: np.ndarray) -> float:
        """The size of a step of such results; 0 where they go in none. Where the model does not give it, it
        is the share of a byte in the range of the results and 0, as of ``DynamicQuantizeLinear``."""
        if not self.quantised or self.given is not None:
            return 0.0
        if self.scale is not None:
            return self.scale
        finite = np.isfinite(other)
        most, least = (reduce(other, initial=0, where=finite) for reduce in (np.max, np.min))
        return float(most - least) / LEVELS

    @property
    def share(self) -> float:
        """What is allowed in any case, as a share of max(1, largest |value|)."""
        return ABSOLUTE if self.absolute is None else self.absolute

    def allowed(self, other: np.ndarray) -> np.ndarray:
        """The most that results may differ from ``other``, float64, element by element."""
        scale = max(1.0, float(np.max(np.abs(other), initial=0, where=np.isfinite(other))))
        if self.given is not None:
            return np.full(other.shape, self.given * scale)
        return self.share * scale + RELATIVE * np.abs(other) + max(STEPS * self.step(other), 2 * self.moved)


def tolerances(graph: ModelGraph, given: float | None = None) -> dict[str, Tolerance]:
    """The tolerance of each output, by name."""
    rounded = _rounded(graph)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    steps = [value.name for value in graph.outputs if value.name in rounded and _measured(value.dtype)]
    found = {value.name: Tolerance(given=given) for value in graph.outputs}
    return found | {name: Tolerance(True, _scale(graph, makers, name), given) for name in steps}


def moved(
    model: Model, feeds: Mapping[str, np.ndarray], results: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """How far the reference's ``results`` for ``feeds`` move when inputs and weights are nudged at random,
    one way and the other: where steps are coarse beside what is added up, far beyond float32's rounding."""
    rng = np.random.default_rng(0)
    arrays = {**model.graph.constants, **feeds}
    shares = {
        name: rng.uniform(-NUDGE, NUDGE, array.shape)
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    }
    found = dict.fromkeys(results, 0.0)
    for way in (1, -1):
        nudged = {name: _nudged(array, way * shares.get(name, 0)) for name, array in arrays.items()}
        constants = {name: nudged[name] for name in model.graph.constants}
        other = model._replace(graph=model.graph._replace(constants=constants))
        for name, array in reference.run(other, {name: nudged[name] for name in feeds}).items():
            found[name] = max(found[name], _distance(array, results[name]))
    return found


def _nudged(array: np.ndarray, share: np.ndarray | int) -> np.ndarray:
    return np.asarray(array) * (1 + share) if array.dtype.kind == "f" else array


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of numbers that are finite."""
    if a.shape != b.shape:
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float(np.max(difference, initial=0, where=np.isfinite(difference)))


def _measured(dtype: np.dtype) -> bool:
    """Whether such numbers say how much and not which: labels that differ are never near each other."""
    return dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize <= 2)


def _rounded(graph: ModelGraph) -> set[str]:
    """The tensors that come of numbers rounded to steps."""
    found: set[str] = set()
    for node in graph.nodes:
        if _rounds(node) or not found.isdisjoint(node.inputs) or not found.isdisjoint(_captured(node)):
            found.update(filter(None, node.outputs))
    return found


def _rounds(node: Node) -> bool:
    return node.op in ROUNDING or any(_rounds(inner) for _, graph in node.graphs() for inner in graph.nodes)


def _captured(node: Node) -> set[str]:
    """The names that a node's graphs read, those from around them among them."""
    return {
        name
        for _, graph in node.graphs()
        for inner in graph.nodes
        for name in (*inner.inputs, *_captured(inner))
    }


def _scale(graph: ModelGraph, makers: dict[str, Node], name: str) -> float | None:
    """The step of a tensor that goes in steps itself: that of its scale, or 1 of bytes."""
    node = makers.get(name)
    while node is not None and node.row.keeps_values:
        node = makers.get(node.inputs[0])
    if node is None or node.op not in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
        return None
    if node.op != "DequantizeLinear":
        return 1.0
    scale = graph.constants.get(node.inputs[1])
    return None if scale is None else float(np.max(scale, initial=0))
