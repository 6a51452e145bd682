"""Cases of ops that move elements."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import one_node
from tests.strategies.drawing import (
    DTYPES,
    FED,
    axes_in,
    axis_in,
    broadcastable,
    by_attribute,
    case_of,
    ints,
    numbers,
    shapes,
    tensor,
)


@case_of("Shape")
def shape(draw, op):
    bound = st.none() | st.integers(-6, 6)
    x = numbers(draw, draw(shapes()))
    return one_node(op, [x], dtype=np.int64, opset=15, start=draw(bound), end=draw(bound))


@case_of("ConstantOfShape")
def constant_of_shape(draw, op):
    fill = draw(st.sampled_from([None, np.array([2.5], np.float32), np.array([7], np.int64)]))
    attributes = {} if fill is None else {"value": helper.make_tensor("", *tensor(fill))}
    dtype = np.float32 if fill is None else fill.dtype
    return one_node(op, [ints(draw(shapes()))], fed=draw(FED), dtype=dtype, **attributes)


@case_of("Concat")
def concat(draw, op):
    dtype = draw(DTYPES)
    first = draw(shapes(1, 4))
    axis = axis_in(draw, len(first))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        sizes = list(first)
        sizes[axis] = draw(st.integers(0, 4))
        parts.append(numbers(draw, sizes, dtype))
    return one_node(op, parts, fed=draw(FED), dtype=dtype, axis=axis)


@case_of("Split")
def split(draw, op):
    dtype = draw(DTYPES)
    form = draw(st.sampled_from(["attribute", "input", "equal", "count"]))
    rest = draw(shapes(1, 3))
    axis = axis_in(draw, len(rest))
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    if form in ("equal", "count"):
        sizes = [sizes[0]] * len(sizes)
        if form == "count" and sizes[0] and draw(st.booleans()):
            sizes[-1] = draw(st.integers(1, sizes[0]))
    shape = list(rest)
    shape[axis] = sum(sizes)
    x = numbers(draw, shape, dtype)
    settings = {"outputs": len(sizes), "dtype": dtype, "axis": axis}
    if form == "attribute":
        return by_attribute(op, x, 11, split=sizes, **settings)
    if form == "input":
        return one_node(op, [x, ints(sizes)], fed=draw(FED), opset=13, **settings)
    if form == "equal":
        return one_node(op, [x], opset=draw(st.sampled_from([11, 13])), **settings)
    return one_node(op, [x], opset=18, num_outputs=len(sizes), **settings)


@case_of("Slice")
def slice_(draw, op):
    dtype = draw(DTYPES)
    x = numbers(draw, draw(shapes(1, 4)), dtype)
    axes = draw(st.none() | st.just(axes_in(draw, x.ndim, least=1)))
    count = draw(st.integers(1, x.ndim)) if axes is None else len(axes)
    older = draw(st.booleans())
    steps = None
    if not older:
        steps = draw(st.none() | st.lists(st.sampled_from([1, 2, 3, -1, -2]), min_size=count, max_size=count))
    near, first, last = st.integers(-7, 7), [-(2**31), -(2**63)], [2**31 - 1, 2**63 - 1]
    starts = [draw(near | st.sampled_from(first + last)) for _ in range(count)]
    # Going down, onnxruntime, unlike the specification, takes the largest numbers for "to the first element".
    ends = [
        draw(near | st.sampled_from(first if step < 0 else first + last)) for step in steps or [1] * count
    ]
    if older:
        return by_attribute(op, x, 9, dtype, starts=starts, ends=ends, axes=axes)
    inputs = [None if v is None else ints(v) for v in (starts, ends, axes, steps)]
    while inputs[-1] is None:
        inputs.pop()
    return one_node(op, [x, *inputs], fed=draw(st.sampled_from([None, (0,)])), opset=13, dtype=dtype)


@case_of("Squeeze", "Unsqueeze")
def squeeze(draw, op):
    dtype = draw(DTYPES)
    rest = draw(shapes(0, 3))
    rank = len(rest) + draw(st.integers(1, 2))
    positions = draw(st.permutations(range(rank)))[: rank - len(rest)]
    axes = [axis - rank if draw(st.booleans()) else axis for axis in positions]
    if op == "Squeeze":
        x = np.expand_dims(numbers(draw, rest, dtype), tuple(axes))
        if draw(st.booleans()):
            return one_node(op, [x], opset=draw(st.sampled_from([11, 13])), dtype=dtype)
    else:
        x = numbers(draw, rest, dtype)
    if draw(st.booleans()):
        return by_attribute(op, x, 11, dtype, axes=axes)
    return one_node(op, [x, ints(axes)], fed=draw(FED), opset=13, dtype=dtype)


@case_of("Reshape")
def reshape(draw, op):
    dtype = draw(DTYPES)
    sizes = draw(shapes())
    wanted = list(draw(st.permutations(sizes)))
    allowzero = draw(st.sampled_from([None, 0, 1])) if 0 not in sizes else 1
    if not allowzero:
        wanted = [0 if size == old and draw(st.booleans()) else size for size, old in zip(wanted, sizes)]
    if wanted and 0 not in sizes and draw(st.booleans()):
        wanted[draw(st.integers(0, len(wanted) - 1))] = -1
    inputs = [numbers(draw, sizes, dtype), ints(wanted)]
    return one_node(op, inputs, fed=draw(FED), opset=14, dtype=dtype, allowzero=allowzero)


@case_of("Flatten")
def flatten(draw, op):
    x = numbers(draw, draw(shapes(1)))
    return one_node(op, [x], axis=draw(st.none() | st.integers(-x.ndim, x.ndim)))


@case_of("Transpose")
def transpose(draw, op):
    dtype = draw(DTYPES)
    x = numbers(draw, draw(shapes()), dtype)
    perm = draw(st.none() | st.permutations(range(x.ndim))) if x.ndim else None
    return one_node(op, [x], dtype=dtype, perm=perm)


@case_of("Expand")
def expand(draw, op):
    dtype = draw(DTYPES)
    shape = draw(shapes())
    inputs = [numbers(draw, broadcastable(draw, shape), dtype), ints(draw(st.just(shape)))]
    return one_node(op, inputs, fed=draw(FED), dtype=dtype)


@case_of("Pad")
def pad(draw, op):
    form = draw(st.sampled_from([10, 11, 19]))
    mode = draw(st.sampled_from(["constant", "reflect", "edge", *(["wrap"] if form == 19 else [])]))
    dtype = draw(st.sampled_from([np.float32, np.float32, np.int64])) if form == 19 else np.float32
    x = numbers(draw, draw(shapes(1, 4, least=0 if mode == "constant" else 1)), dtype)
    axes = axes_in(draw, x.ndim, least=1) if form == 19 else list(range(x.ndim))
    least = -1 if mode == "constant" else 0
    # Of more than the inside, onnxruntime wraps something else.
    most = [{"reflect": x.shape[axis] - 1, "wrap": x.shape[axis]}.get(mode, 3) for axis in axes]
    width = [st.integers(least if x.shape[axis] > 1 else 0, max(0, top)) for axis, top in zip(axes, most)]
    pads = [draw(side) for side in width + width]
    if form == 10:
        return by_attribute(op, x, 10, np.float32, pads=pads, mode=mode, value=draw(st.none() | st.just(2.5)))
    fill = draw(st.sampled_from([None, np.array(2.5, dtype)])) if mode == "constant" else None
    inputs = [x, ints(pads), fill, ints(axes) if form == 19 else None]
    while inputs[-1] is None:
        inputs.pop()
    return one_node(op, inputs, fed=draw(st.sampled_from([None, (0,)])), dtype=dtype, opset=form, mode=mode)


@case_of("ReverseSequence")
def reverse_sequence(draw, op):
    x = numbers(draw, draw(shapes(2, 4, least=1)))
    batch = draw(st.sampled_from([None, 0, 1]))
    rows = x.shape[1 if batch is None else batch]
    frames = x.shape[1 - (1 if batch is None else batch)]
    lengths = ints(draw(st.lists(st.integers(1, frames), min_size=rows, max_size=rows)))
    time = None if batch is None else 1 - batch
    return one_node(op, [x, lengths], fed=draw(FED), batch_axis=batch, time_axis=time)


@case_of("Trilu")
def trilu(draw, op):
    x = numbers(draw, draw(shapes(2, 4, least=1)))
    diagonal = [np.array(draw(st.integers(-4, 4)))] if draw(st.booleans()) else []
    return one_node(op, [x, *diagonal], fed=(0,), upper=draw(st.sampled_from([None, 0, 1])))


@case_of("SpaceToDepth: any")
def space_to_depth(draw, op):
    return blocks(draw, op, "any")


@case_of("DepthToSpace", "SpaceToDepth")
def blocks(draw, op, form=None):
    rows, channels, height, width = draw(shapes(4, 4, least=1, most=3))
    block = draw(st.integers(1, 3))
    if op == "SpaceToDepth":
        x = numbers(draw, (rows, channels, height * block, width * block))
        mode = draw(st.sampled_from(["DCR", "CRD"])) if form else None
        return one_node(op, [x], blocksize=block, opset=28 if form else 13, mode=mode)
    x = numbers(draw, (rows, channels * block**2, height, width))
    return one_node(op, [x], opset=13, blocksize=block, mode=draw(st.sampled_from([None, "DCR", "CRD"])))
