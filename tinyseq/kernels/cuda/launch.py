"""Kernels and their launches: what an instruction becomes on a device."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple, get_type_hints

from tinyseq.errors import DeviceError
from tinyseq.kernels.llvm.intrinsics import integers

THREADS = 256
"""Threads in a block where nothing speaks for another number."""

DEFAULT_SHARED = 48 * 1024
"""Bytes of shared memory that a kernel may say it has: more is asked for by its launches."""

MOST_BLOCKS = 2048
"""Blocks of a grid whose threads take more than one element where there are more."""

MOST_ELEMENTS = 2**31
"""Elements that one launch computes: kernels count them in 32 bits."""

RUNNING = -1
"""What the status of a run holds until an instruction fails and leaves its place there."""


class Kernel:
    """A function of int64 that every thread of a grid runs.

    A parameter may be a named tuple of them, by its annotation: a launch gives its fields one by one.
    ``threads`` is the largest block it is launched with, ``resident`` how many of those a multiprocessor
    has to have registers for, ``shared`` how many bytes of shared memory each launch asks for, if all ask for
    as many. Its entry has one parameter more, the address of the run's status: once an
    instruction has failed, nothing runs any more. A function that ``asks`` has it as its first parameter and
    sees to that itself: it may read before it knows, but not write.
    """

    def __init__(
        self,
        function: Callable,
        threads: int = THREADS,
        resident: int = 1,
        *,
        shared: int = 0,
        asks: bool = False,
    ) -> None:
        self.function = function
        self.threads = threads
        self.resident = resident
        self.shared = shared
        self.asks = asks
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        kinds = get_type_hints(function)
        self._fields = {
            name: getattr(kinds.get(name), "_fields", None) for name in inspect.signature(function).parameters
        }
        self._kinds = kinds
        self.parameters = sum(len(fields or (name,)) for name, fields in self._fields.items()) - asks

    def entry(self) -> Callable:
        """The function that a device begins with, by the name that profilers show."""
        names, arguments = [], []
        for name, fields in self._fields.items():
            own = [f"{name}_{field}" for field in fields] if fields else [name]
            arguments.append(f"_kind_{name}({', '.join(own)})" if fields else name)
            names += own
        # Its own names are none that a parameter has.
        condition = "" if self.asks else "if _integers(_status)[0] == _running: "
        called = f"{self.name.partition('.')[0]}_{self.function.__name__}"
        source = f"""def {called}({", ".join(names if self.asks else ["_status", *names])}):
    {condition}_kernel({", ".join(arguments)})"""
        scope = {"_kernel": self.function, "_integers": integers, "_running": RUNNING}
        scope |= {f"_kind_{name}": kind for name, kind in self._kinds.items()}
        exec(source, scope)
        scope[called].__module__ = self.function.__module__
        return scope[called]

    def over(self, count: int, *arguments: int) -> list[Launch]:
        """A launch in which ``count`` elements are shared out among as many threads as is good."""
        if count > MOST_ELEMENTS:
            raise DeviceError(f"{count:,} elements in one operation are more than a device takes; feed less")
        blocks = min(-(-count // self.threads), MOST_BLOCKS)
        return [Launch(self, blocks, self.threads, arguments)] if count > 0 else []


class Launch(NamedTuple):
    """A grid of ``blocks`` of ``threads`` threads each that run a kernel.

    ``shared`` is memory in bytes that the threads of a block share on top of what the kernel says.
    ``cluster`` blocks at a time share theirs too. ``together`` says that all blocks run at once, so that
    they can wait for each other.
    """

    kernel: Kernel
    blocks: int
    threads: int
    arguments: Sequence[int]
    shared: int = 0
    cluster: int = 1
    together: bool = False


class Tail(NamedTuple):
    """The integers at the end of an instruction: where the device has them, and what they are."""

    address: int
    values: list[int]


class Failure(NamedTuple):
    """Where a kernel says that it cannot go on, and what it says: the place of its instruction."""

    status: int
    place: int


EXACT = "float32"
"""The precision in which nothing is rounded before it is multiplied."""


class Facts(NamedTuple):
    """What a twin may ask about where its launches run, by a last operand ``facts``.

    ``meeting`` is the address of three int32, zero at first, by which the blocks of a grid wait for each
    other: two are ``exchange.py``'s, the third is ``committing.py``'s. Only the launches of one program use
    them, one at a time. ``precision`` is to what numbers are rounded before they are multiplied with weights,
    if not ``EXACT``.
    """

    capability: tuple[int, int]
    multiprocessors: int
    meeting: int
    precision: str = EXACT


MEETING_BYTES = 12
"""What lies at ``Facts.meeting``."""
