"""The recurrent layers over whole sequences; the twins of ``tinyseq.kernels.recurrent``.

Where the recurrent weights fit the device's registers a layer is one launch; see ``forms.py``. Elsewhere
each frame is a launch or a few; see ``layer.py``.
"""

from __future__ import annotations

from tinyseq.kernels.cells import gru_cell, lstm_cell, rnn_cell, valid_row
from tinyseq.kernels.cuda import forms, persistent
from tinyseq.kernels.cuda.launch import Facts, Launch
from tinyseq.kernels.cuda.layer import Layer
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.steps import Cell, Product
from tinyseq.kernels.instructions import HAS_Y, QUANTIZED
from tinyseq.kernels.intrinsics import floats
from tinyseq.kernels.math import ZERO, sigmoid, tanh


def keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags):
    """Makes ``h`` the state of unit j of row n and its output, if the row runs for frame t."""
    valid = valid_row(lengths, n, t, flags)
    floats(target)[n * target_stride + j] = h if valid else floats(before)[n * before_stride + j]
    if flags & HAS_Y:
        floats(y)[n * y_row + j] = h if valid else ZERO


def _finish_rnn(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    h = rnn_cell(floats(gates)[n * gates_stride + j])
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


def _finish_lstm(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """``others`` is c."""
    row = floats(gates + n * gates_stride * BYTES)
    c = floats(others + n * units * BYTES)
    h, new_c = lstm_cell(row[j], row[units + j], row[2 * units + j], row[3 * units + j], c[j])
    if valid_row(lengths, n, t, flags):
        c[j] = new_c
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


def _finish_gru_after(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """``sums`` has rows as ``gates``: h r + bias."""
    row = floats(gates + n * gates_stride * BYTES)
    recurrent = floats(sums + n * gates_stride * BYTES)
    z = sigmoid(row[j] + recurrent[j])
    reset = sigmoid(row[units + j] + recurrent[units + j])
    candidate = tanh(row[2 * units + j] + reset * recurrent[2 * units + j])
    h = gru_cell(z, candidate, floats(before)[n * before_stride + j])
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


def _reset_gru(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """Activates the update gate; ``target`` takes the reset state."""
    row = floats(gates + n * gates_stride * BYTES)
    row[j] = sigmoid(row[j])
    reset = sigmoid(row[units + j])
    floats(target)[n * target_stride + j] = reset * floats(before)[n * before_stride + j]


def _finish_gru_before(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    row = floats(gates + n * gates_stride * BYTES)
    h = gru_cell(row[j], tanh(row[2 * units + j]), floats(before)[n * before_stride + j])
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


RNN = Cell(1, 1, _finish_rnn)
LSTM = Cell(4, 4, _finish_lstm)
GRU_AFTER = Cell(3, 3, _finish_gru_after)
GRU_RESET = Cell(2, 2, _reset_gru)
GRU_BEFORE = Cell(1, 1, _finish_gru_before)


def rnn(
    xw: int, r: int, h: int, y: int, lengths: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    launches = forms.sequence(persistent.RNN, layer, facts, xw, r, 0, h, 0)
    return layer.of_gates(RNN, xw, r, h) if launches is None else launches


def lstm(
    xw: int, r: int, h: int, c: int, y: int, rounded: int, lengths: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    if flags & QUANTIZED:
        return layer.of_bytes(LSTM, xw, r, h, rounded, others=c)
    launches = forms.sequence(persistent.LSTM, layer, facts, xw, r, 0, h, c)
    return layer.of_gates(LSTM, xw, r, h, others=c) if launches is None else launches


def gru_reset_after(
    xw: int, r: int, bias: int, h: int, y: int, scratch: int, lengths: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    launches = forms.sequence(persistent.GRU_AFTER, layer, facts, xw, r, bias, h, 0)
    if launches is not None:
        return launches
    product = Product(r, 3 * hidden, bias, 0, scratch, 3 * hidden)
    launches = []
    for turn in layer.turns(xw, 3, h):
        launches += layer.step(GRU_AFTER, turn.before, layer.frame(turn, 3, sums=scratch), product)
    return launches + layer.settled(xw, 3, h)


def gru_reset_before(
    xw: int, r_gates: int, r_hidden: int, h: int, y: int, scratch: int, lengths: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    launches = forms.reset_sequence(layer, facts, xw, r_gates, r_hidden, h)
    if launches is not None:
        return launches
    return layer.of_reset_state((GRU_RESET, GRU_BEFORE), xw, (r_gates, r_hidden), h, scratch)
