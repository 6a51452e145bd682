"""A machine for pickles of plain data. It imports nothing and calls nothing but what it is given.

Python's own unpickler finds and calls whatever a file names. This one knows the opcodes that build
numbers, strings, tuples, lists and dicts; globals are looked up in a table, and every other opcode and
global is refused by name. Each opcode costs time and memory bounded by its own bytes, so a pickle costs
no more than its size allows.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from tinyseq.errors import ModelError, UnsupportedError


@dataclass(frozen=True, slots=True)
class Global:
    """What a global of a pickle stands for: ``make`` is called for it with its arguments, if it may be."""

    name: str
    make: Callable[..., Any] | None = None


class _Mark:
    """Where on the stack the items of a container begin."""


MARK = _Mark()

PUSHED = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
"""Opcodes whose argument is the value."""

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
CONTAINERS = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
SKIPPED = {"PROTO", "FRAME"}

REFUSED_WORDS = {
    "torch.nn": "the file holds whole modules, which are code; save module.state_dict() instead",
    "numpy": "save NumPy arrays with numpy.savez, tensors with torch.save",
}
"""Why globals of some packages are refused, by how their names begin."""


def load(stream: BinaryIO, known: Mapping[str, Global], persistent: Callable[[Any], Any], where: str) -> Any:
    """The object that the pickle at the stream's position holds; the stream is left behind it.

    Args:
        stream: anything with ``read`` and ``readline``.
        known: the globals that may appear, by dotted name.
        persistent: gives the object for a persistent id.
        where: the file's name, for errors.

    Raises:
        UnsupportedError: a global or opcode that is refused; names it.
        ModelError: the pickle is damaged.
    """
    machine = _Machine(known, persistent, where)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name != "STOP":
                machine.step(opcode.name, argument)
        (result,) = machine.stack
        return result
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise ModelError(f"{where} is damaged: its pickle cannot be read: {error}") from error


class _Machine:
    def __init__(self, known, persistent, where: str) -> None:
        self.known = known
        self.persistent = persistent
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Runs one opcode."""
        if name in PUSHED:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in CONTAINERS:
            self.stack.append(CONTAINERS[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in SKIPPED:
            raise UnsupportedError(
                f"{self.where}: the pickle opcode {name} is refused: weights need numbers, strings, lists, "
                "dicts and tensors only; save a plain state_dict"
            )

    def items(self) -> list[Any]:
        """Takes what lies above the last mark off the stack."""
        place = len(self.stack) - 1
        while self.stack[place] is not MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark lacks")
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def take(self, count: int) -> list[Any]:
        """Takes the last objects off the stack."""
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"no {kind.__name__} to put items into")
        return self.stack[-1]

    def mark(self, _) -> None:
        self.stack.append(MARK)

    def named(self, argument: str) -> None:
        """GLOBAL: the argument is module and name, with a space between them."""
        self.push_global(argument.replace(" ", "."))

    def stack_named(self, _) -> None:
        module, name = self.take(2)
        self.push_global(f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?")

    def push_global(self, name: str) -> None:
        if name not in self.known:
            reason = next((why for start, why in REFUSED_WORDS.items() if name.startswith(start)), None)
            raise UnsupportedError(
                f"{self.where}: the pickle names {name!r}, which is refused: "
                + (reason or "weights need no such thing, and it could run code; get the file from elsewhere")
            )
        self.stack.append(self.known[name])

    def reduce(self, _) -> None:
        function, arguments = self.take(2)
        if not isinstance(function, Global) or function.make is None:
            what = function.name if isinstance(function, Global) else type(function).__name__
            raise UnsupportedError(
                f"{self.where}: the pickle calls {what!r}, which is no function of weights"
            )
        if not isinstance(arguments, tuple):
            raise ValueError("arguments are not a tuple")
        self.stack.append(function.make(*arguments))

    def build(self, _) -> None:
        """Attributes of a dict: PyTorch notes the versions of modules in ``_metadata``, which changes no
        weight."""
        target, attributes = self.take(2)
        if (
            not isinstance(target, dict)
            or not isinstance(attributes, dict)
            or set(attributes) - {"_metadata"}
        ):
            raise UnsupportedError(
                f"{self.where}: the pickle sets attributes of a {type(target).__name__}, which is refused; "
                "save a plain state_dict"
            )
        self.stack.append(target)

    def put(self, key: int | None) -> None:
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    def append(self, _) -> None:
        (value,) = self.take(1)
        self.top(list).append(value)

    def appends(self, _) -> None:
        values = self.items()
        self.top(list).extend(values)

    def collect_list(self, _) -> None:
        self.stack.append(self.items())

    def collect_dict(self, _) -> None:
        pairs = self.items()
        self.stack.append({})
        self.fill(pairs)

    def set_item(self, _) -> None:
        pair = self.take(2)
        self.fill(pair)

    def set_items(self, _) -> None:
        pairs = self.items()
        self.fill(pairs)

    def fill(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise ValueError(f"a key is a {type(key).__name__}")
            target[key] = value

    def collect_tuple(self, count: int | None) -> None:
        self.stack.append(tuple(self.items() if count is None else self.take(count)))

    def persistent_object(self, _) -> None:
        (key,) = self.take(1)
        self.stack.append(self.persistent(key))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.stack_named,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "PUT": lambda machine, key: machine.put(int(key)),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda machine, _: machine.put(None),
    "GET": lambda machine, key: machine.get(int(key)),
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "LIST": _Machine.collect_list,
    "DICT": _Machine.collect_dict,
    "TUPLE": lambda machine, _: machine.collect_tuple(None),
    "TUPLE1": lambda machine, _: machine.collect_tuple(1),
    "TUPLE2": lambda machine, _: machine.collect_tuple(2),
    "TUPLE3": lambda machine, _: machine.collect_tuple(3),
    "BINPERSID": _Machine.persistent_object,
}
