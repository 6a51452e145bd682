"""Rows for people and for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.decoding import DECODERS
from bench.measures import Row
from bench.rivals import RIVALS
from tinyseq.kernels import library


def environment() -> dict[str, object]:
    """What the figures depend on."""
    packages = sorted({rival.package for rival in RIVALS} | DECODERS.keys())
    return {
        "cpu": _cpu(),
        "isa": library.chosen(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := _version(name))},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def line(entry: Row | dict[str, object]) -> str:
    """The environment or a row as one line of JSON."""
    return json.dumps(entry if isinstance(entry, dict) else asdict(entry))


def tables(rows: Iterable[Row]) -> str:
    """A table a unit: one line a case, one column a rival, in brackets how many times as good as
    onnxruntime."""
    by_unit: dict[str, list[Row]] = {}
    for row in rows:
        by_unit.setdefault(row.unit, []).append(row)
    return "\n\n".join(_table(unit, group) for unit, group in by_unit.items())


def _table(unit: str, rows: list[Row]) -> str:
    rivals = list(dict.fromkeys(row.rival for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(row.case, {})[row.rival] = _cell(row)
    lines = [[unit, *rivals]]
    lines += [[case, *(found.get(rival, "") for rival in rivals)] for case, found in cells.items()]
    return "\n".join(f"{first:28}" + "".join(f"{text:>17}" for text in rest) for first, *rest in lines)


def _cell(row: Row) -> str:
    value = f"{row.value:.{_decimals(row.value)}f}"
    return value if row.ratio is None or row.ratio == 1 else f"{value} ({row.ratio:.2f}x)"


def _decimals(value: float) -> int:
    """Three digits that count, but no more than two after the point."""
    return 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The CPU's name as Linux tells it."""
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.split(":", 1)[1].strip()
    return platform.machine()
