"""Front ends: from samples to what a model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.decode.frames.snapshots import field
from tinyseq.errors import FeedError, StateError
from tinyseq.runtime.state import State
from tinyseq.speech.sound import mono

Feeds = Mapping[str, np.ndarray]


class FrontEnd(Protocol):
    """Turns sound into what the model takes; one for each stream, for it may keep what is left over.

    For streams that can be saved and forked it has two more methods: ``snapshot()`` gives what it keeps as a
    dict from name to array, and ``restore(saved)`` takes it.
    """

    def push(self, samples: np.ndarray) -> list[Feeds]:
        """The steps that are complete with these samples, float32[n] from -1 to 1."""
        ...

    def finish(self) -> list[Feeds]:
        """The steps that are left at the end of the sound."""
        ...


class Chunks:
    """A front end that gives the model each so many samples, the last ones with silence behind them."""

    def __init__(self, size: int, feeds: Callable[[np.ndarray], Feeds]) -> None:
        if not is_whole(size) or size < 1:
            raise FeedError(f"a chunk has a whole number of samples from 1 on, not {shown(size)}")
        if not callable(feeds):
            raise FeedError(f"feeds is a function of samples, not {shown(feeds)}")
        self._size, self._feeds = size, feeds
        self._left = np.empty(0, np.float32)

    def __repr__(self) -> str:
        return f"Chunks({self._size} samples, {len(self._left)} left over)"

    def push(self, samples: np.ndarray) -> list[Feeds]:
        """A step for each whole chunk; see ``RecognizerStream.accept_waveform`` for the samples' formats."""
        sound = np.concatenate([self._left, mono(samples)])
        whole = len(sound) - len(sound) % self._size
        self._left = sound[whole:].copy()
        return [self._feeds(chunk) for chunk in sound[:whole].reshape(-1, self._size)]

    def finish(self) -> list[Feeds]:
        """The last step, if samples are left."""
        missing = -len(self._left) % self._size
        return self.push(np.zeros(missing, np.float32))

    def snapshot(self) -> State:
        """The samples that are left over."""
        return State({"left": self._left})

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot.

        Raises:
            StateError: it is of other chunks, or damaged.
        """
        if not isinstance(saved, Mapping):
            raise StateError(f"a state is a dict from name to array, not {type(saved).__name__}")
        left = field(saved, "left", np.float32, (None,))
        if len(left) >= self._size or not np.isfinite(left).all():
            raise StateError(f"the saved stream is damaged, or of chunks of another size than {self._size}")
        self._left = left


def begun(front_end: Callable[[], FrontEnd]) -> FrontEnd:
    """A front end for one stream.

    Raises:
        FeedError: what is made is none.
    """
    made = front_end()
    if not (hasattr(made, "push") and hasattr(made, "finish")):
        raise FeedError(f"front_end gives what has push and finish, as Chunks, not {type(made).__name__}")
    return made


def steps(given: object) -> Sequence[Feeds]:
    """The steps that a front end gave.

    Raises:
        FeedError: they are none.
    """
    if not isinstance(given, Sequence):
        raise FeedError(f"a front end gives a list of dicts, not {type(given).__name__}")
    for feeds in given:
        if not isinstance(feeds, Mapping):
            raise FeedError(f"a front end gives dicts from input to array, not {type(feeds).__name__}")
    return given


def kept(front_end: FrontEnd) -> State:
    """What a front end keeps.

    Raises:
        StateError: it cannot say.
    """
    if not (hasattr(front_end, "snapshot") and hasattr(front_end, "restore")):
        raise StateError(
            f"this stream cannot be saved or forked, for its front end, {type(front_end).__name__}, cannot: "
            "give it snapshot(), which gives what it keeps as a dict from name to array, and restore(saved), "
            "which takes it back"
        )
    saved = front_end.snapshot()
    return saved if isinstance(saved, State) else State(saved)
