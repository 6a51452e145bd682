"""Cases of ops that pick, put or repeat elements by index."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import one_node
from tests.strategies.drawing import DTYPES, FED, axis_in, case_of, ints, numbers, shapes


@case_of("Gather")
def gather(draw, op):
    dtype = draw(DTYPES)
    x = numbers(draw, draw(shapes(1, 3, least=1)), dtype)
    axis = axis_in(draw, x.ndim)
    size = x.shape[axis]
    wanted = draw(shapes(0, 2, most=4))
    count = math.prod(wanted)
    run = st.builds(lambda start, step: np.clip(start + step * np.arange(count), -size, size - 1),
                    st.integers(0, size - 1), st.integers(-2, 2))  # fmt: skip
    single = st.lists(st.integers(-size, size - 1), min_size=count, max_size=count)
    indices = ints(draw(single | run)).reshape(wanted)
    return one_node(op, [x, indices], fed=draw(st.sampled_from([None, (0,)])), dtype=dtype, axis=axis)


def indices_below(draw, size: int, shape) -> np.ndarray:
    """Indices, some counted from the end."""
    count = math.prod(shape)
    picks = draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
    return ints(picks).reshape(shape)


@case_of("Gather: computed")
def gather_computed(draw, op):
    x = numbers(draw, draw(shapes(1, 3, least=1)))
    axis = axis_in(draw, x.ndim)
    indices = indices_below(draw, x.shape[axis], draw(shapes(0, 2, most=4)))
    return one_node(
        op, [x, indices.astype(draw(st.sampled_from([np.int32, np.int64])))], fed=draw(FED), axis=axis
    )


@case_of("GatherElements")
def gather_elements(draw, op):
    dtype = draw(DTYPES)
    x = numbers(draw, draw(shapes(1, 3, least=1, most=4)), dtype)
    axis = axis_in(draw, x.ndim)
    wanted = list(x.shape)
    wanted[axis] = draw(st.integers(1, 4))
    indices = indices_below(draw, x.shape[axis], wanted)
    return one_node(op, [x, indices], fed=draw(FED), dtype=dtype, opset=13, axis=axis)


def places_in(draw, shape, batch: int = 0) -> np.ndarray:
    """Places behind the batch dimensions, one in each row of the last axis, none twice."""
    depth = draw(st.integers(1, len(shape) - batch))
    within = shape[batch : batch + depth]
    count = draw(st.integers(1, min(4, math.prod(within))))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    flat = [rng.permutation(math.prod(within))[:count] for _ in range(math.prod(shape[:batch]))]
    places = np.stack(np.unravel_index(np.array(flat), within), axis=-1)
    return places.reshape(*shape[:batch], count, depth).astype(np.int64)


@case_of("GatherND")
def gather_nd(draw, op):
    x = numbers(draw, draw(shapes(1, 4, least=1, most=3)))
    batch = draw(st.integers(0, x.ndim - 1))
    return one_node(op, [x, places_in(draw, x.shape, batch)], fed=draw(FED), opset=13, batch_dims=batch)


REDUCTION = st.sampled_from([None, "none", "add", "mul", "max", "min"])


SCATTERED = st.sampled_from([np.float32, np.float32, np.int64, np.int32])


@case_of("ScatterND")
def scatter_nd(draw, op):
    dtype = draw(SCATTERED)
    x = numbers(draw, draw(shapes(1, 4, least=1, most=3)), dtype)
    places = places_in(draw, x.shape)
    updates = numbers(draw, (*places.shape[:-1], *x.shape[places.shape[-1] :]), dtype)
    reduction = draw(REDUCTION)
    if reduction in ("add", "mul", "max", "min"):
        places, updates = np.repeat(places, 2, axis=0), np.repeat(updates, 2, axis=0)
    return one_node(op, [x, places, updates], fed=draw(FED), dtype=dtype, opset=18, reduction=reduction)


@case_of("ScatterElements")
def scatter_elements(draw, op):
    dtype = draw(SCATTERED)
    x = numbers(draw, draw(shapes(1, 3, least=1, most=3)), dtype)
    axis = axis_in(draw, x.ndim)
    order = np.argsort(numbers(draw, x.shape), axis=axis)
    order = order - draw(st.sampled_from([0, x.shape[axis]]))
    updates = numbers(draw, x.shape, dtype)
    form = draw(st.sampled_from([10, 11, 18]))
    return one_node(
        op, [x, order, updates], fed=draw(FED), dtype=dtype, opset=form, axis=axis,
        name="Scatter" if form == 10 else None, reduction=draw(REDUCTION) if form == 18 else None,
    )  # fmt: skip


@case_of("Range")
def range_(draw, op):
    dtype = draw(st.sampled_from([np.float32, np.int64, np.int32]))
    step = draw(st.sampled_from([-2, -1, 1, 3])) * (0.5 if dtype is np.float32 else 1)
    parts = [np.array(value, dtype) for value in (draw(st.integers(-9, 9)), draw(st.integers(-9, 9)), step)]
    return one_node(op, parts, fed=draw(st.sampled_from([None, ()])), dtype=dtype)


@case_of("Tile")
def tile(draw, op):
    dtype = draw(DTYPES)
    x = numbers(draw, draw(shapes(1, 3)), dtype)
    repeats = [draw(st.integers(0, 3)) for _ in x.shape]
    return one_node(op, [x, ints(repeats)], fed=draw(st.sampled_from([None, (0,)])), dtype=dtype)


@case_of("OneHot")
def one_hot(draw, op):
    indices = numbers(draw, draw(shapes(1, 3)), np.int64)
    values = numbers(draw, (2,))
    fed = draw(st.sampled_from([None, (0,)]))
    axis = draw(st.none() | st.just(axis_in(draw, indices.ndim + 1)))
    depth = np.array(draw(st.integers(1, 9)), draw(st.sampled_from([np.int64, np.float32])))
    return one_node(op, [indices, depth, values], fed=fed, opset=11, axis=axis)


@case_of("EyeLike")
def eye_like(draw, op):
    dtype = draw(st.sampled_from([None, np.float32, np.int64]))
    code = None if dtype is None else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = numbers(draw, draw(shapes(2, 2, least=1)))
    return one_node(op, [x], dtype=dtype or np.float32, dtype_=code, k=draw(st.integers(-3, 3)))


@case_of("NonZero")
def non_zero(draw, op):
    x = numbers(draw, draw(shapes(1, 3)), draw(st.sampled_from([np.int64, bool])))
    return one_node(op, [np.where(x > 2, 0, x).astype(x.dtype)], dtype=np.int64, opset=13)
