"""Cases of reductions and of what orders or accumulates."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.models import one_node
from tests.strategies.drawing import DTYPES, axes_in, axis_in, by_attribute, case_of, ints, numbers, shapes


@case_of("ReduceMean", "ReduceSum")
def reduce(draw, op):
    x = numbers(draw, draw(shapes(least=1)))
    keepdims = draw(st.sampled_from([None, 0, 1]))
    axes = draw(st.none() | st.just(axes_in(draw, x.ndim)))
    newest = 13 if op == "ReduceSum" else 18
    if draw(st.booleans()):
        return by_attribute(op, x, 11, np.float32, axes=axes or None, keepdims=keepdims)
    noop = draw(st.sampled_from([None, 0, 1]))
    inputs = [x] if axes is None else [x, ints(axes)]
    return one_node(op, inputs, fed=draw(st.sampled_from([None, (0,)])), opset=newest, keepdims=keepdims,
                    noop_with_empty_axes=noop)  # fmt: skip


REDUCTIONS = [
    f"Reduce{name}" for name in ("Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
]


@case_of(*REDUCTIONS, "ReduceSum: integers")
def more_reductions(draw, op):
    x = numbers(draw, draw(shapes(least=1)))
    dtype = np.float32
    if op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd") and draw(st.booleans()):
        x = numbers(draw, x.shape, np.int64)
        x = np.sign(x) if op == "ReduceProd" else x
        dtype = np.int64
    x = np.abs(x) if op == "ReduceLogSum" else x
    keepdims = draw(st.sampled_from([None, 0, 1]))
    axes = draw(st.none() | st.just(axes_in(draw, x.ndim)))
    if draw(st.booleans()):
        return by_attribute(op, x, 11, dtype, axes=axes or None, keepdims=keepdims)
    noop = draw(st.sampled_from([None, 0, 1]))
    return one_node(
        op, [x] if axes is None else [x, ints(axes)], fed=draw(st.sampled_from([None, (0,)])),
        opset=13 if op == "ReduceSum" else 18, dtype=dtype, keepdims=keepdims, noop_with_empty_axes=noop,
    )  # fmt: skip


@case_of("ArgMax", "ArgMin")
def arg(draw, op):
    dtype = draw(DTYPES)
    x = np.round(numbers(draw, draw(shapes(1, 4, least=1)), dtype))
    return one_node(
        op, [x], opset=13, dtype=np.int64, axis=draw(st.none() | st.just(axis_in(draw, x.ndim))),
        keepdims=draw(st.sampled_from([None, 0, 1])), select_last_index=draw(st.sampled_from([None, 0, 1])),
    )  # fmt: skip


@case_of("CumSum")
def cum_sum(draw, op):
    dtype = draw(DTYPES)
    x = numbers(draw, draw(shapes(1, 4)), dtype)
    flag = st.sampled_from([None, 0, 1])
    return one_node(
        op, [x, np.array(axis_in(draw, x.ndim))], fed=draw(st.sampled_from([None, (0,)])), opset=14,
        dtype=dtype, exclusive=draw(flag), reverse=draw(flag),
    )  # fmt: skip


@case_of("TopK")
def top_k(draw, op):
    x = numbers(draw, draw(shapes(1, 4, least=1)))
    x = np.round(x * 2) / 2
    form = draw(st.sampled_from([9, 10, 11]))
    dtype = draw(st.sampled_from([np.float32, np.int64])) if form == 11 else np.float32
    x = x.astype(dtype)
    axis = axis_in(draw, x.ndim)
    count = draw(st.integers(1, x.shape[axis]))
    settings = {"outputs": ["values", "indices"], "dtype": [dtype, np.int64], "axis": axis}
    if form == 9:
        return one_node(op, [x], opset=9, k=count, **settings)
    largest = draw(st.sampled_from([None, 0, 1])) if form == 11 else None
    fed = draw(st.sampled_from([None, (0,)]))
    return one_node(op, [x, ints([count])], fed=fed, opset=form, largest=largest, **settings)


def with_specials(draw, shape) -> np.ndarray:
    """Numbers, many of them alike, infinite or none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.choice(np.array([-np.inf, -1, 0, 1, np.inf, np.nan], np.float32), shape)


@case_of("TopK: special")
def top_k_of_specials(draw, op):
    x = with_specials(draw, draw(shapes(1, 3, least=1)))
    axis = axis_in(draw, x.ndim)
    return one_node(
        op, [x, ints([draw(st.integers(0, x.shape[axis]))])], opset=11, axis=axis,
        outputs=["values", "indices"], dtype=[np.float32, np.int64], largest=draw(st.sampled_from([0, 1])),
    )  # fmt: skip


@case_of("ArgMax: special", "ArgMin: special")
def arg_of_specials(draw, op):
    x = with_specials(draw, draw(shapes(1, 3, least=1)))
    last = draw(st.sampled_from([None, 0, 1]))
    return one_node(op, [x], opset=13, dtype=np.int64, axis=axis_in(draw, x.ndim), select_last_index=last)


@case_of("Softmax", "LogSoftmax", "Hardmax")
def softmax(draw, op):
    x = numbers(draw, draw(shapes(1, 4)))
    axis = draw(st.none() | st.just(axis_in(draw, x.ndim)))
    form = draw(st.sampled_from([11, 13]))
    return one_node(op, [x], opset=form, axis=0 if x.ndim == 1 and form == 11 else axis)
