"""What a server's processes have used, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """A process and all that it has started, directly or not; those that have ended are left out."""
    found = [root]
    for process in found:
        try:
            tasks = list(Path(f"/proc/{process}/task").iterdir())
            for task in tasks:
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return [process for process in found if Path(f"/proc/{process}/stat").exists()]


def cpu_seconds(root: int) -> float:
    """CPU time that a process and those it has started have used."""
    total = 0
    for process in tree(root):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_bytes(root: int) -> int:
    """Memory that a process and those it has started have; what they share counts once for each."""
    total = 0
    for process in tree(root):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    return total
