"""Inputs that are generated for in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Inputs that are generated for in one batch: their numbers, and what the decoder is given for them.

    ``parts`` are the decoder's inputs by name, rows first; ``fixed`` those that are the same in all rows.
    """

    numbers: list[int]
    parts: dict[str, np.ndarray]
    fixed: dict[str, np.ndarray]

    def cut(self, rows: slice | np.ndarray) -> Batch:
        """The same for some of its inputs."""
        numbers = np.array(self.numbers)[rows].tolist()
        return Batch(numbers, {name: array[rows] for name, array in self.parts.items()}, self.fixed)

    def repeated(self, count: int) -> Batch:
        """Its one input as so many."""
        return self.cut(np.zeros(count, np.int64))._replace(numbers=list(range(count)))


def in_parts(batches: Sequence[Batch], most: int) -> list[Batch]:
    """Batches of ``most`` inputs at the most."""
    return [
        batch.cut(slice(start, start + most)) if len(batch.numbers) > most else batch
        for batch in batches
        for start in range(0, len(batch.numbers), most)
    ]


def rows_first(array: np.ndarray, axis: int) -> np.ndarray:
    """The array with its axis of rows in front."""
    return array if axis == 0 else np.moveaxis(array, axis, 0)


def rows_back(array: np.ndarray, axis: int) -> np.ndarray:
    """The same the other way round, in one piece."""
    return np.ascontiguousarray(array if axis == 0 else np.moveaxis(array, 0, axis))


def merged(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of equal shapes put together."""
    if len(batches) == 1:
        return list(batches)
    alike: dict[tuple, list[Batch]] = {}
    for batch in batches:
        shapes = tuple((name, array.shape[1:]) for name, array in batch.parts.items())
        values = tuple((name, array.shape, array.tobytes()) for name, array in batch.fixed.items())
        alike.setdefault((shapes, values), []).append(batch)
    return [members[0] if len(members) == 1 else _joined(members) for members in alike.values()]


def _joined(batches: Sequence[Batch]) -> Batch:
    names = batches[0].parts
    return Batch(
        [number for batch in batches for number in batch.numbers],
        {name: np.concatenate([batch.parts[name] for batch in batches]) for name in names},
        batches[0].fixed,
    )
