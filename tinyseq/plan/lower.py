"""The lowerings: from one node to views and instructions.

``lowering(builder, node, inputs, shapes)`` takes Views and known arrays (None where absent) and the
output shapes by the op's rule; it gives one View or several.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.kernels.instructions import HAS_LENGTHS, HAS_Y
from tinyseq.plan import packing
from tinyseq.plan.view import FLOAT, Shape, View, dense_strides
from tinyseq.shapes import (
    Mismatch,
    axes_of,
    axis_of,
    conv_geometry,
    pad_widths,
    reduce_axes,
    slice_bounds,
    split_sizes,
)

if TYPE_CHECKING:
    from tinyseq.model import Node
    from tinyseq.plan.builder import Builder


def _float(view: View) -> View:
    if view.dtype != FLOAT:
        raise UnsupportedError(f"computing with {view.dtype} tensors is not supported; float32 is")
    return view


def identity(p: Builder, node: Node, inputs, shapes) -> View:
    return inputs[0]


def cast(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    if np.dtype(node.attributes["to"]) != x.dtype:
        raise UnsupportedError(f"a cast from {x.dtype} to {np.dtype(node.attributes['to'])} at run time")
    return x


def gather(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    axis = axis_of(node.attributes["axis"], len(x.shape))
    size = x.shape[axis]
    picks = inputs[1].ravel().tolist()
    if picks and not (-size <= min(picks) and max(picks) < size):
        raise Mismatch(f"an index outside the {size} elements of axis {axis}")
    picks = [pick % size for pick in picks]
    first, second = (*picks[:2], 0, 0)[:2]
    step = second - first if len(picks) > 1 else 1
    if all(pick == first + step * i for i, pick in enumerate(picks)):
        return _reshaped(p, _along(x, axis, first, len(picks), step), shapes[0])
    parts = [_along(x, axis, pick, 1) for pick in picks]
    return _reshaped(p, _joined(p, parts, axis), shapes[0])


def _along(x: View, axis: int, start: int, count: int, step: int = 1) -> View:
    return x.sliced([(start, step, count) if a == axis else (0, 1, n) for a, n in enumerate(x.shape)])


def _joined(p: Builder, parts: list[View], axis: int) -> View:
    """The parts side by side in a new tensor."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    y = p.allocate(tuple(shape))
    start = 0
    for part in parts:
        p.copy(part, _along(y, axis, start, part.shape[axis]))
        start += part.shape[axis]
    return y


def concat(p: Builder, node: Node, inputs, shapes) -> View:
    parts = [_float(p.view(part)) for part in inputs]
    return _joined(p, parts, axis_of(node.attributes["axis"], len(shapes[0])))


