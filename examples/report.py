"""What a run prints: tables, and the names of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def shown(path: str | Path) -> str:
    """The name of a file, for people; names that are not UTF-8 are possible and cannot be printed."""
    return os.fsencode(path).decode(errors="replace")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table: the first column to the left, the others to the right, two blanks between."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
