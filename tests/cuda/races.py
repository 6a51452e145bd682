"""Races on an emulated device: memory that threads reach for without waiting for each other.

Which of two accesses comes first is known by vector clocks, as in FastTrack (Flanagan and Freund, 2009),
however the emulator happens to order threads. A thread counts its own time, and knows of others what it was
told where they met: at barriers, and by what one releases and another acquires. Shuffles tell nothing about
memory. A write of what is there already races with such as change that, and with no other. Places are numbers
of one size each: what a byte and a word that holds it have to do with each other is not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

View = dict[int, list[int]]
"""What is known of the times of blocks' threads."""

UNDER_WAY = 2**62
"""The time of a copy, and of its reading, that nobody has waited for."""


class Race(AssertionError):
    """Two threads reach for one place, and nothing says who does so first."""


class Racer(Protocol):
    """A thread: its block's number, its own there, its time and its view."""

    home: int
    number: int
    time: int
    view: View


Times = dict[tuple[int, int], int]
"""When threads, by their homes and numbers, did something."""


class _Place:
    """The last write of a place, and who has read it since."""

    __slots__ = ("home", "number", "readers", "time")

    def __init__(self) -> None:
        self.home, self.number, self.time = -1, -1, 0
        self.readers: Times | None = None

    def note(self, one: Racer, time: int) -> None:
        """Who changes what is there has to know of this."""
        if self.readers is None:
            self.readers = {}
        self.readers[one.home, one.number] = time


