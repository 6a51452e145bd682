"""The reference: every op in NumPy float64, written from the ONNX specification.

It defines what each op means. It shares nothing with the planner and the kernels, is slow, and is a
backend of its own (``device="reference"``). Each function takes its op's inputs in order, None where
absent, and the attributes of the op's row as keywords; it gives one array or a tuple of them.

The same functions compute, in the arrays' own types, what is known before a model runs
(``passes.py``, ``plan``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinyseq.errors import ModelError, TinyseqError
from tinyseq.model import Graph, Model, Node

MOST_ELEMENTS = 2**31
"""A tensor above this size, asked for by a shape computation, is taken for damage."""

FUNCTIONS: dict[str, Callable] = {}


def _defines(name: str):
    def register(function):
        FUNCTIONS[name] = function
        return function

    return register


def _checked(shape) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in np.ravel(shape))
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape {list(sizes)} has a negative size")
    total = 1
    for size in sizes:
        total *= size
    if total > MOST_ELEMENTS:
        raise ValueError(f"shape {list(sizes)} asks for {total} elements")
    return sizes


def _tuple_of(axes):
    return None if axes is None else tuple(int(axis) for axis in np.ravel(axes))


@_defines("Identity")
def identity(x):
    return x


@_defines("Cast")
def cast(x, *, to, saturate, round_mode):
    return x.astype(to)


@_defines("Shape")
def shape(x, *, start, end):
    return np.array(x.shape[start:end], np.int64)


@_defines("Size")
def size(x):
    return np.array(x.size, np.int64)


@_defines("ConstantOfShape")
def constant_of_shape(shape, *, value):
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(_checked(shape), fill.reshape(()), fill.dtype)


@_defines("Gather")
def gather(x, indices, *, axis):
    if indices.size and not (-x.shape[axis] <= indices.min() and indices.max() < x.shape[axis]):
        raise ValueError(f"an index outside the {x.shape[axis]} elements of axis {axis}")
    return np.take(x, indices, axis=axis)


@_defines("Concat")
def concat(*tensors, axis):
    return np.concatenate(tensors, axis=axis)


@_defines("Split")
def split(x, split=None, *, axis, num_outputs):
    if split is None:
        part = -(-x.shape[axis] // num_outputs)
        cuts = [min(part * i, x.shape[axis]) for i in range(1, num_outputs)]
    else:
        cuts = np.cumsum(split)[:-1].tolist()
    return tuple(np.split(x, cuts, axis=axis))


@_defines("Slice")
def slice_(x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps):
        # A start before the first element is the first element; Python, going down, would begin before it.
        start = max(start, -x.shape[axis])
        # Beyond the start, going down, is "to the very first element", which Python spells None.
        first = None if step < 0 and end < -x.shape[axis] else end
        cuts[axis] = slice(start, first, step)
    return x[tuple(cuts)]


@_defines("Squeeze")
def squeeze(x, axes=None):
    return np.squeeze(x, _tuple_of(axes))


@_defines("Unsqueeze")
def unsqueeze(x, axes):
    return np.expand_dims(x, _tuple_of(axes))


@_defines("Reshape")
def reshape(x, shape, *, allowzero):
    sizes = [
        x.shape[axis] if size == 0 and not allowzero else size for axis, size in enumerate(shape.tolist())
    ]
    return x.reshape(sizes)


@_defines("Flatten")
def flatten(x, *, axis):
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@_defines("Transpose")
def transpose(x, *, perm):
    return np.transpose(x, perm)


@_defines("Expand")
def expand(x, shape):
    return x * np.ones(_checked(shape), x.dtype) if x.dtype != bool else x | np.zeros(_checked(shape), bool)


@_defines("Pad")
def pad(x, pads, value=None, axes=None, *, mode):
    axes = range(x.ndim) if axes is None else axes.tolist()
    widths = [[0, 0] for _ in range(x.ndim)]
    for position, axis in enumerate(axes):
        widths[axis] = [int(pads[position]), int(pads[position + len(axes)])]
    crop = tuple(slice(max(0, -a), size - max(0, -b)) for size, (a, b) in zip(x.shape, widths))
    widths = [[max(0, a), max(0, b)] for a, b in widths]
    if mode == "constant":
        return np.pad(x[crop], widths, constant_values=0 if value is None else value.reshape(()))
    return np.pad(x[crop], widths, mode=mode)


@_defines("Relu")
def relu(x):
    return np.maximum(x, 0)


@_defines("Sigmoid")
def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


@_defines("Tanh")
def tanh(x):
    return np.tanh(x)


@_defines("Exp")
def exp(x):
    with np.errstate(over="ignore"):
        return np.exp(x)


@_defines("Sqrt")
def sqrt(x):
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


@_defines("Neg")
def neg(x):
    return -x


@_defines("Abs")
def absolute(x):
    return np.abs(x)


@_defines("Reciprocal")
def reciprocal(x):
    with np.errstate(divide="ignore"):
        return 1 / x


@_defines("Not")
def logical_not(x):
    return ~x


@_defines("Add")
def add(a, b):
    return a + b


@_defines("Sub")
def sub(a, b):
    return a - b


@_defines("Mul")
def mul(a, b):
    return a * b


@_defines("Div")
def div(a, b):
    if np.issubdtype(a.dtype, np.integer):
        # Integer division truncates toward zero, where Python's floors.
        quotient = np.abs(a) // np.abs(b)
        return (quotient * np.sign(a) * np.sign(b)).astype(a.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        return a / b


@_defines("Pow")
def power(a, b):
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.power(a, b).astype(a.dtype)


@_defines("Equal")
def equal(a, b):
    return np.equal(a, b)


def _reduction(function):
    def reduce(x, axes=None, *, keepdims, noop_with_empty_axes):
        if axes is None or axes.size == 0:
            if noop_with_empty_axes:
                return x
            axes = None
        return function(x, axis=_tuple_of(axes), keepdims=bool(keepdims), dtype=x.dtype)

    return reduce


FUNCTIONS["ReduceMean"] = _reduction(np.mean)
FUNCTIONS["ReduceSum"] = _reduction(np.sum)


@_defines("MatMul")
def matmul(a, b):
    return np.matmul(a, b)


@_defines("Gemm")
def gemm(a, b, c=None, *, alpha, beta, transA, transB):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


@_defines("Conv")
def conv(x, w, b=None, *, auto_pad, dilations, group, kernel_shape, pads, strides):
    rank = x.ndim - 2
    strides = strides or [1] * rank
    dilations = dilations or [1] * rank
    pads = [0] * 2 * rank if pads is None or auto_pad == "VALID" else pads
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:])])
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, w.shape[2:])]
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, x.ndim)))
    steps = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, dilation) for dilation in dilations)
    windows = windows[(slice(None), slice(None), *steps, *taps)]
    windows = windows.reshape(x.shape[0], group, w.shape[1], *windows.shape[2:])
    kernels = w.reshape(group, w.shape[0] // group, *w.shape[1:])
    space = list(range(3, 3 + rank))
    inside = list(range(3 + rank, 3 + 2 * rank))
    y = np.einsum(windows, [0, 1, 2, *space, *inside], kernels, [1, 30, 2, *inside], [0, 1, 30, *space])
    y = y.reshape(y.shape[0], w.shape[0], *y.shape[3:])
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _sigmoid(x):
    return sigmoid(np.asarray(x))


def _run_direction(x, lengths, state, step):
    """Runs ``step`` over the frames of one direction; frames past a row's length leave it alone."""
    outputs = np.zeros((len(x), *state[0].shape), state[0].dtype)
    for t in range(len(x)):
        valid = (t < lengths)[:, None]
        following = step(x[t], *state)
        state = tuple(np.where(valid, new, old) for new, old in zip(following, state))
        outputs[t] = np.where(valid, state[0], 0)
    return outputs, state


