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


def workers(root: int) -> list[int]:
    """The workers that a server has started."""
    found = []
    for process in tree(root)[1:]:
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(process)
    return found


def serves(process: int, port: int, client: int) -> bool:
    """Whether a process holds the connection of a port of its own and a client's, both on this machine."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(end.split(":")[1], 16) for end in fields[1:3]]
        if ends == [port, client]:
            inode = fields[9]
    handles = Path(f"/proc/{process}/fd").iterdir()
    return inode is not None and f"socket:[{inode}]" in {str(handle.readlink()) for handle in handles}


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
