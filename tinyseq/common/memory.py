"""How much memory there is, asked before much of it is taken.

Linux and macOS hand out more than they have, and end processes that use it or grow slow; a large array is
therefore refused while nothing is lost yet. Windows hands out no more than it has, and is not asked.
"""

from __future__ import annotations

import os
from pathlib import Path

LARGE = 2**28
"""Bytes from which on it is worth asking."""


def check(size: int) -> None:
    """Refuses to take so many bytes if there are not so many.

    Raises:
        MemoryError: there are not.
    """
    if size > LARGE and (free := available()) is not None and size > free:
        raise MemoryError(f"{size:,} bytes are needed and {max(free, 0):,} are free")


def available() -> int | None:
    """The bytes that this process can still take, as far as the system tells; None where it does not."""
    found = [free for free in (_of_machine(), _of_group()) if free is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    """What is free; of a system that does not say, all that there is."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_group() -> int | None:
    """What the limit of a control group leaves; caches that it can give back count as free."""
    for folder, limit, used, given_back in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = (int(Path(folder, name).read_text(encoding="utf-8")) for name in (limit, used))
            caches = dict(
                line.split() for line in Path(folder, "memory.stat").read_text(encoding="utf-8").splitlines()
            )
            return most - now + int(caches.get(given_back, 0))
        except (OSError, ValueError):
            continue
    return None
