"""Executors that run a plan on a CUDA device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from tinyseq.backends.adopting import adopted, on_device, uploaded
from tinyseq.backends.carriage import Carriage
from tinyseq.backends.device_array import DeviceArray
from tinyseq.backends.device_program import DeviceProgram
from tinyseq.backends.executor import NOTHING, Executor
from tinyseq.backends.overlap import check_pairs
from tinyseq.backends.staging import stage
from tinyseq.errors import FeedError
from tinyseq.kernels.cuda.launch import EXACT, MEETING_BYTES, RUNNING, Facts
from tinyseq.kernels.cuda.schedule import Jump, schedule
from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.program import Buffer
from tinyseq.plan.draft import Plan, Region
from tinyseq.plan.view import storage

WORD = 8


class CudaExecutor(Executor):
    """A plan with an arena on the device, its launches ready. One thread at a time may use it.

    The first execution launches them one by one; from the second on they are one recording, unless jumps
    choose among them.
    """

    def __init__(
        self,
        plan: Plan,
        state,
        known: Mapping[str, np.ndarray],
        device,
        weights: list,
        precision: str = EXACT,
    ) -> None:
        self._plan, self.device, self._weights = plan, device, weights
        self._arena = device.memory(plan.arena_bytes)
        self._program = uploaded(device, plan.program)
        self.status = device.memory(WORD)
        self._meeting = device.memory(MEETING_BYTES)
        self.facts = Facts(device.capability, device.multiprocessors, self._meeting.address, precision)
        self.queue = device.queue()
        self._word, self._outcome = (self._staged((), np.dtype(np.int64)) for _ in range(2))
        self._outcome[...] = RUNNING
        self._clear()
        super().__init__(plan, known)
        self._direct: dict[str, DeviceArray] = {}
        self._sent: set[str] = set()
        self.bind(state)

    def place(self, region: Region) -> np.ndarray:
        return self._staged(region.shape, storage(region.dtype))

    def _staged(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        return self.device.staging(size)[:size].view(dtype).reshape(shape)

    def bind(self, state) -> None:
        self._state = state
        self.forget_out()
        weights = [memory.address for memory in self._weights]
        addresses = self._plan.addresses(self._arena.address, state.address, weights)
        self._table = uploaded(self.device, np.array(addresses, np.int64))
        place = self._program.address, self.status.address
        made = schedule(self._plan.program, addresses, *place, self.facts, self._table.address)
        self._starts = made.starts
        with self.device.current:
            self._steps = [
                step if isinstance(step, Jump) else self.queue.prepare(step, self.status.address)
                for step in made.steps
            ]
            self._carried = self._carriage()
        self._straight, self._whole = _Repeated(), _Repeated()

    def _carriage(self) -> Carriage:
        inputs = [
            (name, array, self._address(self._plan.inputs[name])) for name, array in self.inputs.items()
        ]
        computed = [(name, region) for name, region in self._plan.outputs.items() if region.value is None]
        outputs = [(name, self.views[name], self._address(region)) for name, region in computed]
        outcome = self._outcome if self._places else None
        return Carriage(self.queue, self.status.address, inputs, outputs, outcome)

    @property
    def joins(self) -> bool:  # type: ignore[override]  # jumps are the host's
        return len(self._steps) == 1

    def program(self) -> DeviceProgram:
        return DeviceProgram(self.device, self.queue, self.status, self.facts)

    def join(self, program: DeviceProgram, failed: Buffer) -> None:
        program.nest(self._steps[0], failed)
        program.keep(self)

    def joined(self) -> tuple[dict[str, DeviceArray], dict[str, DeviceArray]]:
        plan = self._plan
        computed = {name: region for name, region in plan.outputs.items() if region.value is None}
        return tuple({n: self._there(r) for n, r in regions.items()} for regions in (plan.inputs, computed))

    def _address(self, region: Region) -> int:
        """Where an input or output lies in the arena."""
        return self._arena.address + region.offset

    def _there(self, region: Region) -> DeviceArray:
        """An input or output where it lies in the arena."""
        address = self._address(region)
        return DeviceArray(self.device, self._arena, address, region.shape, storage(region.dtype))

    def fits(self, feeds: Mapping[str, object]) -> bool:
        self._direct = {name: array for name, array in feeds.items() if on_device(array)}
        if not self._direct:
            return super().fits(feeds)
        if len(feeds) != self._count:
            return False
        try:
            self._direct = self._taken("input {!r}", self._direct)
        except FeedError:
            return False
        known = {name: value for name, value, _, _ in self._known}
        for name, array in feeds.items():
            array = self._direct.get(name, array)
            shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
            wanted = next((row[2:] for row in (*self._inputs, *self._known) if row[0] == name), None)
            if (shape, dtype) != wanted or (name in known and array.tobytes() != known[name]):
                return False
        return True

    def take(self, feeds: Mapping[str, object]) -> None:
        self._sent.clear()
        for name, buffer, _, dtype in self._inputs:
            if name in self._direct:
                if dtype != buffer.dtype:
                    buffer[...] = np.asarray(self._direct[name])
            elif name in self._carried.large_inputs:
                stage(buffer, feeds[name], partial(self._write_part, name, buffer))
                self._sent.add(name)
            else:
                buffer[...] = feeds[name]

    def _write_part(self, name: str, buffer: np.ndarray, part: slice) -> None:
        """Has the part of an input copied to the device that is staged."""
        start, _, _ = part.indices(len(buffer))
        address = self._address(self._plan.inputs[name])
        with self.device.current:
            self.queue.write(address + start * buffer.strides[0], buffer[part])

    def run(
        self,
        feeds: Mapping[str, object],
        out: Mapping[str, object] | None = None,
        state: Mapping[str, object] = NOTHING,
    ) -> Mapping[str, object]:
        """Runs the plan on feeds that fit.

        Where one of them is on the device, new results are too; those in ``out`` are where ``out`` is.
        """
        there = {} if out is None else {name: array for name, array in out.items() if on_device(array)}
        if not there and (out is not None or not self._direct):
            return super().run(feeds, out)  # what is on the host is apart from the state
        self.take(feeds)
        with self.device.current:
            return self._run_there(out, there, state)

    def _run_there(
        self,
        out: Mapping[str, object] | None,
        there: dict[str, object],
        state: Mapping[str, object],
    ) -> Mapping[str, object]:
        """``run`` whose results stay on the device, all of them or those that go ``there``."""
        if out is None:
            self._compute()
            return {name: self._result(name, region) for name, region in self._plan.outputs.items()}
        there = self._taken("out[{!r}]", there)
        shapes = {name: np.broadcast_to(np.empty((), a.dtype), a.shape) for name, a in there.items()}
        self._check_out({**out, **shapes}, NOTHING, set(there))
        check_pairs(there, state, _meet)
        self._compute()
        for name, region in self._plan.outputs.items():
            if name in there:
                self._give(there[name], name, region)
            else:
                out[name][...] = self._read(name, region)
        return out

    def _taken(self, what: str, arrays: Mapping[str, object]) -> dict[str, DeviceArray]:
        """Arrays of the device, by name, as they lie; ``what`` they are called."""
        with self.device.current:
            return {
                name: adopted(what.format(name), array, self.device, self.queue)
                for name, array in arrays.items()
            }

    def _result(self, name: str, region: Region) -> DeviceArray:
        """An output in memory of its own on the device."""
        result = DeviceArray.new(self.device, region.shape, region.dtype)
        self._give(result, name, region)
        return result

    def _give(self, target: DeviceArray, name: str, region: Region) -> None:
        """Copies an output to where it is wanted; over the host only if it is stored as another type."""
        if region.value is None and storage(region.dtype) == region.dtype:
            self.queue.copy(target.address, self._address(region), target.nbytes)
            self.queue.finish()
        else:
            target[...] = self._read(name, region)

    def _read(self, name: str, region: Region) -> np.ndarray:
        """An output on the host."""
        self._fetch(name, region)
        self.queue.finish()
        return self.views[name]

    def _fetch(self, name: str, region: Region) -> None:
        """Has an output copied to the host; it is there when the queue has finished."""
        if region.value is None and self.views[name].nbytes:
            self.queue.read(self._address(region), self.views[name])

    def execute(self) -> None:
        with self.device.current:
            if self._direct or not self._steps_in_a_row:
                self._launch()
                self._fetch_all()
            else:
                self._write_rest(self._carried.large_inputs)
                self._whole.run(self.queue, self._go_whole)
                for name in self._carried.large_outputs:
                    self._fetch(name, self._plan.outputs[name])
            self._settle()

    def _write_rest(self, names: Iterable[str]) -> None:
        """Has the inputs of these names copied to the device that have not been yet."""
        for name in names:
            if name not in self._sent and self.inputs[name].nbytes:
                self.queue.write(self._address(self._plan.inputs[name]), self.inputs[name])
        self._sent.clear()

    @property
    def _steps_in_a_row(self) -> bool:
        """Whether there are launches, and no jumps among them."""
        return len(self._steps) == 1 and bool(self._steps[0])

    def _go_whole(self) -> None:
        """Asks for small inputs, the launches, small outputs and the outcome."""
        self.queue.launch(self._carried.bring)
        self._go_straight()
        self.queue.launch(self._carried.give)

    def _fetch_all(self) -> None:
        for name, region in self._plan.outputs.items():
            self._fetch(name, region)

    def _ask_outcome(self) -> None:
        if self._places:
            self.queue.read(self.status.address, self._outcome)

    def _compute(self) -> None:
        """Runs the plan; its results stay in the arena."""
        self._launch()
        self._settle()

    def _launch(self) -> None:
        """Asks the device to run the plan and to say how that ended."""
        staged = []
        for name, buffer, _, dtype in self._inputs:
            if name in self._direct and dtype == buffer.dtype:
                address = self._address(self._plan.inputs[name])
                self.queue.copy(address, self._direct[name].address, buffer.nbytes)
            else:
                staged.append(name)
        self._write_rest(staged)
        if self._steps_in_a_row:
            self._straight.run(self.queue, self._go_straight)
        else:
            self._walk()
        self._ask_outcome()

    def _settle(self) -> None:
        """Waits for all that the device was asked for; says what failed."""
        self.queue.finish()
        place = int(self._outcome) if self._places else RUNNING
        if place != RUNNING:
            self._clear()
            self.fail(place)

    def _clear(self) -> None:
        """Lets launches run that a failure, or memory as it came, would end at once."""
        with self.device.current:
            self._poke(self.status.address, RUNNING)

    def seconds(self, repeats: int) -> float:
        """How long the device takes for the plan's launches, on average over ``repeats`` in a row.

        What they compute goes on from one to the next; inputs and results are not copied, so that from the
        second on inputs may be what other tensors have left in their place.

        Raises:
            FeedError: one of them failed, after which the others did nothing.
        """
        if len(self._steps) > 1:
            raise FeedError("the model jumps, and only its steps between two jumps could be timed")
        with self.device.current:
            seconds = self.queue.seconds(self._straight.recorded(self.queue, self._go_straight), repeats)
            if self._places:
                self._outcome[...] = RUNNING
                self.queue.read(self.status.address, self._outcome)
                self._settle()
            return seconds

    def _go_straight(self) -> None:
        self.queue.launch(self._steps[0])

    def _walk(self) -> None:
        """Runs the steps, asking each jump what comes next."""
        words = _Words(self._peek, self._poke)
        number = 0
        while number < len(self._steps):
            step = self._steps[number]
            number += 1
            if not isinstance(step, Jump):
                self.queue.launch(step)
                continue
            further = step.choose(words, *step.operands)
            if further == FAILED:
                self.fail(step.place)
            if further:
                number = self._starts[step.end + further]

    def _peek(self, address: int) -> int:
        self.queue.read(address, self._word)
        self.queue.finish()
        return int(self._word)

    def _poke(self, address: int, value: int) -> None:
        self._word[...] = value
        self.queue.write(address, self._word)
        self.queue.finish()


class _Repeated:
    """Work for a queue that is asked for again and again: from the second time on it is one recording."""

    def __init__(self) -> None:
        self._done, self._recording = False, None

    def run(self, queue, work: Callable[[], None]) -> None:
        if self._done:
            queue.replay(self.recorded(queue, work))
        else:
            work()
            self._done = True

    def recorded(self, queue, work: Callable[[], None]) -> object:
        """The recording, made if it has not been."""
        if self._recording is None:
            self._recording = queue.record(work)
        return self._recording


def _meet(one: DeviceArray, other: DeviceArray) -> bool:
    return one.address < other.end and other.address < one.end


class _Words:
    """Integers of the device by their addresses."""

    def __init__(self, peek, poke) -> None:
        self._peek, self._poke = peek, poke

    def __getitem__(self, address: int) -> int:
        return self._peek(address)

    def __setitem__(self, address: int, value: int) -> None:
        self._poke(address, value)
