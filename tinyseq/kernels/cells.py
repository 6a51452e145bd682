"""The scalar recurrent cells: one unit of one row, after the matrix products.

Formulas as in the ONNX operator specification of RNN, LSTM and GRU, default activations.
"""

from __future__ import annotations

from tinyseq.kernels.instructions import HAS_LENGTHS
from tinyseq.kernels.intrinsics import compiled, fma, integers
from tinyseq.kernels.math import ONE, sigmoid, tanh


@compiled()
def rnn_cell(a):
    """h = tanh(a), a = x W + h' R + Wb + Rb."""
    return tanh(a)


@compiled()
def lstm_cell(i, o, f, g, c):
    """(h, c) from the four pre-activations: c = s(f) c' + s(i) tanh(g), h = s(o) tanh(c)."""
    c = fma(sigmoid(f), c, sigmoid(i) * tanh(g))
    return sigmoid(o) * tanh(c), c


@compiled()
def gru_cell(z, candidate, h):
    """h = (1 - z) n + z h' from the activated update gate and candidate."""
    return fma(z, h, (ONE - z) * candidate)


@compiled()
def valid_row(lengths, n, t, flags):
    """Whether row n runs for frame t."""
    return flags & HAS_LENGTHS == 0 or t < integers(lengths)[n]
