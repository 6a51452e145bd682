"""One live stream of a model, as the protocols use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.errors import TinyseqError
from tinyseq.runtime.state import State
from tinyseq.serve.batcher import Done
from tinyseq.serve.kinds import Kind, Layout
from tinyseq.serve.rows import Row

if TYPE_CHECKING:
    from tinyseq.serve.models import ServedModel

Feeds = Mapping[str, np.ndarray]


class ServedStream:
    """One live stream of a model. What is asked of it is done in order, each behind what was asked before;
    the answer goes to ``done``, in the thread of the event loop, and is the value or a TinyseqError."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self._row = Row()
        self._rows = model.rows
        self._line = model.batcher.line(self._row)
        self.submit_packed: Callable[[Kind, bytes, Done, int], int] = self._line.step
        """``submit`` of a chunk in bytes, ``(kind, data, done, size)``: as many as its layout has; gives
        ``waiting``."""
        self._closed = False
        self.told_to_end: Callable[[], None] | None = None
        """What is called when the model was replaced long ago: to close the stream, now or soon."""

    def end(self) -> None:
        """Tells who uses the stream that it is to end."""
        if self.told_to_end is None:
            self.close("retired")
        else:
            told, self.told_to_end = self.told_to_end, None
            told()

    def submit(self, feeds: Feeds, done: Done) -> None:
        """Steps the stream by a chunk: ``done`` gets its ``Outputs``, arrays by name that nobody writes to.

        Raises:
            FeedError: an array is of more rows than one.
        """
        size = sum([array.nbytes for array in feeds.values()])
        self._line.step(self._rows.inputs.kind(feeds), feeds, done, size)

    def kind(self, layout: Layout) -> Kind | None:
        """What ``submit_packed`` takes for chunks that are laid out so; None if ``submit`` must be used, as
        inputs without rows are in their bytes.

        Raises:
            FeedError: an array is of more rows than one.
        """
        return self._rows.inputs.packed_kind(layout)

    def later(self, result: Any, done: Done) -> None:
        """Gives ``done`` a result that is known already, when all before it is answered."""
        self._line.call(lambda: result, done)

    async def step(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        """``submit``, awaited.

        Raises:
            FeedError: the model refuses the chunk; the state is as before.
        """
        return await awaited(lambda done: self.submit(feeds, done))

    @property
    def waiting(self) -> int:
        """Chunks that are not answered yet."""
        return len(self._line.items)

    def finish(self, feeds: Feeds | None, done: Done) -> None:
        """Ends the stream: ``done`` gets the outputs that are still due; see ``Stream.finish``."""
        self._line.call(lambda: self._rows.finish(self._row, feeds), done)

    def reset(self, done: Done | None = None) -> None:
        """Puts the stream back to its start."""
        self._line.call(lambda: self._rows.reset(self._row), done)

    def snapshot(self, done: Done, first: bool = False) -> None:
        """``done`` gets a copy of the state, a ``State``; ``first``: before the chunks that wait."""
        self._line.call(lambda: self._rows.snapshot(self._row), done, first)

    def restore(self, state: State | bytes, done: Done | None = None) -> None:
        """Lets the stream go on from a state, or from the bytes of ``State.to_bytes``.

        Raises:
            StateError: the bytes are no state.
        """
        saved = State.from_bytes(state) if isinstance(state, bytes) else state
        self._line.call(lambda: self._rows.restore(self._row, saved), done)

    def close(self, reason: str = "finished") -> None:
        """Gives the stream up, whatever is still to be answered. ``reason`` is counted."""
        if not self._closed:
            self._closed = True
            self._line.close(lambda: self._rows.close(self._row))
            self.model.closed(self, reason)


async def awaited(ask: Callable[[Done], None]) -> Any:
    """What is asked for, once it is there; a TinyseqError is raised."""
    future = asyncio.get_running_loop().create_future()

    def done(result: Any) -> None:
        if future.done():
            return
        if isinstance(result, TinyseqError):
            future.set_exception(result)
        else:
            future.set_result(result)

    ask(done)
    return await future
