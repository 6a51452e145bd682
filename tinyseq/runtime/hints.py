"""What is said behind an error of a step: what is strange about its feeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tinyseq.runtime.session import Session


def hints(session: Session, feeds: object, one_row: bool) -> str:
    """What is strange about the feeds of a step, of ``one_row`` or of several; empty if nothing is."""
    given = feeds if isinstance(feeds, Mapping) else {}
    return "".join((*_defaults(session, given), *_rows(session, given, one_row), *_frames(session, given)))


def _defaults(session: Session, feeds: Mapping) -> Iterator[str]:
    """Of inputs with a default, which a step is fed."""
    for name in sorted({value.name for value in session.model.defaults}.intersection(feeds)):
        yield (
            f". Only run is fed {name!r} in place of what the file gives, which streams and pools keep: the "
            "start of a state is written to its array in the state; what steps should take must be an input "
            "without a value in the file"
        )


def _sizes(
    session: Session, feeds: Mapping, axes: Iterable[tuple[str, int]]
) -> Iterator[tuple[str, int, int]]:
    """Inputs, axes of theirs and how long these are in the feeds, where a feed has as many as its input."""
    ranks = {value.name: len(value.shape or ()) for value in session.inputs}
    for name, axis in axes:
        array = feeds.get(name)
        if isinstance(array, np.ndarray) and array.ndim == ranks.get(name):
            yield name, axis, array.shape[axis]


def _rows(session: Session, feeds: Mapping, one_row: bool) -> Iterator[str]:
    """Of more rows than the one that a stream is."""
    known = one_row and session.state and len(session.rows_fed) == 1
    for name, axis, count in _sizes(session, feeds, session.rows_fed[0] if known else ()):
        if count > 1:
            yield (
                f". Axis {axis} of input {name!r} is that of the rows, and a stream is one row: use "
                f"pool({count})"
            )
            return


def _frames(session: Session, feeds: Mapping) -> Iterator[str]:
    """Of a step without frames."""
    if any(count == 0 for _, _, count in _sizes(session, feeds, session.streaming.inputs.items())):
        yield ". The step has no frames, and the model needs one at least"
