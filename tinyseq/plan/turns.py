"""The turns of loops that a plan is made for one by one."""

from __future__ import annotations

from tinyseq.errors import UnsupportedError

MOST_UNROLLED = 2**12
"""How many turns of loops may be planned each on its own in one program."""

MOST_COUNTED = 2**16
"""How many turns of loops may be computed for one program to learn how many there are."""


class PlannedTurns:
    """Those of one program so far."""

    def __init__(self) -> None:
        self._unrolled = 0
        self._counted = 0

    def unroll(self) -> None:
        """Counts a turn that is planned on its own."""
        self._unrolled += 1
        if self._unrolled > MOST_UNROLLED:
            raise UnsupportedError(
                f"its turns must be planned one by one, because shapes or indices depend on them, and they "
                f"are more than {MOST_UNROLLED}; feed shorter sequences, or export with Scan or Gather where "
                "slices are cut by the number of the turn"
            )

    def count(self) -> bool:
        """Counts a turn that is computed while planning; False if it is one too many."""
        self._counted += 1
        return self._counted <= MOST_COUNTED
