"""AMX: the registers of two dimensions that x86-64's server processors have from Sapphire Rapids on.

Instructions and their operands: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
chapter 18.
"""

from __future__ import annotations

from llvmlite import ir

from tinyseq.kernels.llvm.values import INT8, INT64

FLAG = "tinyseq.amx.on"
"""Whether it is switched on, int64; see ``x86_64.MATRIX_UNIT``."""

REGISTERS, ROWS, ROW_BYTES = 8, 16, 64

# Palette 1; from byte 16 on the bytes of a row of each register, of 16 bits, from 48 on its rows, of 8.
CONFIGURATION = bytes(
    [1, *[0] * 15, *[ROW_BYTES, 0] * REGISTERS, *[0] * 16, *[ROWS] * REGISTERS, *[0] * 8],
)


class Amx:
    """A ``matrix_unit.Unit``."""

    attributes = ('"target-features"="+amx-int8,+amx-tile"',)

    def on(self, module, builder):
        flag = ir.GlobalVariable(module, INT64, FLAG)
        flag.initializer = INT64(0)
        return builder.load(flag)

    def begin(self, module, builder) -> None:
        kind = ir.ArrayType(INT8, len(CONFIGURATION))
        shape = ir.GlobalVariable(module, kind, "tinyseq.amx.shape")
        shape.initializer, shape.global_constant, shape.align = kind(bytearray(CONFIGURATION)), True, 64
        shape.linkage = "internal"
        self._call(builder, "ldtilecfg", builder.bitcast(shape, INT8.as_pointer()))

    def end(self, module, builder) -> None:
        self._call(builder, "tilerelease")

    def load(self, builder, register, address, stride) -> None:
        self._call(builder, "tileloadd64", INT8(register), _pointer(builder, address), stride)

    def store(self, builder, register, address, stride) -> None:
        self._call(builder, "tilestored64", INT8(register), _pointer(builder, address), stride)

    def multiply(self, builder, total, x, w) -> None:
        self._call(builder, "tdpbusd", INT8(total), INT8(x), INT8(w))

    def _call(self, builder, name: str, *arguments) -> None:
        function_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        full, known = f"llvm.x86.{name}", builder.module.globals
        function = known.get(full) or ir.Function(builder.module, function_type, full)
        builder.call(function, arguments)


def _pointer(builder, address):
    return builder.inttoptr(address, INT8.as_pointer())
