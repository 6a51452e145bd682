"""What the machine can do on one core at the most: the lines that no runtime gets above."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from bench.measures import Row
from tinyseq.export import linker

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared")

WHO = "C"

SIZES = {"L1": 24 << 10, "L2": 512 << 10, "L3": 8 << 20, "memory": 256 << 20}
"""Bytes that are read again and again, by where they then lie on most processors of servers."""

PEAK, READING = "limit: arithmetic", "limit: reading"

STEPS, LEAST = 1 << 16, 4 << 20
"""Multiply-adds of each chain in a call, and how many bytes a call reads at the least."""


SECONDS = 0.3
"""How long each is tried."""


def limits() -> list[Row]:
    """Float32 multiply-adds in registers, and reading in order from each cache.

    Raises:
        MissingPackageError: ziglang, which compiles them, is not installed.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "limits"
        linker.run([linker.zig(), "cc", *FLAGS, "-o", path, SOURCE])
        library = ctypes.CDLL(str(path))
    number, place = ctypes.c_int64, ctypes.c_void_p
    library.multiply.argtypes, library.multiply.restype = [place, number], number
    library.read_all.argtypes, library.read_all.restype = [place, number, number], number
    sum_ = np.zeros(1, np.float32)
    rows = [Row(PEAK, WHO, _most(partial(library.multiply, sum_.ctypes.data, STEPS)), "GFLOP/s")]
    for name, size in SIZES.items():
        a = np.ones(size // 4 + 16, np.float32)
        start, times = -(-a.ctypes.data // 64) * 64, max(1, LEAST // size)
        speed = _most(partial(library.read_all, start, size, times))
        rows.append(Row(f"{READING} {name}", WHO, speed, "GB/s"))
    return rows


def _most(call: Callable[[], int]) -> float:
    """What a call counts, in thousands of millions a second, at the most."""
    end = perf_counter() + SECONDS
    most = 0.0
    while (start := perf_counter()) < end:
        count = call()
        most = max(most, count / (perf_counter() - start) / 1e9)
    return most
