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


@defines("Einsum")
def einsum(*x, equation):
    return np.einsum(equation, *x)


@defines("FusedMatMul")
def fused_matmul(a, b, *, alpha, transA, transB, transBatchA, transBatchB):
    a = np.swapaxes(a, -1, -2) if transA and a.ndim > 1 else a
    b = np.swapaxes(b, -1, -2) if transB and b.ndim > 1 else b
    return (alpha * np.matmul(a, b)).astype(a.dtype)
