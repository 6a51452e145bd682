"""What Numba's Python cannot say: addresses, bit patterns, fused multiply-add and SIMD tiles.

Everything here is LLVM IR through ``@intrinsic``. What differs between ISAs is only called here, by name,
and defined in ``tiles.py`` and in the architecture's file, so that Numba compiles the kernels once for all.
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyseq.kernels.llvm import matrix_unit
from tinyseq.kernels.llvm.tiles import (
    DENORMALS_OFF,
    DENORMALS_RESTORE,
    FLUSHED,
    FMA32,
    FMA64,
    GIVE,
    LANES,
    LESS,
    TAKE,
    TILE_ARGUMENTS,
    taps_name,
    tile_name,
)
from tinyseq.kernels.llvm.values import DOUBLE, FLOAT, IN_THE_CORE, INT32, INT64, fetched

compiled = partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Numba's compiler as every kernel needs it: IEEE division, no way in from Python."""

NESTED = "tinyseq.nested"
"""The machine, by the name by which it is called from within; ``build.py`` defines it."""

PART = "tinyseq.part"
"""What runs a part of a task, by the name by which others are told where it is; ``build.py`` defines it."""


def _external(name: str, result, arguments: list):
    """Code that calls a function which is defined for each ISA."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(result, arguments)
        value = builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)
        return context.get_dummy_value() if isinstance(result, ir.VoidType) else value

    return codegen


def _pointer_cast(name: str, element):
    def typing(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), codegen

    typing.__name__ = name
    typing.__doc__ = f"An integer address as a pointer to {element}."
    return intrinsic(typing)


floats = _pointer_cast("floats", types.float32)
doubles = _pointer_cast("doubles", types.float64)
integers = _pointer_cast("integers", types.int64)
integers32 = _pointer_cast("integers32", types.int32)
octets = _pointer_cast("octets", types.uint8)


@intrinsic
def quotient(typingctx, a, b):
    """a / b in float32; on a device the last two bits may differ, so that no thread waits for rare cases."""

    def codegen(context, builder, signature, args):
        return builder.fdiv(*args)

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def address_of(typingctx, pointer):
    """The address that a pointer holds, as int64."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], INT64)

    return types.int64(pointer), codegen


@intrinsic
def loaded(typingctx, address):
    """The int64 at an address, read by itself: of several that LLVM gathers, all wait for the slowest."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], INT64.as_pointer())
        return builder.load_atomic(pointer, "monotonic", 8)

    return types.int64(types.int64), codegen


@intrinsic
def fetch(typingctx, address):
    """Has the processor begin to read the line of memory at an address, which need not be one."""

    def codegen(context, builder, signature, args):
        fetched(builder, args[0], IN_THE_CORE)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def stack(element, count: int):
    """An intrinsic that reserves ``count`` elements on the stack and returns their address."""

    @intrinsic
    def reserve(typingctx):
        def codegen(context, builder, signature, args):
            with builder.goto_entry_block():
                slot = builder.alloca(context.get_value_type(element), count)
            slot.align = 64
            return builder.ptrtoint(slot, INT64)

        return types.int64(), codegen

    return reserve


@intrinsic
def stay_apart(typingctx):
    """Keeps the function that calls this from being inlined, so that it has all registers for itself."""

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def power_of_two(typingctx, rounded):
    """2**n for ``rounded`` = 1.5 * 2**23 + n with integral n in -127 ... 128: 2**-127 gives 0 and
    2**128 infinity."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], INT32)
        exponent = builder.add(builder.shl(bits, INT32(23)), INT32(127 << 23))
        return builder.bitcast(exponent, FLOAT)

    return types.float32(types.float32), codegen


