"""What requests ask for beside their tensors: sequences, time limits, outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tinyseq.common.text import shown
from tinyseq.serve.errors import BadRequestError

MOST_LETTERS = 128
"""Of a sequence's id that is a text."""


class Turn(NamedTuple):
    """A request of a sequence: whose it is, and whether it is the first or the last."""

    id: int | str
    start: bool
    end: bool


class Asked(NamedTuple):
    """What a request asks for. ``seconds`` is the longest that it may wait for its turn."""

    turn: Turn | None = None
    seconds: float | None = None


_NOTHING = Asked()

_REFUSED = {
    "shared_memory_region": "tensors travel in the message, not in shared memory",
    "shared_memory_offset": "tensors travel in the message, not in shared memory",
    "shared_memory_byte_size": "tensors travel in the message, not in shared memory",
    "classification": "outputs are given as they are, not as the names of the best classes",
}


def asked(parameters: Mapping[str, object]) -> Asked:
    """What the parameters of a request ask for. ``priority`` is taken and all requests have the same one, as
    with any server that is not told levels of priority.

    Raises:
        BadRequestError: one is unknown, or its value is none.
    """
    if not parameters:
        return _NOTHING
    given = dict(parameters)
    name = given.pop("sequence_id", 0)
    start, end = _truth(given, "sequence_start"), _truth(given, "sequence_end")
    seconds = _whole(given, "timeout") / 1e6
    _whole(given, "priority")
    refuse_others(given, "a request", "sequence_id, sequence_start, sequence_end, timeout and priority")
    known = isinstance(name, str) and len(name) <= MOST_LETTERS
    if not known and (type(name) is not int or not 0 <= name < 2**64):
        raise BadRequestError(
            f"sequence_id is a whole number below 2**64 or a text of {MOST_LETTERS} letters at the most, not "
            f"{shown(name)}"
        )
    if name == 0 or name == "":
        if start or end:
            raise BadRequestError(
                "sequence_start and sequence_end need a sequence_id that is not 0 and not empty"
            )
        return Asked(None, seconds or None)
    return Asked(Turn(name, start, end), seconds or None)


def refuse_others(given: Mapping[str, object], owner: str, known: str) -> None:
    """Refuses parameters that are left over: nobody would read them.

    Raises:
        BadRequestError: there are some; names the first.
    """
    for name in given:
        why = _REFUSED.get(name)
        raise BadRequestError(
            f"parameter {shown(name)} of {owner} is not supported: {why}"
            if why
            else f"parameter {shown(name)} of {owner} is unknown; {owner} may have {known}"
        )


def _truth(given: dict[str, object], name: str) -> bool:
    value = given.pop(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} is true or false, not {shown(value)}")
    return value


def _whole(given: dict[str, object], name: str) -> int:
    value = given.pop(name, 0)
    if type(value) is not int or not 0 <= value < 2**64:
        raise BadRequestError(f"{name} is a whole number, 0 at least, not {shown(value)}")
    return value
