"""Compiles the kernels that a run of the bench needs, as many at a time as there are cores.

A process of its own goes through the run on a device that does nothing but write down what it is asked to
launch. It needs no driver: what it compiles is kept where the run will look.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from multiprocessing import get_context

import numpy as np

from bench.cuda.measures import choosing_on_the_host
from tinyseq.kernels.cuda import compiler, driver
from tinyseq.kernels.cuda.launch import Kernel, Launch

FACTS = ("capability", "multiprocessors", "shared_bytes", "clock")


def compile_all(device, arguments: list[str]) -> dict[str, float]:
    """How many kernels a run with such arguments needs, and the seconds until all of them were compiled."""
    facts = json.dumps({name: getattr(device, name) for name in FACTS})
    command = [sys.executable, "-m", "bench.cuda.rehearsal", facts, *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    said = done.stdout.strip().splitlines()
    kernels = int(said[-1]) if done.returncode == 0 and said else 0
    return {"kernels": kernels, "seconds": round(time.perf_counter() - start, 1)}


def both_ways(task: Callable, bench: object) -> None:
    """Goes through a task, then once more with searches that choose on the host: on a device that computes
    nothing they would not come to the steps of more rows."""
    list(task(bench))
    with choosing_on_the_host():
        list(task(bench))


class Rehearsal:
    """A device that computes nothing: memory holds what was last written at an address, else zeros."""

    number, name, current = 0, "a rehearsal", nullcontext()

    def __init__(self, facts: Mapping[str, object]) -> None:
        self.capability = tuple(facts["capability"])
        self.multiprocessors, self.shared_bytes = facts["multiprocessors"], facts["shared_bytes"]
        self.clock = facts["clock"]
        self.kernels: dict[Kernel, None] = {}
        self._written: dict[int, np.ndarray] = {}
        self._next = 2**40

    def memory(self, size: int) -> RehearsedMemory:
        address, self._next = self._next, self._next + -(-max(size, 1) // 256) * 256
        return RehearsedMemory(address, size)

    def staging(self, size: int) -> np.ndarray:
        return np.zeros(max(size, 1), np.uint8)

    def queue(self) -> Rehearsal:
        return self

    def write(self, address: int, *given: object) -> None:
        if given[-1].nbytes <= 8:
            self._written[address] = np.array(given[-1])

    def read(self, address: int, *given: object) -> None:
        given[-1][...] = self._written.get(address, 0) if given[-1].nbytes <= 8 else 0

    def prepare(self, launches: Iterable[Launch], status: int) -> list[Launch]:
        made = list(launches)
        self.kernels |= dict.fromkeys(launch.kernel for launch in made)
        return made

    def seconds(self, recording: object, repeats: int) -> float:
        return 1.0

    def record(self, work: object) -> object:
        return work

    def nothing(self, *given: object) -> None:
        """Done at once."""

    launch = replay = copy = finish = nothing


class RehearsedMemory:
    """Addresses alone."""

    def __init__(self, address: int, size: int) -> None:
        self.address, self.bytes = address, size


_kernels: list[Kernel] = []
"""What the processes that compile share out by their numbers."""


_capability: list[tuple[int, int]] = []


def _compile(number: int) -> None:
    compiler.binary(_kernels[number], _capability[0])


def main(arguments: list[str]) -> None:
    """Rehearses, compiles and says how many kernels there are."""
    from bench.cuda import __main__ as bench

    device = Rehearsal(json.loads(arguments[0]))
    driver.opened = lambda number: device
    bench.rehearse(arguments[1:])
    _kernels[:], _capability[:] = device.kernels, [device.capability]
    workers = min(os.cpu_count() or 1, len(_kernels)) or 1
    with get_context("fork").Pool(workers) as pool:
        pool.map(_compile, range(len(_kernels)), chunksize=1)
    print(len(_kernels))


if __name__ == "__main__":
    main(sys.argv[1:])
