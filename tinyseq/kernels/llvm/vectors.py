"""What many float32 have in common, in explicit SIMD: vector IR that LLVM lowers for each ISA."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyseq.kernels.instructions import PANEL as LANES
from tinyseq.kernels.llvm.intrinsics import compiled, floats
from tinyseq.kernels.llvm.values import DOUBLE, INT32, INT64, VECTOR

INFINITY, LEAST_OF_ALL = np.float32(np.inf), np.float32(-np.inf)

UNROLL = 4
"""Vectors that are looked at together, each with a maximum of its own."""

_FLAGS = ir.VectorType(ir.IntType(1), LANES)


def _splat(value: float) -> ir.Constant:
    return ir.Constant(VECTOR, [value] * LANES)


def _load(builder, address):
    return builder.load(builder.inttoptr(address, VECTOR.as_pointer()), align=4)


def _greater(builder, value, top):
    """The greater one of each lane; ``top`` where the value is not a number."""
    return builder.select(builder.fcmp_ordered(">", value, top), value, top)


def _by_halves(builder, lanes, join):
    """What lanes make together: each half is joined with the other, ``join(builder, half, lanes)``."""
    size = LANES
    while size > 1:
        size //= 2
        order = ir.Constant(ir.VectorType(INT32, LANES), [(k + size) % LANES for k in range(LANES)])
        lanes = join(builder, builder.shuffle_vector(lanes, lanes, order), lanes)
    return builder.extract_element(lanes, INT32(0))


@intrinsic
def vector_peak(typingctx, address, vectors):
    """(greatest, wrong) of ``vectors`` vectors of float32: NaN is never the greatest, but it and infinity are
    wrong. The greatest of none is -infinity."""

    def codegen(context, builder, signature, args):
        start, count = args
        tops = [cgutils.alloca_once_value(builder, _splat(float("-inf"))) for _ in range(UNROLL)]
        wrong = cgutils.alloca_once_value(builder, ir.Constant(_FLAGS, [0] * LANES))

        def look(index, unroll: int) -> None:
            values = [
                _load(
                    builder, builder.add(start, builder.mul(builder.add(index, INT64(k)), INT64(4 * LANES)))
                )
                for k in range(unroll)
            ]
            flags = builder.load(wrong)
            for value, top in zip(values, tops):
                builder.store(_greater(builder, value, builder.load(top)), top)
                flags = builder.or_(flags, builder.fcmp_unordered(">=", value, _splat(float("inf"))))
            builder.store(flags, wrong)

        together = builder.mul(builder.sdiv(count, INT64(UNROLL)), INT64(UNROLL))
        with cgutils.for_range_slice(builder, INT64(0), together, INT64(UNROLL)) as (index, _):
            look(index, UNROLL)
        with cgutils.for_range_slice(builder, together, count, INT64(1)) as (index, _):
            look(index, 1)
        top, *others = [builder.load(top) for top in tops]
        for other in others:
            top = _greater(builder, other, top)
        greatest = _by_halves(builder, top, _greater)
        bits = builder.bitcast(builder.load(wrong), ir.IntType(LANES))
        any_wrong = builder.icmp_unsigned("!=", bits, ir.IntType(LANES)(0))
        return context.make_tuple(builder, signature.return_type, (greatest, any_wrong))

    return types.Tuple((types.float32, types.boolean))(types.int64, types.int64), codegen


_WIDE = ir.VectorType(DOUBLE, LANES)


def _spread(builder, value, vector):
    """A vector of one value."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, INT32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))


def _summed(builder, start, count, term):
    """The sum of ``count`` vectors of float32 in float64, ``term`` of each: of each lane, then of the lanes
    by halves."""
    slot = cgutils.alloca_once_value(builder, ir.Constant(_WIDE, [0.0] * LANES))
    with cgutils.for_range_slice(builder, INT64(0), count, INT64(1)) as (index, _):
        values = _load(builder, builder.add(start, builder.mul(index, INT64(4 * LANES))))
        builder.store(builder.fadd(builder.load(slot), term(builder.fpext(values, _WIDE))), slot)
    return _by_halves(builder, builder.load(slot), lambda builder, half, total: builder.fadd(total, half))


