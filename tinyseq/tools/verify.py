"""Verification: the same inputs through tinyseq, the float64 reference and, if installed, onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyseq import reference
from tinyseq.common import memory
from tinyseq.errors import FeedError
from tinyseq.ir.model import Value
from tinyseq.ir.narrow import PRECISIONS
from tinyseq.runtime.loading import read
from tinyseq.runtime.session import Session
from tinyseq.tools.tolerances import (
    ABSOLUTE,
    ABSOLUTE_OF_16_BITS,
    LEVELS,
    NUDGE,
    RELATIVE,
    STEPS,
    Tolerance,
    moved,
    tolerances,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output against one other implementation: the largest absolute difference and the verdict.

    Attributes:
        step: the size of the steps that a quantised output goes in; 0 of others.
        moved: how far the reference of such an output moves when inputs and weights are nudged, where it was
            tried, because differences are beyond the steps.
        same_largest: of a quantised output, the share of places where the largest number along the last axis
            is the same one; None of others and where there is no choice.
    """

    output: str
    shape: tuple[int, ...]
    against: str
    difference: float
    within: bool
    step: float = 0.0
    moved: float = 0.0
    same_largest: float | None = None
    absolute: float = ABSOLUTE


def random_feeds(
    session: Session, sizes: Mapping[str, int], given: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Random inputs: normal floats, zeros for integers and booleans; ``given`` ones are taken as they are.

    Args:
        sizes: values for the named dimensions; those not named here are 1.
    """
    rng = np.random.default_rng(seed)
    return {
        value.name: np.asarray(given[value.name]) if value.name in given else _random(value, sizes, rng)
        for value in session.inputs
    }


def _random(value: Value, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    if value.shape is None:
        raise FeedError(f"the model does not say the shape of input {value.name!r}; give it with --input")
    shape = tuple(sizes.get(size, 1) if isinstance(size, str) else size for size in value.shape)
    try:
        memory.check(8 * math.prod(shape))
    except MemoryError as error:
        raise FeedError(f"input {value.name!r} of {list(shape)}: {error}; give smaller sizes") from error
    if value.dtype.kind == "f":
        return rng.standard_normal(shape).astype(value.dtype)
    return np.zeros(shape, value.dtype)


def verify(
    session: Session,
    path: str | Path,
    feeds: Mapping[str, np.ndarray],
    watching: Callable[[int], reference.Watch] | None = None,
    tolerance: float | None = None,
) -> list[Comparison]:
    """Every output of ``session``, loaded from a ``path``, against what the reference makes of the file and,
    for ONNX files, against onnxruntime; where weights are rounded, against the reference with the rounded
    weights alone.

    ``watching`` is told how many nodes the reference, by far the slowest of them, computes, and gives what is
    told of each. ``tolerance`` is what results may differ, as a share of max(1, largest |value|), in place of
    what ``tinyseq.tools.tolerances`` allows.
    """
    ours = session.run(feeds)
    arrays = {name: np.asarray(array) for name, array in feeds.items()}
    precision = PRECISIONS.get(session.computed.precision)
    rounds = precision is not None
    model = session.computed if rounds else read(path)
    watch = None if watching is None else watching(len(model.graph.nodes))
    others = {"reference": reference.run(model, arrays, watch)}
    if not rounds and Path(path).suffix == ".onnx" and (theirs := _onnxruntime(path, feeds)) is not None:
        others["onnxruntime"] = theirs
    allowed = tolerances(model.graph, tolerance)
    if precision is not None and not precision.exact:
        allowed = {name: replace(one, absolute=ABSOLUTE_OF_16_BITS) for name, one in allowed.items()}

    def compared() -> list[Comparison]:
        return [
            _compared(name, ours[name], source, results[name], allowed[name])
            for source, results in others.items()
            for name in ours
        ]

    rows = compared()
    if any(not row.within and row.step for row in rows):
        moves = moved(model, arrays, others["reference"])
        allowed = {name: replace(one, moved=moves[name] * one.quantised) for name, one in allowed.items()}
        rows = compared()
    return rows


def _onnxruntime(path: str | Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """onnxruntime's outputs, or None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _compared(
    name: str, ours: np.ndarray, against: str, theirs: np.ndarray, tolerance: Tolerance
) -> Comparison:
    if ours.shape != theirs.shape:
        return Comparison(name, ours.shape, against, float("inf"), False, absolute=tolerance.share)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isnan(a) & np.isnan(b) | (a == b), 0, np.abs(a - b))
        allowed = tolerance.allowed(b)
        within = bool(np.all((difference <= allowed) | (difference == 0)))
    largest = None
    if tolerance.quantised and b.ndim and b.shape[-1] > 1 and b.size:
        same, clear = _same_largest(a, b, allowed)
        within, largest = within and bool(same[clear].all()), float(same.mean())
    most, step = float(difference.max(initial=0)), tolerance.step(b)
    return Comparison(
        name, ours.shape, against, most, within, step, tolerance.moved, largest, tolerance.share
    )


def _same_largest(a: np.ndarray, b: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the largest number along the last axis is the same one, and where that of ``b`` is ahead of its
    others by more than is allowed."""
    first, second = np.sort(b, axis=-1)[..., -1], np.sort(b, axis=-1)[..., -2]
    with np.errstate(invalid="ignore"):
        return a.argmax(-1) == b.argmax(-1), first - second > allowed.max(-1)


def table(rows: list[Comparison], tolerance: float | None = None) -> list[str]:
    """Comparisons as lines of text, with the tolerance."""
    width = max((len(row.output) for row in rows), default=6)
    lines = [f"{'output':{width}}  {'against':11}  {'largest difference':>18}  verdict"]
    for row in rows:
        verdict = "ok" if row.within else "DIFFERS"
        lines.append(
            f"{row.output:{width}}  {row.against:11}  {row.difference:18.3g}  {verdict}{_steps(row)}"
        )
    if tolerance is not None:
        return [*lines, f"tolerance: {tolerance:g} x max(1, largest |value|), as given"]
    absolute = max((row.absolute for row in rows), default=ABSOLUTE)
    lines.append(f"tolerance: {absolute:g} x max(1, largest |value|) + {RELATIVE:g} x |value|")
    if any(row.step for row in rows):
        lines.append(
            f"  quantised outputs: {STEPS} steps more, a step being the scale of the output or 1/{LEVELS} of "
            "its range, and the same largest number wherever it is ahead by more: numbers beside the edge of "
            "two steps may be rounded to either"
        )
    if any(row.moved for row in rows):
        lines.append(
            f"  or twice as far as the reference moves when inputs and weights change by {NUDGE:g} of them"
        )
    return lines


def _steps(row: Comparison) -> str:
    """What is said of a quantised output beside its verdict."""
    if not row.step:
        return ""
    same = (
        "" if row.same_largest is None else f", the same largest number in {row.same_largest:.1%} of places"
    )
    moved = f", and the reference moves by {row.moved:.3g} when nudged" if row.moved else ""
    return f" ({row.difference / row.step:.2g} steps of {row.step:.3g}{moved}{same})"
