"""Rows of a table of weights, picked by computed indices, and what is linear in them.

A layer's matrix product with such rows is itself a row of a table: that of the products of all rows, which
are computed once, by the product's own kernel. So the products' bits are the same, and a step neither reads
the layer's matrix nor multiplies with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.kernels.formats import WeightFormat
from tinyseq.kernels.instructions import GATHER
from tinyseq.kernels.program import Buffer, Program
from tinyseq.plan.packing import aligned, segment
from tinyseq.plan.view import Shape, View

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder

MOST_GROWTH = 2
"""How many times the memory of what it stands for a table of products may take."""


class Lookup:
    """What a node picked: rows of ``table`` [V, E] at the dense tensor ``indices``."""

    __slots__ = ("indices", "node", "table")

    def __init__(self, node: Node, table: np.ndarray, indices: View) -> None:
        self.node = node
        self.table = table
        self.indices = indices


def picks(x: View) -> View | None:
    """The index that picked each row of x[..., E]; None where x is not made of whole rows of a lookup."""
    lookup = x.buffer.lookup
    if lookup is None:
        return None
    width, indices = lookup.table.shape[1], lookup.indices
    whole = x.shape[-1] == width and (width == 1 or x.strides[-1] == 1) and x.offset % width == 0
    if not whole or any(stride % width for stride in x.strides[:-1]):
        return None
    strides = tuple([stride // width for stride in x.strides[:-1]])
    return indices.laid(x.shape[:-1], strides, indices.offset + x.offset // width)


def is_worthwhile(table: np.ndarray, n: int) -> bool:
    """Whether the products of the table's rows with a matrix of ``n`` columns are not too many to keep."""
    v, e = table.shape
    return v * n <= MOST_GROWTH * (e * n + v * e)


def products(table: np.ndarray, w: np.ndarray, bias: np.ndarray, of: WeightFormat) -> np.ndarray:
    """All rows of a table [V, E] times w[E, n], packed in a format, plus bias[n], as a segment."""
    (v, e), n = table.shape, bias.size
    y = aligned(4 * v * n).view(np.float32)
    rounded = Buffer(aligned(of.activations.scratch(v, e, n)))
    factors, starts = (Buffer(segment(table)), 1, 0, v, e, e, Buffer(w), n), (Buffer(bias), Buffer(y), n)
    program = Program()
    program.add("linear", *factors, *starts, rounded, rounded, 0, of.code)
    program.run()
    return y


def check_all(p: Builder, lookup: Lookup, indices: View) -> None:
    """Lets the program look at all indices of a lookup where only some of its rows are used."""
    if indices.size != lookup.indices.size:
        size = len(lookup.table)
        p.emit_checked(lookup.node, "within", lookup.indices, lookup.indices.size, -size, size - 1)


def gather_rows(p: Builder, node: Node, table: View, shape: Shape, indices: View, y: View) -> View:
    """y = rows of a table of a shape [V, n] at computed indices. Gives y."""
    # Where nothing is moved, the indices are still looked at.
    inner = 4 * shape[1] if y.size else 0
    dims = [shape[0], inner, 0]
    operands = 1, shape[0] * inner, indices.size, 1, inner, GATHER, dims
    p.emit_checked(node, "gather", table, p.dense(indices), y, *operands)
    return y
