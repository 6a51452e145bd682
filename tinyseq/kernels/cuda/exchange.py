"""How the blocks that share a sequence hand its state to each other, frame by frame.

Such blocks are a team: a cluster, or all of the grid. Each has the team's state in its shared
memory, in two buffers. What a block publishes is in the buffers of all once they have met and collected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numpy import int32, uint32

from tinyseq.kernels.cuda.clusters import cluster_arrive, cluster_rank, cluster_wait, neighbour
from tinyseq.kernels.cuda.intrinsics import (
    acquire,
    barrier,
    block,
    blocks,
    load_fresh,
    load_fresh4,
    release_add,
    thread,
    threads,
)
from tinyseq.kernels.llvm.intrinsics import floats, integers32

CLUSTER = 8
"""Blocks of a cluster; more are not portable."""


class Exchange(NamedTuple):
    """One way to exchange state.

    * ``member()``: a block's number in its team; ``team()``: the team's number;
    * ``begin(meeting)``: all that is in shared memory is seen by the team; gives a ticket;
    * ``publish(state, place, value, address)``: the number for ``place`` in everyone's state; ``address``
      is its own in global memory, free to be written to;
    * ``arrive(meeting)``, then ``wait(meeting, ticket)``, which gives the next ticket;
    * ``collect(state, start, reach, source, stride, rows, width)``: rows of numbers published at
      ``source`` are in the state from ``start`` on, ``reach`` apart;
    * ``end(meeting, ticket, met)``: nobody is left waiting, nor about to read what was there at the
      beginning; ``met`` says whether the team has met since then.
    """

    name: str
    member: Callable[..., int]
    team: Callable[..., int]
    begin: Callable[..., int]
    publish: Callable[..., None]
    arrive: Callable[..., None]
    wait: Callable[..., int]
    collect: Callable[..., None]
    end: Callable[..., None]


def _alone():
    return 0


def _collected(state, start, reach, source, stride, rows, width):
    return


def _end(meeting, ticket, met):
    return


def _cluster():
    return block() // CLUSTER


def _begin_cluster(meeting):
    cluster_arrive()
    cluster_wait()
    return int32(0)


def _publish_around(state, place, value, address):
    for member in range(CLUSTER):
        neighbour(state, member)[place] = value


def _arrive_cluster(meeting):
    cluster_arrive()


def _wait_cluster(meeting, ticket):
    cluster_wait()
    return ticket


def _begin_grid(meeting):
    """The counter only grows: a launch begins where the one before it ended."""
    barrier()
    return acquire(meeting + 4) if thread() == 0 else int32(0)


def _publish_global(state, place, value, address):
    floats(address)[0] = value


def _arrive_grid(meeting):
    barrier()
    if thread() == 0:
        release_add(meeting, int32(1))


def _wait_grid(meeting, ticket):
    ticket = int32(ticket + blocks())
    if thread() == 0:
        # The counter wraps around; differences do not.
        while int32(acquire(meeting) - ticket) < 0:
            pass
    barrier()
    return ticket


def _collect_global(state, start, reach, source, stride, rows, width):
    if width % 4 == 0 and stride % 4 == 0 and source % 16 == 0:
        across = uint32(width // 4)
        for i in range(thread(), rows * across, threads()):
            row, four = uint32(i) // across, uint32(i) % across * uint32(4)
            a, b, c, d = load_fresh4(source + (row * stride + four) * 4)
            place = start + row * reach + four
            state[place], state[place + 1], state[place + 2], state[place + 3] = a, b, c, d
    else:
        for i in range(thread(), rows * width, threads()):
            row, one = uint32(i) // uint32(width), uint32(i) % uint32(width)
            state[start + row * reach + one] = load_fresh(source + (row * stride + one) * 4)
    barrier()


def _end_grid(meeting, ticket, met):
    if not met:
        _arrive_grid(meeting)
        ticket = _wait_grid(meeting, ticket)
    if block() == 0 and thread() == 0:
        integers32(meeting)[1] = ticket


CLUSTERS = Exchange(
    *("cluster", cluster_rank, _cluster, _begin_cluster, _publish_around),
    *(_arrive_cluster, _wait_cluster, _collected, _end),
)
GRID = Exchange(
    *("grid", block, _alone, _begin_grid, _publish_global),
    *(_arrive_grid, _wait_grid, _collect_global, _end_grid),
)
