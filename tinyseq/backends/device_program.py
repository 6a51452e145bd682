"""Programs put together by hand that a device runs: searches that choose there, token by token.

The buffers of such a program are arrays of the host, each with a copy on the device, its mirror; whoever
writes to one says so, and fetches the others before he reads them. The arrays of a plan are the device's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tinyseq.backends.device_array import DeviceArray
from tinyseq.errors import UnsupportedError
from tinyseq.kernels.cuda.launch import RUNNING, Facts
from tinyseq.kernels.cuda.schedule import schedule
from tinyseq.kernels.cuda.searches import LEFT, leave
from tinyseq.kernels.instructions import GOES_ON, POSITION, UNTIL
from tinyseq.kernels.program import Buffer, Operand, Program

WORD = 8

STEPS_AT_ONCE = 16
"""Steps that the device is asked for before the host looks whether they went on."""


class Mirror:
    """A buffer's copy on a device. ``behind``: the host's array is newer; ``ahead``: the copy is."""

    def __init__(self, device, size: int) -> None:
        self.memory = device.memory(size)
        self.behind, self.ahead = True, False


class DeviceProgram(Program):
    """A program around the launches of a plan, on the queue and with the run's status of its executor.

    Where it is repeated, a step is one recording, which runs as often as the search's status says it may;
    once the next step is not like this one, the run's status keeps all that was asked for from running.
    """

    def __init__(self, device, queue, status, facts: Facts) -> None:
        super().__init__()
        self._device, self._queue, self._status, self._facts = device, queue, status, facts
        self._nested: tuple[int, Sequence, Buffer | None] = 0, (), None
        self._search: Buffer | None = None
        self._runs: Sequence | None = None
        self._recording: object = None
        self._refused = False

    def nest(self, prepared: Sequence, failed: Buffer) -> None:
        """Appends the launches of a plan; where one fails, ``failed`` tells its place."""
        self._nested = len(self._words), prepared, failed

    def repeat(self, condition: Operand) -> None:
        """See ``Program``; the condition is the word of a search's status that says whether it goes on."""
        buffer, offset = condition  # type: ignore[misc]  # a word of a buffer
        if offset != GOES_ON * WORD:
            raise ValueError("a device repeats the steps of searches")
        self._search = buffer

    @property
    def runnable(self) -> bool:  # type: ignore[override]
        try:
            if not self._refused:
                self._seal()
        except UnsupportedError:
            self._refused = True
        return not self._refused

    def changed(self, *buffers: Buffer) -> None:
        for buffer in buffers or self._segments:
            if isinstance(buffer.mirror, Mirror):
                buffer.mirror.behind, buffer.mirror.ahead = True, False

    def fetch(self) -> None:
        for buffer, mirror in self._mirrors():
            if mirror.ahead:
                self._device.read(mirror.memory.address, buffer.array.nbytes, _bytes(buffer.array))
                mirror.ahead = False

    def _mirrors(self) -> list[tuple[Buffer, Mirror]]:
        return [(buffer, buffer.mirror) for buffer in self._segments if isinstance(buffer.mirror, Mirror)]

    def _seal(self) -> None:
        if self._runs is not None:
            return
        addresses = [self._address_of(buffer) for buffer in self._segments]
        place, plan, _ = self._nested
        words = np.array(self._words, np.int64)
        self._there, self._table = self._uploaded(words), self._uploaded(np.array(addresses, np.int64))
        before = self._launches(words[:place], addresses, self._there.address)
        after = self._launches(words[place:], addresses, self._there.address + place * WORD)
        if self._search is not None:
            after += leave(self._search.mirror.memory.address, self._status.address)
        self._turns, self._outcome, self._running = (self._word(n) for n in (UNTIL + 1, 1, 1))
        self._running[...] = RUNNING
        with self._device.current:
            first, last = (self._queue.prepare(part, self._status.address) for part in (before, after))
        self._runs = [*first, *plan, *last]

    def _uploaded(self, words: np.ndarray):
        """Words in memory of the device."""
        memory = self._device.memory(words.nbytes)
        self._device.write(memory.address, words.nbytes, _bytes(words))
        return memory

    def _launches(self, words: np.ndarray, addresses: list[int], place: int) -> list:
        status, table = self._status.address, self._table.address
        (launches,) = schedule(words, addresses, place, status, self._facts, table).steps
        return launches

    def _address_of(self, buffer: Buffer) -> int:
        if isinstance(buffer.array, DeviceArray):
            return buffer.address
        if buffer.mirror is None:
            buffer.mirror = Mirror(self._device, buffer.array.nbytes)
        return buffer.mirror.memory.address  # type: ignore[attr-defined]

    def _word(self, count: int) -> np.ndarray:
        """Words of the host that the device reads and writes by itself."""
        return self._device.staging(count * WORD)[: count * WORD].view(np.int64)

    def run(self) -> int:
        """As ``Program.run``; what it computes is on the device until it is fetched."""
        self._seal()
        for buffer, mirror in self._mirrors():
            if mirror.behind:
                self._device.write(mirror.memory.address, buffer.array.nbytes, _bytes(buffer.array))
                mirror.behind = False
        with self._device.current:
            outcome = self._once() if self._search is None else self._again_and_again()
        if outcome == RUNNING:
            return -1
        failed = self._nested[2]
        failed.array[0] = outcome  # type: ignore[union-attr]  # no other instruction fails
        return 0

    def _once(self) -> int:
        self._queue.launch(self._runs)
        return self._ended()

    def _again_and_again(self) -> int:
        """Runs steps as long as they go on."""
        search = self._search
        where, size = search.mirror.memory.address, self._turns.size
        self._turns[:] = search.array[:size]
        self._queue.write(where, self._turns)
        if self._recording is None:
            self._recording = self._queue.record(partial(self._queue.launch, self._runs))
        left, outcome = int(self._turns[UNTIL] - self._turns[POSITION]), RUNNING
        for _, mirror in self._mirrors():
            mirror.ahead = True
        while left > 0 and outcome == RUNNING:
            for _ in range(min(left, STEPS_AT_ONCE)):
                self._queue.replay(self._recording)
            left -= STEPS_AT_ONCE
            self._queue.read(where, self._turns)
            outcome = self._ended()
        search.array[:size] = self._turns
        search.mirror.ahead = False
        return RUNNING if outcome == LEFT else outcome

    def _ended(self) -> int:
        """Waits for all that was asked for; how it ended."""
        self._queue.read(self._status.address, self._outcome)
        self._queue.finish()
        outcome = int(self._outcome[0])
        if outcome != RUNNING:
            self._queue.write(self._status.address, self._running)
        return outcome


def _bytes(array: np.ndarray) -> np.ndarray:
    """A dense array's bytes as one row."""
    return array.reshape(-1).view(np.uint8).reshape(1, -1)
