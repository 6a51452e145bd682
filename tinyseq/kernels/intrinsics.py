"""What Numba's Python cannot say: addresses, bit patterns, fused multiply-add and SIMD tiles.

Everything here is written in LLVM IR through ``@intrinsic`` for the ISA named by the environment
variable ``TINYSEQ_BUILD_ISA``; the build runs one process per ISA.
"""

from __future__ import annotations

import os
from functools import partial

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.isa import ISAS

ISA = ISAS[os.environ["TINYSEQ_BUILD_ISA"]]

FLOAT = ir.FloatType()
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, PANEL)

compiled = partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Numba's compiler as every kernel needs it: IEEE division, no way in from Python."""

MXCSR_FLUSH = 0x8040
"""Flush-to-zero and denormals-are-zero bits of the x86 control register."""


def _pointer_cast(name: str, element):
    def typing(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), codegen

    typing.__name__ = name
    typing.__doc__ = f"An integer address as a pointer to {element}."
    return intrinsic(typing)


floats = _pointer_cast("floats", types.float32)
integers = _pointer_cast("integers", types.int64)
integers32 = _pointer_cast("integers32", types.int32)


@intrinsic
def address_of(typingctx, pointer):
    """The address that a pointer holds, as int64."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], INT64)

    return types.int64(pointer), codegen


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
def float_from_bits(typingctx, bits):
    """The float32 whose bit pattern is the low 32 bits of an integer."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(builder.trunc(args[0], INT32), FLOAT)

    return types.float32(types.int64), codegen


@intrinsic
def power_of_two(typingctx, rounded):
    """2**n for ``rounded`` = 1.5 * 2**23 + n with integral n in -127 ... 127 (2**-127 gives 0)."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], INT32)
        exponent = builder.add(builder.shl(bits, INT32(23)), INT32(127 << 23))
        return builder.bitcast(exponent, FLOAT)

    return types.float32(types.float32), codegen


def _fma(builder, a, b, c):
    if not ISA.fma:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{PANEL}f32" if a.type == VECTOR else "llvm.fma.f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, (a, b, c))


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c in float32: rounded once where the ISA fuses it, twice on the baseline."""

    def codegen(context, builder, signature, args):
        return _fma(builder, *args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def square_root(typingctx, x):
    """The IEEE float32 square root."""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(FLOAT, [FLOAT]), "llvm.sqrt.f32"
        )
        return builder.call(function, args)

    return types.float32(types.float32), codegen


def _control_register(builder, slot, mnemonic: str) -> None:
    function_type = ir.FunctionType(ir.VoidType(), [slot.type])
    builder.call(
        cgutils.get_or_insert_function(builder.module, function_type, f"llvm.x86.sse.{mnemonic}"),
        [slot],
    )


@intrinsic
def denormals_off(typingctx):
    """Treat denormal numbers as zero from here on; returns the former control word."""

    def codegen(context, builder, signature, args):
        slot = cgutils.alloca_once(builder, INT32)
        raw = builder.bitcast(slot, ir.IntType(8).as_pointer())
        _control_register(builder, raw, "stmxcsr")
        former = builder.load(slot)
        builder.store(builder.or_(former, INT32(MXCSR_FLUSH)), slot)
        _control_register(builder, raw, "ldmxcsr")
        return former

    return types.int32(), codegen


@intrinsic
def denormals_restore(typingctx, former):
    """Put back the control word that ``denormals_off`` returned."""

    def codegen(context, builder, signature, args):
        slot = cgutils.alloca_once(builder, INT32)
        builder.store(args[0], slot)
        _control_register(builder, builder.bitcast(slot, ir.IntType(8).as_pointer()), "ldmxcsr")
        return context.get_dummy_value()

    return types.void(types.int32), codegen


def tile(rows: int, panels: int):
    """An intrinsic for one register tile of the product.

    ``tile(x, offsets, k, w, w_stride, start, start_stride, y, y_stride)`` sets, for each of the
    ``rows`` and the ``panels * PANEL`` columns,
    ``y[row, :] = start[row, :] + sum over k of x[offsets[row] + k] * w[k, :]``.

    Each element is one accumulator that runs over k in order, so its bits depend neither on the
    tile nor on the neighbouring rows. All arguments are byte addresses or element counts; ``start``
    may equal ``y``.
    """

    def codegen(context, builder, signature, args):
        x, offsets, k, w, w_stride, start, start_stride, y, y_stride = args
        cells = [(row, panel) for row in range(rows) for panel in range(panels)]

        def element(base, index, of=FLOAT):
            return builder.gep(builder.inttoptr(base, of.as_pointer()), [index])

        def vector(base, stride, row, panel):
            index = builder.add(builder.mul(stride, INT64(row)), INT64(panel * PANEL))
            return builder.bitcast(element(base, index), VECTOR.as_pointer())

        x_rows = [element(x, builder.load(element(offsets, INT64(row), INT64))) for row in range(rows)]
        first = [builder.load(vector(start, start_stride, *cell), align=4) for cell in cells]

        entry = builder.block
        head = builder.append_basic_block("k.head")
        body = builder.append_basic_block("k.body")
        done = builder.append_basic_block("k.done")
        builder.branch(head)

        builder.position_at_end(head)
        index = builder.phi(INT64)
        index.add_incoming(INT64(0), entry)
        sums = [builder.phi(VECTOR) for _ in cells]
        for total, value in zip(sums, first):
            total.add_incoming(value, entry)
        builder.cbranch(builder.icmp_signed("<", index, k), body, done)

        builder.position_at_end(body)
        w_row = element(w, builder.mul(index, w_stride))
        weights = [
            builder.load(
                builder.bitcast(builder.gep(w_row, [INT64(panel * PANEL)]), VECTOR.as_pointer()),
                align=64,
            )
            for panel in range(panels)
        ]
        undefined = ir.Constant(VECTOR, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(INT32, PANEL), [0] * PANEL)
        following = []
        for row in range(rows):
            value = builder.load(builder.gep(x_rows[row], [index]))
            single = builder.insert_element(undefined, value, INT32(0))
            spread = builder.shuffle_vector(single, undefined, lanes)
            for panel in range(panels):
                following.append(_fma(builder, spread, weights[panel], sums[row * panels + panel]))
        for total, value in zip(sums, following):
            total.add_incoming(value, body)
        index.add_incoming(builder.add(index, INT64(1)), body)
        builder.branch(head)

        builder.position_at_end(done)
        for cell, total in zip(cells, sums):
            builder.store(total, vector(y, y_stride, *cell), align=4)
        return context.get_dummy_value()

    @intrinsic
    def run(typingctx, x, offsets, k, w, w_stride, start, start_stride, y, y_stride):
        return types.void(*[types.int64] * 9), codegen

    return run
