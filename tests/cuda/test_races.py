"""What the emulator finds of kernels whose threads do not wait for each other, and what it lets pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import types
from numpy import float32, int32

from tests.cuda.emulator import EmulatedDevice, EmulationError
from tests.cuda.memory import On
from tests.cuda.races import Race
from tinyseq.kernels.cuda.clusters import cluster_arrive, cluster_begun, cluster_wait, neighbour
from tinyseq.kernels.cuda.intrinsics import (
    acquire,
    arrive_in_turn,
    barrier,
    block,
    blocks,
    copied,
    copies,
    copy4,
    load4,
    release_add,
    shared,
    thread,
    threads,
)
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.rebinding import HOME
from tinyseq.kernels.llvm.intrinsics import floats, integers32

THREADS, BLOCKS = 32, 4

cells = shared(types.float32, THREADS)
all_copied = copied(0)


def started(function: Callable, data: int, cluster: int = 1) -> Launch:
    """A launch of a kernel with ``data`` as its one argument, of one block or a cluster of them."""
    function.__module__ = f"{HOME}.planted"
    return Launch(Kernel(function, THREADS), cluster, THREADS, (data,), 0, cluster, cluster > 1)


def to_a_neighbour(waits: bool):
    def tell(data):
        cells()[thread()] = float32(thread())
        if waits:
            barrier()
        floats(data)[thread()] = cells()[(thread() + 1) % threads()]

    return tell


def what_is_still_read(waits: bool):
    def turn(data):
        own = cells()
        for number in range(3):
            if thread() == number:
                own[0] = float32(number)
            barrier()
            floats(data)[thread()] = own[0]
            if waits:
                barrier()

    return turn


def by_copies(waits: bool):
    def bring(data):
        own = cells()
        copy4(own, thread(), data + thread() * 4)
        copies()
        if waits:
            all_copied()
        barrier()
        floats(data + 512)[thread()] = own[(thread() + 1) % threads()]

    return bring


def to_a_slot_in_use(waits: bool):
    def bring(data):
        own = cells()
        own[thread()] = float32(thread())
        barrier()
        floats(data + 512)[thread()] = own[(thread() + 1) % threads()]
        if waits:
            barrier()
        copy4(own, thread(), data + thread() * 4)
        copies()
        all_copied()

    return bring


def to_another_place(waits: bool):
    def write(data):
        floats(data)[thread() if waits else thread() // 2] = float32(thread())

    return write


def past_a_cache(waits: bool):
    def read(data):
        floats(data + 16 * thread())[0] = float32(1)
        barrier()
        a, b, c, d = load4(data + 16 * thread() + (512 if waits else 0))
        floats(data + 1024)[thread()] = a + b + c + d

    return read


def what_is_there_and_something_else(waits: bool):
    def write(data):
        if thread() == 0:
            floats(data)[0] = float32(0)
        if waits:
            barrier()
        if thread() == 1:
            floats(data)[0] = float32(7)

    return write


def zero_of_another_sign(waits: bool):
    def write(data):
        if thread() == 0:
            floats(data)[0] = float32(-0.0)
        if waits:
            barrier()
        floats(data + 512)[thread()] = floats(data)[0]

    return write


def what_is_being_copied(waits: bool):
    def bring(data):
        copy4(cells(), thread(), data + thread() * 4)
        copies()
        if waits:
            all_copied()
        barrier()
        floats(data)[(thread() + 1) % threads()] = float32(9)
        all_copied()

    return bring


def what_others_count(waits: bool):
    def count(data):
        if thread() == 0:
            integers32(data)[0] = int32(7)
        if waits:
            barrier()
        if thread() == 1:
            release_add(data, int32(1))

    return count


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    "planted",
    [
        *(to_a_neighbour, what_is_still_read, by_copies, to_a_slot_in_use, to_another_place, past_a_cache),
        *(what_is_there_and_something_else, zero_of_another_sign, what_is_being_copied, what_others_count),
    ],
)
def test_threads_of_a_block(planted, waits):
    check(planted(waits), 1, waits)


def around_a_cluster(waits: bool):
    """Others are told by an arrival that says what this thread has written, or by one that does not."""
    tell = cluster_arrive if waits else cluster_begun

    def around(data):
        own, others = cells(), blocks()
        cluster_begun()
        cluster_wait()
        neighbour(own, (block() + 1) % others)[thread()] = float32(block())
        tell()
        cluster_wait()
        floats(data)[block() * threads() + thread()] = own[thread()]

    return around


def before_others_are_gone(waits: bool):
    def read(data):
        own, others = cells(), blocks()
        own[thread()] = float32(block())
        cluster_arrive()
        cluster_wait()
        there = neighbour(own, (block() + 1) % others)
        floats(data)[block() * threads() + thread()] = there[thread()]
        if waits:
            cluster_arrive()
            cluster_wait()

    return read


def by_a_pointer_that_is_kept(waits: bool):
    def read(data):
        own, others = cells(), blocks()
        own[thread()] = float32(block())
        cluster_arrive()
        cluster_wait()
        there = neighbour(own, (block() + 1) % others)
        value = there[thread()] if waits else float32(0)
        cluster_arrive()
        cluster_wait()
        floats(data)[block() * threads() + thread()] = value if waits else there[thread()]

    return read


def over_the_grid(waits: bool):
    def pass_on(data):
        values, mine = floats(data + 512), block() * threads() + thread()
        values[mine] = float32(mine)
        if waits:
            barrier()
        if thread() == 0:
            release_add(data, int32(1))
            while acquire(data) < blocks():
                pass
        barrier()
        floats(data + 1536)[mine] = values[(mine + threads()) % (blocks() * threads())]

    return pass_on


def by_the_last(waits: bool):
    said = shared(types.int32, 1)

    def gather(data):
        values = floats(data + 512)
        values[block() * threads() + thread()] = float32(block())
        if waits:
            barrier()
        if thread() == 0:
            said()[0] = int32(arrive_in_turn(data, int32(blocks() - 1)) == blocks() - 1)
        barrier()
        if said()[0] != 0:
            for number in range(blocks()):
                floats(data + 1536)[thread()] = values[number * threads() + thread()]
                floats(data + 1536)[thread()] = values[number * threads() + (thread() + 1) % threads()]

    return gather


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    "planted",
    [around_a_cluster, before_others_are_gone, by_a_pointer_that_is_kept, over_the_grid, by_the_last],
)
def test_blocks(planted, waits):
    check(planted(waits), BLOCKS, waits)


def check(function: Callable, cluster: int, waits: bool) -> None:
    """A race is found unless threads wait, however the emulator orders them."""
    for seed in range(3):
        on = On(EmulatedDevice(seed))
        launch = started(function, on.put(np.zeros(1024, np.float32)), cluster)
        if waits:
            assert on.run([launch])
        else:
            with pytest.raises(Race):
                on.run([launch])


@pytest.mark.parametrize("value", [7, np.nan, -0.0])
def test_threads_that_write_alike(value):
    def write(data):
        floats(data)[0] = float32(value)

    for there in (value, 1):
        on = On(EmulatedDevice())
        assert on.run([started(write, on.put(np.full(1, there, np.float32)))])


def test_a_neighbour_that_nobody_reaches_for():
    def point(data):
        cluster_arrive()
        cluster_wait()
        neighbour(cells(), 1)

    on = On(EmulatedDevice())
    assert on.run([started(point, on.put(np.zeros(1)), 2)])


def _reach(data):
    neighbour(cells(), 1)[thread()] = float32(1)
    cluster_arrive()
    cluster_wait()


def _wait(data):
    cluster_wait()


def _arrive(data):
    cluster_arrive()
    cluster_arrive()
    cluster_wait()


@pytest.mark.parametrize(
    "planted, message",
    [
        (_reach, "may not have begun"),
        (_wait, "waits for its cluster without having arrived"),
        (_arrive, "arrives again without waiting"),
    ],
)
def test_what_clusters_do_not_forgive(planted, message):
    on = On(EmulatedDevice())
    with pytest.raises(EmulationError, match=message):
        on.run([started(planted, on.put(np.zeros(1)), 2)])
