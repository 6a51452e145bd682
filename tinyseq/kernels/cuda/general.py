"""The recurrent layers with everything that ONNX allows; the twins of ``tinyseq.kernels.general``."""

from __future__ import annotations

from tinyseq.kernels.activations import ACTIVATIONS_IN_ORDER
from tinyseq.kernels.cells import valid_row
from tinyseq.kernels.cuda.launch import Launch
from tinyseq.kernels.cuda.layer import Layer
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.recurrent import keep_row
from tinyseq.kernels.cuda.steps import Cell, Product
from tinyseq.kernels.instructions import COUPLED, HAS_PEEPHOLES, QUANTIZED, RESET_AFTER
from tinyseq.kernels.intrinsics import floats
from tinyseq.kernels.math import ONE


def _chosen(functions, first=0):
    """One function that applies the one of a code."""
    own = functions[0]
    if len(functions) == 1:
        return lambda code, x, alpha, beta: own(x, alpha, beta)
    others = _chosen(functions[1:], first + 1)

    def choose(code, x, alpha, beta):
        return own(x, alpha, beta) if code == first else others(code, x, alpha, beta)

    return choose


_apply = _chosen(ACTIVATIONS_IN_ORDER)


def _activate(x, options, which):
    """The clipped number under activation ``which`` of the options."""
    option = floats(options)
    clip = option[0]
    x = clip if x > clip else x
    x = -clip if x < -clip else x
    first = 1 + 3 * which
    return _apply(int(option[first]), x, option[first + 1], option[first + 2])


def _finish_rnn(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    h = _activate(floats(gates)[n * gates_stride + j], options, 0)
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


def general_lstm(row, c, peepholes, j, units, options, flags):
    """(h, c) of unit j from its gates i o f g in a row, and its peepholes i o f."""
    i, o, f, g = row[j], row[units + j], row[2 * units + j], row[3 * units + j]
    weights = floats(peepholes)
    if flags & HAS_PEEPHOLES:
        i += weights[j] * c
        f += weights[2 * units + j] * c
    i = _activate(i, options, 0)
    f = ONE - i if flags & COUPLED else _activate(f, options, 0)
    c = f * c + i * _activate(g, options, 1)
    if flags & HAS_PEEPHOLES:
        o += weights[units + j] * c
    return _activate(o, options, 0) * _activate(c, options, 2), c


def _finish_lstm(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """``others`` is c, ``constants`` the peepholes."""
    c = floats(others + n * units * BYTES)
    h, new_c = general_lstm(
        floats(gates + n * gates_stride * BYTES), c[j], constants, j, units, options, flags
    )
    if valid_row(lengths, n, t, flags):
        c[j] = new_c
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


def _interpolated(z, candidate, h):
    return (ONE - z) * candidate + z * h


def _finish_gru_after(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """``sums`` has rows of units: h r_hidden + bias."""
    row = floats(gates + n * gates_stride * BYTES)
    z, reset = _activate(row[j], options, 0), _activate(row[units + j], options, 0)
    candidate = _activate(row[2 * units + j] + reset * floats(sums)[n * units + j], options, 1)
    h = _interpolated(z, candidate, floats(before)[n * before_stride + j])
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


def _reset_gru(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """Activates the update gate; ``target`` takes the reset state."""
    row = floats(gates + n * gates_stride * BYTES)
    row[j] = _activate(row[j], options, 0)
    reset = _activate(row[units + j], options, 0)
    floats(target)[n * target_stride + j] = reset * floats(before)[n * before_stride + j]


def _finish_gru_before(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    row = floats(gates + n * gates_stride * BYTES)
    candidate = _activate(row[2 * units + j], options, 1)
    h = _interpolated(row[j], candidate, floats(before)[n * before_stride + j])
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


RNN = Cell(1, 1, _finish_rnn)
LSTM = Cell(4, 4, _finish_lstm)
GRU_AFTER = Cell(3, 2, _finish_gru_after)
GRU_RESET = Cell(2, 2, _reset_gru)
GRU_BEFORE = Cell(1, 1, _finish_gru_before)


def rnn_general(
    xw: int, r: int, h: int, y: int, lengths: int, options: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    return layer.of_gates(RNN, xw, r, h, options=options)


def lstm_general(
    xw: int, r: int, peepholes: int, h: int, c: int, y: int, scratch: int, rounded: int, lengths: int,
    options: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    operands = {"others": c, "constants": peepholes, "options": options}
    if flags & QUANTIZED:
        return layer.of_bytes(LSTM, xw, r, h, rounded, **operands)
    return layer.of_gates(LSTM, xw, r, h, **operands)


def gru_general(
    xw: int, r: int, r_hidden: int, bias: int, h: int, y: int, scratch: int, lengths: int, options: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    if not flags & RESET_AFTER:
        return layer.of_reset_state((GRU_RESET, GRU_BEFORE), xw, (r, r_hidden), h, scratch, options)
    launches = []
    for turn in layer.turns(xw, 3, h):
        product = Product(r, 2 * hidden, turn.gates, 3 * hidden, turn.gates, 3 * hidden)
        last = Product(r_hidden, hidden, bias, 0, scratch, hidden)
        frame = layer.frame(turn, 3, sums=scratch, options=options)
        launches += layer.step(GRU_AFTER, turn.before, frame, product, last)
    return launches + layer.settled(xw, 3, h)
