"""What rounding a model's weights saves and loses: bytes of its file, and differences of its outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinyseq.ir import format
from tinyseq.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Loss:
    """How far one output is from that of float32: the ``largest`` difference, and the output's power over the
    difference's in ``decibels``; infinity where there is none."""

    output: str
    largest: float
    decibels: float


@dataclass(frozen=True, slots=True)
class Rounding:
    """A model in a precision: the ``bytes`` of its file, and what its outputs lose."""

    precision: str
    bytes: int
    losses: list[Loss]

    def as_json(self) -> dict[str, Any]:
        """Plain values; JSON has no infinity, so that no difference is None decibels."""
        losses = [asdict(loss) for loss in self.losses]
        for loss in losses:
            loss["decibels"] = loss["decibels"] if math.isfinite(loss["decibels"]) else None
        return {"precision": self.precision, "bytes": self.bytes, "losses": losses}


def rounding(session: Session, exact: Session, feeds: Mapping[str, np.ndarray] | None) -> Rounding:
    """What a session's precision makes of the model of ``exact``; without ``feeds`` no outputs are
    compared."""
    size = len(format.written(session.computed))
    if feeds is None:
        return Rounding(session.precision, size, [])
    ours, right = session.run(feeds), exact.run(feeds)
    losses = [_loss(name, ours[name], right[name]) for name in right]
    return Rounding(session.precision, size, losses)


def _loss(name: str, ours: np.ndarray, right: np.ndarray) -> Loss:
    a, b = ours.astype(np.float64), right.astype(np.float64)
    difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)
    lost, power = float(np.sum(difference**2)), float(np.sum(b**2))
    decibels = math.inf if lost == 0 else 10 * math.log10(power / lost) if power > 0 else -math.inf
    return Loss(name, float(np.abs(difference).max(initial=0)), decibels)


def table(rows: Iterable[Rounding]) -> Iterator[str]:
    """Precisions as lines of text."""
    rows = list(rows)
    width = max([6, *(len(loss.output) for row in rows for loss in row.losses)])
    yield f"{'precision':9}  {'bytes':>13}  {'output':{width}}  {'largest difference':>18}  {'decibels':>8}"
    for row in rows:
        head = f"{row.precision:9}  {row.bytes:13,}"
        for loss in row.losses:
            yield f"{head}  {loss.output:{width}}  {loss.largest:18.3g}  {loss.decibels:8.1f}"
            head = " " * len(head)
        if not row.losses:
            yield head
