"""The LSTM whose hidden state is projected: h = projection (o * h_function(c)), of P numbers for H cells.

Shared operands are described in ``recurrent.py``; ``h`` and ``y`` have rows of P here. With flag
``GENERAL`` the cell is that of ``general.py``, else the default one.
"""

from __future__ import annotations

from tinyseq.kernels.cells import valid_row
from tinyseq.kernels.general import _copy
from tinyseq.kernels.general import _lstm_row as general_row
from tinyseq.kernels.instructions import GENERAL
from tinyseq.kernels.intrinsics import compiled
from tinyseq.kernels.product import BYTES, product
from tinyseq.kernels.recurrent import _emit, _frame
from tinyseq.kernels.recurrent import _lstm_row as plain_row


@compiled()
def _cells(gates, peepholes, c, unprojected, scratch, lengths, options, t, rows, hidden, flags):
    """The cells of one frame; rows past their length keep c."""
    for n in range(rows):
        if valid_row(lengths, n, t, flags):
            row = gates + n * 4 * hidden * BYTES
            skip = n * hidden * BYTES
            if flags & GENERAL:
                general_row(row, peepholes, unprojected + skip, c + skip, scratch, options, hidden, flags)
            else:
                plain_row(row, unprojected + skip, c + skip, hidden)


@compiled()
def lstm_projected(
    xw, r, projection, zeros, peepholes, h, c, y, unprojected, projected, scratch, lengths, options,
    frames, rows, hidden, reverse, y_frame, y_row, flags, units,
):  # fmt: skip
    """xw[T,N,4H] r[P,4H] projection[H,P] zeros[P] peepholes[3H] h[N,P] c[N,H] -> y, h, c.

    ``unprojected[N,H]``, ``projected[N,P]`` and ``scratch[H]`` are working memory.
    """
    width = 4 * hidden
    for step in range(frames):
        t = _frame(step, frames, reverse)
        gates = xw + t * rows * width * BYTES
        product(h, (1, 0, rows, units), units, r, width, gates, width, gates, width)
        _cells(gates, peepholes, c, unprojected, scratch, lengths, options, t, rows, hidden, flags)
        product(unprojected, (1, 0, rows, hidden), hidden, projection, units, zeros, 0, projected, units)
        for n in range(rows):
            valid = valid_row(lengths, n, t, flags)
            h_row = h + n * units * BYTES
            if valid:
                _copy(projected + n * units * BYTES, h_row, units)
            _emit(y + (t * y_frame + n * y_row) * BYTES, h_row, units, valid, flags)