def _reverse(x, lengths):
    """The valid frames of each row in reverse order, the rest in place."""
    y = x.copy()
    for n, length in enumerate(lengths):
        y[:length, n] = x[:length, n][::-1]
    return y


def _recurrent(x, w, r, b, lengths, initials, hidden, direction, gates, make_step):
    """All directions of a recurrent layer; ``make_step(w, r, wb, rb)`` gives one direction's cell."""
    frames, rows, _ = x.shape
    lengths = np.full(rows, frames) if lengths is None else lengths
    zero = np.zeros((len(w), rows, hidden), x.dtype)
    initials = [zero if initial is None else initial for initial in initials]
    b = np.zeros((len(w), 2 * gates * hidden), x.dtype) if b is None else b
    outputs, finals = [], []
    for d in range(len(w)):
        backward = direction == "reverse" or d == 1
        run = _reverse(x, lengths) if backward else x
        step = make_step(w[d], r[d], *np.split(b[d], 2))
        y, final = _run_direction(run, lengths, tuple(initial[d] for initial in initials), step)
        outputs.append(_reverse(y, lengths) if backward else y)
        finals.append(final)
    return np.stack(outputs, axis=1), *(np.stack(states) for states in zip(*finals))


@_defines("RNN")
def rnn(
    x, w, r, b=None, lengths=None, initial_h=None, *,
    hidden_size, direction, layout, clip, activation_alpha, activation_beta, activations,
):  # fmt: skip
    def make_step(w, r, wb, rb):
        return lambda x, h: (np.tanh(x @ w.T + h @ r.T + wb + rb),)

    return _recurrent(x, w, r, b, lengths, [initial_h], hidden_size, direction, 1, make_step)


