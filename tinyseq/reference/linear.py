"""Matrix products."""

from __future__ import annotations

import numpy as np

from tinyseq.reference.common import defines


@defines("MatMul")
def matmul(a, b):
    return np.matmul(a, b)


@defines("Gemm")
def gemm(a, b, c=None, *, alpha, beta, transA, transB):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return (y if c is None else y + beta * c).astype(a.dtype)
