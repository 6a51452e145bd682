"""Whether streams keep their word: the same bits in any chunks, beside any neighbours, from any snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, ModelError, TinyseqError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import rows_meet
from tinyseq.ir.streaming import Streaming
from tinyseq.passes import chunks
from tinyseq.passes.time import told_to_end
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session, loaded
from tinyseq.runtime.state import State
from tinyseq.runtime.stream import Stream
from tinyseq.tools.verify import random_feeds

Feeds = dict[str, np.ndarray]

FRAMES = 24
"""Frames of the sequences that are tried, unless told otherwise."""

TRIALS = 20
"""Random chunkings that are tried, unless told otherwise."""

MOST = 10**6
"""Frames, and chunkings, that can be asked for."""

NEIGHBOURS = 3
"""Rows of a pool beside the one that is looked at."""


class Finding(NamedTuple):
    """One law that streams keep, how often it was tried, and the smallest case that broke it; "" if none did.

    ``skipped`` says why a law does not apply.
    """

    law: str
    tried: int = 0
    broken: str = ""
    skipped: str = ""

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.law}: not tried, {self.skipped}"
        return f"{self.law}: {f'BROKEN: {self.broken}' if self.broken else 'kept'} ({self.tried} tried)"


class StreamReport(NamedTuple):
    """What ``check_stream`` found."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no law was broken."""
        return not any(finding.broken for finding in self.findings)

    def as_json(self) -> str:
        return json.dumps({"passed": self.passed, "findings": [one._asdict() for one in self.findings]})

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))


def check_stream(
    model: Session,
    feeds: Mapping[str, np.ndarray] | None = None,
    *,
    frames: int = FRAMES,
    trials: int = TRIALS,
    seed: int = 0,
) -> StreamReport:
    """Tries whether a model's streams give the same bits as a run, whatever the chunks, the neighbours in a
    pool and the detours over snapshots, forks, resets and files.

    Args:
        feeds: inputs of a whole sequence; those left out are random, of so many ``frames`` and one row.
        trials: random chunkings that are tried.
        seed: of what is random.

    Raises:
        ModelError: the model cannot be streamed; says which node and why.
        FeedError: the inputs do not fit the model.
    """
    session = loaded(model, "the model to check")
    for name, given, least in (("frames", frames, 0), ("trials", trials, 0), ("seed", seed, 0)):
        if not is_whole(given) or not least <= given <= MOST:
            raise FeedError(f"{name} is a whole number from {least} to {MOST:,}, not {shown(given)}")
    if feeds is not None and not isinstance(feeds, Mapping):
        raise FeedError(f"inputs are given as a dict from name to array, not {type(feeds).__name__}")
    check = _Check(session, feeds or {}, frames, trials, seed)
    return StreamReport(tuple(check.all()))


def frame_sizes(session: Session) -> set[str]:
    """The open sizes that are numbers of frames.

    Raises:
        ModelError: the model cannot be streamed; says which node and why.
    """
    inputs = cut(session).inputs
    sizes = {value.shape[inputs[value.name]] for value in session.inputs if value.name in inputs}
    return {size for size in sizes if isinstance(size, str)}


def cut(session: Session) -> Streaming:
    """The model as a stream runs it, with the axes along which sequences are cut into chunks, of a model that
    takes its state as inputs too: a step of it is a call.

    Raises:
        ModelError: the model cannot be streamed; says which node and why.
    """
    streaming = session.streaming
    if streaming.inputs or not streaming.model.state:
        return streaming
    inputs, outputs = chunks.axes(streaming.model)
    carried = {pair.output for pair in streaming.model.state}
    return streaming._replace(
        inputs=inputs, outputs={name: axis for name, axis in outputs.items() if name not in carried}
    )


