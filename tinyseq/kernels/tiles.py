"""What differs between ISAs, in LLVM IR: the register tiles of the product and fused multiply-add."""

from __future__ import annotations

from llvmlite import ir

from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.isa import Isa

FLOAT = ir.FloatType()
DOUBLE = ir.DoubleType()
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, PANEL)

FMA32, FMA64 = "tinyseq.fma32", "tinyseq.fma64"

TILE_ROWS = (6, 4, 2, 1)
"""Rows of the tiles that the product asks for, largest first."""

TILE_PANELS = (4, 2, 1)
"""Panels of the tiles that the product asks for, widest first."""


def tile_name(rows: int, panels: int) -> str:
    """The function that computes a tile; ``intrinsics.tile`` says what it does."""
    return f"tinyseq.tile.{rows}.{panels}"


def names() -> list[str]:
    """All that ``intrinsics.py`` calls by name."""
    return [FMA32, FMA64, *(tile_name(rows, panels) for rows in TILE_ROWS for panels in TILE_PANELS)]


def definitions(isa: Isa) -> str:
    """LLVM IR of all that ``intrinsics.py`` calls by name, for one ISA."""
    module = ir.Module(name=isa.name)
    for name, element in ((FMA32, FLOAT), (FMA64, DOUBLE)):
        builder, arguments = _function(module, name, element, [element] * 3)
        builder.ret(_fma(isa, builder, *arguments))
    for rows in TILE_ROWS:
        for panels in TILE_PANELS:
            builder, arguments = _function(module, tile_name(rows, panels), ir.VoidType(), [INT64] * 9)
            _tile(isa, builder, arguments, rows, panels)
            builder.ret_void()
    return str(module)


def _function(module: ir.Module, name: str, result, arguments: list):
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.attributes.add("alwaysinline")
    return ir.IRBuilder(function.append_basic_block("entry")), function.args


def _fma(isa: Isa, builder, a, b, c):
    if not isa.fma:
        return builder.fadd(builder.fmul(a, b), c)
    suffix = {VECTOR: f"v{PANEL}f32", FLOAT: "f32", DOUBLE: "f64"}[a.type]
    name = f"llvm.fma.{suffix}"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, (a, b, c))


def _tile(isa: Isa, builder, arguments, rows: int, panels: int) -> None:
    """A tile as the register tiles of the ISA that cover it."""
    register_rows, register_panels = next((r, p) for r, p in isa.tiles if r <= rows)
    for row in range(0, rows, register_rows):
        take = min(register_rows, rows - row)
        panel = 0
        while panel < panels:
            wide = min(register_panels, panels - panel)
            _register_tile(isa, builder, arguments, range(row, row + take), range(panel, panel + wide))
            panel += wide


def _register_tile(isa: Isa, builder, arguments, rows: range, panels: range) -> None:
    """One accumulator for each row and panel.

    Each runs over k in order, so its bits depend neither on the tile nor on the rows beside it.
    """
    x, offsets, k, w, w_stride, start, start_stride, y, y_stride = arguments
    cells = [(row, panel) for row in rows for panel in panels]

    def element(base, index, of=FLOAT):
        return builder.gep(builder.inttoptr(base, of.as_pointer()), [index])

    def vector(base, stride, row, panel):
        index = builder.add(builder.mul(stride, INT64(row)), INT64(panel * PANEL))
        return builder.bitcast(element(base, index), VECTOR.as_pointer())

    x_rows = [element(x, builder.load(element(offsets, INT64(row), INT64))) for row in rows]
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
        for panel in panels
    ]
    undefined = ir.Constant(VECTOR, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(INT32, PANEL), [0] * PANEL)
    following = []
    for x_row in x_rows:
        value = builder.load(builder.gep(x_row, [index]))
        single = builder.insert_element(undefined, value, INT32(0))
        spread = builder.shuffle_vector(single, undefined, lanes)
        for weight in weights:
            following.append(_fma(isa, builder, spread, weight, sums[len(following)]))
    for total, value in zip(sums, following):
        total.add_incoming(value, body)
    index.add_incoming(builder.add(index, INT64(1)), body)
    builder.branch(head)

    builder.position_at_end(done)
    for cell, total in zip(cells, sums):
        builder.store(total, vector(y, y_stride, *cell), align=4)