@_defines("GRU")
def gru(
    x, w, r, b=None, lengths=None, initial_h=None, *,
    hidden_size, direction, layout, clip, activation_alpha, activation_beta, activations,
    linear_before_reset,
):  # fmt: skip
    def make_step(w, r, wb, rb):
        wz, wr, wh = np.split(w, 3)
        rz, rr, rh = np.split(r, 3)
        wbz, wbr, wbh = np.split(wb, 3)
        rbz, rbr, rbh = np.split(rb, 3)

        def step(x, h):
            z = _sigmoid(x @ wz.T + h @ rz.T + wbz + rbz)
            reset = _sigmoid(x @ wr.T + h @ rr.T + wbr + rbr)
            if linear_before_reset:
                candidate = np.tanh(x @ wh.T + reset * (h @ rh.T + rbh) + wbh)
            else:
                candidate = np.tanh(x @ wh.T + (reset * h) @ rh.T + rbh + wbh)
            return ((1 - z) * candidate + z * h,)

        return step

    return _recurrent(x, w, r, b, lengths, [initial_h], hidden_size, direction, 3, make_step)


@_defines("LSTM")
def lstm(
    x, w, r, b=None, lengths=None, initial_h=None, initial_c=None, *,
    hidden_size, direction, layout, clip, activation_alpha, activation_beta, activations,
    input_forget,
):  # fmt: skip
    def make_step(w, r, wb, rb):
        def step(x, h, c):
            i, o, f, g = np.split(x @ w.T + h @ r.T + wb + rb, 4, axis=-1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            return _sigmoid(o) * np.tanh(c), c

        return step

    return _recurrent(x, w, r, b, lengths, [initial_h, initial_c], hidden_size, direction, 4, make_step)


def apply(node: Node, inputs: list[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """One node's outputs.

    Raises:
        ModelError: the inputs do not fit the op; names the node.
    """
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    try:
        result = FUNCTIONS[node.op](*inputs, **node.attributes)
    except TinyseqError:
        raise
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise ModelError(f"{node} cannot be computed: {error}") from error
    results = tuple(map(np.asarray, result)) if isinstance(result, tuple) else (np.asarray(result),)
    if len(results) < len(node.outputs):
        raise ModelError(f"{node} cannot be computed: {len(results)} results for {len(node.outputs)} outputs")
    return results


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype in (np.float32, np.float16) else array


def _run_graph(graph: Graph, names: dict[str, np.ndarray]) -> list[np.ndarray]:
    names = names | {name: _widened(array) for name, array in graph.constants.items()}
    for node in graph.nodes:
        inputs = [names[name] if name else None for name in node.inputs]
        if node.op == "If":
            branch = "then_branch" if inputs[0].reshape(()) else "else_branch"
            results = _run_graph(node.attributes[branch], names)
        else:
            results = apply(node, inputs)
            if node.op == "Cast":
                results = tuple(map(_widened, results))
        names.update((name, array) for name, array in zip(node.outputs, results) if name)
    return [names[value.name] for value in graph.outputs]


def run(model: Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs of a model, floating-point ones in float64."""
    graph = model.graph
    results = _run_graph(graph, {name: _widened(array) for name, array in feeds.items()})
    return {value.name: array for value, array in zip(graph.outputs, results)}