class Watch:
    """What the threads of a launch, blocks of ``threads``, have done at which addresses; those that are
    ``free`` may be raced for."""

    def __init__(self, kernel: str, threads: int, free: Collection[int] = ()) -> None:
        self._kernel, self._threads, self._free = kernel, threads, frozenset(free)
        self._places: defaultdict[int, _Place] = defaultdict(_Place)
        self._constant: set[int] = set()
        self._counted: dict[int, Times] = {}
        self._released: dict[int, View] = {}
        self._arrived: dict[tuple[int, int], list[_Told]] = {}
        self._told: dict[tuple[int, int], View] = {}
        self._learnt: tuple[tuple[View, View], View] = (View(), View()), View()
        self._visits: dict[int, Times] = {}

    def reads(self, one: Racer, address: int) -> None:
        place = self._places[address]
        if place.time:
            self._follows(one, address, place.home, place.number, place.time, "written", "read")
        if self._counted:
            self._follows_all(one, address, self._counted.get(address), "counted", "read")
        place.note(one, one.time)

    def rewrites(self, one: Racer, address: int) -> None:
        """A write of what is there."""
        self._places[address].note(one, one.time)

    def reads_constant(self, address: int) -> None:
        """A read by a cache that no write of the launch comes to."""
        self._constant.add(address)
        self._check_constant(address)

    def _check_constant(self, address: int) -> None:
        if self._places[address].time:
            raise Race(f"{self._kernel}: {address:#x} is written, and read as if nobody wrote there")

    def writes(self, one: Racer, address: int) -> None:
        """A write that changes what is there."""
        self._overwrites(one, address, one.time)

    def copies(self, one: Racer, address: int, source: int) -> None:
        """A write and a read that are under way until the copy has landed."""
        self.reads(one, source)
        self._places[source].note(one, UNDER_WAY)
        self._overwrites(one, address, UNDER_WAY)

    def landed(self, one: Racer, address: int, source: int) -> None:
        place, readers = self._places[address], self._places[source].readers
        if (place.home, place.number, place.time) == (one.home, one.number, UNDER_WAY):
            place.time = one.time
        if readers is not None and (one.home, one.number) in readers:
            readers[one.home, one.number] = one.time

    def counts(self, one: Racer, address: int) -> None:
        """A write that is one with a read, as others are at the same time."""
        place = self._places[address]
        if place.time:
            self._follows(one, address, place.home, place.number, place.time, "written", "counted")
        self._follows_all(one, address, place.readers, "read", "counted")
        self._counted.setdefault(address, {})[one.home, one.number] = one.time

    def _overwrites(self, one: Racer, address: int, time: int) -> None:
        place = self._places[address]
        if place.time:
            self._follows(one, address, place.home, place.number, place.time, "written", "written")
        self._follows_all(one, address, place.readers, "read", "written")
        if self._counted:
            self._follows_all(one, address, self._counted.get(address), "counted", "written")
        place.home, place.number, place.time, place.readers = one.home, one.number, time, None
        if address in self._constant:
            self._check_constant(address)

    def _follows_all(self, one: Racer, address: int, times: Times | None, before: str, now: str) -> None:
        if times:
            for (home, number), time in times.items():
                self._follows(one, address, home, number, time, before, now)

    def _follows(
        self, one: Racer, address: int, home: int, number: int, time: int, before: str, now: str
    ) -> None:
        """Checks that a thread knows of what another has done."""
        if home == one.home and number == one.number and time != UNDER_WAY:
            return
        known = one.view.get(home)
        if (known is None or known[number] < time) and address not in self._free:
            raise Race(
                f"{self._kernel}: {address:#x} is {before} by thread {number} of block {home}, and {now} by "
                f"{one.number} of {one.home}, which has not waited for that"
            )

    def meet(self, threads: Sequence[Racer]) -> None:
        """All threads learn what any of them knows."""
        joined = _joined([_Told.of(thread) for thread in threads], self._threads)
        for thread in threads:
            thread.view, thread.time = joined, thread.time + 1

    def arrive(self, one: Racer, cluster: int, turn: int, *, tells: bool) -> None:
        """A thread of a cluster arrives for a turn of waiting, and tells others what it knows."""
        if tells:
            self._arrived.setdefault((cluster, turn), []).append(_Told.of(one))
        one.time += 1

    def leave(self, one: Racer, cluster: int, turn: int) -> None:
        """A thread whose waiting is over, as all have arrived, learns what they knew."""
        told = self._told.get((cluster, turn))
        if told is None:
            told = self._told[cluster, turn] = _joined(self._arrived.pop((cluster, turn), []), self._threads)
        before, after = self._learnt
        if one.view is not before[0] or told is not before[1]:
            after = _merged([one.view, told])
            self._learnt = (one.view, told), after
        one.view = after

    def release(self, one: Racer, address: int) -> None:
        known = self._released.get(address, {})
        self._released[address] = _merged([known, _joined([_Told.of(one)], self._threads)])
        one.time += 1

    def acquire(self, one: Racer, address: int) -> None:
        one.view = _merged([one.view, self._released.get(address, {})])

    def visits(self, one: Racer, host: int) -> None:
        """A thread reaches for the shared memory of another block."""
        if one.home != host:
            self._visits.setdefault(host, {})[one.home, one.number] = one.time

    def end(self, host: int, threads: Sequence[Racer]) -> None:
        """Checks that a block has not ended before others are done with its shared memory."""
        for (home, number), time in self._visits.get(host, {}).items():
            known = [thread.view[home][number] for thread in threads if home in thread.view]
            if max(known, default=0) < time:
                raise Race(
                    f"{self._kernel}: block {host} ends, and thread {number} of block {home} may not be done "
                    "with its shared memory"
                )


class _Told(NamedTuple):
    """What a thread has told: who it is, when that was, and what it knew."""

    home: int
    number: int
    time: int
    view: View

    @classmethod
    def of(cls, one: Racer) -> _Told:
        return cls(one.home, one.number, one.time, one.view)


def _joined(told: list[_Told], threads: int) -> View:
    """What some threads, of blocks of so many, knew, and were."""
    joined = _merged(list({id(one.view): one.view for one in told}.values()))
    own = {home: list(joined.get(home, [0] * threads)) for home in {one.home for one in told}}
    for one in told:
        own[one.home][one.number] = max(own[one.home][one.number], one.time)
    return joined | own


def _merged(views: list[View]) -> View:
    known = [view for view in views if view]
    if len(known) < 2:
        return known[0] if known else {}
    merged = dict(known[0])
    for home, times in chain.from_iterable(view.items() for view in known[1:]):
        own = merged.get(home)
        if own is not times:
            merged[home] = times if own is None else list(map(max, own, times))
    return merged