def split(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x = inputs[0]
    axis = axis_of(node.attributes["axis"], len(x.shape))
    values = [None, inputs[1] if len(inputs) > 1 else None]
    parts, start = [], 0
    for size in split_sizes(node.attributes, [x.shape], values):
        parts.append(_along(x, axis, start, size))
        start += size
    return parts


def slice_(p: Builder, node: Node, inputs, shapes) -> View:
    return inputs[0].sliced(slice_bounds(inputs[0].shape, inputs))


def reshape(p: Builder, node: Node, inputs, shapes) -> View:
    return _reshaped(p, inputs[0], shapes[0])


def _reshaped(p: Builder, x: View, shape: Shape) -> View:
    view = x.reshaped(shape)
    return p.dense(x).reshaped(shape) if view is None else view


def squeeze(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    axes = inputs[1] if len(inputs) > 1 else None
    gone = range(len(x.shape)) if axes is None else axes_of(axes, len(x.shape))
    gone = {axis for axis in gone if x.shape[axis] == 1}
    return x.laid(shapes[0], tuple([stride for axis, stride in enumerate(x.strides) if axis not in gone]))


def unsqueeze(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    added = axes_of(inputs[1], len(shapes[0]))
    rest = iter(x.strides)
    return x.laid(shapes[0], tuple([0 if axis in added else next(rest) for axis in range(len(shapes[0]))]))


def shape_of(p: Builder, node: Node, inputs, shapes) -> np.ndarray:
    return np.array(inputs[0].shape[node.attributes["start"] : node.attributes["end"]], np.int64)


def size_of(p: Builder, node: Node, inputs, shapes) -> np.ndarray:
    return np.array(inputs[0].size, np.int64)


def transpose(p: Builder, node: Node, inputs, shapes) -> View:
    rank = len(inputs[0].shape)
    order = node.attributes["perm"]
    return inputs[0].transposed(range(rank)[::-1] if order is None else order)


def expand(p: Builder, node: Node, inputs, shapes) -> View:
    return inputs[0].broadcast(shapes[0])


def pad(p: Builder, node: Node, inputs, shapes) -> View:
    x = _float(inputs[0])
    widths = pad_widths(x.shape, inputs)
    value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.float32(0)
    return _padded(p, x, widths, shapes[0], node.attributes["mode"], float(np.reshape(value, ())))


def _padded(p: Builder, x: View, widths, shape: Shape, mode: str, value: float = 0.0) -> View:
    """A copy of x in the middle of a new tensor, then its border, axis by axis.

    A border is a copy too: of the inside walked backwards (reflect) or of one slice repeated (edge).
    """
    x = x.sliced(
        [(max(0, -a), 1, max(0, size + min(0, a) + min(0, b))) for size, (a, b) in zip(x.shape, widths)]
    )
    widths = [(max(0, a), max(0, b)) for a, b in widths]
    y = p.allocate(shape)
    if mode == "constant" and any(a or b for a, b in widths):
        p.fill(y, value)
    inside = [(a, 1, size) for (a, _), size in zip(widths, x.shape)]
    p.copy(x, y.sliced(inside))
    if mode == "constant":
        return y
    for axis, ((before, after), size) in enumerate(zip(widths, x.shape)):
        for width, start, source in ((before, 0, before), (after, before + size, before + size - 1)):
            if not width:
                continue
            target = y.sliced([*inside[:axis], (start, 1, width), *inside[axis + 1 :]])
            if mode == "edge":
                run = (source, 0, width)
            else:
                run = (2 * before, -1, width) if start == 0 else (source - 1, -1, width)
            p.copy(y.sliced([*inside[:axis], run, *inside[axis + 1 :]]), target)
        inside[axis] = (0, 1, shape[axis])
    return y


def _like(p: Builder, x: View) -> View:
    """A new tensor of x's shape whose elements lie in the order of x's, so that walking is linear."""
    if x.dense:
        return p.allocate(x.shape)
    order = sorted(range(len(x.shape)), key=lambda axis: -abs(x.strides[axis]))
    strides = [0] * len(x.shape)
    step = 1
    for axis in reversed(order):
        strides[axis] = step
        step *= max(x.shape[axis], 1)
    return p.allocate(x.shape, tuple(strides))


def _unary(function: str):
    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        x = _float(inputs[0])
        return p.elementwise(function, _like(p, x), x)

    return lower


def _binary(function: str):
    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        a, b = (_float(p.view(value)).broadcast(shapes[0]) for value in inputs)
        pattern = a if a.size and 0 not in a.strides else b
        return p.elementwise(function, _like(p, pattern), a, b)

    return lower


POWERS = {2: "square", 1: "copy", 0.5: "sqrt", -1: "reciprocal"}
"""Exponents that a scalar function computes."""


def power(p: Builder, node: Node, inputs, shapes) -> View:
    x = _float(p.view(inputs[0])).broadcast(shapes[0])
    exponents = set(np.ravel(inputs[1]).tolist())
    if len(exponents) != 1 or not exponents <= POWERS.keys():
        raise UnsupportedError(
            f"a power of {sorted(exponents)[:4]}; tinyseq takes one of {', '.join(map(str, POWERS))}"
        )
    return p.elementwise(POWERS[exponents.pop()], _like(p, x), x)


def _reduce(mean: bool):
    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        x = _float(inputs[0])
        axes = reduce_axes(node.attributes, [x.shape], [None, inputs[1] if len(inputs) > 1 else None])
        count = math.prod([x.shape[axis] for axis in axes])
        if count == 1:
            return x.reshaped(shapes[0])
        order = [axis for axis in range(len(x.shape)) if axis not in axes] + sorted(axes)
        kept = tuple(x.shape[axis] for axis in order[: len(order) - len(axes)])
        y = p.fill(p.allocate(kept))
        x = x.transposed(order)
        folded = y.laid(x.shape, y.strides + (0,) * len(axes))
        p.elementwise("add", folded, folded, x)
        if mean:
            divisor = p.constant(np.array(count, np.float32)).broadcast(kept)
            p.elementwise("divide", y, y, divisor)
        return y.reshaped(shapes[0])

    return lower


def _row_blocks(x: View) -> list[tuple[int, int]]:
    """The leading dimensions of [..., k] merged into as few (count, stride) as describe them."""
    blocks: list[tuple[int, int]] = []
    for size, stride in zip(x.shape[:-1], x.strides[:-1], strict=True):
        if size == 1:
            continue
        if blocks and blocks[-1][1] == size * stride:
            blocks[-1] = (blocks[-1][0] * size, stride)
        else:
            blocks.append((size, stride))
    return blocks


def _linear(p: Builder, x: View, w: View, n: int, bias: View | None) -> View:
    """x[..., k] times packed w[k, n] plus bias[n], dense."""
    k = x.shape[-1]
    y = p.allocate((*x.shape[:-1], n))
    if y.size:
        blocks = _row_blocks(x)
        if len(blocks) > 2 or (k > 1 and x.strides[-1] != 1):
            x = p.copy(x, p.allocate(x.shape))
            blocks = _row_blocks(x)
        (outer, outer_stride), (inner, inner_stride) = [(1, 0)] * (2 - len(blocks)) + blocks
        bias = p.zeros(n) if bias is None else bias
        p.emit("linear", x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, n)
    return y


def matmul(p: Builder, node: Node, inputs, shapes) -> View:
    a, b = _float(inputs[0]), inputs[1]
    if b.ndim > 2:
        raise UnsupportedError(
            f"a constant factor of shape {list(b.shape)}; tinyseq takes a matrix or a vector"
        )
    matrix = b.reshape(len(b), *(b.shape[1:] or (1,)))
    w = p.packed(b, "matmul", lambda: packing.panels(matrix))
    return _linear(p, a, w, matrix.shape[1], None).reshaped(shapes[0])


def gemm(p: Builder, node: Node, inputs, shapes) -> View:
    a, b = _float(inputs[0]), inputs[1]
    c = inputs[2] if len(inputs) > 2 else None
    if node.attributes["transA"]:
        a = a.transposed((1, 0))
    alpha, beta, flip = (node.attributes[name] for name in ("alpha", "beta", "transB"))
    n = shapes[0][1]
    w = p.packed(b, ("gemm", alpha, flip), lambda: packing.panels(np.float32(alpha) * (b.T if flip else b)))
    if c is None:
        return _linear(p, a, w, n, None)
    if c.size in (1, n) and c.shape[-1:] in ((), (1,), (n,)):
        row = p.packed(
            c, ("gemm", beta, n), lambda: packing.segment(np.broadcast_to(np.float32(beta) * c.ravel(), n))
        )
        return _linear(p, a, w, n, row)
    y = _linear(p, a, w, n, None)
    scaled = p.constant((np.float32(beta) * c).astype(np.float32)).broadcast(shapes[0])
    return p.elementwise("add", y, y, scaled)


def _used_taps(size: int, out: int, taps: int, stride: int, dilation: int, before: int) -> tuple[int, int]:
    """The first and one past the last tap of a kernel that meet anything but padding, along one axis."""
    first, last = 0, taps - 1
    while first < last and not _meets(size, out, stride, first * dilation - before):
        first += 1
    while last > first and not _meets(size, out, stride, last * dilation - before):
        last -= 1
    return first, last + 1


def _meets(size: int, out: int, stride: int, start: int) -> bool:
    """Whether any of ``out`` positions, ``stride`` apart from ``start`` on, lies in 0 ... size - 1."""
    skipped = -(start // stride) if start < 0 else 0
    return skipped < out and start + skipped * stride < size


def conv(p: Builder, node: Node, inputs, shapes) -> View:
    """A convolution as one product over windows.

    The input is put channels-last, so that with dilation 1 along the last axis a window's row of
    taps is one contiguous run; the output comes out channels-last and is viewed as ONNX wants it.
    Taps that meet only padding are left out, with their weights.
    """
    x, w = _float(inputs[0]), inputs[1]
    b = inputs[2] if len(inputs) > 2 else None
    sizes, strides, dilations, before, _ = conv_geometry(node.attributes, x.shape, w.shape)
    rank = len(sizes)
    out = shapes[0][2:]
    used = [_used_taps(*axis) for axis in zip(x.shape[2:], out, sizes, strides, dilations, before)]
    sizes = [stop - start for start, stop in used]
    x = x.transposed((0, *range(2, rank + 2), 1))
    widths = [(0, 0)]
    for axis, (size, step, dilation, (start, _)) in enumerate(zip(sizes, strides, dilations, used)):
        pad = before[axis] - start * dilation
        reach = (out[axis] - 1) * step + (size - 1) * dilation + 1
        widths.append((pad, reach - x.shape[axis + 1] - pad))
    widths.append((0, 0))
    if any(a > 0 or b > 0 for a, b in widths):
        x = _padded(p, x, widths, tuple([n + a + b for n, (a, b) in zip(x.shape, widths)]), "constant")
    else:
        x = x.sliced([(-a, 1, n + a + b) for n, (a, b) in zip(x.shape, widths)])
        if x.shape[-1] > 1 and x.strides[-1] != 1:
            x = p.dense(x)
    rows, *space, channel = x.strides
    steps = [a * b for a, b in zip(space, strides)]
    leaps = [a * b for a, b in zip(space, dilations)]
    windows = x.laid((x.shape[0], *out, *sizes, x.shape[-1]), (rows, *steps, *leaps, channel))
    taps = math.prod(sizes) * w.shape[1]
    flat = _reshaped_tail(p, windows, rank + 1, taps)

    def pack() -> np.ndarray:
        kept = w[(slice(None), slice(None), *[slice(*run) for run in used])]
        matrix = kept.transpose((*range(2, rank + 2), 1, 0))
        return packing.panels(matrix.reshape(taps, -1))

    packed = p.packed(w, ("conv", *used), pack)
    y = _linear(p, flat, packed, w.shape[0], None if b is None else p.constant(b))
    return y.transposed((0, rank + 1, *range(1, rank + 1)))


def _reshaped_tail(p: Builder, x: View, head: int, tail: int) -> View:
    """The dimensions from ``head`` on as one of ``tail`` elements, copying only if it must."""
    shape = (*x.shape[:head], tail)
    if x.size == 0:
        return x.laid(shape, dense_strides(shape))
    inner = x.laid(x.shape[head:], x.strides[head:]).reshaped((tail,))
    if inner is None or (tail > 1 and inner.strides[0] != 1):
        x = p.copy(x, p.allocate(x.shape))
        return x.reshaped(shape)
    return x.laid(shape, (*x.strides[:head], 1))


def _projection(p: Builder, x: View, w, bias: View, d: int, gates: int, hidden: int) -> View:
    """x[T,N,I] times w[d] of [D,G*H,I]: what the time loop starts from."""
    packed = p.packed(w, ("input", d), lambda: packing.panels(w[d].T))
    return _linear(p, x, packed, gates * hidden, bias)


def _bias(p: Builder, b, d: int, gates: int, hidden: int, parts) -> View:
    """``parts(wb, rb)`` of a direction's biases [G, H] each; zeros where there are none."""
    if b is None:
        return p.zeros(gates * hidden)

    def make() -> np.ndarray:
        wb, rb = b[d].reshape(2, gates, hidden)
        return packing.segment(np.ravel(parts(wb, rb)))

    return p.packed(b, ("bias", d, parts.__name__), make)


def _summed(wb, rb):
    return wb + rb


def _input_gru(wb, rb):
    """Biases of the input side when the reset gate scales h R + Rb."""
    return np.stack([wb[0] + rb[0], wb[1] + rb[1], wb[2]])


def _recurrent_gru(wb, rb):
    return np.stack([np.zeros_like(rb[0]), np.zeros_like(rb[1]), rb[2]])


def _initial(p: Builder, value, d: int, rows: int, hidden: int) -> View:
    """A working copy of one direction's initial state, [N, H]."""
    state = p.allocate((rows, hidden))
    if value is None or (isinstance(value, np.ndarray) and not value.any()):
        return p.fill(state)
    return p.copy(
        _float(p.view(value)).sliced([(d, 1, 1), (0, 1, rows), (0, 1, hidden)]).reshaped((rows, hidden)),
        state,
    )


def _directions(node: Node) -> list[int]:
    """For each direction whether it runs backward."""
    return {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[node.attributes["direction"]]


def _recurrent(p: Builder, node: Node, inputs, shapes, states: int, layer) -> list[View]:
    """All directions of a layer; ``layer(d, xshape..)`` emits one and the outputs are put together."""
    frames, directions, rows, hidden = shapes[0]
    outputs = (*node.outputs, "", "", "")[: 1 + states]
    y = p.allocate((frames, rows, directions, hidden)) if outputs[0] else None
    lengths = inputs[4] if len(inputs) > 4 else None
    if isinstance(lengths, np.ndarray):
        raw = packing.segment(lengths.astype(np.int32))
        lengths = View(p.segment(raw), lengths.shape, (1,), 0, np.dtype(np.int32))
    if lengths is not None and lengths.dtype != np.int32:
        raise UnsupportedError(f"lengths of {lengths.dtype}; they are int32")
    flags = (HAS_Y if y is not None else 0) | (HAS_LENGTHS if lengths is not None else 0)
    finals: list[list[View]] = []
    for d, backward in enumerate(_directions(node)):
        initials = [
            _initial(p, inputs[5 + s] if len(inputs) > 5 + s else None, d, rows, hidden)
            for s in range(states)
        ]
        target = None if y is None else y.laid(y.shape, y.strides, d * hidden)
        sizes = (frames, rows, hidden, backward, rows * directions * hidden, directions * hidden, flags)
        if rows:
            layer(d, initials, target, lengths, sizes)
        finals.append(initials)
    results = [None if y is None else y.transposed((0, 2, 1, 3))]
    for s in range(states):
        parts = [final[s].reshaped((1, rows, hidden)) for final in finals]
        results.append(parts[0] if len(parts) == 1 else _joined(p, parts, 0) if outputs[1 + s] else parts[0])
    return results


def _recurrent_weights(p: Builder, r, d: int, part: slice = slice(None)) -> View:
    layout = ("recurrent", d, part.start, part.stop)
    return p.packed(r, layout, lambda: packing.panels(r[d][part].T))


def rnn(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x, w, r, b = (*inputs[:4], None)[:4]
    x = _float(x)
    hidden = node.attributes["hidden_size"]

    def layer(d, initials, y, lengths, sizes):
        xw = _projection(p, x, w, _bias(p, b, d, 1, hidden, _summed), d, 1, hidden)
        p.emit("rnn", xw, _recurrent_weights(p, r, d), initials[0], y, lengths, *sizes)

    return _recurrent(p, node, inputs, shapes, 1, layer)


def lstm(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x, w, r, b = (*inputs[:4], None)[:4]
    x = _float(x)
    hidden = node.attributes["hidden_size"]

    def layer(d, initials, y, lengths, sizes):
        xw = _projection(p, x, w, _bias(p, b, d, 4, hidden, _summed), d, 4, hidden)
        p.emit("lstm", xw, _recurrent_weights(p, r, d), *initials, y, lengths, *sizes)

    return _recurrent(p, node, inputs, shapes, 2, layer)


def gru(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x, w, r, b = (*inputs[:4], None)[:4]
    x = _float(x)
    hidden = node.attributes["hidden_size"]
    rows = x.shape[1]

    def reset_after(d, initials, y, lengths, sizes):
        xw = _projection(p, x, w, _bias(p, b, d, 3, hidden, _input_gru), d, 3, hidden)
        bias = _bias(p, b, d, 3, hidden, _recurrent_gru)
        scratch = p.allocate((rows, 3 * hidden))
        r_all = _recurrent_weights(p, r, d)
        p.emit("gru_reset_after", xw, r_all, bias, initials[0], y, scratch, lengths, *sizes)

    def reset_before(d, initials, y, lengths, sizes):
        xw = _projection(p, x, w, _bias(p, b, d, 3, hidden, _summed), d, 3, hidden)
        gates = _recurrent_weights(p, r, d, slice(0, 2 * hidden))
        candidate = _recurrent_weights(p, r, d, slice(2 * hidden, 3 * hidden))
        scratch = p.allocate((rows, hidden))
        p.emit("gru_reset_before", xw, gates, candidate, initials[0], y, scratch, lengths, *sizes)

    layer = reset_after if node.attributes["linear_before_reset"] else reset_before
    return _recurrent(p, node, inputs, shapes, 1, layer)


LOWERINGS = {
    "Identity": identity,
    "Cast": cast,
    "Gather": gather,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Shape": shape_of,
    "Size": size_of,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Reshape": reshape,
    "Flatten": reshape,
    "Transpose": transpose,
    "Expand": expand,
    "Pad": pad,
    "Relu": _unary("relu"),
    "Sigmoid": _unary("sigmoid"),
    "Tanh": _unary("tanh"),
    "Exp": _unary("exp"),
    "Sqrt": _unary("sqrt"),
    "Neg": _unary("negate"),
    "Abs": _unary("absolute"),
    "Reciprocal": _unary("reciprocal"),
    "Add": _binary("add"),
    "Sub": _binary("subtract"),
    "Mul": _binary("multiply"),
    "Div": _binary("divide"),
    "Pow": power,
    "ReduceMean": _reduce(mean=True),
    "ReduceSum": _reduce(mean=False),
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    "RNN": rnn,
    "LSTM": lstm,
    "GRU": gru,
}
"""By op. If and what ``!`` inputs alone decide are done while planning."""
