"""The recurrent layers with everything that the ONNX specification allows.

Any activations with alpha and beta, clipping, peepholes, coupled gates. The layers of ``recurrent.py``
are the same with the default activations built in; shared operands are described there.

``options`` points to float32: the clip threshold (infinity for none), then for each activation of the
direction its code in ``ACTIVATIONS``, alpha and beta.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.activations import ACTIVATIONS_IN_ORDER
from tinyseq.kernels.cells import valid_row
from tinyseq.kernels.instructions import COUPLED, HAS_PEEPHOLES, RESET_AFTER
from tinyseq.kernels.intrinsics import compiled, floats
from tinyseq.kernels.math import ONE
from tinyseq.kernels.product import BYTES, product
from tinyseq.kernels.recurrent import _emit, _frame, _recur
from tinyseq.kernels.switch import switch


def _row_of(activation):
    @compiled()
    def row(x, count, alpha, beta):
        values = floats(x)
        for j in range(count):
            values[j] = activation(values[j], alpha, beta)

    return row


_activate_row = switch(
    "activate",
    [_row_of(activation) for activation in ACTIVATIONS_IN_ORDER],
    ("x", "count", "alpha", "beta"),
)


@compiled()
def _activate(x, count, options, which):
    """Clips ``count`` values and applies activation ``which`` of the options to them."""
    option = floats(options)
    clip = option[0]
    values = floats(x)
    for j in range(count):
        value = values[j]
        value = clip if value > clip else value
        values[j] = -clip if value < -clip else value
    first = 1 + 3 * which
    _activate_row(np.int64(option[first]), x, count, option[first + 1], option[first + 2])


@compiled()
def rnn_general(xw, r, h, y, lengths, options, frames, rows, hidden, reverse, y_frame, y_row, flags):
    """xw[T,N,H] r[H,H] h[N,H] -> y, h; options of f."""
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * hidden * BYTES
        product(h, (1, 0, rows, hidden), hidden, r, hidden, gates, hidden, gates, hidden)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            h_row = h + n * hidden * BYTES
            if valid:
                a = gates + n * hidden * BYTES
                _activate(a, hidden, options, 0)
                _copy(a, h_row, hidden)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h_row, hidden, valid, flags)


@compiled()
def _copy(source, target, count):
    a = floats(source)
    b = floats(target)
    for j in range(count):
        b[j] = a[j]


@compiled()
def _add_product(a, b, c, count):
    """c += a * b."""
    left, right, target = floats(a), floats(b), floats(c)
    for j in range(count):
        target[j] += left[j] * right[j]


@compiled()
def _lstm_row(gates, peepholes, h, c, scratch, options, hidden, flags):
    """One row of one frame; gates i o f g, peepholes i o f."""
    size = hidden * BYTES
    i, o, f, g = gates, gates + size, gates + 2 * size, gates + 3 * size
    if flags & HAS_PEEPHOLES:
        _add_product(peepholes, c, i, hidden)
        _add_product(peepholes + 2 * size, c, f, hidden)
    _activate(i, hidden, options, 0)
    if flags & COUPLED:
        i_row, f_row = floats(i), floats(f)
        for j in range(hidden):
            f_row[j] = ONE - i_row[j]
    else:
        _activate(f, hidden, options, 0)
    _activate(g, hidden, options, 1)
    i_row, f_row, g_row, c_row = floats(i), floats(f), floats(g), floats(c)
    for j in range(hidden):
        c_row[j] = f_row[j] * c_row[j] + i_row[j] * g_row[j]
    if flags & HAS_PEEPHOLES:
        _add_product(peepholes + size, c, o, hidden)
    _activate(o, hidden, options, 0)
    _copy(c, scratch, hidden)
    _activate(scratch, hidden, options, 2)
    o_row, s_row, h_row = floats(o), floats(scratch), floats(h)
    for j in range(hidden):
        h_row[j] = o_row[j] * s_row[j]


@compiled()
def lstm_general(
    xw,
    r,
    peepholes,
    h,
    c,
    y,
    scratch,
    rounded,
    lengths,
    options,
    frames,
    rows,
    hidden,
    reverse,
    y_frame,
    y_row,
    flags,
):
    """xw[T,N,4H] r[H,4H] peepholes[3H] h[N,H] c[N,H] scratch[H] -> y, h, c; options of f g h."""
    width = 4 * hidden
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * width * BYTES
        _recur(h, rows, hidden, r, width, gates, rounded, lengths, t, flags)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            skip = n * hidden * BYTES
            if valid:
                row = gates + n * width * BYTES
                _lstm_row(row, peepholes, h + skip, c + skip, scratch, options, hidden, flags)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h + skip, hidden, valid, flags)


@compiled()
def _interpolate(z, candidate, h, hidden):
    """h = (1 - z) n + z h."""
    z_row, n_row, h_row = floats(z), floats(candidate), floats(h)
    for j in range(hidden):
        h_row[j] = (ONE - z_row[j]) * n_row[j] + z_row[j] * h_row[j]


@compiled()
def gru_general(
    xw,
    r,
    r_hidden,
    bias,
    h,
    y,
    scratch,
    lengths,
    options,
    frames,
    rows,
    hidden,
    reverse,
    y_frame,
    y_row,
    flags,
):
    """xw[T,N,3H] r[H,2H] r_hidden[H,H] bias[H] h[N,H] scratch[N,H] -> y, h; gates z r n; options of f g.

    With flag ``RESET_AFTER``, linear_before_reset = 1: scratch takes h r_hidden + bias, scaled by the
    reset gate; without it scratch takes the reset state.
    """
    width = 3 * hidden
    strides = (1, 0, rows, hidden)
    size = hidden * BYTES
    after = flags & RESET_AFTER != 0
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * width * BYTES
        candidates = gates + 2 * size
        product(h, strides, hidden, r, 2 * hidden, gates, width, gates, width)
        if after:
            product(h, strides, hidden, r_hidden, hidden, bias, 0, scratch, hidden)
        for n in range(rows):
            row = gates + n * width * BYTES
            _activate(row, hidden, options, 0)
            _activate(row + size, hidden, options, 0)
            if after:
                _add_product(row + size, scratch + n * size, row + 2 * size, hidden)
            else:
                reset, state, target = floats(row + size), floats(h + n * size), floats(scratch + n * size)
                for j in range(hidden):
                    target[j] = reset[j] * state[j]
        if not after:
            product(scratch, strides, hidden, r_hidden, hidden, candidates, width, candidates, width)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            row = gates + n * width * BYTES
            if valid:
                _activate(row + 2 * size, hidden, options, 1)
                _interpolate(row, row + 2 * size, h + n * size, hidden)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h + n * size, hidden, valid, flags)
