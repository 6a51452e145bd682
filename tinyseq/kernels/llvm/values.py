"""Types and values of LLVM IR: what the tiles of every instruction set and format are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm.isa import Isa

FLOAT = ir.FloatType()
DOUBLE = ir.DoubleType()
INT8 = ir.IntType(8)
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, PANEL)
INTEGERS = ir.VectorType(INT32, PANEL)
BYTES = ir.VectorType(INT8, 4 * PANEL)
PAIRS = ir.VectorType(INT16, 2 * PANEL)


class Arithmetic(NamedTuple):
    """How a tile multiplies.

    ``element`` is what is taken of x at a time, ``weight`` of w; ``unit`` is what offsets of x count,
    ``alignment`` where x lies, ``total`` the type of the sums. ``x(builder, spread)`` and
    ``w(builder, weights)`` ready a vector of one element of x, and one of elements of w, for
    ``step(builder, x, w, total)``, which adds their products. ``less`` is what it takes off each number of x;
    ``tiles`` are its register tiles where those of the ISA do not fit.
    """

    element: Any
    weight: Any
    unit: Any
    alignment: int
    total: Any
    x: Callable
    w: Callable
    step: Callable
    less: int = 0
    tiles: tuple[tuple[int, int], ...] = ()


def float_arithmetic(isa: Isa) -> Arithmetic:
    """Elements of float32: one multiply-add a step of k."""

    def as_it_is(builder, vector):
        return vector

    def step(builder, x, w, total):
        return fused(isa, builder, x, w, total)

    return Arithmetic(FLOAT, FLOAT, FLOAT, 4, VECTOR, as_it_is, as_it_is, step)


def bfloat16_arithmetic(isa: Isa) -> Arithmetic:
    """Elements of bfloat16, widened."""

    def w(builder, weights):
        wide = builder.zext(weights, INTEGERS)
        return builder.bitcast(builder.shl(wide, repeated(INTEGERS, 16)), VECTOR)

    return float_arithmetic(isa)._replace(weight=INT16, w=w)


def float16_arithmetic(isa: Isa) -> Arithmetic:
    """Elements of float16, widened: by an instruction where there is one, else in steps of integers."""

    def w(builder, weights):
        if isa.halves:
            return builder.fpext(builder.bitcast(weights, ir.VectorType(ir.HalfType(), PANEL)), VECTOR)
        return _widened(builder, builder.zext(weights, INTEGERS))

    return float_arithmetic(isa)._replace(weight=INT16, w=w)


def _widened(builder, halves):
    """The float32 of float16's bits, each in 32. A denormal one counts as the normal number whose exponent is
    one less than the least, from which that number's leading one is taken off."""

    def const(value: int):
        return repeated(INTEGERS, value)

    sign = builder.shl(builder.and_(halves, const(0x8000)), const(16))
    rest = builder.shl(builder.and_(halves, const(0x7FFF)), const(13))
    exponent = builder.and_(rest, const(0x1F << 23))
    normal = builder.add(rest, const((127 - 15) << 23))
    endless = builder.add(rest, const((255 - 31) << 23))
    least = const((127 - 14) << 23)
    raised = builder.bitcast(builder.add(rest, least), VECTOR)
    tiny = builder.bitcast(builder.fsub(raised, builder.bitcast(least, VECTOR)), INTEGERS)
    is_tiny = builder.icmp_signed("==", exponent, const(0))
    is_endless = builder.icmp_signed("==", exponent, const(0x1F << 23))
    bits = builder.select(is_tiny, tiny, builder.select(is_endless, endless, normal))
    return builder.bitcast(builder.or_(bits, sign), VECTOR)


def byte_arithmetic(x: Callable, w: Callable, step: Callable) -> Arithmetic:
    """Elements of four bytes, summed in int32 exactly: x unsigned, w signed."""
    return Arithmetic(INT32, INT32, ir.IntType(8), 1, INTEGERS, x, w, step)


def single_bytes() -> Arithmetic:
    """Each byte by itself, where no instruction adds up products of them."""

    def of_x(builder, spread):
        shifted = [builder.lshr(spread, repeated(INTEGERS, 8 * place)) for place in range(4)]
        return [builder.and_(one, repeated(INTEGERS, 255)) for one in shifted]

    def of_w(builder, weights):
        high = [builder.shl(weights, repeated(INTEGERS, 24 - 8 * place)) for place in range(4)]
        return [builder.ashr(one, repeated(INTEGERS, 24)) for one in high]

    def step(builder, x, w, total):
        for a, b in zip(x, w, strict=True):
            total = builder.add(total, builder.mul(a, b))
        return total

    return byte_arithmetic(of_x, of_w, step)


