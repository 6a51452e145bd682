"""What has been made for inputs of a kind, is not in use, and serves the next of that kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

MOST = 64
"""Things that wait."""

MOST_BYTES = 2**26
"""Bytes that they hold together."""


class Holding(Protocol):
    """What holds memory."""

    @property
    def nbytes(self) -> int:
        """How much, about."""


T = TypeVar("T", bound=Holding)


class Idle(Generic[T]):
    """Things that wait, by what they are for; those that have waited longest make room, and the last one may
    be as large as it is. ``release`` is told of each that goes. Safe to use from threads.

    Each access of the list is atomic. There is no lock, which a forked process could find held for ever.
    """

    def __init__(self, release: Callable[[T], object] = lambda thing: None) -> None:
        self._release = release
        self._waiting: list[tuple[Hashable, T, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, key: Hashable) -> T | None:
        """One for a key, which is the caller's alone from now on."""
        for entry in reversed(self._waiting.copy()):
            if entry[0] == key:
                try:
                    self._waiting.remove(entry)
                except ValueError:  # another thread was quicker
                    continue
                return entry[1]
        return None

    def leave(self, key: Hashable, thing: T) -> None:
        """Lets a thing wait."""
        self._waiting.append((key, thing, thing.nbytes))
        while self._is_full():
            try:
                _, longest, _ = self._waiting.pop(0)
            except IndexError:
                return
            self._release(longest)

    def _is_full(self) -> bool:
        sizes = [size for *_, size in self._waiting.copy()]
        return len(sizes) > 1 and (len(sizes) > MOST or sum(sizes) > MOST_BYTES)
