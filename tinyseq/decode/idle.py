"""Searches that have ended and wait for a batch like theirs."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from tinyseq.decode.search import Search

MOST_IDLE = 4
"""Searches that a decoder keeps."""


class Idle:
    """The searches that ended last, by what they are for. Safe to use from threads."""

    def __init__(self) -> None:
        self._searches: OrderedDict[tuple, Search] = OrderedDict()
        self._lock = Lock()

    def take(self, key: tuple) -> Search | None:
        """One for a key, which is the caller's alone from now on."""
        with self._lock:
            return self._searches.pop(key, None)

    def leave(self, key: tuple, search: Search) -> None:
        """Keeps a search; the one that has waited longest makes room."""
        with self._lock:
            dropped = [self._searches.pop(key, None)]
            self._searches[key] = search
            if len(self._searches) > MOST_IDLE:
                dropped.append(self._searches.popitem(last=False)[1])
        for search in filter(None, dropped):
            search.release()