@intrinsic
def float_bits(typingctx, x):
    """The bits of a float32 as int32."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], INT32)

    return types.int32(types.float32), codegen


@intrinsic
def exponent_split(typingctx, x):
    """(e, m) with x = 2**e m and m in [sqrt(1/2), sqrt(2)), both float32; x positive and finite."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], INT32)
        # The bits of sqrt(1/2): the exponent is counted from there.
        above = builder.sub(bits, INT32(0x3F3504F3))
        e = builder.ashr(above, INT32(23))
        m = builder.bitcast(builder.sub(bits, builder.shl(e, INT32(23))), FLOAT)
        return context.make_tuple(builder, signature.return_type, (builder.sitofp(e, FLOAT), m))

    return types.UniTuple(types.float32, 2)(types.float32), codegen


@intrinsic
def exponent_split64(typingctx, x):
    """``exponent_split`` in float64."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], INT64)
        e = builder.ashr(builder.sub(bits, INT64(0x3FE6A09E667F3BCD)), INT64(52))
        m = builder.bitcast(builder.sub(bits, builder.shl(e, INT64(52))), DOUBLE)
        return context.make_tuple(builder, signature.return_type, (builder.sitofp(e, DOUBLE), m))

    return types.UniTuple(types.float64, 2)(types.float64), codegen


@intrinsic
def power_of_two64(typingctx, n):
    """2**n in float64 for an integral n in -1022 ... 1023."""

    def codegen(context, builder, signature, args):
        exponent = builder.add(builder.fptosi(args[0], INT64), INT64(1023))
        return builder.bitcast(builder.shl(exponent, INT64(52)), DOUBLE)

    return types.float64(types.float64), codegen


@intrinsic
def fma64(typingctx, a, b, c):
    """``fma`` in float64."""
    return types.float64(*[types.float64] * 3), _external(FMA64, DOUBLE, [DOUBLE] * 3)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c in float32: rounded once where the ISA fuses it, twice on the baseline."""
    return types.float32(*[types.float32] * 3), _external(FMA32, FLOAT, [FLOAT] * 3)


@intrinsic
def square_root(typingctx, x):
    """The IEEE float32 square root."""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(FLOAT, [FLOAT]), "llvm.sqrt.f32"
        )
        return builder.call(function, args)

    return types.float32(types.float32), codegen


@intrinsic
def denormals_off(typingctx):
    """Treat denormal numbers as zero from here on; returns the former control word."""
    return types.int64(), _external(DENORMALS_OFF, INT64, [])


@intrinsic
def denormals_restore(typingctx, former):
    """Put back the control word that ``denormals_off`` returned."""
    return types.void(types.int64), _external(DENORMALS_RESTORE, ir.VoidType(), [INT64])


@intrinsic
def flushed(typingctx, x):
    """A float32 of which one that is selected by a comparison is zero if it is denormal, on every ISA."""
    return types.float32(types.float32), _external(FLUSHED, FLOAT, [FLOAT])


@intrinsic
def taken_off_bytes(typingctx):
    """What tiles of bytes take off each number of x before they multiply it."""
    return types.int32(), _external(LESS, INT32, [])


@intrinsic
def lanes(typingctx):
    """How many float32 ``take`` and ``give`` move: a power of two, 1 where no mask chooses from more."""
    return types.int64(), _external(LANES, INT64, [])


@intrinsic
def take(typingctx, source, target, count):
    """``lanes()`` float32 at ``target``: the first ``count`` from ``source``, no more is read, and zeros."""
    return types.void(*[types.int64] * 3), _external(TAKE, ir.VoidType(), [INT64] * 3)


@intrinsic
def give(typingctx, source, target, count):
    """The first ``count`` of ``lanes()`` float32 from ``source`` to ``target``; nothing else is written."""
    return types.void(*[types.int64] * 3), _external(GIVE, ir.VoidType(), [INT64] * 3)


@intrinsic
def nested(typingctx, context):
    """What the machine gives for the program of another context; see ``machine.py``."""
    return types.int64(types.int64), _external(NESTED, INT64, [INT64])


