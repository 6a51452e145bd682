"""The recurrent layers over whole sequences: the time loop, its products and its cells.

Shared operands, all addresses of float32 unless said otherwise:

* ``xw[frames, rows, G * hidden]``: the input projection with the biases; overwritten;
* ``r``: packed recurrent weights [hidden, G * hidden], gates in ONNX order;
* ``h[rows, hidden]`` (``c`` alike): state, read as the initial and left as the final one;
* ``y``: output, frame t of row n at ``t * y_frame + n * y_row`` elements, if flag ``HAS_Y``;
* ``rounded``: with flag ``QUANTIZED`` scratch for h in bytes, ``r`` then being a block of bytes; see
  ``quantized.py``;
* ``lengths[rows]`` int64: valid frames of each row, if flag ``HAS_LENGTHS``; past them y is zero and
  the state keeps still.

``reverse`` runs the frames from last to first.
"""

from __future__ import annotations

from tinyseq.kernels.cells import gru_cell, lstm_cell, rnn_cell, valid_row
from tinyseq.kernels.instructions import HAS_Y, QUANTIZED
from tinyseq.kernels.intrinsics import compiled, floats
from tinyseq.kernels.math import ZERO, sigmoid, tanh
from tinyseq.kernels.product import BYTES, product
from tinyseq.kernels.quantized import dynamic_product


@compiled()
def _emit(y, h, hidden, valid, flags):
    """Writes one row of the output of one frame."""
    if flags & HAS_Y:
        target = floats(y)
        source = floats(h)
        for j in range(hidden):
            target[j] = source[j] if valid else ZERO


@compiled()
def _frame(step, frames, reverse):
    return frames - 1 - step if reverse else step


@compiled()
def _recur(h, rows, hidden, r, width, gates, rounded, lengths, t, flags):
    """gates[N, width] += h[N, H] r[H, width]."""
    if flags & QUANTIZED:
        dynamic_product(h, rows, 1, hidden, r, width, gates, width, gates, rounded, lengths, t, flags)
    else:
        product(h, (1, 0, rows, hidden), hidden, r, width, gates, width, gates, width)


@compiled()
def rnn(xw, r, h, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags):
    """xw[T,N,H] r[H,H] h[N,H] -> y, h."""
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * hidden * BYTES
        product(h, (1, 0, rows, hidden), hidden, r, hidden, gates, hidden, gates, hidden)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            h_row = h + n * hidden * BYTES
            if valid:
                a = floats(gates + n * hidden * BYTES)
                state = floats(h_row)
                for j in range(hidden):
                    state[j] = rnn_cell(a[j])
            _emit(y + (t * y_frame + n * y_row) * BYTES, h_row, hidden, valid, flags)


@compiled()
def _lstm_row(gates, h, c, hidden):
    i = floats(gates)
    o = floats(gates + hidden * BYTES)
    f = floats(gates + 2 * hidden * BYTES)
    g = floats(gates + 3 * hidden * BYTES)
    h_row = floats(h)
    c_row = floats(c)
    for j in range(hidden):
        h_row[j], c_row[j] = lstm_cell(i[j], o[j], f[j], g[j], c_row[j])


@compiled()
def lstm(xw, r, h, c, y, rounded, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags):
    """xw[T,N,4H] r[H,4H] h[N,H] c[N,H] -> y, h, c; gates i o f g."""
    width = 4 * hidden
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * width * BYTES
        _recur(h, rows, hidden, r, width, gates, rounded, lengths, t, flags)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            h_row = h + n * hidden * BYTES
            if valid:
                _lstm_row(gates + n * width * BYTES, h_row, c + n * hidden * BYTES, hidden)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h_row, hidden, valid, flags)


@compiled()
def _gru_after_row(gates, recurrent, h, hidden):
    z = floats(gates)
    r = floats(gates + hidden * BYTES)
    n = floats(gates + 2 * hidden * BYTES)
    rz = floats(recurrent)
    rr = floats(recurrent + hidden * BYTES)
    rn = floats(recurrent + 2 * hidden * BYTES)
    h_row = floats(h)
    for j in range(hidden):
        reset = sigmoid(r[j] + rr[j])
        candidate = tanh(n[j] + reset * rn[j])
        h_row[j] = gru_cell(sigmoid(z[j] + rz[j]), candidate, h_row[j])


@compiled()
def gru_reset_after(
    xw, r, bias, h, y, scratch, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags
):
    """xw[T,N,3H] r[H,3H] bias[3H] h[N,H] -> y, h; gates z r n, linear_before_reset = 1.

    ``scratch[N,3H]`` takes h r + bias.
    """
    width = 3 * hidden
    for step in range(frames):
        t = _frame(step, frames, reverse)
        product(h, (1, 0, rows, hidden), hidden, r, width, bias, 0, scratch, width)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            h_row = h + n * hidden * BYTES
            if valid:
                gates = xw + (t * rows + n) * width * BYTES
                _gru_after_row(gates, scratch + n * width * BYTES, h_row, hidden)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h_row, hidden, valid, flags)


@compiled()
def _reset_row(gates, h, reset, hidden):
    z = floats(gates)
    r = floats(gates + hidden * BYTES)
    source = floats(h)
    target = floats(reset)
    for j in range(hidden):
        z[j] = sigmoid(z[j])
        target[j] = sigmoid(r[j]) * source[j]


@compiled()
def _gru_before_row(gates, h, hidden):
    z = floats(gates)
    n = floats(gates + 2 * hidden * BYTES)
    h_row = floats(h)
    for j in range(hidden):
        h_row[j] = gru_cell(z[j], tanh(n[j]), h_row[j])


@compiled()
def gru_reset_before(
    xw,
    r_gates,
    r_hidden,
    h,
    y,
    scratch,
    lengths,
    frames,
    rows,
    hidden,
    reverse,
    y_frame,
    y_row,
    flags,
):
    """xw[T,N,3H] r_gates[H,2H] r_hidden[H,H] h[N,H] -> y, h; gates z r n, linear_before_reset = 0.

    ``scratch[N,H]`` takes the reset state.
    """
    width = 3 * hidden
    strides = (1, 0, rows, hidden)
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * width * BYTES
        product(h, strides, hidden, r_gates, 2 * hidden, gates, width, gates, width)
        for n in range(rows):
            skip = n * hidden * BYTES
            _reset_row(gates + n * width * BYTES, h + skip, scratch + skip, hidden)
        candidates = gates + 2 * hidden * BYTES
        product(scratch, strides, hidden, r_hidden, hidden, candidates, width, candidates, width)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            h_row = h + n * hidden * BYTES
            if valid:
                _gru_before_row(gates + n * width * BYTES, h_row, hidden)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h_row, hidden, valid, flags)
