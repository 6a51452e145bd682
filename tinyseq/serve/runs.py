"""Whole inputs as a batcher runs them: those of equal shapes together, in the bits of each run by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinyseq.errors import TinyseqError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import Value, rows_meet
from tinyseq.runtime.session import Session
from tinyseq.serve.kinds import MOST_KINDS, Kind, told

Feeds = Mapping[str, np.ndarray]
Axes = dict[str, int]

MOST_TOGETHER = 32
"""Requests of one run."""


class RunKind(Kind):
    """A kind of requests. ``way`` is the axes of inputs and outputs along which they are put together; None
    where there is none. ``states`` are the initial ones, which all of them leave out."""

    __slots__ = ("states", "tried", "way")

    def __init__(self) -> None:
        super().__init__()
        self.states: Feeds | None = None
        self.tried = False
        self.way: tuple[Axes, Axes] | None = None


class Runs:
    """Whole inputs, each from a fresh state.

    Requests are put together along an axis that inputs and outputs name alike, if random numbers so put
    together give the bits that they give alone.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._initial = {pair.input: pair.initial for pair in session.state}
        self._kinds: dict[Any, RunKind] = {}
        self._ways = [] if rows_meet(session.model.graph) else list(_ways(session.inputs, session.outputs))
        self._batched = {name for axes, _ in self._ways for name in axes}

    def kind(self, feeds: Feeds) -> RunKind:
        """The kind of a request."""
        common = told(feeds, self._batched)
        if common is None:
            return RunKind()
        found = self._kinds.get(common)
        if found is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            found = self._kinds[common] = RunKind()
        return found

    def step(self, kind: RunKind, streams: Sequence[Any], given: Sequence[Feeds]) -> list[Any]:
        results: list[Any] = []
        if len(given) > 1 and not kind.tried:
            kind.tried = True
            kind.way = self._way(self._completed(kind, given[0]))
        while len(results) < len(given):
            left = len(given) - len(results)
            count = 1 if kind.way is None else min(1 << left.bit_length() - 1, MOST_TOGETHER)
            chosen = given[len(results) : len(results) + count]
            results += self._together(kind, chosen) if count > 1 else [self._run(kind, chosen[0])]
        return results

    def _together(self, kind: RunKind, given: Sequence[Feeds]) -> list[Any]:
        """One run for all; one for each where it is refused."""
        assert kind.way is not None
        try:
            return self._joined_run([self._completed(kind, feeds) for feeds in given], *kind.way)
        except TinyseqError:
            return [self._run(kind, feeds) for feeds in given]

    def _joined_run(self, given: Sequence[Feeds], axes: Axes, parts: Axes) -> list[Any]:
        feeds = {
            name: np.concatenate([own[name] for own in given], axes[name]) if name in axes else array
            for name, array in given[0].items()
        }
        outputs = self._session.run(feeds)
        split = {name: np.split(array, len(given), parts[name]) for name, array in outputs.items()}
        return [{name: arrays[place] for name, arrays in split.items()} for place in range(len(given))]

    def _way(self, like: Feeds) -> tuple[Axes, Axes] | None:
        """The first way in which random numbers, where a request has floats, give their own bits."""
        draw = np.random.default_rng(0)
        drawn = [{name: _drawn(array, draw) for name, array in like.items()} for _ in range(2)]
        for axes, parts in self._ways:
            shared = {name: array for name, array in like.items() if name not in axes}
            trial = [feeds | shared for feeds in drawn]
            try:
                alone = [self._session.run(feeds) for feeds in trial]
                together = self._joined_run(trial, axes, parts)
            except (TinyseqError, ValueError):
                continue
            if all(_same(one, other) for one, other in zip(alone, together)):
                return axes, parts
        return None

    def _run(self, kind: RunKind, feeds: Feeds) -> Any:
        try:
            return self._session.run(self._completed(kind, feeds))
        except TinyseqError as error:
            return error

    def _completed(self, kind: RunKind, feeds: Feeds) -> dict[str, np.ndarray]:
        """Feeds with the initial values of the states that they leave out."""
        states = kind.states
        if states is None:
            states = kind.states = self._states(feeds)
        return {**feeds, **states}

    def _states(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """The initial values of the states that feeds leave out."""
        missing = [
            value for value in self._session.inputs if value.name in self._initial and value.name not in feeds
        ]
        sizes = dict(self._sizes(feeds))
        states = {}
        for value in missing:
            initial = self._initial[value.name]
            shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in value.shape or ()]
            start = 0 if initial is None else initial
            states[value.name] = np.array(np.broadcast_to(np.asarray(start, value.dtype), shape))
        return states

    def _sizes(self, feeds: Feeds) -> Iterator[tuple[str, int]]:
        """What the feeds tell of open sizes."""
        for value in self._session.inputs:
            shape = np.shape(feeds[value.name]) if value.name in feeds else ()
            for size, given in zip(value.shape or (), shape):
                if isinstance(size, str):
                    yield size, given


def checked(session: Session, feeds: Feeds) -> dict[str, np.ndarray]:
    """Feeds of a run; states may be left out.

    Raises:
        FeedError: names, dtypes or shapes do not fit.
    """
    carried = {pair.input for pair in session.state} - set(feeds)
    return checked_feeds([value for value in session.inputs if value.name not in carried], feeds)


def _ways(inputs: Sequence[Value], outputs: Sequence[Value]) -> Iterator[tuple[Axes, Axes]]:
    """The axes of inputs and outputs that have one name, for each name that an input and all outputs have."""
    names = dict.fromkeys(size for value in inputs for size in value.shape or () if isinstance(size, str))
    for name in names:
        axes, parts = _axes(inputs, name), _axes(outputs, name)
        whole = all(value.name in axes or not value.shape for value in inputs if value.shape is not None)
        if axes and whole and len(parts) == len(outputs):
            yield axes, parts


def _axes(values: Sequence[Value], size: str) -> Axes:
    return {value.name: value.shape.index(size) for value in values if value.shape and size in value.shape}


def _drawn(like: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Random floats in the place of others; whole numbers, which may be indices, stay."""
    return draw.standard_normal(like.shape).astype(like.dtype) if like.dtype.kind == "f" else like


def _same(one: Feeds, other: Feeds) -> bool:
    return all(
        array.shape == other[name].shape and array.tobytes() == np.asarray(other[name]).tobytes()
        for name, array in one.items()
    )
