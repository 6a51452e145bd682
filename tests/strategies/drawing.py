"""What the strategies share: the table of cases and how to draw tensors, shapes and axes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import Case, one_node

CASES: dict[str, st.SearchStrategy[Case]] = {}
"""By op, or by op and form (``"LSTM: any"``): one-node models with inputs."""


def op_of(form: str) -> str:
    """The op that a key of ``CASES`` is about."""
    return form.partition(":")[0]


def case_of(*forms: str):
    """Registers ``build(draw, op)`` as the maker of cases for these ops, or forms of ops."""

    def register(build):
        strategy = st.composite(build)
        CASES.update({form: strategy(op_of(form)) for form in forms})
        return build

    return register


def shapes(least_rank: int = 0, most_rank: int = 4, least: int = 0, most: int = 5):
    return st.lists(st.integers(least, most), min_size=least_rank, max_size=most_rank).map(tuple)


def numbers(draw, shape, dtype=np.float32) -> np.ndarray:
    """Random elements; integers are small and none is zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if np.dtype(dtype).kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    return (rng.integers(1, 9, shape) * rng.choice([-1, 1], shape)).astype(dtype)


DTYPES = st.sampled_from([np.float32, np.float32, np.int64, np.int32])


FED = st.sampled_from([None, (0,), (1,)])


def axis_in(draw, rank: int) -> int:
    return draw(st.integers(-rank, rank - 1))


def axes_in(draw, rank: int, least: int = 0) -> list[int]:
    """Different axes in any order, counted from either end."""
    axes = draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=least)) if rank else []
    return [axis - rank if draw(st.booleans()) else axis for axis in axes]


def ints(values) -> np.ndarray:
    return np.array(values, np.int64)


def by_attribute(op: str, x: np.ndarray, opset: int, dtype, **attributes) -> Case:
    """The older form, in which what is an input now was an attribute."""
    return one_node(op, [x], opset=opset, dtype=dtype, **attributes)


def broadcastable(draw, shape) -> tuple[int, ...]:
    """A shape that broadcasts to the given one."""
    sizes = tuple(1 if draw(st.booleans()) else size for size in shape)
    return sizes[draw(st.integers(0, len(shape))) :]


def tensor(array: np.ndarray):
    return helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array
