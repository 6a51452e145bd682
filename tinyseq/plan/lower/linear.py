"""Lowerings of matrix products."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.kernels.formats import AS_THEY_ARE, FLOAT32, WeightFormat
from tinyseq.kernels.instructions import BYTES, HAS_LENGTHS
from tinyseq.plan import packing
from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import given, real
from tinyseq.plan.view import Factor, View, collapsed
from tinyseq.shapes import broadcast_shapes

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


def _row_blocks(x: View) -> list[tuple[int, int]]:
    """The leading dimensions of [..., k] merged into as few (count, stride) as describe them."""
    blocks: list[tuple[int, int]] = []
    for size, stride in zip(x.shape[:-1], x.strides[:-1], strict=True):
        if size == 1:
            continue
        if blocks and blocks[-1][1] == size * stride:
            blocks[-1] = (blocks[-1][0] * size, stride)
        else:
            blocks.append((size, stride))
    return blocks


def row_strides(p: Builder, x: View) -> tuple[View, tuple[int, ...]]:
    """x[..., k] and (outer, outer stride, inner, inner stride) of its rows; copied only if it must be."""
    blocks = _row_blocks(x)
    if len(blocks) > 2 or (x.shape[-1] > 1 and x.strides[-1] != 1):
        x = p.copy(x, p.allocate(x.shape, dtype=x.dtype, narrow=x.narrow))
        blocks = _row_blocks(x)
    outer, inner = [(1, 0)] * (2 - len(blocks)) + blocks
    return x, (*outer, *inner)


def linear(p: Builder, x: View, w: Factor, bias: View | None, lengths: View | None = None) -> View:
    """x[..., k] times w[k, n] plus bias[n], dense.

    With ``lengths`` x is [frames, rows, k], and what y is past the longest of them is not said.
    """
    k, n = x.shape[-1], w.n
    y = p.allocate((*x.shape[:-1], n))
    if y.size:
        if w.of.activations is not AS_THEY_ARE:
            x = p.dense(x)
        x, rows = row_strides(p, x)
        if lengths is not None:
            rows = x.shape[0], x.shape[1] * k, x.shape[1], k
        bias, flags = p.zeros(n) if bias is None else bias, 0 if lengths is None else HAS_LENGTHS
        rounded = scratch_of(p, w.of, math.prod(x.shape[:-1]), k, n)
        p.emit("linear", x, *rows, k, w.view, n, bias, y, n, rounded, lengths, flags, w.of.code)
    return y


def scratch_of(p: Builder, of: WeightFormat, rows: int, k: int, n: int) -> View | None:
    """What a product of so many rows with a factor [k, n] of a format works in."""
    if of.activations is AS_THEY_ARE:
        return None
    return p.allocate((-(-of.activations.scratch(rows, k, n) // BYTES),))


def packed_matrix(p: Builder, b: np.ndarray | View, layout: object, flip: bool = False) -> Factor:
    """A factor [k, n] (or, to ``flip``, [n, k]): packed now if known, else at run time."""
    if isinstance(b, np.ndarray):
        matrix = b.reshape(b.shape[-2:])
        matrix = matrix.T if flip else matrix
        return p.factor(b, (layout, flip), matrix.shape[1], lambda: matrix)
    b = real(p, b)
    b = b.transposed((1, 0)) if flip else b
    k, n = b.shape
    w = p.allocate((packing.panels_size(k, n),))
    p.emit("pack", b, w, k, n, *b.strides)
    return Factor(w, n, FLOAT32)


def matmul(p: Builder, node: Node, inputs, shapes) -> View:
    a, b = real(p, inputs[0]), inputs[1]
    a = a.reshaped((1, *a.shape)) if len(a.shape) == 1 else a
    if b.ndim == 1 if isinstance(b, np.ndarray) else len(b.shape) == 1:
        b = b.reshape(-1, 1) if isinstance(b, np.ndarray) else b.reshaped((*b.shape, 1))
    if len(b.shape) == 2 or (isinstance(b, np.ndarray) and math.prod(b.shape[:-2]) == 1):
        return linear(p, a, packed_matrix(p, b, "matmul"), None).reshaped(shapes[0])
    return _batched(p, a, real(p, b)).reshaped(shapes[0])


def _batched(p: Builder, a: View, b: View) -> View:
    """Products of matrices in the last two dimensions, the others broadcast."""
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = a.broadcast((*batch, *a.shape[-2:])), b.broadcast((*batch, *b.shape[-2:]))
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if all(size == 1 or stride == 0 for size, stride in zip(batch, b.strides)):
        return linear(p, a, packed_matrix(p, b.matrix(), "matmul"), None)
    y = p.allocate((*batch, m, n))
    if y.size:
        a = a if k == 1 or a.strides[-1] == 1 else p.fresh(a)
        sizes, *steps, _ = collapsed(batch, a.strides[:-2], b.strides[:-2], y.strides[:-2])
        packed, strides = p.allocate((packing.panels_size(k, n),)), (a.strides[-2], *b.strides[-2:])
        dims = [*sizes, *steps[0], *steps[1]]
        p.emit("products", a, b, y, packed, p.zeros(n), m, k, n, *strides, len(sizes), dims)
    return y


def gemm(p: Builder, node: Node, inputs, shapes) -> View:
    a, b, c = real(p, inputs[0]), inputs[1], given(inputs, 2)
    a = a.transposed((1, 0)) if node.attributes["transA"] else a
    alpha, beta = node.attributes["alpha"], node.attributes["beta"]
    w, y = packed_matrix(p, b, "gemm", bool(node.attributes["transB"])), shapes[0]
    if alpha == 1 and beta == 1 and isinstance(c, np.ndarray) and c.size == w.n and c.shape[-1] == w.n:
        return linear(p, a, w, p.constant(c))
    product = linear(p, a, w, None)
    if alpha != 1:
        product = apply(p, "multiply", product, p.scalar(alpha, y))
    if c is None:
        return product
    addend = real(p, c).broadcast(y)
    return apply(p, "fma", addend, p.scalar(beta, y), product)


LOWERINGS = {"MatMul": matmul, "Gemm": gemm}
