"""Squares of a product of bytes, 16 rows by 16 columns, in LLVM IR, by registers of two dimensions.

They compute what the register tiles of bytes compute, sums in int32 which are exact in any order, so that
it cannot be told which of the two has run.
"""

from __future__ import annotations

from typing import Any, Protocol

from llvmlite import ir

from tinyseq.kernels.instructions import BYTES, PANEL
from tinyseq.kernels.llvm.values import INT64

ROWS = 16
"""Rows of a square."""

DEPTH = 16
"""Elements of k, of four bytes each, that a square takes at once."""

SIDES = (1, 2)
"""Of how many squares, down and across, there are functions."""

ON, BEGIN, END = "tinyseq.unit.on", "tinyseq.unit.begin", "tinyseq.unit.end"
"""Whether the processor has a unit, and it is switched on; what is called before the first and after the
last of some squares."""


def square_name(rows: int, panels: int) -> str:
    """The function that computes so many squares; ``intrinsics.square`` says what it does."""
    return f"tinyseq.square.{rows}.{panels}"


def names() -> list[str]:
    """All that ``intrinsics.py`` calls by name."""
    return [ON, BEGIN, END, *(square_name(rows, panels) for rows in SIDES for panels in SIDES)]


class Unit(Protocol):
    """What has registers of two dimensions, each of 16 rows of 64 bytes, by numbers from 0 to 7.

    ``attributes`` are those of the functions that use it, as LLVM writes them.
    """

    attributes: tuple[str, ...]

    def on(self, module: ir.Module, builder: ir.IRBuilder) -> Any:
        """Whether it may be used, int64."""

    def begin(self, module: ir.Module, builder: ir.IRBuilder) -> None:
        """Readies the registers."""

    def end(self, module: ir.Module, builder: ir.IRBuilder) -> None:
        """Gives them back."""

    def load(self, builder: ir.IRBuilder, register: int, address: Any, stride: Any) -> None:
        """Fills a register by rows that are ``stride`` bytes apart."""

    def store(self, builder: ir.IRBuilder, register: int, address: Any, stride: Any) -> None:
        """Writes a register's rows, ``stride`` bytes apart."""

    def multiply(self, builder: ir.IRBuilder, total: int, x: int, w: int) -> None:
        """Adds to each int32 [row, column] of a register the sum over k of ``x[row, k]``, unsigned bytes,
        times ``w[k // 4, column, k % 4]``, signed ones."""


def define(module: ir.Module, unit: Unit | None) -> None:
    """Adds the functions of ``names`` to a module; without a unit they say that there is none."""

    def function(name: str, result: Any, count: int, *attributes: str):
        made = ir.Function(module, ir.FunctionType(result, [INT64] * count), name)
        for attribute in attributes:
            # As of any set: llvmlite refuses attributes of a processor, though it writes them.
            set.add(made.attributes, attribute)
        return ir.IRBuilder(made.append_basic_block("entry")), made.args

    builder, _ = function(ON, INT64, 0, "alwaysinline")
    builder.ret(unit.on(module, builder) if unit else INT64(0))
    attributes = ("noinline", *unit.attributes) if unit else ("alwaysinline",)
    for name, write in ((BEGIN, unit and unit.begin), (END, unit and unit.end)):
        builder, _ = function(name, ir.VoidType(), 0, *attributes)
        if write:
            write(module, builder)
        builder.ret_void()
    for rows in SIDES:
        for panels in SIDES:
            builder, arguments = function(square_name(rows, panels), ir.VoidType(), 9, *attributes)
            if unit:
                _square(unit, builder, arguments, rows, panels)
            builder.ret_void()


def _square(unit: Unit, builder: ir.IRBuilder, arguments, rows: int, panels: int) -> None:
    """Sums in registers 0 to 3, rows of x in 4 and 5, panels of w in 6 and 7."""
    x, x_stride, k, w, w_stride, start, start_stride, y, y_stride = arguments
    cells = [(row, panel, 2 * row + panel) for row in range(rows) for panel in range(panels)]

    def down(address, stride, row: int):
        return builder.add(address, builder.mul(stride, INT64(ROWS * row)))

    def across(address, panel: int):
        return builder.add(address, INT64(panel * PANEL * BYTES))

    for row, panel, total in cells:
        unit.load(builder, total, across(down(start, start_stride, row), panel), start_stride)
    entry, body, done = builder.block, builder.append_basic_block("k"), builder.append_basic_block("done")
    builder.branch(body)

    builder.position_at_end(body)
    index = builder.phi(INT64)
    left = builder.add(x, builder.mul(index, INT64(BYTES)))
    right = builder.add(w, builder.mul(index, w_stride))
    for row in range(rows):
        unit.load(builder, 4 + row, down(left, x_stride, row), x_stride)
    for panel in range(panels):
        unit.load(builder, 6 + panel, across(right, panel), w_stride)
    for row, panel, total in cells:
        unit.multiply(builder, total, 4 + row, 6 + panel)
    further = builder.add(index, INT64(DEPTH))
    index.add_incoming(INT64(0), entry)
    index.add_incoming(further, builder.block)
    builder.cbranch(builder.icmp_signed("<", further, k), body, done)

    builder.position_at_end(done)
    for row, panel, total in cells:
        unit.store(builder, total, across(down(y, y_stride, row), panel), y_stride)