@intrinsic
def vector_sum(typingctx, address, vectors):
    """The sum of ``vectors`` vectors of float32, see ``_summed``."""

    def codegen(context, builder, signature, args):
        return _summed(builder, *args, lambda values: values)

    return types.float64(types.int64, types.int64), codegen


@intrinsic
def vector_squares(typingctx, address, vectors, mean):
    """The sum of the squared differences of ``vectors`` vectors of float32 from a mean, see ``_summed``."""

    def codegen(context, builder, signature, args):
        middle = _spread(builder, args[2], _WIDE)

        def square(values):
            apart = builder.fsub(values, middle)
            return builder.fmul(apart, apart)

        return _summed(builder, *args[:2], square)

    return types.float64(types.int64, types.int64, types.float64), codegen


def spreading(units: int):
    """An intrinsic ``spread(source, target)``: of a vector of blocks of so many float32, for each place in a
    block a vector that has in all lanes of a block the number in that place."""

    @intrinsic
    def spread(typingctx, source, target):
        def codegen(context, builder, signature, args):
            values = _load(builder, args[0])
            for place in range(units):
                lanes = [lane // units * units + place for lane in range(LANES)]
                made = builder.shuffle_vector(values, values, ir.Constant(ir.VectorType(INT32, LANES), lanes))
                address = builder.add(args[1], INT64(4 * LANES * place))
                builder.store(made, builder.inttoptr(address, VECTOR.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return spread


def _matching(name: str, condition: str):
    """An intrinsic: which of the ``LANES`` float32 at an address stand in a relation to a value, as bits."""

    def typing(typingctx, address, value):
        def codegen(context, builder, signature, args):
            same = _spread(builder, args[1], VECTOR)
            flags = builder.fcmp_ordered(condition, _load(builder, args[0]), same)
            return builder.zext(builder.bitcast(flags, ir.IntType(LANES)), INT64)

        return types.int64(types.int64, types.float32), codegen

    typing.__name__ = name
    return intrinsic(typing)


_equal, _not_below = _matching("equal", "=="), _matching("not_below", ">=")


@intrinsic
def first_bit(typingctx, bits):
    """The place of the lowest bit that is set; there is one."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


@compiled()
def greatest(row, count):
    """The greatest of ``count`` float32, and whether one is NaN or infinity; NaN is never the greatest."""
    x = floats(row)
    whole = count // LANES
    top, wrong = vector_peak(row, whole)
    for i in range(whole * LANES, count):
        value = x[i]
        top = value if value > top else top
        wrong |= not value < INFINITY
    return top, wrong


@compiled()
def total(row, count):
    """The sum of ``count`` float32 in float64."""
    x = floats(row)
    whole = count // LANES
    found = vector_sum(row, whole)
    for i in range(whole * LANES, count):
        found += np.float64(x[i])
    return found


@compiled()
def spread_about(row, count, mean):
    """The sum of the squared differences of ``count`` float32 from a float64 ``mean``, in float64."""
    x = floats(row)
    whole = count // LANES
    found = vector_squares(row, whole, mean)
    for i in range(whole * LANES, count):
        apart = np.float64(x[i]) - mean
        found += apart * apart
    return found


@compiled()
def first_place(row, count, value):
    """The first place of a value; it is there."""
    x = floats(row)
    start = 0
    while start + LANES <= count:
        bits = _equal(row + start * 4, value)
        if bits:
            return start + first_bit(bits)
        start += LANES
    while x[start] != value:
        start += 1
    return start


@compiled()
def at_least(row, start, count, bound):
    """Which of the ``LANES`` float32 from place ``start`` on are not below a bound, as bits; none beyond
    ``count``."""
    left = count - start
    if left >= LANES:
        return _not_below(row + start * 4, bound)
    if count >= LANES:
        return _not_below(row + (count - LANES) * 4, bound) >> (LANES - left)
    x = floats(row)
    bits = 0
    for i in range(left):
        bits |= 1 << i if x[start + i] >= bound else 0
    return bits
