"""One Python function for several targets: the same code, bound to other twins of what it calls."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType

from tinyseq.kernels.llvm.intrinsics import fma

Intrinsic = type(fma)

HOME = "tinyseq.kernels"
"""Where functions live that are bound anew; all others are taken as they are."""


class Rebinding:
    """The functions of one target.

    ``twin`` gives what is called in the place of an intrinsic; ``wrap`` makes what the target calls out
    of a function bound to it. A function is bound once.
    """

    def __init__(self, twin: Callable[[object], object], wrap: Callable[[FunctionType], object]) -> None:
        self._intrinsic = twin
        self._wrap = wrap
        self._made: dict[FunctionType, object] = {}

    def __call__(self, function: object) -> object:
        """The target's form of a function, or of what Numba compiles of one for the CPU."""
        function = getattr(function, "py_func", function)
        made = self._made.get(function)
        if made is None:
            made = self._made[function] = self._wrap(self.bound(function))
        return made

    def bound(self, function: FunctionType) -> FunctionType:
        """The function itself, bound to the target."""
        names = _names(function.__code__)
        scope = function.__globals__
        found = {name: self._twin(scope[name]) for name in names if name in scope}
        cells = [CellType(self._twin(cell.cell_contents)) for cell in function.__closure__ or ()]
        bound = FunctionType(
            function.__code__, {**scope, **found}, function.__name__, function.__defaults__, tuple(cells)
        )
        bound.__module__, bound.__qualname__ = function.__module__, function.__qualname__
        return bound

    def _twin(self, value: object) -> object:
        if type(value) is Intrinsic:
            return self._intrinsic(value)
        function = getattr(value, "py_func", value)
        if isinstance(function, FunctionType) and function.__module__.startswith(HOME):
            return self(function)
        return value


def reached(function: object) -> set:
    """The intrinsics that a function calls, itself or by others that are bound anew."""
    return _reached(function, set())


def _reached(value: object, seen: set) -> set:
    value = getattr(value, "py_func", value)
    if type(value) is Intrinsic:
        return {value}
    if not isinstance(value, FunctionType) or not value.__module__.startswith(HOME) or value in seen:
        return set()
    seen.add(value)
    scope = value.__globals__
    called = [scope[name] for name in _names(value.__code__) if name in scope]
    called += [cell.cell_contents for cell in value.__closure__ or ()]
    return set().union(*(_reached(one, seen) for one in called))


def _names(code) -> set[str]:
    """The global names that a function's code uses, and those of the functions inside it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            names |= _names(constant)
    return names
