"""Native calls that the main thread waits for where signals reach it.

Python looks at signals between its own instructions only, and only in the main thread: a long native call
there would let Ctrl-C wait for its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

GLANCE = 0.2
"""Seconds after which the main thread looks at signals, where waiting itself is not interrupted."""

PATIENCE = 0.5
"""Seconds that a call that was told to stop is waited for."""


class Apart:
    """A call in a thread of its own, which keeps alive what the call reads and writes."""

    def __init__(self, call: Callable[[], int]) -> None:
        self._call = call
        self._result = 0
        self._running = threading.Lock()
        self._running.acquire()
        self._thread = threading.Thread(target=self._run, daemon=True, name="tinyseq")

    def _run(self) -> None:
        try:
            self._result = self._call()
        finally:
            self._running.release()

    def result(self) -> int:
        """What the call gives, once it ends; a signal handler's exception ends the waiting."""
        self._thread.start()
        while not self._running.acquire(timeout=GLANCE):
            pass
        return self._result

    def ended(self) -> bool:
        """Whether the call ends soon, or has not begun."""
        return self._thread.ident is None or self._running.acquire(timeout=PATIENCE)


def is_main_thread() -> bool:
    """Whether signals reach the thread that asks."""
    return threading.current_thread() is threading.main_thread()
