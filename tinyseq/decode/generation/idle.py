"""Searches that have ended and wait for a batch like theirs."""

from __future__ import annotations

from collections import OrderedDict

from tinyseq.decode.generation.search import Search

MOST_IDLE = 4
"""Searches that a decoder keeps."""


class Idle:
    """The searches that ended last, by what they are for. Safe to use from threads.

    Each access of the dict is atomic. There is no lock, which a forked process could find held for ever.
    """

    def __init__(self) -> None:
        self._searches: OrderedDict[tuple, Search] = OrderedDict()

    def take(self, key: tuple) -> Search | None:
        """One for a key, which is the caller's alone from now on."""
        return self._searches.pop(key, None)

    def leave(self, key: tuple, search: Search) -> None:
        """Keeps a search; the one that has waited longest makes room."""
        former = self._searches.pop(key, None)
        self._searches[key] = search
        if former is not None:
            former.release()
        if len(self._searches) > MOST_IDLE:
            try:
                _, longest = self._searches.popitem(last=False)
            except KeyError:
                return
            longest.release()
