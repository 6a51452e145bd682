"""Functions of ``keras.ops`` over whole axes: sums, means, the largest, and where it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinyseq.converters.keras.movements import axes_of, axis_of
from tinyseq.converters.keras.operands import Operation, arguments, as_tensor, named_dtype
from tinyseq.converters.keras.settings import BOOL, FLOAT, INT32, WHOLE, Settings, Tensor, cast

from tinyseq.common.given import is_whole
from tinyseq.ir.graph import Graph


def _over(
    compute: Callable[[Graph, str, np.ndarray, int], str], floats: bool = False, dtype: np.dtype | None = None
) -> Operation:
    """A function over axes, of the tensor's type, of float32, or of ``dtype``."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x, FLOAT if floats else dtype)
        x = cast(graph, x, WHOLE) if x.dtype == BOOL and dtype is None else x
        settings.expect("initial", None)
        axes = axes_of(settings, settings.get("axis", None), x.rank)
        keep = bool(settings.get("keepdims", False))
        wanted = named_dtype(settings, settings.get("dtype", None)) or x.dtype
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keep or axis not in axes]
        x = cast(graph, x, wanted)
        return [Tensor(compute(graph, x.name, np.array(axes, np.int64), int(keep)), tuple(shape), wanted)]

    return build


def _reduced(op: str) -> Callable[[Graph, str, np.ndarray, int], str]:
    return lambda graph, x, axes, keep: graph.apply(op, x, axes, keepdims=keep)


def _variance(graph: Graph, x: str, axes: np.ndarray, keep: int) -> str:
    mean = graph.apply("ReduceMean", x, axes, keepdims=1)
    apart = graph.apply("Sub", x, mean)
    return graph.apply("ReduceMean", graph.mul(apart, apart), axes, keepdims=keep)


def _deviation(graph: Graph, x: str, axes: np.ndarray, keep: int) -> str:
    return graph.apply("Sqrt", _variance(graph, x, axes, keep))


def _truth(op: str) -> Callable[[Graph, str, np.ndarray, int], str]:
    """Any and All of booleans, by the largest or smallest of 0 and 1."""

    def compute(graph: Graph, x: str, axes: np.ndarray, keep: int) -> str:
        number = graph.apply("Cast", x, to=INT32)
        found = graph.apply(op, number, axes, keepdims=keep)
        return graph.apply("Not", graph.apply("Equal", found, np.array(0, np.int32)))

    return compute


def _place(op: str) -> Operation:
    """Where the largest or smallest is, the first of several."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x, axis = as_tensor(graph, settings, x), settings.get("axis", None)
        x = cast(graph, x, WHOLE) if x.dtype == BOOL else x
        keep = bool(settings.get("keepdims", False))
        if axis is None:
            if keep:
                raise settings.refusal("it keeps the dimensions of all axes")
            x, axis = Tensor(graph.reshape(x.name, [-1]), (None,), x.dtype), 0
        axis = axis_of(settings, axis, x.rank)
        y = graph.apply(op, x.name, axis=axis, keepdims=int(keep), name=settings.name)
        shape = [1 if i == axis else size for i, size in enumerate(x.shape) if keep or i != axis]
        return [Tensor(y, tuple(shape), WHOLE)]

    return build


def _cumulated(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x, axis = as_tensor(graph, settings, x), settings.get("axis", None)
    x = cast(graph, x, named_dtype(settings, settings.get("dtype", None)) or x.dtype)
    x = cast(graph, x, WHOLE) if x.dtype == BOOL else x
    if axis is None:
        x, axis = Tensor(graph.reshape(x.name, [-1]), (None,), x.dtype), 0
    y = graph.apply("CumSum", x.name, np.array(axis_of(settings, axis, x.rank)), name=settings.name)
    return [Tensor(y, x.shape, x.dtype)]


def _top_k(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x, k = as_tensor(graph, settings, x), settings.get("k")
    if not is_whole(k):
        raise settings.refusal(f"k={k!r} is no number")
    settings.expect("sorted", True)
    values, places = graph.apply("TopK", x.name, np.array([k], np.int64), outputs=2, name=settings.name)
    shape = (*x.shape[:-1], k)
    return [Tensor(values, shape, x.dtype), Tensor(places, shape, WHOLE)]


OPERATIONS: dict[str, Operation] = {
    "All": _over(_truth("ReduceMin"), dtype=BOOL),
    "Any": _over(_truth("ReduceMax"), dtype=BOOL),
    "Argmax": _place("ArgMax"),
    "Argmin": _place("ArgMin"),
    "Cumsum": _cumulated,
    "Logsumexp": _over(_reduced("ReduceLogSumExp"), floats=True),
    **dict.fromkeys(("Max", "Amax"), _over(_reduced("ReduceMax"))),
    "Mean": _over(_reduced("ReduceMean"), floats=True),
    **dict.fromkeys(("Min", "Amin"), _over(_reduced("ReduceMin"))),
    "Prod": _over(_reduced("ReduceProd")),
    "Std": _over(_deviation, floats=True),
    "Sum": _over(_reduced("ReduceSum")),
    "TopK": _top_k,
    "Var": _over(_variance, floats=True),
}