def pairs_of_bytes(products: Callable) -> Arithmetic:
    """The even and the odd bytes apart, as signed 16-bit numbers, of which ``products(builder, a, b)``
    multiplies vectors and adds up neighbours."""

    def of_x(builder, spread):
        pairs = builder.bitcast(spread, PAIRS)
        return builder.and_(pairs, repeated(PAIRS, 255)), builder.lshr(pairs, repeated(PAIRS, 8))

    def of_w(builder, weights):
        pairs, byte = builder.bitcast(weights, PAIRS), repeated(PAIRS, 8)
        return builder.ashr(builder.shl(pairs, byte), byte), builder.ashr(pairs, byte)

    def step(builder, x, w, total):
        for a, b in zip(x, w, strict=True):
            total = builder.add(total, products(builder, a, b))
        return total

    return byte_arithmetic(of_x, of_w, step)


def fused(isa: Isa, builder, a, b, c):
    """a * b + c, rounded once where the instruction set has that."""
    if not isa.fma:
        return builder.fadd(builder.fmul(a, b), c)
    if isa.madd:
        return _by_vectors(isa, builder, a, b, c)
    suffix = {VECTOR: f"v{PANEL}f32", FLOAT: "f32", DOUBLE: "f64"}[a.type]
    return called(builder, f"llvm.fma.{suffix}", a.type, a, b, c)


def _by_vectors(isa: Isa, builder, a, b, c):
    """``fused`` by an instruction that only vectors of 128 bits have."""
    element = a.type.element if isinstance(a.type, ir.VectorType) else a.type
    part = ir.VectorType(element, 4 if element == FLOAT else 2)
    name = f"{isa.madd}.v{part.count}{'f32' if element == FLOAT else 'f64'}"
    if a.type == element:
        single = [builder.insert_element(undefined(part), value, INT32(0)) for value in (a, b, c)]
        return builder.extract_element(called(builder, name, part, *single), INT32(0))
    split = zip(*(parts(builder, value, a.type.count // part.count) for value in (a, b, c)))
    return whole(builder, [called(builder, name, part, *three) for three in split])


IN_THE_CORE, NEAR_THE_CORE = 3, 2
"""Which cache something is fetched to: the first one, or the second."""


def fetched(builder, address, cache: int) -> None:
    """Has the processor begin to read the line of memory at an address, which need not be one."""
    pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
    called(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, INT32(0), INT32(cache), INT32(1))


def taken(builder, lanes, source, target, count) -> None:
    """A whole vector at ``target`` of the first ``count`` lanes at ``source`` and of zeros."""
    zeros = repeated(lanes, 0.0)
    value = called(
        builder, f"llvm.masked.load.v{lanes.count}f32.p0", lanes, _at(builder, source, lanes), INT32(4),
        _first(builder, lanes, count), zeros,
    )  # fmt: skip
    builder.store(value, _at(builder, target, lanes), align=4)


def given(builder, lanes, source, target, count) -> None:
    """The first ``count`` lanes at ``target`` from the vector at ``source``."""
    value = builder.load(_at(builder, source, lanes), align=4)
    called(
        builder, f"llvm.masked.store.v{lanes.count}f32.p0", ir.VoidType(), value, _at(builder, target, lanes),
        INT32(4), _first(builder, lanes, count),
    )  # fmt: skip


def _at(builder, address, type_):
    return builder.inttoptr(address, type_.as_pointer())


def _first(builder, lanes, count):
    """Which lanes come before ``count``."""
    places = ir.VectorType(INT32, lanes.count)
    one = builder.insert_element(undefined(places), builder.trunc(count, INT32), INT32(0))
    limit = shuffled(builder, one, undefined(places), [0] * lanes.count)
    return builder.icmp_signed("<", ir.Constant(places, list(range(lanes.count))), limit)


def called(builder, name: str, result, *arguments):
    """Calls an intrinsic of LLVM."""
    function = builder.module.globals.get(name)
    if function is None:
        types = [argument.type for argument in arguments]
        function = ir.Function(builder.module, ir.FunctionType(result, types), name)
    return builder.call(function, arguments)


def vector(element, count: int):
    """The type of so many elements."""
    return ir.VectorType(element, count)


def repeated(vector, value: float):
    """A constant in all lanes."""
    return ir.Constant(vector, [value] * vector.count)


def undefined(type_):
    """Whatever the processor likes."""
    return ir.Constant(type_, ir.Undefined)


def shuffled(builder, a, b, places):
    """Lanes of a and, behind them, of b, by their places."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(places)), list(places)))


def parts(builder, vector, count: int):
    """A vector in so many parts of equal size."""
    size = vector.type.count // count
    starts = range(0, vector.type.count, size)
    return [shuffled(builder, vector, undefined(vector.type), range(at, at + size)) for at in starts]


def whole(builder, vectors):
    """Vectors of equal size as one: the lanes of the first, then those of the second and so on."""
    while len(vectors) > 1:
        lanes = range(2 * vectors[0].type.count)
        vectors = [shuffled(builder, a, b, lanes) for a, b in zip(vectors[::2], vectors[1::2])]
    return vectors[0]
