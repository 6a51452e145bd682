"""The team of a process: threads with which one call at a time shares its work; ``team.c`` says how.

It is a C library of its own, apart from the kernels, which need no system, and from the call from Python,
which needs one of a kind. Threads start with the first call that has work to share, and sleep between calls.
"""

import ctypes
import os
from functools import cache

from tinyseq.errors import KernelsError
from tinyseq.kernels.library import FOLDER, REBUILD, SUFFIXES, SYSTEM

FILES = {system: f"_team{suffix}" for system, suffix in SUFFIXES.items()}
"""What the library is called, by system."""


def seats(count: int) -> int:
    """What contexts of calls are given of which ``count`` threads run parts: the word that stands for the
    team, 0 for a single thread.

    Raises:
        KernelsError: the library cannot be loaded.
    """
    if count == 1:
        return 0
    return _library().tinyseq_team(count)


def threads() -> int:
    """How many threads there are, callers not counted."""
    return _library().tinyseq_team_threads()


def shares() -> int:
    """How many tasks have been shared."""
    return _library().tinyseq_team_shares()


@cache
def _library() -> ctypes.CDLL:
    path = f"{FOLDER}/{FILES[SYSTEM]}"
    try:
        library = ctypes.CDLL(path)
        library.tinyseq_team.argtypes, library.tinyseq_team.restype = (ctypes.c_int64,), ctypes.c_int64
        library.tinyseq_team_threads.restype = library.tinyseq_team_shares.restype = ctypes.c_int64
        forked = library.tinyseq_team_forked
    except (OSError, AttributeError) as error:
        raise KernelsError(f"cannot load the threads {path}: {error}; {REBUILD}") from error
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forked)
    return library
