"""A plan bound to memory of its own: what every device's executor does with feeds and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from typing import NoReturn
from weakref import ref

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.ir.model import Value
from tinyseq.kernels.call import Step, never
from tinyseq.kernels.program import Buffer, Program
from tinyseq.plan.draft import Plan, Region

NOTHING: Mapping[str, np.ndarray] = {}
"""No arrays by name."""


class Executor(ABC):
    """A plan with an arena of its own. One thread at a time may use it.

    A subclass gives its memory before it calls this constructor. ``nbytes`` is how large the arena is,
    ``views`` are the outputs as the last ``execute`` left them, by name, ``joins`` says whether its plan can
    be part of a program.
    """

    joins = False
    step: Step = staticmethod(never)
    """``fits`` and ``run`` in one; None where it does not, and those may. See ``kernels/call``."""

    def __init__(self, plan: Plan, known: Mapping[str, np.ndarray]) -> None:
        self._places = plan.places
        self.nbytes = plan.arena_bytes
        self._inputs = [(n, self.place(r), r.shape, r.dtype) for n, r in plan.inputs.items()]
        self._known = [(name, array.tobytes(), array.shape, array.dtype) for name, array in known.items()]
        self._count = len(self._inputs) + len(self._known)
        self._outputs = [
            (name, self.place(region) if region.value is None else region.value, region.shape, region.dtype)
            for name, region in plan.outputs.items()
        ]
        self.forget_out()
        self.views = {name: array.view() for name, array, _, _ in self._outputs}
        for name, region in plan.outputs.items():
            self.views[name].flags.writeable = region.value is None

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Where the inputs that are data lie; an execution may overwrite them."""
        return {name: array for name, array, _, _ in self._inputs}

    @abstractmethod
    def place(self, region: Region) -> np.ndarray:
        """The host's memory of an input or output that is computed, as it is stored."""

    @abstractmethod
    def bind(self, state: object) -> None:
        """Lets it work on another block of state."""

    @abstractmethod
    def execute(self) -> None:
        """Runs the plan on the inputs taken last, within memory of its own."""

    def program(self) -> Program:
        """An empty program of the device, for ``join``."""
        return Program()

    @abstractmethod
    def join(self, program: Program, failed: Buffer) -> None:
        """Adds the plan to a program. Where it fails, the word ``failed`` has the place for ``fail``."""

    def joined(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Where a program finds the inputs that are data, and leaves the outputs that are computed."""
        return self.inputs, {name: array for name, array in self.views.items() if array.flags.writeable}

    def fail(self, place: int) -> NoReturn:
        """Says that the instruction at a place in the program could not be run."""
        raise FeedError(f"{self._places[place]}. No state was changed")

    def fits(self, feeds: Mapping[str, object]) -> bool:
        """Whether feeds are just what the plan was made for."""
        if len(feeds) != self._count:
            return False
        for name, _, shape, dtype in self._inputs:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                return False
        for name, value, shape, dtype in self._known:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                return False
            if array.tobytes() != value:
                return False
        return True

    def take(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copies in the inputs of feeds that fit."""
        for name, buffer, *_ in self._inputs:
            buffer[...] = feeds[name]

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        out: Mapping[str, np.ndarray] | None = None,
        state: Mapping[str, np.ndarray] = NOTHING,
    ) -> Mapping[str, np.ndarray]:
        """Runs the plan on feeds that fit; the outputs are new arrays or in ``out``, which must be apart from
        ``state``: that of the block it is bound to, by name."""
        if out is not None:
            self._check_out(out, state)
        self.take(feeds)
        self.execute()
        return self._given_out(out)

    def _given_out(
        self, out: Mapping[str, np.ndarray] | None, there: Mapping[str, np.ndarray] = NOTHING
    ) -> Mapping[str, np.ndarray]:
        """The outputs copied out, but for those that are ``there`` already."""
        if out is None:
            return {
                name: there[name] if name in there else array.astype(dtype)
                for name, array, _, dtype in self._outputs
            }
        for name, array, _, _ in self._outputs:
            if name not in there:
                out[name][...] = array
        return out

    def _check_out(
        self, out: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray], elsewhere: Container[str] = ()
    ) -> None:
        if type(out) is not dict and not isinstance(out, Mapping):
            raise FeedError(f"out is a dict from name to array, not {type(out).__name__}")
        if len(out) != len(self._outputs):
            names = ", ".join(name for name, *_ in self._outputs)
            raise FeedError(
                f"out names {', '.join(out) or 'nothing'}; it must hold an array for each of {names}"
            )
        owned = True
        for name, _, shape, dtype in self._outputs:
            given = out.get(name)
            if type(given) is not np.ndarray or given.shape != shape or given.dtype != dtype:
                raise FeedError(f"out[{name!r}] must be an array for {Value(name, dtype, shape)}")
            flags = given.flags
            if name not in elsewhere and not flags.writeable:
                raise FeedError(f"out[{name!r}] is read-only; give an array that can be written to")
            owned = owned and flags.owndata and flags.c_contiguous
        # Dense arrays that own their memory are apart from one another and from the state, a part of a block.
        if not owned or (len(out) > 1 and len(set(map(id, out.values()))) < len(out)):
            self._check_apart(out, state, elsewhere)

    def _check_apart(
        self, out: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray], elsewhere: Container[str]
    ) -> None:
        for name, seen in self._apart:
            if seen() is not out[name]:
                break
        else:
            return
        # Imported here: arrays that own their memory need no such look.
        from tinyseq.backends.overlap import check_apart

        here = {name: out[name] for name, _ in self._apart if name not in elsewhere}
        check_apart(here, state)
        if not elsewhere:  # remembered, not kept alive
            self._apart = [(name, ref(array)) for name, array in here.items()]

    def forget_out(self) -> None:
        """Forgets which arrays are apart from its state, which is now another one."""
        self._apart = [(name, _nothing) for name, *_ in self._outputs]


def _nothing() -> None:
    """In place of a reference to an array."""
