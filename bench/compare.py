"""Compares two files that ``python -m bench --json`` wrote, row by row: ``python -m bench.compare OLD NEW``.

What is compared is the ratio to the yardstick of the same run, where there is one, since machines change
their clock; else the figure itself. A row is named where it has changed by more than its noise: more than the
given share, and more than three times what the rounds of both runs were apart. Exit status 1 if one is worse.
"""

from __future__ import annotations

import argparse
import json
import sys
from math import hypot
from pathlib import Path
from typing import NamedTuple

LEAST = 0.02
"""The share by which a row must have changed to be named."""

NOISE = 3.0
"""How many times the spread of the rounds it must have changed by."""

MORE_IS_BETTER = ("GFLOP/s", "GB/s")

Key = tuple[str, str, str]


class Change(NamedTuple):
    """A row of both files: how many times as good it has become, and whether that is more than noise."""

    case: str
    rival: str
    unit: str
    before: float
    after: float
    gain: float
    told: bool


def read(path: Path) -> tuple[dict, dict[Key, dict]]:
    """The environment and the rows of a file, by case, rival and unit.

    Raises:
        ValueError: it is no such file.
    """
    try:
        environment, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return environment, {(row["case"], row["rival"], row["unit"]): row for row in rows}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no file that python -m bench --json wrote: {error!r}") from error


def changes(before: dict[Key, dict], after: dict[Key, dict], least: float = LEAST) -> list[Change]:
    """Every row that both have, the worst first."""
    found = []
    for key in before.keys() & after.keys():
        old, new = before[key], after[key]
        gain = _gain(old, new)
        noise = NOISE * hypot(old.get("spread") or 0.0, new.get("spread") or 0.0)
        told = abs(gain - 1) > max(least, noise)
        found.append(Change(*key, old["value"], new["value"], gain, told))
    return sorted(found, key=lambda change: change.gain)


def _gain(old: dict, new: dict) -> float:
    if old.get("ratio") and new.get("ratio"):
        return new["ratio"] / old["ratio"]
    if not old["value"] or not new["value"]:
        return 1.0
    gain = old["value"] / new["value"]
    return 1 / gain if old["unit"] in MORE_IS_BETTER else gain


def table(found: list[Change]) -> str:
    """The changes that are more than noise."""
    told = [change for change in found if change.told]
    lines = [f"{len(found)} rows in both, {len(told)} of them changed by more than their noise"]
    for one in told:
        figures = f"{one.before:10.2f} -> {one.after:10.2f} {one.unit:8}"
        lines.append(f"{one.case:28}{one.rival:>22}{figures}{one.gain:6.2f} times as good")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("python -m bench.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--least", type=float, default=LEAST, help=f"the share to tell (default {LEAST})")
    given = parser.parse_args(arguments)
    try:
        (old_machine, old), (new_machine, new) = read(given.old), read(given.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for what in ("cpu", "isa", "versions"):
        if old_machine.get(what) != new_machine.get(what):
            print(f"{what} differs: {old_machine.get(what)} and {new_machine.get(what)}")
    found = changes(old, new, given.least)
    print(table(found))
    return int(any(change.told and change.gain < 1 for change in found))


if __name__ == "__main__":
    sys.exit(main())
