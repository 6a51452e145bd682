"""A picture: how many times as fast as torch a layer is, over its hidden size and its rows."""

from __future__ import annotations

from bench import squares
from bench.cuda.rows import Row

RIVAL = "torch float32"


def draw(rows: list[Row], title: str) -> bytes:
    """The bytes of a PNG file, a field of squares for each kind of layer and number of frames.

    Raises:
        ValueError: no row has a layer beside torch.
        MissingPackageError: matplotlib is not installed.
    """
    fields = _fields(rows)
    if not fields:
        raise ValueError(f"there is no layer beside {RIVAL}")
    return squares.draw(fields, "rows", f"how many times as fast as {RIVAL}: {title}", columns=2)


def _fields(rows: list[Row]) -> dict[str, squares.Field]:
    """The ratio of each hidden size and number of rows, by the layer and its frames."""
    fields: dict[str, dict[tuple[int, str], float]] = {}
    measured = [row for row in rows if {"H", "N", "T"} <= row.sizes.keys() and RIVAL in row.against]
    for row in sorted(measured, key=lambda row: row.sizes["N"]):
        name = f"{row.case.split()[0]}, {_frames(row.sizes['T'])}"
        fields.setdefault(name, {})[row.sizes["H"], str(row.sizes["N"])] = row.ratios[RIVAL]
    return fields


def _frames(count: int) -> str:
    return "one frame" if count == 1 else f"{count} frames"
