"""Sizes that remember how they came about.

While a formula is drawn up, an open size of an input is a ``Size`` in place of an int. Arithmetic with it
is written on a ``Tape``. A question about it (a comparison, whether it is 0) is answered for the size at
hand, and the answer becomes a condition. Code that needs a plain integer (``range``, NumPy, a hash) gets
one, and that it is this one becomes a condition. So nothing that depends on a size passes unnoticed: the
tape, replayed with other sizes, gives what planning with them would give, or a condition fails.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable

import numpy as np


class Wrapped(ArithmeticError):
    """A computed element is beyond 64 bits, where integers wrap around and those on a tape do not."""


class Tape:
    """Every computation with sizes and every condition on them, in order, each once."""

    def __init__(self) -> None:
        self._values: list[int | bool] = []
        self._steps: list[tuple[int, Callable, int, int, bool | None]] = []
        self._places: dict[object, int] = {}
        self._inputs = 0

    def input(self, value: int) -> Size:
        """The next open size; all of them come before anything is computed."""
        self._values.append(value)
        self._inputs += 1
        return Size(self, self._inputs - 1, value)

    def replay(self, sizes: list[int]) -> list[int] | None:
        """The value at every place for other open sizes, or None where a condition fails."""
        values = self._values.copy()
        values[: self._inputs] = sizes
        for place, function, a, b, wanted in self._steps:
            try:
                value = function(values[a], values[b])
            except ZeroDivisionError:
                return None
            if wanted is not None and value is not wanted:
                return None
            values[place] = value
        return values

    def compute(self, function: Callable, a: Size | int, b: Size | int) -> Size:
        """``function(a, b)`` as a Size."""
        place = self._place(function, a, b, asked=False)
        return Size(self, place, self._values[place])

    def ask(self, function: Callable, a: Size | int, b: Size | int) -> bool:
        """``function(a, b)``, true or false, as a condition from now on."""
        return self._values[self._place(function, a, b, asked=True)]

    def _place(self, function: Callable, a: Size | int, b: Size | int, asked: bool) -> int:
        operands = self._operand(a), self._operand(b)
        place = self._places.get((function, *operands))
        if place is None:
            value = function(self._values[operands[0]], self._values[operands[1]])
            place = self._places[(function, *operands)] = len(self._values)
            self._values.append(value)
            self._steps.append((place, function, *operands, value if asked else None))
        return place

    def _operand(self, value: Size | int) -> int:
        if type(value) is Size:
            return value.place
        value = int(value)
        place = self._places.get(value)
        if place is None:
            place = self._places[value] = len(self._values)
            self._values.append(value)
        return place


def _computed(function: Callable, neutral: int | None = None):
    def method(self: Size, other):
        if type(other) is not Size and not isinstance(other, (int, np.integer)):
            return function(int(self), other)
        if neutral is not None and type(other) is int and other == neutral:
            return self
        return self.tape.compute(function, self, other)

    return method


def _computed_reflected(function: Callable, neutral: int | None = None):
    def method(self: Size, other):
        if not isinstance(other, (int, np.integer)):
            return function(other, int(self))
        if neutral is not None and other == neutral:
            return self
        return self.tape.compute(function, other, self)

    return method


def _asked(function: Callable):
    def method(self: Size, other):
        if type(other) is not Size and not isinstance(other, (int, np.integer)):
            return function(int(self), other)
        return self.tape.ask(function, self, other)

    return method


def _closing(function: Callable):
    """A method for what a tape does not hold: the plain integer takes the Size's place."""

    def method(self: Size, *others):
        return function(int(self), *[int(other) if type(other) is Size else other for other in others])

    return method


class Size:
    """An integer on a tape: ``value`` for the sizes at hand, ``place`` where it is computed for others."""

    __slots__ = ("place", "tape", "value")
    # NumPy's numbers leave arithmetic with a Size to the Size.
    __array_ufunc__ = None

    def __init__(self, tape: Tape, place: int, value: int) -> None:
        self.tape = tape
        self.place = place
        self.value = value

    __add__ = _computed(operator.add, 0)
    __radd__ = _computed_reflected(operator.add, 0)
    __sub__ = _computed(operator.sub, 0)
    __rsub__ = _computed_reflected(operator.sub)
    __mul__ = _computed(operator.mul, 1)
    __rmul__ = _computed_reflected(operator.mul, 1)
    __floordiv__ = _computed(operator.floordiv, 1)
    __rfloordiv__ = _computed_reflected(operator.floordiv)
    __mod__ = _computed(operator.mod)
    __rmod__ = _computed_reflected(operator.mod)
    __eq__ = _asked(operator.eq)
    __ne__ = _asked(operator.ne)
    __lt__ = _asked(operator.lt)
    __le__ = _asked(operator.le)
    __gt__ = _asked(operator.gt)
    __ge__ = _asked(operator.ge)

    __truediv__ = _closing(operator.truediv)
    __rtruediv__ = _closing(lambda a, b: b / a)
    __pow__ = _closing(operator.pow)
    __rpow__ = _closing(lambda a, b: b**a)
    __divmod__ = _closing(divmod)
    __float__ = _closing(float)
    __hash__ = _closing(hash)

    def __neg__(self) -> Size:
        return self.tape.compute(operator.sub, 0, self)

    def __abs__(self) -> Size:
        return self if self >= 0 else -self

    def __bool__(self) -> bool:
        return self.tape.ask(operator.ne, self, 0)

    def __index__(self) -> int:
        self.tape.ask(operator.eq, self, self.value)
        return self.value

    __int__ = __index__

    def __repr__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)


def _fits(value: int, _: int) -> bool:
    return -(2**63) <= value < 2**63


def known_sizes(values: Iterable[Size | int]) -> np.ndarray:
    """Sizes as a known tensor [n]: int64, or of objects where one of them is open."""
    values = list(values)
    return np.array(values, object if any(type(value) is Size for value in values) else np.int64)


def computed_sizes(array: np.ndarray) -> np.ndarray:
    """What was computed with sizes, an array of objects, as a known tensor.

    Raises:
        Wrapped: an element does not fit into 64 bits. That all do becomes a condition.
    """
    for value in array.flat:
        if not (value.tape.ask(_fits, value, 0) if type(value) is Size else _fits(value, 0)):
            raise Wrapped
    return known_sizes(array.flat).reshape(array.shape)


def closed(array: np.ndarray | None) -> np.ndarray | None:
    """A known tensor as plain numbers; that they are these becomes a condition."""
    return array if array is None or array.dtype != object else array.astype(np.int64)
