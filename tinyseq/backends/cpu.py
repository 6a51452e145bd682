"""The CPU backend: executors that run a plan by one native call."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial

import numpy as np

from tinyseq.backends.executor import NOTHING, Executor
from tinyseq.backends.planned import PlannedBackend
from tinyseq.errors import FeedError
from tinyseq.ir.model import Model
from tinyseq.kernels import library, team
from tinyseq.kernels.call import Place, Step, never, step_of
from tinyseq.kernels.instructions import CONTEXT
from tinyseq.kernels.program import Buffer, Program, address
from tinyseq.plan.builder import ARENA, STATE
from tinyseq.plan.draft import Plan, Region
from tinyseq.plan.packing import aligned
from tinyseq.plan.view import storage


class Machine:
    """What runs a context, and what contexts say of the team; see ``kernels/team``."""

    __slots__ = ("run", "seats")

    def __init__(self, run: Callable[[ctypes.c_void_p], int], seats: int) -> None:
        self.run = run
        self.seats = seats


class CpuBackend(PlannedBackend):
    """Plans run by the compiled machine, by as many ``threads`` at the most."""

    def __init__(self, model: Model, streaming: Callable[[], Model], finite: bool, threads: int = 1) -> None:
        super().__init__(model, streaming, finite)
        self._machine = Machine(library.load().tinyseq_run, team.seats(threads))

    def executor(self, plan: Plan, state: np.ndarray, known: Mapping[str, np.ndarray]) -> CpuExecutor:
        return (LongExecutor if _is_long(plan) else CpuExecutor)(plan, state, known, self._machine)

    def block(self, size: int, *rows: int) -> np.ndarray:
        return aligned(math.prod(rows) * size).reshape(*rows, size)


STATE_WORD = CONTEXT + STATE
"""Where a context says where the state is."""

LONG = 2**35
"""From how much work on a plan counts as long: about a tenth of a second."""

BRIEF = 2**20
"""Up to how much work it counts as brief: about three microseconds."""

AN_INSTRUCTION = 2**8
"""What a word of a program costs at the least each time that it is run, in the same measure."""


def _work(plan: Plan) -> int:
    """How much work running a plan may be.

    A guess from sizes: each byte of the arena is computed once, from as many numbers as a row of a matrix has
    that takes up all the weights, or the arena.
    """
    arena = plan.arena_bytes
    weights = sum([weight.nbytes for weight in plan.weights])
    work = arena * (16 + math.isqrt(weights) + math.isqrt(arena) // 16)
    return max(work, plan.turns * plan.program.size * AN_INSTRUCTION)


def _is_long(plan: Plan) -> bool:
    """Whether running a plan may take so long that a signal should not wait for it."""
    return (plan.arena_bytes >= 2**18 or plan.turns > 1) and _work(plan) >= LONG


class CpuExecutor(Executor):
    """A plan with an arena of its own. One thread at a time may use it.

    ``context`` is what the machine runs, see ``kernels/machine.py``. Between runs it says of all inputs and
    outputs that they lie in the arena; in a run, large ones are read and written where they are given.
    """

    joins = True
    lends_out = True
    """Whether results may be written into a caller's arrays while they are computed."""

    def __init__(
        self, plan: Plan, state: np.ndarray, known: Mapping[str, np.ndarray], machine: Machine
    ) -> None:
        self._machine, self._native = machine, machine.run
        try:
            self._arena = aligned(plan.arena_bytes)
        except MemoryError as error:
            raise FeedError(
                f"these inputs need {plan.arena_bytes:,} bytes of working memory, which this machine does "
                f"not give ({error}); feed shorter sequences or fewer rows"
            ) from error
        # The context holds addresses only: what they point to must live as long as it does.
        self._alive = [plan, state]
        weights = [address(weight) for weight in plan.weights]
        addresses = [plan.program.ctypes.data, plan.program.size, machine.seats, 0]
        addresses += plan.addresses(self._arena.ctypes.data, state.ctypes.data, weights)
        self.context = np.array(addresses, np.int64)
        self._homes = addresses[len(addresses) - len(plan.homes) :]
        self._input_words, self._output_words = map(_words, (plan.inputs, plan.outputs))
        self._lent: list[np.ndarray] = []
        self._address = ctypes.c_void_p(self.context.ctypes.data)
        self._is_brief = _work(plan) <= BRIEF
        super().__init__(plan, known)

    @cached_property
    def step(self) -> Step:  # type: ignore[override]  # made when a shape is met again
        return self._step() or never

    def _step(self) -> Step | None:
        """What steps it by one call, where it need not convert what it takes."""
        if any(array.dtype != dtype for _, array, _, dtype in self._inputs):
            return None
        inputs = [
            Place(name, dtype, shape, array, None, self._input_words.get(name, 0))
            for name, array, shape, dtype in self._inputs
        ]
        known = [
            Place(name, dtype, shape, np.frombuffer(given, np.uint8))
            for name, given, shape, dtype in self._known
        ]
        outputs, plain = [], True
        for name, array, shape, dtype in self._outputs:
            own = array.dtype == dtype and array.flags.c_contiguous
            plain = plain and own
            make = None if own else partial(array.astype, dtype)
            outputs.append(Place(name, dtype, shape, array, make, self._output_words.get(name, 0)))
        run = ctypes.cast(self._native, ctypes.c_void_p).value
        kept = self._alive, self._arena
        return step_of(run, self.context, inputs, known, outputs, plain, self._is_brief, kept)

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        out: Mapping[str, np.ndarray] | None = None,
        state: Mapping[str, np.ndarray] = NOTHING,
    ) -> Mapping[str, np.ndarray]:
        if not self._homes:
            return super().run(feeds, out, state)
        if out is not None:
            self._check_out(out, state)
        there = self._targets(feeds, out)
        lent = {self._output_words[name]: array for name, array in there.items()}
        for name, buffer, shape, dtype in self._inputs:
            array, word = feeds[name], self._input_words.get(name)
            if word and _is_plain(array, shape, dtype):
                lent[word] = array
            else:
                buffer[...] = array
        self._lent = list(lent.values())
        for word, array in lent.items():
            self.context[word] = address(array)
        try:
            self.execute()
        finally:
            self.context[self.context.size - len(self._homes) :] = self._homes
            self._lent = []
        return self._given_out(out, there)

    def _targets(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """The arrays by name into which outputs are computed: those that are apart from the feeds, which must
        be as they were if the run fails."""
        if out is None:
            return {
                name: np.empty(shape, dtype)
                for name, _, shape, dtype in self._outputs
                if name in self._output_words
            }
        if not self.lends_out:
            return {}
        given = [(name, out[name], shape, dtype) for name, _, shape, dtype in self._outputs]
        return {
            name: array
            for name, array, shape, dtype in given
            if name in self._output_words
            and _is_plain(array, shape, dtype)
            and not any(np.may_share_memory(array, feeds[fed]) for fed, *_ in self._inputs)
        }

    def bind(self, state: np.ndarray) -> None:
        self._alive[1] = state
        self.forget_out()
        self.context[STATE_WORD] = state.ctypes.data

    def place(self, region: Region) -> np.ndarray:
        dtype = storage(region.dtype)
        size = math.prod(region.shape) * dtype.itemsize
        return self._arena[region.offset : region.offset + size].view(dtype).reshape(region.shape)

    def join(self, program: Program, failed: Buffer) -> None:
        program.add("run", Buffer(self.context), failed)
        program.keep(self)

    def execute(self) -> None:
        failed = self._native(self._address)
        if failed >= 0:
            self.fail(failed)


def _words(regions: Mapping[str, Region]) -> dict[str, int]:
    """Where a context says where those of some inputs or outputs lie that may lie anywhere, by name."""
    return {name: CONTEXT + r.segment for name, r in regions.items() if r.segment != ARENA}


def _is_plain(array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array lies in memory as the machine has it."""
    flags = array.flags
    return array.shape == shape and array.dtype == dtype and flags.c_contiguous and flags.aligned


class LongExecutor(CpuExecutor):
    """One whose native calls take long: in the main thread, a signal's exception ends them.

    They work on a copy of the state, which takes the state's place once they have ended, and write into no
    array that somebody else has: they may go on for a while after the exception.
    """

    lends_out = False

    def __init__(
        self, plan: Plan, state: np.ndarray, known: Mapping[str, np.ndarray], machine: Machine
    ) -> None:
        super().__init__(plan, state, known, machine)
        self._plan, self._given = plan, known

    def _step(self) -> None:
        """None: what takes long is not one call."""

    def execute(self) -> None:
        # Imported here: only calls that take long need threads.
        from tinyseq.backends import apart

        if not apart.is_main_thread():
            super().execute()
            return
        state = self._alive[1]
        copy = aligned(state.nbytes).reshape(state.shape)
        copy[...] = state
        self.context[STATE_WORD] = copy.ctypes.data
        native, place = self._native, self._address
        kept = self._arena, self.context, self._plan, self._lent, copy
        call = apart.Apart(lambda: native(place) if kept else 0)
        ended = False
        try:
            failed = call.result()
            ended = True
        except BaseException:
            self.context[1] = 0
            ended = call.ended()
            raise
        finally:
            if ended:
                self.context[1] = self._plan.program.size
                self.context[STATE_WORD] = state.ctypes.data
            else:
                # The call goes on to the end of its instruction, in memory that is its own from now on.
                self.__init__(self._plan, state, self._given, self._machine)
        if failed >= 0:
            self.fail(failed)
        state[...] = copy
