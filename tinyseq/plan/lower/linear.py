"""Lowerings of matrix products."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.ir.weights import Constant
from tinyseq.kernels.formats import AS_THEY_ARE, FLOAT32, ROUNDED_TOGETHER, WeightFormat
from tinyseq.kernels.instructions import BYTES, HAS_LENGTHS
from tinyseq.plan import packing
from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import given, real, reshaped
from tinyseq.plan.lower.reduction import folded
from tinyseq.plan.view import Factor, View, collapsed
from tinyseq.shapes import broadcast_shapes
from tinyseq.shapes.einsum import equation

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
        if w.of.activations is ROUNDED_TOGETHER:
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


def packed_matrix(p: Builder, b: Constant | View, flip: bool = False) -> Factor:
    """A factor [k, n] (or, to ``flip``, [n, k]): packed now if known, else at run time."""
    if not isinstance(b, View):
        n, lay = b.shape[-2 if flip else -1], partial(_as_matrix, flip=flip)
        return p.found_transform(b, ("matrix", flip), lay) or p.factor(b, ("matrix", flip), n, lay)
    b = real(p, b)
    b = b.transposed((1, 0)) if flip else b
    k, n = b.shape
    w = p.allocate((packing.panels_size(k, n),))
    p.emit("pack", b, w, k, n, *b.strides)
    return Factor(w, n, FLOAT32)


def _as_matrix(b: np.ndarray, flip: bool) -> np.ndarray:
    matrix = b.reshape(b.shape[-2:])
    return matrix.T if flip else matrix


def matmul(p: Builder, node: Node, inputs, shapes) -> View:
    return multiplied(p, real(p, inputs[0]), inputs[1]).reshaped(shapes[0])


def multiplied(p: Builder, a: View, b: Constant | View, flip: bool = False) -> View:
    """The product of a with b, or with b whose last two dimensions are exchanged, dense; vectors count as
    matrices of one row or column."""
    a = a.reshaped((1, *a.shape)) if len(a.shape) == 1 else a
    if len(b.shape) == 1:
        b, flip = b.reshaped((*b.shape, 1)) if isinstance(b, View) else b.reshape(-1, 1), False
    if len(b.shape) == 2 or (not isinstance(b, View) and math.prod(b.shape[:-2]) == 1):
        return linear(p, a, packed_matrix(p, b, flip), None)
    b = real(p, b)
    return batched(p, a, _turned(b) if flip else b)


def _turned(x: View) -> View:
    """The last two dimensions exchanged."""
    rank = len(x.shape)
    return x.transposed((*range(rank - 2), rank - 1, rank - 2)) if rank > 1 else x


def fused_matmul(p: Builder, node: Node, inputs, shapes) -> View:
    """A product of factors that may be turned, times a number."""
    a, alpha = real(p, inputs[0]), node.attributes["alpha"]
    a = _turned(a) if node.attributes["transA"] else a
    y = multiplied(p, a, inputs[1], bool(node.attributes["transB"])).reshaped(shapes[0])
    return y if alpha == 1 else apply(p, "multiply", y, p.scalar(alpha, y.shape))


def batched(p: Builder, a: View, b: View) -> View:
    """Products of matrices in the last two dimensions, the others broadcast."""
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = a.broadcast((*batch, *a.shape[-2:])), b.broadcast((*batch, *b.shape[-2:]))
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if all(size == 1 or stride == 0 for size, stride in zip(batch, b.strides)):
        return linear(p, a, packed_matrix(p, b.matrix()), None)
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
    w, y = packed_matrix(p, b, bool(node.attributes["transB"])), shapes[0]
    if alpha == 1 and beta == 1 and isinstance(c, np.ndarray) and c.size == w.n and c.shape[-1:] == (w.n,):
        return linear(p, a, w, p.constant(c))
    product = linear(p, a, w, None)
    if alpha != 1:
        product = apply(p, "multiply", product, p.scalar(alpha, y))
    if c is None:
        return product
    addend = real(p, c).broadcast(y)
    return apply(p, "fma", addend, p.scalar(beta, y), product)


def einsum(p: Builder, node: Node, inputs, shapes) -> View:
    """Two inputs at a time, from the first on."""
    found = equation(node.attributes["equation"], tuple(len(x.shape) for x in inputs))
    sizes = found.sizes([x.shape for x in inputs])
    terms = [_term(p, x, labels, sizes) for x, labels in zip(inputs, found.inputs)]
    total = terms[0]
    for place, term in enumerate(terms[1:], start=2):
        wanted = {*found.output, *(label for other in terms[place:] for label in other.labels)}
        total = _contracted(p, total, term, wanted)
    total = total.summed(p, set(found.output))
    return p.view(total.ordered(found.output))


class _Term:
    """A tensor and a label for each of its axes; one that is known stays so."""

    __slots__ = ("labels", "x")

    def __init__(self, x: Constant | View, labels: tuple[str, ...]) -> None:
        self.x = x
        self.labels = labels

    def view(self, p: Builder) -> View:
        return real(p, self.x)

    def summed(self, p: Builder, wanted: Container[str]) -> _Term:
        """Summed over the labels that are not wanted."""
        axes = [axis for axis, label in enumerate(self.labels) if label not in wanted]
        if not axes:
            return self
        kept = tuple(label for label in self.labels if label in wanted)
        y = folded(p, "add", self.view(p), axes)
        return _Term(y.reshaped(tuple(n for axis, n in enumerate(y.shape) if axis not in axes)), kept)

    def order(self, labels: Sequence[str]) -> list[int]:
        """The axes of some labels."""
        return [self.labels.index(label) for label in labels]

    def ordered(self, labels: Sequence[str]) -> np.ndarray | View:
        """The tensor with its axes in the order of ``labels``, which are its own."""
        order = self.order(labels)
        return self.x.transposed(order) if isinstance(self.x, View) else np.asarray(self.x).transpose(order)


def _term(p: Builder, x: Constant | View, labels: tuple[str, ...], sizes: dict[str, int]) -> _Term:
    """An input of an Einsum: repeated labels are diagonals, of which there is one axis."""
    once = tuple(dict.fromkeys(labels))
    shape = tuple(sizes[label] for label in once)
    if once == labels and tuple(x.shape) == shape:
        return _Term(x, labels)
    x = p.view(x)
    strides = {label: 0 for label in once}
    for label, size, stride in zip(labels, x.shape, x.strides):
        strides[label] += 0 if size == 1 else stride
    return _Term(x.laid(shape, tuple(strides.values())), once)


def _contracted(p: Builder, a: _Term, b: _Term, wanted: Container[str]) -> _Term:
    """The product of two tensors, summed over what is not wanted."""
    shared = {label for label in a.labels if label in b.labels}
    a = a.summed(p, {label for label in a.labels if label in shared or label in wanted})
    b = b.summed(p, {label for label in b.labels if label in shared or label in wanted})
    batch = [label for label in a.labels if label in shared and label in wanted]
    inner = [label for label in a.labels if label in shared and label not in wanted]
    left = [label for label in a.labels if label not in shared]
    right = [label for label in b.labels if label not in shared]
    sizes = dict(zip((*a.labels, *b.labels), (*a.x.shape, *b.x.shape)))
    parts = [tuple(sizes[label] for label in labels) for labels in (batch, left, inner, right)]
    rows, middle, columns = (math.prod(part) for part in parts[1:])
    x = reshaped(p, real(p, a.ordered([*batch, *left, *inner])), (*parts[0], rows, middle))
    if not (isinstance(b.x, View) or batch):
        key = ("einsum", (*inner, "->", *right), b.labels)
        order = b.order([*inner, *right])

        def lay(own: np.ndarray) -> np.ndarray:
            return own.transpose(order).reshape(*parts[2], columns)

        y = linear(p, x, p.factor(b.x, key, columns, lay), None)
    else:
        w = real(p, b.ordered([*batch, *inner, *right]))
        y = multiplied(p, x, reshaped(p, w, (*parts[0], middle, columns)))
    return _Term(reshaped(p, y, (*parts[0], *parts[1], *parts[3])), (*batch, *left, *right))


LOWERINGS = {"MatMul": matmul, "Gemm": gemm, "FusedMatMul": fused_matmul, "Einsum": einsum}
