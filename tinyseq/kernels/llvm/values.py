"""Types and values of LLVM IR: what the tiles of every instruction set and format are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm.isa import Isa

FLOAT = ir.FloatType()
DOUBLE = ir.DoubleType()
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, PANEL)
INTEGERS = ir.VectorType(INT32, PANEL)
BYTES = ir.VectorType(ir.IntType(8), 4 * PANEL)
PAIRS = ir.VectorType(INT16, 2 * PANEL)


class Arithmetic(NamedTuple):
    """How a tile multiplies.

    ``element`` is what is taken of x at a time, ``weight`` of w; ``unit`` is what offsets of x count,
    ``alignment`` where x lies, ``total`` the type of the sums. ``x(builder, spread)`` and
    ``w(builder, weights)`` ready a vector of one element of x, and one of elements of w, for
    ``step(builder, x, w, total)``, which adds their products.
    """

    element: Any
    weight: Any
    unit: Any
    alignment: int
    total: Any
    x: Callable
    w: Callable
    step: Callable


def float_arithmetic(isa: Isa) -> Arithmetic:
    """Elements of float32: one multiply-add a step of k."""

    def as_it_is(builder, vector):
        return vector

    def step(builder, x, w, total):
        return fused(isa, builder, x, w, total)

    return Arithmetic(FLOAT, FLOAT, FLOAT, 4, VECTOR, as_it_is, as_it_is, step)


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
    sums = [
        called(builder, name, part, *(lanes(builder, value, start, part) for value in (a, b, c)))
        for start in range(0, a.type.count, part.count)
    ]
    while len(sums) > 1:
        sums = [joined(builder, *pair) for pair in zip(sums[::2], sums[1::2])]
    return sums[0]


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


def repeated(vector, value: int):
    """A constant in all lanes."""
    return ir.Constant(vector, [value] * vector.count)


def undefined(type_):
    """Whatever the processor likes."""
    return ir.Constant(type_, ir.Undefined)


def shuffled(builder, a, b, places):
    """Lanes of a and, behind them, of b, by their places."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(places)), list(places)))


def lanes(builder, whole, start: int, part):
    """A run of lanes."""
    return shuffled(builder, whole, undefined(whole.type), range(start, start + part.count))


def joined(builder, a, b):
    """The lanes of a, then those of b."""
    return shuffled(builder, a, b, range(2 * a.type.count))
