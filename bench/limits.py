"""What the machine can do on one core at the most: the lines that no runtime gets above."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench.measures import Row

WHO = "numpy"

SIZES = {"L1": 24 << 10, "L2": 512 << 10, "L3": 8 << 20, "memory": 256 << 20}
"""Bytes that are read again and again, by where they then lie on most processors of servers."""

PEAK, READING = "limit: arithmetic", "limit: reading"

PROGRAM = """
import json, sys, time
import numpy as np

def best(call, floor=0.0):
    times = []
    for _ in range(40):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 4] - floor

def repeated(a, times):
    def call():
        for _ in range(times):
            np.dot(a, a)
    return call

square = np.ones((768, 768), np.float32)
found = {"peak": 2 * 768**3 / best(lambda: square @ square)}
tiny = np.ones(16, np.float32)
for name, size in json.loads(sys.argv[1]).items():
    a = np.ones(size // 4, np.float32)
    times = max(1, (4 << 20) // size)
    found[name] = size * times / best(repeated(a, times), best(repeated(tiny, times)))
print(json.dumps(found))
"""
"""In a process of its own, where NumPy's library uses one thread."""


def limits() -> list[Row]:
    """Float32 multiply-adds, as NumPy's library multiplies large matrices, and reading, as it multiplies
    vectors that lie in each cache."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", PROGRAM, json.dumps(SIZES)]
    done = subprocess.run(command, check=True, capture_output=True, env=os.environ | one)
    found = json.loads(done.stdout)
    peak = Row(PEAK, WHO, found.pop("peak") / 1e9, "GFLOP/s")
    return [peak, *(Row(f"{READING} {name}", WHO, speed / 1e9, "GB/s") for name, speed in found.items())]
