"""Intrinsics of arithmetic: products of bytes, rounding, tensor cores, and twins of the CPU's."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyseq.kernels.cuda.intrinsics import _function
from tinyseq.kernels.llvm.values import DOUBLE, FLOAT, INT32


@intrinsic
def dot4(typingctx, a, b, c):
    """c + the products of the four unsigned bytes of a and the four signed bytes of b, all int32."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(INT32, [INT32] * 3)
        text = "dp4a.u32.s32 $0, $1, $2, $3;"
        return builder.asm(function_type, text, "=r,r,r,r", args, side_effect=False)

    return types.int32(*[types.int32] * 3), codegen


def _pair(name: str, kind: str):
    def typing(typingctx, first, second):
        def codegen(context, builder, signature, args):
            function_type = ir.FunctionType(INT32, [FLOAT] * 2)
            text = f"cvt.rn.{kind}x2.f32 $0, $2, $1;"
            return builder.asm(function_type, text, "=r,f,f", args, side_effect=False)

        return types.int32(types.float32, types.float32), codegen

    typing.__name__ = name
    typing.__doc__ = f"""Two numbers rounded to {kind}, the first in the lower half."""
    return intrinsic(typing)


pair_bfloat16 = _pair("pair_bfloat16", "bf16")
pair_float16 = _pair("pair_float16", "f16")


@intrinsic
def tfloat32(typingctx, number):
    """A number rounded to TF32."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(INT32, [FLOAT])
        return builder.asm(function_type, "cvt.rna.tf32.f32 $0, $1;", "=r,f", args, side_effect=False)

    return types.int32(types.float32), codegen


def _cores(name: str, shape: str, operand: str):
    def typing(typingctx, a, b, c, d, e, f, s, t, u, v):
        def codegen(context, builder, signature, args):
            text = (
                f"mma.sync.aligned.{shape}.row.col.f32.{operand}.{operand}.f32 "
                "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
            )
            four = ir.LiteralStructType([FLOAT] * 4)
            function_type = ir.FunctionType(four, [INT32] * 6 + [FLOAT] * 4)
            constraints = "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
            made = builder.asm(function_type, text, constraints, args, side_effect=False)
            values = [builder.extract_value(made, place) for place in range(4)]
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(types.float32, 4)(*[types.int32] * 6, *[types.float32] * 4), codegen

    typing.__name__ = name
    typing.__doc__ = f"""A warp's part of a matrix [16, 8] plus the product of two of {operand}, as PTX's
    mma.{shape} shares them out: four operands of the left, two of the right and four sums a thread."""
    return intrinsic(typing)


cores_bfloat16 = _cores("cores_bfloat16", "m16n8k16", "bf16")
cores_float16 = _cores("cores_float16", "m16n8k16", "f16")
cores_tfloat32 = _cores("cores_tfloat32", "m16n8k8", "tf32")


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c in float32, rounded once."""

    def codegen(context, builder, signature, args):
        return builder.call(_function(builder, "llvm.fma.f32", FLOAT, [FLOAT] * 3), args)

    return types.float32(*[types.float32] * 3), codegen


@intrinsic
def fma64(typingctx, a, b, c):
    """``fma`` in float64."""

    def codegen(context, builder, signature, args):
        return builder.call(_function(builder, "llvm.fma.f64", DOUBLE, [DOUBLE] * 3), args)

    return types.float64(*[types.float64] * 3), codegen


@intrinsic
def quotient(typingctx, a, b):
    """a / b in float32, but for the last two bits."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(FLOAT, [FLOAT] * 2)
        return builder.asm(function_type, "div.full.f32 $0, $1, $2;", "=f,f,f", args, side_effect=False)

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def flushed(typingctx, x):
    """A float32: denormal numbers are computed with here."""

    def codegen(context, builder, signature, args):
        return args[0]

    return types.float32(types.float32), codegen


TWINS = {"fma": fma, "fma64": fma64, "quotient": quotient, "flushed": flushed}
"""The intrinsics of the CPU that mean something else here, by name."""
