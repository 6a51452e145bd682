"""The LSTM whose hidden state is projected; the twin of ``tinyseq.kernels.projected``.

Two launches for each frame: the cells leave their numbers in ``unprojected``, the projection makes h.
"""

from __future__ import annotations

from tinyseq.kernels.cells import lstm_cell, valid_row
from tinyseq.kernels.cuda.general import general_lstm
from tinyseq.kernels.cuda.launch import Launch
from tinyseq.kernels.cuda.layer import Layer
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.recurrent import keep_row
from tinyseq.kernels.cuda.steps import Cell, Product, step
from tinyseq.kernels.instructions import GENERAL
from tinyseq.kernels.intrinsics import floats


def _leave_plain(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """``others`` is c."""
    row = floats(gates + n * gates_stride * BYTES)
    c = floats(others + n * units * BYTES)
    h, new_c = lstm_cell(row[j], row[units + j], row[2 * units + j], row[3 * units + j], c[j])
    if valid_row(lengths, n, t, flags):
        c[j] = new_c
    floats(target)[n * target_stride + j] = h


def _leave_general(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    """``others`` is c, ``constants`` the peepholes."""
    row = floats(gates + n * gates_stride * BYTES)
    c = floats(others + n * units * BYTES)
    h, new_c = general_lstm(row, c[j], constants, j, units, options, flags)
    if valid_row(lengths, n, t, flags):
        c[j] = new_c
    floats(target)[n * target_stride + j] = h


def _project(
    n, j, units, gates, gates_stride, sums, before, before_stride, target, target_stride,
    others, constants, options, lengths, t, y, y_row, flags,
):  # fmt: skip
    h = floats(sums)[n * units + j]
    keep_row(n, j, h, before, before_stride, target, target_stride, lengths, t, y, y_row, flags)


PLAIN, ANY = Cell(4, 4, _leave_plain), Cell(4, 4, _leave_general)
PROJECTION = Cell(1, 1, _project)


def lstm_projected(
    xw: int, r: int, projection: int, zeros: int, peepholes: int, h: int, c: int, y: int,
    unprojected: int, projected: int, scratch: int, lengths: int, options: int,
    frames: int, rows: int, hidden: int, reverse: int, y_frame: int, y_row: int, flags: int, units: int,
) -> list[Launch]:  # fmt: skip
    layer = Layer(frames, rows, hidden, reverse, y, y_frame, y_row, lengths, flags)
    cell, width, state, between = (
        ANY if flags & GENERAL else PLAIN,
        4 * hidden,
        (h, units),
        (unprojected, hidden),
    )
    launches = []
    for turn in layer.turns_in_place(xw, 4, state):
        product = Product(r, width, turn.gates, width, turn.gates, width)
        frame = layer.frame(turn._replace(target=between), 4, others=c, constants=peepholes, options=options)
        launches += step(cell, state, units, rows, hidden, frame, product)
        product = Product(projection, units, zeros, 0, projected, units)
        frame = layer.frame(turn, 4, sums=projected)
        launches += step(PROJECTION, between, hidden, rows, units, frame, product)
    return launches