class _Check:
    """The laws, one by one."""

    def __init__(self, session: Session, feeds, frames: int, trials: int, seed: int) -> None:
        self.session = session
        self.streaming: Streaming = cut(session)
        self.is_call = not session.streaming.inputs
        self.rng = np.random.default_rng(seed)
        self.trials = trials
        carried = {pair.input for pair in session.state}
        sizes = dict.fromkeys(frame_sizes(session), frames)
        made = checked_feeds(session.inputs, random_feeds(session, sizes, {}, seed) | dict(feeds))
        self.feeds = {name: array for name, array in made.items() if name not in carried}
        self.exact = not rows_meet(session.stream_graph)

    def all(self) -> Iterator[Finding]:
        yield self.chunks()
        yield self.rows()
        yield self.detours()
        yield self.file()

    # Streams in parts.

    @property
    def frames(self) -> int:
        return self.streaming.frames(self.feeds) if self.streaming.inputs else 1

    def part(self, start: int, end: int) -> Feeds:
        """The feeds of some frames; inputs without frames are the same in every step."""
        return {name: self._cut(name, array, start, end) for name, array in self.feeds.items()}

    def _cut(self, name: str, array: np.ndarray, start: int, end: int) -> np.ndarray:
        axis = self.streaming.inputs.get(name)
        return array if axis is None else array[(slice(None),) * axis + (slice(start, end),)]

    def parts(self, count: int, cuts: Sequence[int]) -> list[Feeds]:
        """The feeds of ``count`` frames, cut."""
        edges = [0, *cuts, count]
        return [self.part(a, b) for a, b in pairwise(edges)]

    def cuts(self, count: int) -> list[int]:
        """Random places to cut; chunks of no frames only where steps take them."""
        least = 0 if self._takes_nothing else 1
        places = np.arange(least, count + 1 - least)
        chosen = self.rng.integers(0, 6) if len(places) else 0
        cuts = self.rng.choice(places, chosen) if chosen else []
        return sorted(int(place) for place in (cuts if self._takes_nothing else set(cuts)))

    @cached_property
    def _takes_nothing(self) -> bool:
        """Whether a step may have no frames: where frames are held back, and where a run may."""
        if self.streaming.clock is not None or not self.streaming.inputs:
            return self.streaming.clock is not None
        try:
            self._whole(0)
        except FeedError:
            return False
        return True

    def _whole(self, count: int) -> Mapping[str, np.ndarray]:
        """What so many frames give at once: a run, or a step where that is a call of the model."""
        part = self.part(0, count)
        return self.session.stream().step(part) if self.is_call else self.session.run(part)

    def put_together(self, results: Sequence[Mapping[str, np.ndarray]]) -> Feeds:
        """Outputs of steps as those of a run: frames one after the other, of the rest the last."""
        return {
            name: np.concatenate([own[name] for own in results], self.streaming.outputs[name])
            if name in self.streaming.outputs
            else results[-1][name]
            for name in results[0]
        }

    def streamed(self, stream: Stream, parts: Sequence[Feeds]) -> Feeds:
        results = [stream.step(part) for part in parts]
        rest = stream.finish()
        return self.put_together([*results, rest] if rest else results)

    # Laws.

    def chunks(self) -> Finding:
        law = "in any chunks what a run gives at once"
        if not self.streaming.inputs:
            return Finding(law, skipped="a step is what the model itself says it is")
        if not self.exact:
            return Finding(law, skipped="dynamic quantisation rounds by what is in a chunk")
        if told_to_end(self.session.stream_graph) is not None:
            return Finding(law, skipped="an input says how many frames of each chunk there are")
        every = [list(range(1, self.frames)), *(self.cuts(self.frames) for _ in range(self.trials))]
        for tried, cuts in enumerate(every, 1):
            if not self._alike(self.frames, cuts):
                count, cuts = self._smallest(cuts)
                why = self.session.chunks_differ
                return Finding(law, tried, f"{count} frames cut at {cuts}{why and f': {why}'}")
        return Finding(law, len(every))

    def _alike(self, count: int, cuts: Sequence[int]) -> bool:
        try:
            whole = self._whole(count)
        except FeedError:
            return True
        streamed = self.streamed(self.session.stream(), self.parts(count, cuts))
        return _same(streamed, {name: whole[name] for name in streamed})

    def _smallest(self, cuts: Sequence[int]) -> tuple[int, list[int]]:
        """The fewest frames, cut once if that is enough, that break the law."""
        for count in range(1, self.frames + 1):
            for one in ([], *([place] for place in range(1, count))):
                if not self._alike(count, one):
                    return count, one
        return self.frames, list(cuts)

    def rows(self) -> Finding:
        law = "in a full pool, beside NaN and noise, what it gives alone"
        try:
            pool = self.session.with_any_state().pool(1 + NEIGHBOURS)
        except ModelError as error:
            return Finding(law, skipped=str(error))
        axes = self._row_axes()
        if axes is None or not self.exact:
            return Finding(law, skipped="rows of this model are not apart, or cannot be told apart")
        numbers = [pool.open() for _ in range(1 + NEIGHBOURS)]
        stream = self.session.stream()
        tried = 0
        for part in self.parts(self.frames, self.cuts(self.frames)):
            expected = stream.step(part)
            place = int(self.rng.integers(0, 1 + NEIGHBOURS))
            order = numbers[1 : 1 + place] + numbers[:1] + numbers[1 + place :]
            together = {n: self._beside(a, axes.get(n), place) for n, a in part.items()}
            results = pool.step(order, together)
            tried += 1
            for name, array in results.items():
                alone = expected[name]
                own = [
                    np.take(array, [place], axis)
                    for axis in range(array.ndim)
                    if alone.shape[axis] == 1 and array.shape[axis] == len(order)
                ]
                if not any(_equal(one, alone) for one in own):
                    return Finding(law, tried, f"output {name!r} of step {tried}")
        return Finding(law, tried)

    def _row_axes(self) -> dict[str, int] | None:
        """The axis of rows of each input that has one; None if no input has."""
        carried = {pair.input for pair in self.session.state}
        given = [value for value in self.session.inputs if value.name in self.feeds]
        rows = {size for value in self.session.stream_inputs if value.name in carried for size in value.shape}
        rows = {size for size in rows if isinstance(size, str)}
        if not any(size in rows for value in given for size in value.shape or ()):
            rows = {size for value in given for size in value.shape or () if isinstance(size, str)}
            rows -= frame_sizes(self.session)
        axes = {
            value.name: axis for value in given for axis, size in enumerate(value.shape or ()) if size in rows
        }
        return axes if len(rows) == 1 and all(self.feeds[n].shape[a] == 1 for n, a in axes.items()) else None

    def _beside(self, array: np.ndarray, axis: int | None, place: int) -> np.ndarray:
        """A row among others: of numbers not a number, huge and random ones."""
        if axis is None:
            return array
        others = [np.zeros_like(array) for _ in range(NEIGHBOURS)]
        if array.dtype.kind == "f":
            noise = self.rng.standard_normal(array.shape).astype(array.dtype)
            others = [np.full_like(array, np.nan), noise * array.dtype.type(1e30), noise]
        return np.concatenate([*others[:place], array, *others[place:]], axis)

    def detours(self) -> Finding:
        law = "after snapshot, bytes, restore, fork and reset what it gives without"
        tried = 0
        for _ in range(3):
            parts = self.parts(self.frames, self.cuts(self.frames))
            for place in range(len(parts)):
                tried += 1
                if (broken := self._detour(parts, place)) is not None:
                    return Finding(law, tried, f"{broken} before step {place + 1} of {len(parts)}")
        return Finding(law, tried)

    def _detour(self, parts: Sequence[Feeds], place: int) -> str | None:
        stream, other = self.session.stream(), self.session.stream()
        for part in parts[:place]:
            stream.step(part)
        saved = State.from_bytes(stream.snapshot().to_bytes())
        twin = stream.fork()
        expected = self.streamed(stream, parts[place:])
        other.step(parts[0])
        other.restore(saved)
        for name, one in (("restore", other), ("fork", twin)):
            if not _same(self.streamed(one, parts[place:]), expected):
                return name
        stream.reset()
        if not _same(self.streamed(stream, parts), self.streamed(self.session.stream(), parts)):
            return "reset"
        return None

    def file(self) -> Finding:
        law = "from a saved and loaded model what it gives from this one"
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.tinyseq")
            try:
                self.session.save(path)
                other = load(path, device=self.session.device)
            except TinyseqError as error:
                return Finding(law, skipped=str(error))
            parts = self.parts(self.frames, self.cuts(self.frames))
            same = _same(*(self.streamed(one.stream(), parts) for one in (self.session, other)))
        return Finding(law, 1, "" if same else f"{len(parts)} chunks")


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
