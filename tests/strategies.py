"""Random models for every op of the table, in the forms of several opsets, with inputs that fit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import Case, graph, model, one_node, recurrent, value

CASES: dict[str, st.SearchStrategy[Case]] = {}
"""By op: one-node models with inputs."""


def case_of(*ops: str):
    """Registers ``build(draw, op)`` as the maker of cases for these ops."""

    def register(build):
        strategy = st.composite(build)
        CASES.update({op: strategy(op) for op in ops})
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


@case_of("Identity", "Size")
def any_tensor(draw, op):
    dtype = draw(DTYPES)
    return one_node(op, [numbers(draw, draw(shapes()), dtype)], dtype=np.int64 if op == "Size" else dtype)


@case_of("Cast")
def cast(draw, op):
    dtype, to = draw(
        st.sampled_from(
            [(np.float32, np.float32), (np.int64, np.float32), (np.bool_, np.float32), (np.int32, np.int64)]
        )
    )
    to = np.dtype(to)
    x = numbers(draw, draw(shapes()), dtype)
    return one_node(op, [x], dtype=to, to=helper.np_dtype_to_tensor_dtype(to))


@case_of("Shape")
def shape(draw, op):
    bound = st.none() | st.integers(-6, 6)
    x = numbers(draw, draw(shapes()))
    return one_node(op, [x], dtype=np.int64, opset=15, start=draw(bound), end=draw(bound))


@case_of("ConstantOfShape")
def constant_of_shape(draw, op):
    fill = draw(st.sampled_from([None, np.array([2.5], np.float32), np.array([7], np.int64)]))
    attributes = {} if fill is None else {"value": helper.make_tensor("", *_tensor(fill))}
    dtype = np.float32 if fill is None else fill.dtype
    return one_node(op, [ints(draw(shapes()))], fed=draw(FED), dtype=dtype, **attributes)


def _tensor(array: np.ndarray):
    return helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array


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


def broadcastable(draw, shape) -> tuple[int, ...]:
    """A shape that broadcasts to the given one."""
    sizes = tuple(1 if draw(st.booleans()) else size for size in shape)
    return sizes[draw(st.integers(0, len(shape))) :]


@case_of("Expand")
def expand(draw, op):
    dtype = draw(DTYPES)
    shape = draw(shapes())
    inputs = [numbers(draw, broadcastable(draw, shape), dtype), ints(draw(st.just(shape)))]
    return one_node(op, inputs, fed=draw(FED), dtype=dtype)


@case_of("Pad")
def pad(draw, op):
    mode = draw(st.sampled_from(["constant", "reflect", "edge"]))
    x = numbers(draw, draw(shapes(1, 4, least=0 if mode == "constant" else 1)))
    form = draw(st.sampled_from([10, 11, 18]))
    axes = axes_in(draw, x.ndim, least=1) if form == 18 else list(range(x.ndim))
    least = {"constant": -1, "reflect": 0, "edge": 0}[mode]
    most = [x.shape[axis] - 1 if mode == "reflect" else 3 for axis in axes]
    width = [st.integers(least if x.shape[axis] > 1 else 0, max(0, top)) for axis, top in zip(axes, most)]
    pads = [draw(side) for side in width + width]
    if form == 10:
        return by_attribute(op, x, 10, np.float32, pads=pads, mode=mode, value=draw(st.none() | st.just(2.5)))
    fill = draw(st.sampled_from([None, np.float32(2.5)])) if mode == "constant" else None
    inputs = [x, ints(pads), fill, ints(axes) if form == 18 else None]
    while inputs[-1] is None:
        inputs.pop()
    return one_node(op, inputs, fed=draw(st.sampled_from([None, (0,)])) if fill is None else (0,), opset=form,
                    mode=mode)  # fmt: skip


@case_of("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Sqrt", "Reciprocal")
def unary(draw, op):
    x = numbers(draw, draw(shapes()))
    return one_node(op, [np.abs(x) if op == "Sqrt" else x])


@case_of("Not")
def logical_not(draw, op):
    return one_node(op, [numbers(draw, draw(shapes()), bool)], dtype=bool)


@case_of("Add", "Sub", "Mul", "Div", "Equal")
def binary(draw, op):
    dtype = draw(DTYPES) if op != "Equal" else np.int64
    shape = draw(shapes())
    a, b = (numbers(draw, broadcastable(draw, shape), dtype) for _ in range(2))
    return one_node(op, [a, b], fed=draw(FED), dtype=bool if op == "Equal" else dtype)


@case_of("Pow")
def power(draw, op):
    x = np.abs(numbers(draw, draw(shapes())))
    exponent = draw(st.sampled_from([np.float32(2), np.float32(0.5), np.int64(2), np.int64(1)]))
    return one_node(op, [x, np.full(draw(st.sampled_from([(), (1,)])), exponent)], fed=(0,))


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


@case_of("MatMul")
def matmul(draw, op):
    *rows, inner = draw(shapes(1, 4, most=6))
    b = numbers(draw, (inner, *draw(shapes(0, 1, most=40))))
    return one_node(op, [numbers(draw, (*rows, inner)), b], fed=(0,))


@case_of("Gemm")
def gemm(draw, op):
    rows, inner, columns = (draw(st.integers(least, 20)) for least in (0, 1, 1))
    flip_a, flip_b = draw(st.booleans()), draw(st.booleans())
    a = numbers(draw, (inner, rows) if flip_a else (rows, inner))
    b = numbers(draw, (columns, inner) if flip_b else (inner, columns))
    bias = draw(st.sampled_from([None, (), (1,), (columns,), (1, columns), (1, 1), (rows, columns)]))
    scale = st.sampled_from([None, 0.5, 2.0])
    return one_node(
        op, [a, b, *([] if bias is None else [numbers(draw, bias)])], fed=(0,),
        alpha=draw(scale), beta=draw(scale), transA=int(flip_a), transB=int(flip_b),
    )  # fmt: skip


@case_of("Conv")
def conv(draw, op):
    rank = draw(st.integers(1, 2))
    rows, channels, filters = draw(st.integers(0, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 20))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides, dilations = ([draw(st.integers(1, 3)) for _ in range(rank)] for _ in range(2))
    valid = draw(st.booleans())
    pads = None if valid else [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel)]
    inputs = [
        numbers(draw, (rows, channels, *(span + draw(st.integers(0, 5)) for span in spans))),
        numbers(draw, (filters, channels, *kernel)),
    ]
    if draw(st.booleans()):
        inputs.append(numbers(draw, (filters,)))
    return one_node(
        op, inputs, fed=(0,), strides=strides, dilations=dilations, pads=pads,
        auto_pad=draw(st.sampled_from(["VALID", "NOTSET"])) if valid else None,
        kernel_shape=draw(st.sampled_from([None, kernel])),
    )  # fmt: skip


@case_of("If")
def branches(draw, op):
    x = numbers(draw, draw(shapes()))
    condition = np.array(draw(st.booleans()))
    then, other = (
        graph([helper.make_node(function, ["x", *more], ["y"])], [], [value("y")])
        for function, more in (("Exp", []), ("Add", ["x"]))
    )
    sizes = [f"x_{axis}" for axis in range(x.ndim)]
    known = draw(st.booleans())
    return Case(
        model(
            [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
            [value("x", shape=sizes), *([] if known else [value("c", bool, [])])],
            [value("y")],
            {"c": condition} if known else {},
        ),
        {"x": x} if known else {"x": x, "c": condition},
    )


SIZES = st.integers(1, 40) | st.sampled_from([16, 64, 65, 100])
ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@st.composite
def layers(draw, op: str, least: int = 0) -> Case:
    """A recurrent layer; ``least`` is the smallest number of frames, of rows and of valid frames."""
    frames, rows = draw(st.integers(least, 12)), draw(st.integers(least, 5))
    names = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    kept = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    activations = ACTIVATIONS[op] * (2 if direction == "bidirectional" else 1)
    attributes = {"linear_before_reset": draw(st.sampled_from([None, 0, 1]))} if op == "GRU" else {}
    lengths = st.lists(st.integers(least, frames), min_size=rows, max_size=rows)
    hidden = draw(SIZES)
    return recurrent(
        op, frames, rows, draw(SIZES), hidden,
        bias=draw(st.booleans()),
        lengths=draw(st.none() | lengths),
        initial=draw(st.booleans()),
        fed=draw(st.sampled_from([(0,), (0, 4), (0, 5, 6), (0, 4, 5, 6)])),
        outputs=[name if name in kept else "" for name in names],
        direction=direction,
        seed=draw(st.integers(0, 99)),
        activations=draw(st.sampled_from([None, activations])),
        **attributes,
    )  # fmt: skip


LAYERS = ("RNN", "GRU", "LSTM")
CASES.update({op: layers(op) for op in LAYERS})


@st.composite
def chains(draw) -> Case:
    """A few nodes, each reading any earlier tensor, and several of their results as outputs."""
    x = numbers(draw, draw(shapes(3, 3, least=1, most=4)))
    constants: dict[str, np.ndarray] = {}
    nodes, tensors = [], {"x": x.shape}

    def constant(array) -> str:
        name = f"c{len(constants)}"
        constants[name] = np.asarray(array)
        return name

    for position in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(sorted(tensors)))
        shape = tensors[source]
        rank, size = len(shape), math.prod(shape)
        step = draw(st.sampled_from(sorted(STEPS)))
        if not STEPS[step](shape):
            continue
        axis = draw(st.integers(0, rank - 1))
        op, more, attributes = step, [], {}
        if step == "Transpose":
            perm = draw(st.permutations(range(rank)))
            attributes, shape = {"perm": perm}, [shape[a] for a in perm]
        elif step == "Reshape":
            shape = draw(st.sampled_from([(size,), (1, size), (size, 1, 1), shape[::-1]]))
            more = [constant(ints(shape))]
        elif step == "Slice":
            start, pace = draw(st.integers(0, shape[axis] - 1)), draw(st.sampled_from([1, 2, -1]))
            more = [constant(ints([v])) for v in (start, -99 if pace < 0 else 99, axis, pace)]
            count = len(range(shape[axis])[start::pace])
            shape = [count if a == axis else n for a, n in enumerate(shape)]
        elif step == "Unsqueeze":
            more, shape = [constant(ints([axis]))], [*shape[:axis], 1, *shape[axis:]]
        elif step == "Concat":
            more, attributes = [source], {"axis": axis}
            shape = [2 * n if a == axis else n for a, n in enumerate(shape)]
        elif step == "Pad":
            more = [constant(ints([1] * 2 * rank))]
            attributes, shape = {"mode": draw(st.sampled_from(["constant", "edge"]))}, [n + 2 for n in shape]
        elif step == "Gather":
            picks = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=3))
            more, attributes = [constant(ints(picks))], {"axis": axis}
            shape = [len(picks) if a == axis else n for a, n in enumerate(shape)]
        elif step == "Expand":
            shape = (2, *shape)
            more = [constant(ints(shape))]
        elif step == "MatMul":
            columns = draw(st.integers(1, 20))
            more, shape = [constant(numbers(draw, (shape[-1], columns)))], [*shape[:-1], columns]
        elif step == "Conv":
            filters = draw(st.integers(1, 5))
            more, shape = [constant(numbers(draw, (filters, shape[1], 1)))], [shape[0], filters, shape[2]]
        elif step == "ReduceMean":
            more, shape = [constant(ints([axis]))], [1 if a == axis else n for a, n in enumerate(shape)]
        elif step == "Add":
            alike = sorted(name for name, other in tensors.items() if tuple(other) == tuple(shape))
            more = [draw(st.sampled_from(alike))]
        if math.prod(shape) > 5000:
            continue
        name = f"t{position}"
        nodes.append(helper.make_node(op, [source, *more], [name], **attributes))
        tensors[name] = tuple(shape)
    results = draw(st.lists(st.sampled_from(sorted(tensors)), unique=True, min_size=1))
    outputs = [f"out_{name}" for name in results]
    nodes += [helper.make_node("Identity", [name], [out]) for name, out in zip(results, outputs)]
    return Case(
        model(nodes, [value("x", shape=["a", "b", "c"])], [value(out) for out in outputs], constants),
        {"x": x},
    )


def _always(shape) -> bool:
    return True


STEPS = {
    **dict.fromkeys(("Reshape", "Relu", "Tanh", "Sigmoid", "Neg", "Add", "Expand"), _always),
    **dict.fromkeys(
        ("Transpose", "Slice", "Unsqueeze", "Concat", "Pad", "Gather", "MatMul", "ReduceMean"),
        lambda shape: len(shape) > 0,
    ),
    "Conv": lambda shape: len(shape) == 3,
}
"""The ops of a chain and the shapes that each can follow."""
