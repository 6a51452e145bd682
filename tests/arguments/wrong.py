"""Values of every wrong kind, and the places in which they stand."""

from __future__ import annotations

import datetime
import decimal
import fractions
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class OwnError(Exception):
    """What a function of the caller raises: it passes through."""


def raises(*given, **named):
    raise OwnError


class Refusing:
    """An object that gives no array, as a tensor of PyTorch that requires gradients."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


class Wide:
    """An object that gives an array of float64."""

    def __array__(self, dtype=None, copy=None):
        return np.ones((4, 1, 3), dtype or np.float64)


class Anything:
    """A class that is made of anything."""

    def __init__(self, *given, **named):
        pass


def deep() -> list:
    inner: list = []
    for _ in range(3000):
        inner = [inner]
    return inner


def endless() -> list:
    own: list = []
    own.append(own)
    return own


def read_only() -> np.ndarray:
    array = np.ones((4, 1, 3), np.float32)
    array.flags.writeable = False
    return array


X = np.ones((4, 1, 3), np.float32)

WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "2**63": lambda: 2**63,
    "10**400": lambda: 10**400,
    "1.5": lambda: 1.5,
    "1e300": lambda: 1e300,
    "nan": lambda: float("nan"),
    "-inf": lambda: float("-inf"),
    "1j": lambda: 1j,
    "decimal": lambda: decimal.Decimal("1.5"),
    "signalling nan": lambda: decimal.Decimal("sNaN"),
    "fraction": lambda: fractions.Fraction(3, 2),
    "date": lambda: datetime.datetime(2000, 1, 1),
    "no word": lambda: "",
    "word": lambda: "word",
    "NUL": lambda: "a\0b",
    "long": lambda: "x" * 5000,
    "escape": lambda: "\x1b[31mred\n",
    "surrogate": lambda: "\ud800",
    "no bytes": lambda: b"",
    "bytes": lambda: b"\xff\0",
    "memory": lambda: memoryview(b"abc"),
    "path": lambda: Path("a\0b.onnx"),
    "folder": lambda: Path(tempfile.gettempdir()),
    "[]": lambda: [],
    "()": lambda: (),
    "{}": lambda: {},
    "set()": set,
    "[None]": lambda: [None],
    "[[]]": lambda: [[]],
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "words": lambda: ["a", "b"],
    "[1e300]": lambda: [1e300],
    "[2**63]": lambda: [2**63],
    "[10**400]": lambda: [10**400],
    "[lists]": lambda: [["a"], [1]],
    "deep": deep,
    "endless": endless,
    "{1: 2}": lambda: {1: 2},
    "{None: None}": lambda: {None: None},
    "range": lambda: range(3),
    "iterator": lambda: iter([1]),
    "generator": lambda: (number for number in (1, 2)),
    "object": object,
    "class": lambda: Anything,
    "module": lambda: np,
    "gives None": lambda: lambda *given, **named: None,
    "raises": lambda: raises,
    "refusing": Refusing,
    "wide": Wide,
    "masked": lambda: np.ma.array(X, mask=X > 0),
    "masked number": lambda: np.ma.masked,
    "objects": lambda: np.array([None, "a"], object),
    "no objects": lambda: np.empty((4, 1, 3), object),
    "complex": lambda: np.ones((4, 1, 3), np.complex64),
    "dates": lambda: np.zeros((4, 1, 3), "datetime64[s]"),
    "spans": lambda: np.zeros(3, "timedelta64[s]"),
    "records": lambda: np.zeros(3, [("a", "f4"), ("b", "i4")]),
    "texts": lambda: np.array(["a", "b"]),
    "raw": lambda: np.zeros(3, "S3"),
    "void": lambda: np.zeros(3, "V3"),
    "0-d": lambda: np.array(1.0, np.float32),
    "0-d whole": lambda: np.array(1),
    "number": lambda: np.float64(1.5),
    "whole": lambda: np.int64(-5),
    "read-only": read_only,
    "big-endian": lambda: np.ones((4, 1, 3), ">f4"),
    "float16": lambda: np.ones((4, 1, 3), np.float16),
    "float64": lambda: np.ones((4, 1, 3)),
    "longdouble": lambda: np.ones((4, 1, 3), np.longdouble),
    "uint64": lambda: np.full(3, 2**64 - 1, np.uint64),
    "bools": lambda: np.ones((4, 1, 3), bool),
    "NaNs": lambda: np.full((4, 1, 3), np.nan, np.float32),
    "infinities": lambda: np.full((4, 1, 3), np.inf, np.float32),
    "rank 64": lambda: np.ones((1,) * 64, np.float32),
    "nothing": lambda: np.zeros((0, 1, 3), np.float32),
    "no features": lambda: np.zeros((4, 1, 0), np.float32),
    "strided": lambda: np.ones((8, 2, 6), np.float32)[::-2, ::2, ::2],
    "repeated": lambda: np.broadcast_to(np.float32(1), (4, 1, 3)),
    "matrix": lambda: np.matrix([[1.0]]),
}  # fmt: skip


class Call(NamedTuple):
    """A public call, made anew each time, and arguments that fit it."""

    made: Callable[[], Callable]
    fitting: dict[str, Any]


def replaced(value: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What may stand in a value's place: what is wrong, or the same with something wrong within it."""
    yield from WRONG.items()
    if isinstance(value, dict):
        for name in value:
            for what, wrong in WRONG.items():
                yield f"{name!r}: {what}", lambda name=name, wrong=wrong: {**value, name: wrong()}
        for what, wrong in WRONG.items():
            if _hashable(wrong()):
                yield f"{what}: it", lambda wrong=wrong: {wrong(): next(iter(value.values()), 1)}
    if isinstance(value, list):
        for what, wrong in WRONG.items():
            yield f"[{what}]", lambda wrong=wrong: [wrong(), *value[1:]]
            yield f"[it, {what}]", lambda wrong=wrong: [*value, wrong()]


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def cases(call: Call) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every case of a call: what is wrong, and the call."""
    for name, value in call.fitting.items():
        for what, wrong in replaced(value):

            def act(name=name, wrong=wrong):
                return call.made()(**{**call.fitting, name: wrong()})

            yield f"{name}={what}", act
