"""Claim: what belongs to one caller at a time refuses a second one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import repeat
from typing import Any, NoReturn, TypeVar, cast

from tinyseq.errors import StateError

Method = TypeVar("Method", bound=Callable[..., Any])


class Claim:
    """The right to use something, which one caller has at a time. Another is refused and never waits, be it a
    thread or, as in a callback, code that the first one calls.

    ``free`` holds something while nobody has it: whoever has taken that puts it back, and no other may.
    ``list.pop`` and ``list.append`` are atomic.
    """

    __slots__ = ("_what", "free")

    def __init__(self, what: str) -> None:
        self._what = what
        self.free: list[None] = [None]

    def take(self) -> None:
        """Takes what is free; the caller puts it back by ``free.append(None)``.

        Raises:
            StateError: somebody else has it.
        """
        try:
            self.free.pop()
        except BaseException as error:
            self.refuse(error)

    def refuse(self, error: BaseException) -> NoReturn:
        """Says what it means that ``free.pop()`` has ended in an error."""
        if not isinstance(error, IndexError):  # an interrupt that came just behind the pop
            self.free.append(None)
            raise error
        raise StateError(
            f"this {self._what} is in use by another thread, or by a call that this one is part of; it "
            "belongs to one at a time: give each thread its own, or let them take turns"
        ) from None


def claiming(method: Method) -> Method:
    """Lets a method have the object's ``_claim`` while it runs."""

    @wraps(method)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._claim.take()
        try:
            return method(self, *args, **kwargs)
        finally:
            self._claim.free.append(None)

    return cast(Method, alone)


def take_all(claims: Iterable[Claim]) -> Iterator[None]:
    """Takes several claims, all of them or, where one is refused, none. What it gives is for ``put_back``."""
    taken: list[list[None]] = []
    held = map(list.append, taken, repeat(None))
    try:
        for claim in claims:
            claim.take()
            taken.append(claim.free)
    except BaseException:
        put_back(held)
        raise
    return held


put_back = deque[None](maxlen=0).extend
"""Puts back what ``take_all`` has taken: one call, which no interrupt comes in between of."""
