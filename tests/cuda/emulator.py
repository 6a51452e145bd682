"""A CUDA device in Python: runs kernels' own code, thread by thread, and finds what hardware would hide.

Every address is checked against the memory that was asked for; shared memory and registers begin as
not-a-number; the order in which threads run is drawn from a seed; threads that wait for what never comes
are an error, and so are those that do not wait where they should, see ``races.py``. Arithmetic is NumPy's on
scalars, float32 staying float32.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet

from tests.cuda.races import View, Watch
from tinyseq.kernels.cuda.driver import check_place
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.rebinding import Rebinding, reached

WARP = 32
FIRST_ADDRESS = 2**40
SHARED_ADDRESS, SHARED_APART = 2**60, 2**32
"""Where blocks' shared memory is said to lie."""

GAP = 4096


class EmulationError(AssertionError):
    """A kernel did what a device does not forgive."""


class Pointer:
    """A typed pointer into a run of memory, every access checked."""

    __slots__ = ("array", "count", "start")

    def __init__(self, array: np.ndarray, start: int) -> None:
        self.array, self.start, self.count = array, start, len(array)

    def __getitem__(self, index):
        place = self.start + int(index)
        if 0 <= place < self.count:
            return self.array[place]
        raise EmulationError(f"element {place} of {self.count} is read")

    def __setitem__(self, index, value) -> None:
        place = self.start + int(index)
        if not 0 <= place < self.count:
            raise EmulationError(f"element {place} of {self.count} is written")
        self.array[place] = value


class Watched(Pointer):
    """A pointer whose accesses may not be races; its array begins at the address ``first``."""

    __slots__ = ("first", "size", "watch")

    def __init__(self, array: np.ndarray, start: int, first: int, watch: Watch) -> None:
        super().__init__(array, start)
        self.first, self.size, self.watch = first, array.itemsize, watch

    def address(self, index) -> int:
        return self.first + (self.start + int(index)) * self.size

    def __getitem__(self, index):
        place = self.start + int(index)
        if 0 <= place < self.count:
            self.watch.reads(_running, self.first + place * self.size)
            return self.array[place]
        return super().__getitem__(index)

    def __setitem__(self, index, value) -> None:
        place, array = self.start + int(index), self.array
        before = array[place] if 0 <= place < self.count else None
        super().__setitem__(index, value)
        wrote = self.watch.writes if _differ(before, array[place]) else self.watch.rewrites
        wrote(_running, self.first + place * self.size)


class Remote(Watched):
    """A pointer into the shared memory of the block ``host``, of whose cluster others are."""

    __slots__ = ("host",)

    def __init__(self, array: np.ndarray, start: int, first: int, watch: Watch, host: int) -> None:
        super().__init__(array, start, first, watch)
        self.host = host

    def __getitem__(self, index):
        self.watch.visits(_running, self.host)
        return super().__getitem__(index)

    def __setitem__(self, index, value) -> None:
        self.watch.visits(_running, self.host)
        super().__setitem__(index, value)


def _differ(a: np.generic, b: np.generic) -> bool:
    """Whether two numbers of a type have other bits."""
    return a.tobytes() != b.tobytes() if a != a or not b else bool(a != b)