@intrinsic
def part_address(typingctx):
    """Where the function is that runs a part of a task, see ``parts.py``."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(INT64, [INT64] * 3)
        function = cgutils.get_or_insert_function(builder.module, function_type, PART)
        return builder.ptrtoint(function, INT64)

    return types.int64(), codegen


@intrinsic
def called(typingctx, function, a, b, c):
    """What a C function at an address gives for three int64."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(INT64, [INT64] * 3)
        return builder.call(builder.inttoptr(args[0], function_type.as_pointer()), args[1:])

    return types.int64(*[types.int64] * 4), codegen


def taps(positions: int):
    """An intrinsic for a panel of channels of some positions; ``tiles.py`` defines it for each ISA.

    ``taps(x, x_step, offsets, count, w, w_stride, start, y, y_step)`` sets, for each position,
    ``y = start`` + the sum over ``count`` taps of x[offset of the tap] * w[tap], of ``PANEL`` float32 each.
    Positions lie ``x_step`` and ``y_step`` apart; steps, strides and offsets count bytes.
    """
    signature = types.void(*[types.int64] * 9)

    @intrinsic
    def run(typingctx, x, x_step, offsets, count, w, w_stride, start, y, y_step):
        return signature, _external(taps_name(positions), ir.VoidType(), [INT64] * 9)

    return run


def _of_unit(name: str, result, text: str):
    def typing(typingctx):
        kind = ir.VoidType() if result == types.void else INT64
        return result(), _external(name, kind, [])

    typing.__name__, typing.__doc__ = name.replace(".", "_"), text
    return intrinsic(typing)


unit_on = _of_unit(
    matrix_unit.ON, types.int64, "Whether a matrix unit multiplies bytes, see ``matrix_unit.py``."
)
unit_begin = _of_unit(matrix_unit.BEGIN, types.void, "Readies the matrix unit.")
unit_end = _of_unit(matrix_unit.END, types.void, "Ends what ``unit_begin`` began.")


def square(rows: int, panels: int):
    """An intrinsic for some squares of a product of bytes; ``matrix_unit.py`` defines it for each ISA.

    ``square(x, x_stride, k, w, w_stride, start, start_stride, y, y_stride)`` does what a tile of bytes does
    for ``16 * rows`` rows and ``panels`` panels. All strides count bytes; k is a multiple of 16, not 0.
    Called between ``unit_begin`` and ``unit_end``.
    """
    signature = types.void(*[types.int64] * 9)

    @intrinsic
    def run(typingctx, x, x_stride, k, w, w_stride, start, start_stride, y, y_stride):
        return signature, _external(matrix_unit.square_name(rows, panels), ir.VoidType(), [INT64] * 9)

    return run


def tile(element: str, rows: int, panels: int):
    """An intrinsic for one register tile of the product; ``tiles.py`` defines it for each ISA.

    ``tile(x, offsets, k, w, w_stride, start, start_stride, y, y_stride, ahead, ahead_stride)`` sets, for each
    of the ``rows`` and the ``panels * PANEL`` columns,
    ``y[row, :] = start[row, :] + sum over k of x[offsets[row] + k] * w[k, :]``.
    All arguments are byte addresses or element counts; ``start`` may equal ``y``. ``element`` is the name of
    w's, see ``formats.py``. Of ``bytes``, k counts groups of four bytes of x and w, offsets count bytes of x,
    sums are int32, and ``taken_off_bytes()`` less each number of x is what is multiplied. A large tile also
    fetches memory that is needed soon: in each step of k a line, from ``ahead`` on, ``ahead_stride`` bytes
    apart.
    """
    signature = types.void(*[types.int64] * len(TILE_ARGUMENTS))

    @intrinsic
    def run(typingctx, x, offsets, k, w, w_stride, start, start_stride, y, y_stride, ahead, ahead_stride):
        return signature, _external(tile_name(element, rows, panels), ir.VoidType(), TILE_ARGUMENTS)

    return run
