"""Rows brought to a mean of 0 and a variance of 1."""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.instructions import BYTES
from tinyseq.kernels.llvm.intrinsics import compiled, floats, fma
from tinyseq.kernels.llvm.vectors import spread_about, total


@compiled()
def normalise(x, rows, stride, count, epsilon, scale, bias, y, statistics, centred):
    """x[rows, count], rows ``stride`` elements apart -> y[rows, count]: (x - mean) / sqrt(variance + epsilon)
    times ``scale``[count], plus ``bias``[count]; the mean is 0 unless ``centred``.

    ``statistics``[2, rows] get the means and what the differences from them were multiplied with. The sums
    are of float64, in the order of ``softmax``'s.
    """
    factors, shifts, least = floats(scale), floats(bias), np.float64(floats(epsilon)[0])
    means, shares = floats(statistics), floats(statistics + rows * BYTES)
    for row in range(rows):
        place = x + row * stride * BYTES
        source, target = floats(place), floats(y + row * count * BYTES)
        mean = total(place, count) / count if centred else 0.0
        middle = np.float32(mean)
        beyond = np.float32(mean - np.float64(middle))
        share = np.float32(1.0 / np.sqrt(spread_about(place, count, mean) / count + least))
        means[row], shares[row] = middle, share
        for i in range(count):
            target[i] = fma((source[i] - middle - beyond) * share, factors[i], shifts[i])
