"""What functions of ``keras.ops`` are given: tensors and numbers, and the types that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tinyseq.converters.keras.settings import BOOL, FLOAT, WHOLE, Settings, Tensor, cast

from tinyseq.common.text import shown
from tinyseq.ir.graph import Graph

Operation = Callable[[Graph, Settings, list], list[Tensor]]
"""Adds a function; what it is called with by place stands in a list."""


def arguments(settings: Settings, given: list, *names: str) -> list[Any]:
    """What a function is called with by these names or their places."""
    if len(given) > len(names):
        raise settings.refusal(f"it is called with {len(given)} arguments, not {len(names)}")
    values = [*given, *(settings.called(name) for name in names[len(given) :])]
    for name, value in zip(names, values):
        if value is None:
            raise settings.refusal(f"it is called without {name}")
    return values


def common(values: Sequence[Any]) -> np.dtype:
    """The type that values of several types become."""
    dtypes = [_dtype(value) for value in values]
    return next((dtype for dtype in (FLOAT, WHOLE) if dtype in dtypes), BOOL)


def _dtype(value: Any) -> np.dtype:
    kind = value.dtype.kind if isinstance(value, Tensor) else np.asarray(value).dtype.kind
    return {"f": FLOAT, "b": BOOL}.get(kind, WHOLE)


def as_tensor(graph: Graph, settings: Settings, value: Any, dtype: np.dtype | None = None) -> Tensor:
    """A tensor of a type; of its own if none is given."""
    if isinstance(value, Tensor):
        return cast(graph, value, dtype or value.dtype)
    array = np.asarray(value) if not isinstance(value, (str, dict, slice, type(...))) else None
    if array is None or array.dtype.kind not in "fiub":
        raise settings.refusal(f"it is called with {shown(value)}, which is no tensor of numbers")
    dtype = dtype or _dtype(array)
    return Tensor(graph.constant(array.astype(dtype)), array.shape, dtype)


def named_dtype(settings: Settings, name: Any) -> np.dtype | None:
    """The type that tinyseq has for one of Keras."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise settings.refusal(f"the type {shown(name)} is not known")
    if name == "bool":
        return BOOL
    if name.startswith(("float", "bfloat")):
        return FLOAT
    if name.startswith(("int", "uint")):
        return WHOLE
    raise settings.refusal(f"the type {name!r} is not known")


def cast_to(graph: Graph, x: Tensor, dtype: np.dtype, name: str) -> Tensor:
    """A tensor cast, as a tensor of its own in any case."""
    if x.dtype == dtype:
        return replace(x, name=graph.apply("Identity", x.name, name=name), mask=None)
    return replace(cast(graph, x, dtype), mask=None)


def together(shapes: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
    """The shape that tensors of these shapes become together."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((size for size in sizes if size not in (1, None)), None if None in sizes else 1)
        for sizes in zip(*padded)
    )


def broadcast(graph: Graph, op: str, operands: Sequence[Tensor], dtype: np.dtype, name: str) -> Tensor:
    """An op of tensors that become one shape."""
    y = graph.apply(op, *(x.name for x in operands), name=name)
    return Tensor(y, together([x.shape for x in operands]), dtype)
