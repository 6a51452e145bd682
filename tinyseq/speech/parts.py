"""Parts of a saved stream: each a saved state of its own, so that each says for itself whether it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tinyseq.decode.frames.snapshots import field
from tinyseq.errors import StateError
from tinyseq.runtime.state import State


def packed(state: State) -> np.ndarray:
    """A part as a field of the whole: uint8[bytes]."""
    return np.frombuffer(state.to_bytes(), np.uint8)


def opened(saved: Mapping[str, np.ndarray], name: str, restore: Callable[[State], object]) -> None:
    """Gives a part to what it is the state of.

    Raises:
        StateError: it is damaged or of another; says which part.
    """
    data = field(saved, name, np.uint8, (None,)).tobytes()
    try:
        restore(State.from_bytes(data))
    except StateError as error:
        raise StateError(f"the part {name!r} of the saved stream: {error}") from error