class EmulatedMemory:
    """A run of bytes at a made-up address; see ``driver.Memory``."""

    def __init__(self, address: int, size: int) -> None:
        self.address, self.bytes = address, size
        self.data = np.zeros(-(-max(size, 1) // 8) * 8, np.uint8)


class EmulatedDevice:
    """What ``driver.Device`` is, in Python; ``seed`` decides in which order threads run."""

    name = "an emulated device"
    driver_version = "none"
    multiprocessors = 4
    shared_bytes = 227 * 1024
    clock = 1e9

    def __init__(self, seed: int = 0, capability: tuple[int, int] = (9, 0), number: int = 0) -> None:
        self.capability, self.number = capability, number
        self.current = nullcontext()
        self.random = random.Random(seed)
        self.launches: list[Launch] = []
        self.memories: list[EmulatedMemory] = []
        self._addresses: list[int] = []
        self.staged: dict[int, np.ndarray] = {}
        """Memory of the host that the device reads and writes by itself, by its address."""
        self._next = FIRST_ADDRESS * (number + 1)

    def memory(self, size: int) -> EmulatedMemory:
        memory = EmulatedMemory(self._next, size)
        self._next += -(-max(size, 1) // 256) * 256 + GAP
        self.memories.append(memory)
        self._addresses.append(memory.address)
        return memory

    def staging(self, size: int) -> np.ndarray:
        staged = np.zeros(max(size, 1), np.uint8)
        self.staged[staged.ctypes.data] = staged
        return staged

    def queue(self) -> EmulatedQueue:
        return EmulatedQueue(self)

    def has(self, address: int) -> bool:
        """Whether an address may be in its memory."""
        return address // FIRST_ADDRESS == self.number + 1

    def found(self, address: int) -> tuple[np.ndarray, int]:
        """The bytes that an address lies in and how far in."""
        if not self.has(address):
            return self._staged_at(address)
        place = bisect_right(self._addresses, address) - 1
        memory = self.memories[place] if place >= 0 else None
        if memory is None or address > memory.address + memory.bytes:
            raise EmulationError(f"address {address:#x} is in no memory")
        return memory.data[: max(memory.bytes, 0)], address - memory.address

    def _staged_at(self, address: int) -> tuple[np.ndarray, int]:
        """``found`` of the host's memory that the device reads by itself."""
        for start, staged in list(self.staged.items()):
            if start <= address < start + len(staged):
                return staged, address - start
        raise EmulationError(f"address {address:#x} is in no memory")

    def span(self, address: int, size: int) -> np.ndarray:
        """So many bytes at an address."""
        data, start = self.found(address)
        if start + size > len(data):
            raise EmulationError(f"{size} bytes at {address:#x} end outside their memory")
        return data[start : start + size]

    def write(self, address: int, pitch: int, rows: np.ndarray) -> None:
        for number, row in enumerate(rows):
            if row.size:
                self.span(address + number * pitch, row.size)[:] = row

    def read(self, address: int, pitch: int, rows: np.ndarray) -> None:
        for number, row in enumerate(rows):
            if row.size:
                row[:] = self.span(address + number * pitch, row.size)

    def pointer(self, address, dtype) -> Pointer:
        data, start = self.found(int(address))
        size = np.dtype(dtype).itemsize
        usable = data[start % size :]
        return Pointer(usable[: len(usable) // size * size].view(dtype), start // size)


class EmulatedQueue:
    """What ``driver.Queue`` is, in Python; work is done when it is waited for."""

    def __init__(self, device: EmulatedDevice) -> None:
        self.device = device
        self._asked: list[Callable[[], None]] = []
        self._recorded: list[Callable[[], None]] | None = None

    def _ask(self, work: Callable[[], None]) -> None:
        (self._asked if self._recorded is None else self._recorded).append(work)

    def write(self, address: int, staged: np.ndarray) -> None:
        host = staged.reshape(-1).view(np.uint8)
        self._ask(lambda: np.copyto(self.device.span(address, staged.nbytes), host))

    def read(self, address: int, staged: np.ndarray) -> None:
        host = staged.reshape(-1).view(np.uint8)
        self._ask(lambda: np.copyto(host, self.device.span(address, staged.nbytes)))

    def copy(self, target: int, source: int, size: int) -> None:
        self._ask(lambda: np.copyto(self.device.span(target, size), self.device.span(source, size).copy()))

    def adopt(self, array: object):
        interface = array.__cuda_array_interface__
        if not self.device.has(interface["data"][0]):
            check_place(self.device, interface["data"][0] // FIRST_ADDRESS - 1)
        return interface["data"][0], interface["shape"], np.dtype(interface["typestr"]), array

    def prepare(self, launches: Iterable[Launch], status: int) -> list[tuple[Launch, int]]:
        return [(launch, status) for launch in launches]

    def launch(self, prepared) -> None:
        for launch, status in prepared:
            self._ask(partial(run, self.device, launch, status))

    def record(self, work: Callable[[], None]) -> list[Callable[[], None]]:
        self._recorded = []
        try:
            work()
        finally:
            recorded, self._recorded = self._recorded, None
        return recorded

    def replay(self, recording: list[Callable[[], None]]) -> None:
        for work in recording:
            self._ask(work)

    def seconds(self, recording, repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            self.replay(recording)
        self.finish()
        return (time.perf_counter() - start) / repeats

    def finish(self) -> None:
        if self._recorded is not None:
            raise EmulationError("a queue is waited for while it records")
        asked, self._asked = self._asked, []
        for work in asked:
            work()


class Lane:
    """One thread of a grid that never waits."""

    time, view = 1, View()

    def __init__(self, block: Block, number: int) -> None:
        self.block, self.home, self.number, self.copies = block, block.number, number, Copies()


class Thread(greenlet):
    """One thread of a grid; ``waits`` says for what: a barrier's name, a shuffle, other blocks."""

    block: Block
    home: int
    number: int
    waits: object = None
    offered: object = None
    arrivals = waited = 0
    time, view = 1, View()


class Copy(NamedTuple):
    """What is under way to a place of shared memory; ``make`` makes it, if it is not made yet."""

    make: Callable[[], None] | None
    target: int
    source: int


class Copies:
    """What a thread has had copied: in groups, the last one open. Each copy is made at once or when it is
    waited for, by chance."""

    def __init__(self) -> None:
        self.groups: list[list[Copy]] = [[]]

    def add(self, make: Callable[[], None], places: list[tuple[int, int]], at_once: bool) -> None:
        if at_once:
            make()
        last = self.groups[-1]
        last += [Copy(None if at_once or number else make, *pair) for number, pair in enumerate(places)]

    def wait(self, pending: int, landed: Callable[[int, int], None]) -> None:
        """Makes all copies of closed groups but the last ``pending``."""
        done = max(0, len(self.groups) - 1 - pending)
        for copy in (one for group in self.groups[:done] for one in group):
            if copy.make is not None:
                copy.make()
            landed(copy.target, copy.source)
        del self.groups[:done]


class Block:
    """The threads of a block and what they share."""

    def __init__(self, number: int, launch: Launch, grid: Grid) -> None:
        self.number, self.launch, self.grid = number, launch, grid
        self.shared: dict[int, np.ndarray] = {}
        self.threads: list[Thread] = []

    def memory(self, intrinsic) -> Watched:
        """The shared array of an intrinsic, poisoned at first."""
        element, count = dtype_of(intrinsic.array.element), intrinsic.array.count
        array, first = self._array(id(intrinsic), element, count or self.launch.shared // element.itemsize)
        return Watched(array, 0, first, self.grid.watch)

    def _array(self, key: int, element: np.dtype, count: int) -> tuple[np.ndarray, int]:
        """An array of its shared memory, and where that is said to begin."""
        if key not in self.shared:
            self.shared[key] = poisoned(element, count)
        number = list(self.shared).index(key)
        return self.shared[key], SHARED_ADDRESS + self.number * SHARED_APART + number * SHARED_APART // 64

    def remote(self, pointer: Watched, other: Block) -> Remote:
        """The place in another block's memory that a pointer into this one's has here."""
        key = next(key for key, array in self.shared.items() if array is pointer.array)
        array, first = other._array(key, pointer.array.dtype, len(pointer.array))
        return Remote(array, pointer.start, first, self.grid.watch, other.number)


class Grid:
    """A launch under way."""

    def __init__(self, device: EmulatedDevice, launch: Launch, status: int) -> None:
        self.device, self.launch = device, launch
        self.blocks: list[Block] = []
        self.progress = 0
        self.watch = Watch(launch.kernel.name, launch.threads, [status])

    def pointer(self, address, dtype) -> Watched:
        """A typed pointer to an address."""
        plain = self.device.pointer(address, dtype)
        first = int(address) - plain.start * plain.array.itemsize
        return Watched(plain.array, plain.start, first, self.watch)


def dtype_of(element) -> np.dtype:
    """Numba's type as NumPy's."""
    return np.dtype(str(element))


def poisoned(dtype: np.dtype, count: int) -> np.ndarray:
    array = np.zeros(count, dtype)
    array[:] = np.nan if dtype.kind == "f" else np.frombuffer(b"\x7e" * 8, dtype)[0]
    return array


_running: Lane | Thread | None = None


def me() -> Lane | Thread:
    return _running


def pause(reason: object) -> None:
    """Lets others run until what is waited for has come."""
    thread = getcurrent()
    if not isinstance(thread, Thread):
        raise EmulationError(f"a thread waits ({reason}) in an intrinsic that WAITING does not name")
    thread.waits = reason
    thread.parent.switch()


def _barrier() -> None:
    pause("barrier")


def _barrier_of(count) -> None:
    pause(("some", int(count)))


def _cluster_of(block: Block) -> int:
    return block.number // block.launch.cluster


def _arriving(tells: bool):
    def arrive() -> None:
        here = me()
        if here.arrivals > here.waited:
            raise EmulationError("a thread that has arrived at its cluster arrives again without waiting")
        here.arrivals += 1
        here.block.grid.watch.arrive(here, _cluster_of(here.block), here.arrivals, tells=tells)

    return arrive


def _cluster_wait() -> None:
    here = me()
    if here.waited == here.arrivals:
        raise EmulationError("a thread waits for its cluster without having arrived")
    pause("cluster")
    here.waited += 1
    here.block.grid.watch.leave(here, _cluster_of(here.block), here.arrivals)


def _shuffle_xor(value, mask):
    me().offered = np.float32(value)
    pause(("shuffle", int(mask)))
    return me().offered


def _shuffle(value, source):
    me().offered = np.float32(value), int(source)
    pause("gather")
    return me().offered


def _cores(depth: int, decoded: Callable):
    """A product of matrices by a warp, as PTX shares them out; ``decoded`` makes numbers of an operand."""

    def multiply(*parts):
        me().offered = parts
        pause(("cores", depth, decoded))
        return me().offered

    return multiply


def _bfloat16s(operands: np.ndarray) -> np.ndarray:
    pairs = operands.view(np.uint32)
    return np.stack([pairs << 16, pairs & 0xFFFF0000], -1).astype(np.uint32).view(np.float32)


def _float16s(operands: np.ndarray) -> np.ndarray:
    return operands[..., None].view(np.float16).astype(np.float32)


def _tfloat32s(operands: np.ndarray) -> np.ndarray:
    return (operands[..., None].view(np.uint32) & 0xFFFFE000).view(np.float32)


def _multiplied(warp: list[Thread], depth: int, decoded: Callable) -> None:
    """Gives each thread of a warp its part of the product."""
    operands = np.array([thread.offered[:6] for thread in warp], np.int32)
    sums = np.array([thread.offered[6:] for thread in warp], np.float32)
    numbers = decoded(operands).reshape(8, 4, 6, -1)
    a, b = np.empty((16, depth), np.float32), np.empty((depth, 8), np.float32)
    c = np.empty((16, 8), np.float32)
    per = numbers.shape[-1]
    for g, t in np.ndindex(8, 4):
        for half in range(2):
            ks = slice(half * depth // 2 + t * per, half * depth // 2 + (t + 1) * per)
            a[g, ks], a[g + 8, ks] = numbers[g, t, 2 * half], numbers[g, t, 2 * half + 1]
            b[ks, g] = numbers[g, t, 4 + half]
        c[g, 2 * t : 2 * t + 2], c[g + 8, 2 * t : 2 * t + 2] = sums[4 * g + t, :2], sums[4 * g + t, 2:]
    c = (c + a.astype(np.float64) @ b).astype(np.float32)
    for number, thread in enumerate(warp):
        g, t = number // 4, number % 4
        thread.offered = (*c[g, 2 * t : 2 * t + 2], *c[g + 8, 2 * t : 2 * t + 2])


def _rounded_bfloat16(number) -> int:
    bits = int(_bits(np.float32(number), np.float32, np.uint32))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF if np.isfinite(number) else bits >> 16


def _pair_bfloat16(first, second):
    return np.uint32(_rounded_bfloat16(second) << 16 | _rounded_bfloat16(first)).view(np.int32)


def _pair_float16(first, second):
    return np.array([first, second], np.float16).view(np.int32)[0]


def _tfloat32(number):
    bits = int(_bits(np.float32(number), np.float32, np.uint32))
    return np.uint32(bits + 0x1000 & 0xFFFFE000 if np.isfinite(number) else bits).view(np.int32)


def _acquire(address):
    pause("others")
    grid = me().block.grid
    grid.watch.acquire(me(), int(address))
    return grid.device.pointer(address, np.int32)[0]


def _release_add(address, value) -> None:
    grid = me().block.grid
    target = grid.device.pointer(address, np.int32)
    grid.watch.counts(me(), int(address))
    grid.watch.release(me(), int(address))
    target[0] = target[0] + np.int32(value)
    grid.progress += 1


def _arrive_in_turn(address, last):
    grid = me().block.grid
    target = grid.device.pointer(address, np.int32)
    before = target[0]
    grid.watch.acquire(me(), int(address))
    grid.watch.counts(me(), int(address))
    grid.watch.release(me(), int(address))
    target[0] = np.int32(0) if before >= last else before + np.int32(1)
    grid.progress += 1
    return before


def _neighbour(pointer: Watched, rank) -> Watched:
    here = me()
    block, cluster = here.block, here.block.launch.cluster
    if not 0 <= rank < cluster:
        raise EmulationError(f"the shared memory of block {rank} is reached for in a cluster of {cluster}")
    other = block.grid.blocks[_cluster_of(block) * cluster + int(rank)]
    if here.waited == 0:
        raise EmulationError("the shared memory of a block is reached for that may not have begun")
    return block.remote(pointer, other)


def _pointer(dtype):
    return lambda address: me().block.grid.pointer(address, dtype)


def _load4(dtype, constant: bool = False):
    """``constant``: by a cache that no write comes to."""

    def load(address):
        if int(address) % 16:
            raise EmulationError(f"four numbers are loaded at {int(address):#x}, no multiple of 16")
        grid = me().block.grid
        if not constant:
            pointer = grid.pointer(address, dtype)
            return tuple(pointer[place] for place in range(4))
        for place in range(4):
            grid.watch.reads_constant(int(address) + 4 * place)
        plain = grid.device.pointer(address, dtype)
        return tuple(plain[place] for place in range(4))

    return load


def _four(pointer: Pointer, place) -> tuple:
    if (pointer.start + int(place)) % 4:
        raise EmulationError(f"four numbers are read from place {int(place)} on, no multiple of four")
    return tuple(pointer[place + number] for number in range(4))


def _write(address, *values):
    size = 4 * len(values)
    if int(address) % size:
        raise EmulationError(f"{len(values)} numbers are stored at {int(address):#x}, no multiple of {size}")
    pointer = me().block.grid.pointer(address, np.float32)
    for place, value in enumerate(values):
        pointer[place] = value


def _copy(size: int):
    def copy(target: Watched, place, source) -> None:
        here = me()
        grid, plain = here.block.grid, Pointer(target.array, target.start)
        count = size // target.array.itemsize
        if int(source) % size or (target.start + int(place)) % count:
            raise EmulationError(f"{size} bytes are copied from {int(source):#x} to element {int(place)}")
        there = grid.device.pointer(source, target.array.dtype)
        places = [(target.address(int(place) + i), int(source) + i * target.size) for i in range(count)]
        for pair in places:
            grid.watch.copies(here, *pair)

        def make() -> None:
            for i in range(count):
                plain[int(place) + i] = there[i]

        here.copies.add(make, places, grid.device.random.random() < 0.5)

    return copy


def _copied(pending: int) -> None:
    here = me()
    here.copies.wait(pending, partial(here.block.grid.watch.landed, here))


def _dot4(a, b, c):
    left, right = np.array([a], np.int32).view(np.uint8), np.array([b], np.int32).view(np.int8)
    return np.int32(c) + np.dot(left.astype(np.int32), right.astype(np.int32))


def _fma(a, b, c):
    return np.float32(float(a) * float(b) + float(c))


def _bits(value, source, target):
    return np.array(value, source).view(target)[()]


def _power_of_two(rounded):
    bits = int(_bits(np.float32(rounded), np.float32, np.int32))
    return _bits(((bits << 23) + (127 << 23)) & 0xFFFFFFFF, np.uint32, np.float32)


def _exponent_split(x):
    bits = int(_bits(np.float32(x), np.float32, np.int32))
    e = (bits - 0x3F3504F3) >> 23
    return np.float32(e), _bits((bits - (e << 23)) & 0xFFFFFFFF, np.uint32, np.float32)


def _exponent_split64(x):
    bits = int(_bits(np.float64(x), np.float64, np.int64))
    e = (bits - 0x3FE6A09E667F3BCD) >> 52
    return np.float64(e), _bits((bits - (e << 52)) & (2**64 - 1), np.uint64, np.float64)


MEANINGS = {
    "thread": lambda: me().number,
    "threads": lambda: me().block.launch.threads,
    "block": lambda: me().block.number,
    "blocks": lambda: me().block.launch.blocks,
    "barrier": _barrier,
    "barrier_of": _barrier_of,
    "cluster_arrive": _arriving(tells=True),
    "cluster_begun": _arriving(tells=False),
    "cluster_wait": _cluster_wait,
    "cluster_rank": lambda: me().block.number % me().block.launch.cluster,
    "neighbour": _neighbour,
    "shuffle": _shuffle,
    "shuffle_xor": _shuffle_xor,
    "acquire": _acquire,
    "release_add": _release_add,
    "arrive_in_turn": _arrive_in_turn,
    "load_fresh": lambda address: me().block.grid.pointer(address, np.float32)[0],
    "load_fresh4": _load4(np.float32),
    "load_fresh4_integers32": _load4(np.int32),
    "load4": _load4(np.float32, constant=True),
    "load4_integers32": _load4(np.int32, constant=True),
    "read4": _load4(np.float32),
    "write4": _write,
    "pair_bfloat16": _pair_bfloat16,
    "pair_float16": _pair_float16,
    "tfloat32": _tfloat32,
    "cores_bfloat16": _cores(16, _bfloat16s),
    "cores_float16": _cores(16, _float16s),
    "cores_tfloat32": _cores(8, _tfloat32s),
    "again": lambda value: value,
    "settled": lambda value: value,
    "copy4": _copy(4),
    "copy16": _copy(16),
    "copies": lambda: me().copies.groups.append([]),
    "four": _four,
    "dot4": _dot4,
    "floats": _pointer(np.float32),
    "doubles": _pointer(np.float64),
    "integers": _pointer(np.int64),
    "integers32": _pointer(np.int32),
    "octets": _pointer(np.uint8),
    "fma": _fma,
    "quotient": lambda a, b: np.float32(a) / np.float32(b),
    "fma64": lambda a, b, c: np.float64(a) * np.float64(b) + np.float64(c),
    "flushed": lambda x: x,
    "square_root": lambda x: np.sqrt(np.float32(x)),
    "power_of_two": _power_of_two,
    "power_of_two64": lambda n: np.float64(2.0) ** np.float64(n),
    "exponent_split": _exponent_split,
    "exponent_split64": _exponent_split64,
    "float_bits": lambda x: _bits(np.float32(x), np.float32, np.int32),
    "order_key": lambda bits: np.int32(bits) ^ ((np.int32(bits) >> 31) & np.int32(0x7FFFFFFF)),
}
"""What the names of the intrinsics mean here."""


def _meaning(intrinsic):
    array, pending = getattr(intrinsic, "array", None), getattr(intrinsic, "pending", None)
    if pending is not None:
        return partial(_copied, pending)
    if array is None:
        return MEANINGS[intrinsic.__name__]
    if array.space == "shared":
        return lambda: me().block.memory(intrinsic)
    return lambda: Pointer(poisoned(dtype_of(array.element), array.count), 0)


CORES = ("cores_bfloat16", "cores_float16", "cores_tfloat32")

WAITING = ("barrier", "barrier_of", "cluster_wait", "shuffle", "shuffle_xor", "acquire", *CORES)
"""The intrinsics in which a thread may wait."""

_target = Rebinding(_meaning, lambda function: function)


@cache
def _entry(kernel: Kernel) -> Callable:
    return _target.bound(kernel.entry())


@cache
def _waits(kernel: Kernel) -> bool:
    return any(one.__name__ in WAITING for one in reached(kernel.function))


def run(device: EmulatedDevice, launch: Launch, status: int) -> None:
    """Runs a launch to its end; of several threads, one after the other."""
    with _one_at_a_time, _uncollected():
        _run(device, launch, status)


_one_at_a_time = threading.Lock()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps Python from looking for cycles among all that a launch's threads have done."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _run(device: EmulatedDevice, launch: Launch, status: int) -> None:
    device.launches.append(launch)
    check_launch(device, launch)
    grid = Grid(device, launch, status)
    arguments = [np.int64(value) for value in (status, *launch.arguments)]
    grid.blocks = [Block(number, launch, grid) for number in range(launch.blocks)]
    together = launch.together or launch.cluster > 1
    runs = [grid.blocks] if together else [[block] for block in shuffled(device, grid.blocks)]
    with np.errstate(all="ignore"):
        for blocks in runs:
            if _waits(launch.kernel):
                _run_waiting(grid, blocks, arguments)
            else:
                _run_at_once(grid, blocks, arguments)
    for block in grid.blocks:
        grid.watch.end(block.number, block.threads)


def shuffled(device: EmulatedDevice, things: list) -> list:
    return device.random.sample(things, len(things))


def check_launch(device: EmulatedDevice, launch: Launch) -> None:
    """What the driver would refuse."""
    limits = (
        (0 < launch.blocks < 2**31, "blocks"),
        (0 < launch.threads <= min(launch.kernel.threads, 1024), "threads"),
        (launch.shared <= device.shared_bytes, "shared memory"),
        (launch.blocks % launch.cluster == 0 and launch.cluster <= 16, "cluster"),
        (len(launch.arguments) == launch.kernel.parameters, "arguments"),
        (all(-(2**63) <= value < 2**63 for value in launch.arguments), "arguments"),
    )
    wrong = [name for fine, name in limits if not fine]
    if wrong:
        raise EmulationError(f"{launch} asks for what no device gives: {', '.join(wrong)}")


def _run_at_once(grid: Grid, blocks: list[Block], arguments: list) -> None:
    """Runs the threads of blocks one after the other."""
    global _running
    entry = _entry(grid.launch.kernel)
    for block in blocks:
        for number in shuffled(grid.device, range(grid.launch.threads)):
            _running = Lane(block, number)
            entry(*arguments)


def _run_waiting(grid: Grid, blocks: list[Block], arguments: list) -> None:
    """Runs the threads of blocks side by side until all have ended."""
    global _running

    def body() -> None:
        with np.errstate(all="ignore"):
            _entry(grid.launch.kernel)(*arguments)

    for block in blocks:
        block.threads = [Thread(body) for _ in range(grid.launch.threads)]
        for number, thread in enumerate(block.threads):
            thread.block, thread.home, thread.number = block, block.number, number
            thread.copies = Copies()
    ready = [thread for block in blocks for thread in block.threads]
    rounds_without = 0
    while True:
        before = grid.progress
        grid.device.random.shuffle(ready)
        for thread in ready:
            thread.parent = getcurrent()
            _running = thread
            thread.switch()
        alive = [thread for block in blocks for thread in block.threads if not thread.dead]
        if not alive:
            return
        ready = _released(blocks)
        spinning = all(thread.waits == "others" for thread in ready)
        rounds_without = rounds_without + 1 if spinning and grid.progress == before else 0
        if not ready or rounds_without > 2:
            reasons = sorted({str(thread.waits) for thread in alive})
            raise EmulationError(f"{grid.launch.kernel.name}: threads wait for ever: {', '.join(reasons)}")


def _released(blocks: list[Block]) -> list[Thread]:
    """The threads whose waiting is over."""
    ready: list[Thread] = []
    watch = blocks[0].grid.watch
    for block in blocks:
        alive = [thread for thread in block.threads if not thread.dead]
        ready += [thread for thread in alive if thread.waits == "others"]
        if all(thread.waits == "barrier" for thread in block.threads if not thread.dead):
            if len(alive) not in (0, len(block.threads)):
                raise EmulationError("some threads of a block wait at a barrier, others have ended")
            watch.meet(alive)
            ready += alive
        some = [t for t in alive if isinstance(t.waits, tuple) and t.waits[0] == "some"]
        counts = {thread.waits[1] for thread in some}
        if len(counts) > 1 or len(some) > min(counts, default=0):
            raise EmulationError(f"{len(some)} threads wait for {sorted(counts)} of them")
        if len(some) in counts:
            watch.meet(some)
            ready += some
        for start in range(0, len(block.threads), WARP):
            ready += _shuffled(block.threads[start : start + WARP])
    clusters = blocks[0].launch.cluster
    for start in range(0, len(blocks), clusters):
        threads = [thread for block in blocks[start : start + clusters] for thread in block.threads]
        arrived = min((thread.arrivals for thread in threads if not thread.dead), default=0)
        ready += [t for t in threads if not t.dead and t.waits == "cluster" and t.arrivals <= arrived]
    return ready


def _shuffled(warp: list[Thread]) -> list[Thread]:
    """A warp all of whose threads have offered numbers to each other."""
    if len(warp) < WARP or any(thread.dead for thread in warp):
        return []
    if all(thread.waits == "gather" for thread in warp):
        values = [value for value, _ in (thread.offered for thread in warp)]
        for thread in warp:
            thread.offered = values[thread.offered[1]]
        return warp
    reasons = {thread.waits if thread.waits[0] in ("shuffle", "cores") else None for thread in warp}
    if None in reasons:
        return []
    if len(reasons) > 1:
        raise EmulationError(f"threads of a warp meet differently: {reasons}")
    reason = reasons.pop()
    if reason[0] == "cores":
        _multiplied(warp, *reason[1:])
        return warp
    mask = reason[1]
    values = [thread.offered for thread in warp]
    for number, thread in enumerate(warp):
        thread.offered = values[number ^ mask]
    return warp
