"""Element by element instructions, a block at a time: what one leaves is near when the next one reads it."""

from __future__ import annotations

from numba import types

from tinyseq.kernels.compute.elementwise import elementwise
from tinyseq.kernels.instructions import MAX_RANK, SEGMENT_SHIFT
from tinyseq.kernels.llvm.intrinsics import compiled, integers, loaded, stack

OFFSET_MASK = (1 << SEGMENT_SHIFT) - 1

FUNCTION, A, B, C, Y, RANK, DIMS = range(2, 9)
"""The places of the operands in a row of ``elementwise``."""

OPERANDS = 4
"""Operands of such a row that are addresses."""

_dims = stack(types.int64, 5 * MAX_RANK)


@compiled()
def resolve(word, segments):
    """The process address of an address operand."""
    return loaded(segments + (word >> SEGMENT_SHIFT) * 8) + (word & OFFSET_MASK)


@compiled()
def _operand(word, slot, skip, segments, scratch):
    """Where a block of an operand begins: ``skip`` bytes on, or in the scratch."""
    return scratch + slot if slot >= 0 else resolve(word, segments) + skip


@compiled()
def _row(row, slots, start, held, units, segments, scratch):
    """``held`` units of one instruction, from unit ``start`` on."""
    words, where, dims = integers(row), integers(slots), _dims()
    rank, own = words[RANK], integers(dims)
    for i in range(5 * rank):
        own[i] = words[DIMS + i]
    each = words[DIMS] // units
    own[0] = held * each
    skip = start * each
    elementwise(
        words[FUNCTION],
        _operand(words[A], where[0], skip * words[DIMS + rank], segments, scratch),
        _operand(words[B], where[1], skip * words[DIMS + 2 * rank], segments, scratch),
        _operand(words[C], where[2], skip * words[DIMS + 3 * rank], segments, scratch),
        _operand(words[Y], where[3], skip * words[DIMS + 4 * rank], segments, scratch),
        rank,
        dims,
    )
    return words[1] * 8


@compiled()
def blocks(segments, scratch, units, size, rows, distance, slots):
    """Runs the ``rows`` rows of ``elementwise`` behind this one, ``distance`` words, ``size`` of ``units`` at
    a time; gives how far behind this row the program goes on.

    The first dimension of each row counts the units, or a multiple of them: what a row does for a unit
    depends on that unit alone of what the rows before it did. ``slots`` has for each row and each of its
    addresses the byte of ``scratch`` at which a block of it lies, or -1 where it lies where the row says.
    """
    first = slots + rows * OPERANDS * 8
    for start in range(0, units, size):
        held, row = min(size, units - start), first
        for number in range(rows):
            row += _row(row, slots + number * OPERANDS * 8, start, held, units, segments, scratch)
    return distance
