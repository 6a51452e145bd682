"""Verification: the same inputs through tinyseq, the float64 reference and, if installed, onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyseq import reference
from tinyseq.common import memory
from tinyseq.errors import FeedError
from tinyseq.ir.model import Value
from tinyseq.ir.narrow import PRECISIONS
from tinyseq.runtime.session import Session

ABSOLUTE = 1e-5
RELATIVE = 1e-4
"""A result differs if |a - b| > ABSOLUTE * max(1, largest |b|) + RELATIVE * |b| anywhere, b being the other
side's: sums of float32 err by a share of their largest terms."""

ABSOLUTE_OF_16_BITS = 1e-3
"""``ABSOLUTE`` where what is multiplied with weights is rounded to 16 bits."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output against one other implementation: the largest absolute difference and the verdict."""

    output: str
    shape: tuple[int, ...]
    against: str
    difference: float
    within: bool
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
    session: Session, path: str | Path, feeds: Mapping[str, np.ndarray], watch: reference.Watch | None = None
) -> list[Comparison]:
    """Every output of ``session`` against the reference and, for ONNX files, against onnxruntime; where
    weights are rounded, against the reference with the rounded weights alone.

    ``watch`` is told of each node that the reference, by far the slowest of them, has computed.
    """
    ours = session.run(feeds)
    arrays = {name: np.asarray(array) for name, array in feeds.items()}
    weights = session.computed.weights
    rounds = bool(weights.narrow)
    others = {"reference": reference.run(session.computed if rounds else session.model, arrays, watch)}
    absolute = ABSOLUTE if not rounds or PRECISIONS[weights.precision].exact else ABSOLUTE_OF_16_BITS
    if not rounds and Path(path).suffix == ".onnx" and (theirs := _onnxruntime(path, feeds)) is not None:
        others["onnxruntime"] = theirs
    return [
        _compared(name, ours[name], source, results[name], absolute)
        for source, results in others.items()
        for name in ours
    ]


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


def _compared(name: str, ours: np.ndarray, against: str, theirs: np.ndarray, absolute: float) -> Comparison:
    if ours.shape != theirs.shape:
        return Comparison(name, ours.shape, against, float("inf"), False, absolute)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isnan(a) & np.isnan(b) | (a == b), 0, np.abs(a - b))
        scale = max(1.0, float(np.max(np.abs(b), initial=0, where=np.isfinite(b))))
        allowed = absolute * scale + RELATIVE * np.abs(b)
        within = bool(np.all((difference <= allowed) | (difference == 0)))
    return Comparison(name, ours.shape, against, float(difference.max(initial=0)), within, absolute)


def table(rows: list[Comparison]) -> list[str]:
    """Comparisons as lines of text, with the tolerance."""
    width = max((len(row.output) for row in rows), default=6)
    lines = [f"{'output':{width}}  {'against':11}  {'largest difference':>18}  verdict"]
    for row in rows:
        verdict = "ok" if row.within else "DIFFERS"
        lines.append(f"{row.output:{width}}  {row.against:11}  {row.difference:18.3g}  {verdict}")
    absolute = max((row.absolute for row in rows), default=ABSOLUTE)
    lines.append(f"tolerance: {absolute:g} x max(1, largest |value|) + {RELATIVE:g} x |value|")
    return lines
