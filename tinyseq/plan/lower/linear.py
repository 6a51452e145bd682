"""Lowerings of matrix products."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.plan import packing
from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import given, real
from tinyseq.plan.view import View, collapsed
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


def linear(p: Builder, x: View, w: View, n: int, bias: View | None) -> View:
    """x[..., k] times packed w[k, n] plus bias[n], dense."""
    k = x.shape[-1]
    y = p.allocate((*x.shape[:-1], n))
    if y.size:
        x, rows = row_strides(p, x)
        p.emit("linear", x, *rows, k, w, n, p.zeros(n) if bias is None else bias, y, n)
    return y


def packed_matrix(p: Builder, b: np.ndarray | View, layout: object, flip: bool = False) -> tuple[View, int]:
    """A factor [k, n] (or, to ``flip``, [n, k]) in panels, and n: packed now if known, else at run time."""
    if isinstance(b, np.ndarray):
        matrix = b.reshape(b.shape[-2:])
        matrix = matrix.T if flip else matrix
        return p.packed(b, (layout, flip), lambda: packing.panels(matrix)), matrix.shape[1]
    b = real(p, b)
    b = b.transposed((1, 0)) if flip else b
    k, n = b.shape
    w = p.allocate((packing.panels_size(k, n),))
    p.emit("pack", b, w, k, n, *b.strides)
    return w, n


def matmul(p: Builder, node: Node, inputs, shapes) -> View:
    a, b = real(p, inputs[0]), inputs[1]
    a = a.reshaped((1, *a.shape)) if len(a.shape) == 1 else a
    if b.ndim == 1 if isinstance(b, np.ndarray) else len(b.shape) == 1:
        b = b.reshape(-1, 1) if isinstance(b, np.ndarray) else b.reshaped((*b.shape, 1))
    if len(b.shape) == 2 or (isinstance(b, np.ndarray) and math.prod(b.shape[:-2]) == 1):
        w, n = packed_matrix(p, b, "matmul")
        return linear(p, a, w, n, None).reshaped(shapes[0])
    return _batched(p, a, real(p, b)).reshaped(shapes[0])


def _batched(p: Builder, a: View, b: View) -> View:
    """Products of matrices in the last two dimensions, the others broadcast."""
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = a.broadcast((*batch, *a.shape[-2:])), b.broadcast((*batch, *b.shape[-2:]))
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if all(size == 1 or stride == 0 for size, stride in zip(batch, b.strides)):
        w, _ = packed_matrix(p, b.matrix(), "matmul")
        return linear(p, a, w, n, None)
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
    w, n = packed_matrix(p, b, "gemm", bool(node.attributes["transB"]))
    y = shapes[0]
    if alpha == 1 and beta == 1 and isinstance(c, np.ndarray) and c.size == n and c.shape[-1] == n:
        return linear(p, a, w, n, p.constant(c))
    product = linear(p, a, w, n, None)
    if alpha != 1:
        product = apply(p, "multiply", product, p.scalar(alpha, y))
    if c is None:
        return product
    addend = real(p, c).broadcast(y)
    return apply(p, "fma", addend, p.scalar(beta, y), product)


LOWERINGS = {"MatMul": matmul, "Gemm": gemm}
