"""Stream: one live stream of a model, stepped chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq import backends
from tinyseq.errors import FeedError, StateError
from tinyseq.ir.model import POSITION, Value
from tinyseq.runtime.claim import Claim, claiming
from tinyseq.runtime.state import Fields, State, described, restore, room

if TYPE_CHECKING:
    from tinyseq.ir.streaming import Streaming
    from tinyseq.runtime.session import Session


class Stream:
    """One live stream of a model: an explicit state, advanced by each step.

    Its inputs are the model's, less those that carry state. So are its outputs, but where the model has no
    others: what it gives is then also what it carries. Of a model that looks at frames to come, outputs are
    late: a step gives the frames that are complete, maybe none, and ``finish`` the rest. Every method raises
    a StateError while another thread, or the call that it is part of, is in one of them.
    """

    def __init__(self, session: Session, streaming: Streaming, backend: backends.Backend) -> None:
        self._session = session
        self._streaming = streaming
        self._backend = backend
        self._claim = Claim("stream")
        self._free = self._claim.free
        with room("the state of a stream"):
            self._runner = backends.moved(backend.runner(), streaming)
        self._quick = self._runner.quick(None)
        self._state = Fields(self._runner.state)
        self.reset()

    @property
    def latency(self) -> int:
        """How many frames of the input the outputs come late, the latest of them."""
        return max(self._streaming.latency.values(), default=0)

    def step(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the model on the next chunk and advances the state.

        With ``out``, a dict of arrays for all outputs, results are written there and ``out`` is
        returned. They may overlap the feeds, which are read before, but neither each other nor the state.
        Where a step fails, they may have been written to. Other threads leave all arrays alone meanwhile.

        Raises:
            FeedError: names, dtypes or shapes do not fit, arrays overlap, or the state would hold NaN or
                infinity (see ``finite`` of ``load``); the state is as before.
            StateError: the stream has been finished.
        """
        results = self._quick(feeds, out, self._free)
        return self._step(feeds, out) if results is None else results

    @claiming
    def _step(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """``step`` of feeds of any kind."""
        try:
            results = self._runner.step(feeds, out)
        except FeedError as error:
            self._session.explain(error, feeds, one_row=True)
            raise
        self._quick = self._runner.quick(None)
        return results

    def bind(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None = None
    ) -> Callable[[], dict[str, np.ndarray]]:
        """What calls ``step(feeds, out)``, for who uses the same arrays again and again: write the next chunk
        into those of ``feeds``, call it, and find the results in those of ``out``.

        It costs least where arrays are dense and own their memory.

        Raises:
            FeedError: names, dtypes or shapes of the feeds do not fit. What it returns raises what ``step``
                does.
        """

        # Imported here: who only imports tinyseq need not wait for it.
        from tinyseq.kernels.call import bound

        def otherwise() -> dict[str, np.ndarray]:
            return self.step(feeds, out)

        self._claim.take()
        try:
            quick = self._runner.quick(feeds)
        except FeedError as error:
            self._session.explain(error, feeds, one_row=True)
            raise
        finally:
            self._free.append(None)
        return bound(quick, feeds, out, self._free, otherwise)

    @claiming
    def finish(self, feeds: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Ends the stream: the outputs that are still due, after a last chunk or without one: ``feeds`` may
        leave out the inputs that have frames.

        Of a model whose outputs are never late, nothing is due: {} without a last chunk. After ``reset`` the
        stream begins anew.

        Raises:
            FeedError: names, dtypes or shapes do not fit; the state is as before.
            StateError: the stream has been finished before.
        """
        with self._session.explaining(feeds, one_row=True):
            if self._streaming.clock is None:
                return {} if feeds is None else self._runner.step(feeds, None)
            feeds = self._streaming.ending(feeds, 1)
            return self._runner.step(feeds, None, last=1)  # type: ignore[call-arg]  # it has a clock

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What a step gives."""
        return self._session.stream_outputs

    @claiming
    def reset(self) -> None:
        """Puts the state back to its start: the model's own initial values, else zeros."""
        for pair in self._streaming.model.state:
            self._state[pair.input][...] = 0 if pair.initial is None else pair.initial
        if POSITION in self._state:
            self._state[POSITION][...] = 0

    @property
    def state(self) -> Mapping[str, np.ndarray]:
        """The live arrays of the state, by name: what is written to them is the state. Names stay bound to
        their arrays: ``stream.state["h"][...] = value``, not ``stream.state["h"] = value``."""
        return self._state

    @claiming
    def snapshot(self) -> State:
        """A copy of the state."""
        return State(self._state, self._session)

    @claiming
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot, of this or of another stream of the same model.

        Raises:
            StateError: it is of another model, or holds NaN or infinity; the state is as before.
        """
        restore(saved, self._state, self._session)

    def __repr__(self) -> str:
        return f"Stream({described(self._state)})"

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "a stream is not pickled or copied: fork() makes a second one, snapshot() a value to pickle"
        )

    @claiming
    def fork(self) -> Stream:
        """A second stream that starts where this one is; from then on they are independent."""
        twin = Stream(self._session, self._streaming, self._backend)
        restore(self._state, twin._state)
        return twin
