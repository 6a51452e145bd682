"""What a search over frames gives to decoders and to their streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinyseq.decode.hypothesis import Hypothesis, Partial
from tinyseq.decode.lm.options import Hotwords
from tinyseq.errors import FeedError

if TYPE_CHECKING:
    from tinyseq.decode.lm.spelling import WordReader

Position = Any
"""Where a stream is; what is in it is its search's affair."""

Scoring = Any
"""What is added to the scores of a stream; likewise."""


class FrameSearch(Protocol):
    """A search over frames of ``size`` numbers; what it is given is never changed."""

    size: int
    width: int
    """Hypotheses that go on from frame to frame."""
    reader: WordReader | None
    """Reads a lexicon's words."""

    def scoring(self, hotwords: Hotwords) -> Scoring:
        """What is added to the scores of a stream that has hotwords of its own.

        Raises:
            OptionError: some cannot be spelt.
        """

    def begin(self, scoring: Scoring) -> Position:
        """A stream at its start."""

    def step(self, states: list[Position], chunks: list[np.ndarray]) -> list[Position]:
        """The streams after a chunk float32[T, size] each; refuses all or none."""

    def copy(self, state: Position) -> Position:
        """The same state, to go its own way."""

    def frames(self, state: Position) -> int:
        """Frames processed."""

    def fields(self, state: Position) -> dict[str, np.ndarray]:
        """The state as arrays by name."""

    def restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring) -> Position:
        """The state that ``fields`` gave.

        Raises:
            StateError: it is not of this search, or damaged.
        """

    def partial(self, state: Position) -> Partial:
        """What is certain, and how it goes on at this moment, at a cost that does not depend on how long ago
        the stream began."""

    def finish(self, state: Position) -> list[Hypothesis]:
        """The best hypotheses."""


@contextmanager
def room() -> Iterator[None]:
    """Says what to do where there is not enough memory."""
    try:
        yield
    except MemoryError as error:
        raise FeedError(f"{error}; fewer streams at once or a smaller beam_width need less") from error
