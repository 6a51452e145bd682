"""What differs between ISAs, in LLVM IR: the register tiles of the product and fused multiply-add."""

from __future__ import annotations

from functools import cache

from llvmlite import ir

from tinyseq.kernels.formats import BYTE_ELEMENT, ELEMENTS
from tinyseq.kernels.instructions import BYTES, PANEL
from tinyseq.kernels.llvm import architecture, matrix_unit
from tinyseq.kernels.llvm.isa import Isa
from tinyseq.kernels.llvm.values import (
    DOUBLE,
    FLOAT,
    INT32,
    INT64,
    NEAR_THE_CORE,
    VECTOR,
    Arithmetic,
    fetched,
    fused,
    given,
    shuffled,
    taken,
    undefined,
)
from tinyseq.kernels.llvm.values import vector as vector_of

FMA32, FMA64 = "tinyseq.fma32", "tinyseq.fma64"

TAP_POSITIONS = (6, 2, 1)
"""Positions whose channels are computed together, most first."""

DENORMALS_OFF, DENORMALS_RESTORE = "tinyseq.denormals.off", "tinyseq.denormals.restore"
"""What sets the control word of floating-point arithmetic; a processor's file defines them."""

FLUSHED = "tinyseq.denormals.flushed"
"""Zero for a denormal number, unless the processor sees to it where one of two numbers is selected; a
processor's file defines it."""

LESS = "tinyseq.bytes.less"
"""What tiles of bytes take off each number of x."""

LANES, TAKE, GIVE = "tinyseq.lanes", "tinyseq.lanes.take", "tinyseq.lanes.give"
"""How many float32 a mask can choose from; what reads, or writes, the first ones of so many.
``intrinsics.py`` says what they do."""

TILE_ROWS = (6, 5, 4, 3, 2, 1)
"""Rows of the tiles that the product asks for, largest first."""

TILE_PANELS = (4, 2, 1)
"""Panels of the tiles that the product asks for, widest first."""

FETCHING_ROWS = 4
"""Tiles of so many rows, and of the most panels, fetch what is needed next: they have the time for it."""

TILE_ARGUMENTS = [INT64] * 11


def tile_name(element: str, rows: int, panels: int) -> str:
    """The function that computes a tile; ``intrinsics.tile`` says what it does."""
    return f"tinyseq.tile.{element}.{rows}.{panels}"


def taps_name(positions: int) -> str:
    """The function that computes a panel of channels; ``intrinsics.taps`` says what it does."""
    return f"tinyseq.taps.{positions}"


def names() -> list[str]:
    """All that ``intrinsics.py`` calls by name."""
    tiles = [
        (element.name, rows, panels) for element in ELEMENTS for rows in TILE_ROWS for panels in TILE_PANELS
    ]
    own = (FMA32, FMA64, LESS, LANES, TAKE, GIVE, DENORMALS_OFF, DENORMALS_RESTORE, FLUSHED)
    taps = map(taps_name, TAP_POSITIONS)
    return [*own, *taps, *matrix_unit.names(), *(tile_name(*tile) for tile in tiles)]


def definitions(isa: Isa) -> str:
    """LLVM IR of all that ``intrinsics.py`` calls by name, for one ISA."""
    module = ir.Module(name=isa.name)
    for name, element in ((FMA32, FLOAT), (FMA64, DOUBLE)):
        builder, arguments = _function(module, name, element, [element] * 3)
        builder.ret(fused(isa, builder, *arguments))
    builder, _ = _function(module, LANES, INT64, [])
    builder.ret(INT64(isa.masked))
    for name, write in ((TAKE, taken), (GIVE, given)):
        builder, arguments = _function(module, name, ir.VoidType(), [INT64] * 3)
        write(builder, vector_of(FLOAT, isa.masked), *arguments)
        builder.ret_void()
    builder, _ = _function(module, LESS, INT32, [])
    builder.ret(INT32(BYTE_ELEMENT.arithmetic(isa).less))
    matrix_unit.define(module, architecture.matrix_unit(isa))
    for positions in TAP_POSITIONS:
        builder, arguments = _function(module, taps_name(positions), ir.VoidType(), [INT64] * 9)
        together = 1 if isa.apart else next(rows for rows, _ in isa.tiles if rows <= positions)
        for position in range(0, positions, together):
            _taps(isa, builder, arguments, range(position, min(position + together, positions)))
        builder.ret_void()
    for element in ELEMENTS:
        arithmetic, size = element.arithmetic(isa), element.size
        single = _single(module, arithmetic, size, element.name) if isa.apart else None
        for rows in TILE_ROWS:
            for panels in TILE_PANELS:
                name = tile_name(element.name, rows, panels)
                builder, arguments = _function(module, name, ir.VoidType(), TILE_ARGUMENTS)
                if single:
                    _called(single, size, builder, arguments, rows, panels)
                else:
                    _tile(isa, arithmetic, size, builder, arguments, rows, panels)
                builder.ret_void()
    return str(module)


def _single(module: ir.Module, arithmetic: Arithmetic, size: int, name: str) -> ir.Function:
    """A tile of one row and one panel that stays a function."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), TILE_ARGUMENTS), f"tinyseq.tile.{name}")
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _register_tile(arithmetic, size, builder, function.args, range(1), range(1), fetches=False)
    builder.ret_void()
    return function


def _called(single: ir.Function, size: int, builder, arguments: list, rows: int, panels: int) -> None:
    """A tile as calls of one that has one row and one panel."""
    x, offsets, k, w, w_stride, start, start_stride, y, y_stride, *ahead = arguments

    def moved(address, stride, row: int, panel: int):
        """The address of a sum so many rows and panels on."""
        elements = builder.add(builder.mul(stride, INT64(row)), INT64(panel * PANEL))
        return builder.add(address, builder.mul(elements, INT64(BYTES)))

    for row in range(rows):
        for panel in range(panels):
            own = builder.add(offsets, INT64(8 * row)), k, builder.add(w, INT64(panel * PANEL * size))
            starts = moved(start, start_stride, row, panel), start_stride
            builder.call(
                single, [x, *own, w_stride, *starts, moved(y, y_stride, row, panel), y_stride, *ahead]
            )


def _function(module: ir.Module, name: str, result, arguments: list):
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.attributes.add("alwaysinline")
    return ir.IRBuilder(function.append_basic_block("entry")), function.args


def _taps(isa: Isa, builder, arguments, positions: range) -> None:
    """A sum for each position, over the taps in order."""
    x, x_step, offsets, count, w, w_stride, start, y, y_step = arguments

    def panel(address):
        return builder.inttoptr(address, VECTOR.as_pointer())

    def places(base, step):
        return [builder.add(base, builder.mul(step, INT64(position))) for position in positions]

    first, sources = builder.load(panel(start), align=4), places(x, x_step)
    entry, body, done = builder.block, builder.append_basic_block("tap"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", INT64(0), count), body, done)

    builder.position_at_end(body)
    index, totals = builder.phi(INT64), [builder.phi(VECTOR) for _ in positions]
    offset = builder.load(builder.gep(builder.inttoptr(offsets, INT64.as_pointer()), [index]))
    weights = builder.load(panel(builder.add(w, builder.mul(index, w_stride))), align=4)
    met = [builder.load(panel(builder.add(source, offset)), align=4) for source in sources]
    following = [fused(isa, builder, one, weights, total) for one, total in zip(met, totals)]
    further = builder.add(index, INT64(1))
    builder.cbranch(builder.icmp_signed("<", further, count), body, done)
    for phi, before, after in (
        (index, INT64(0), further),
        *((t, first, f) for t, f in zip(totals, following)),
    ):
        phi.add_incoming(before, entry)
        phi.add_incoming(after, body)

    builder.position_at_end(done)
    results = [builder.phi(VECTOR) for _ in positions]
    for result, after, target in zip(results, following, places(y, y_step)):
        result.add_incoming(first, entry)
        result.add_incoming(after, body)
        builder.store(result, panel(target), align=4)


def _tile(isa: Isa, arithmetic: Arithmetic, size: int, builder, arguments, rows: int, panels: int) -> None:
    """A tile as the register tiles that cover it."""
    fitting = arithmetic.tiles or isa.tiles
    fetches = rows >= FETCHING_ROWS and panels == TILE_PANELS[0]
    register_rows, register_panels = next((r, p) for r, p in fitting if r <= rows)
    for row in range(0, rows, register_rows):
        take = min(register_rows, rows - row)
        panel = 0
        while panel < panels:
            wide = min(register_panels, panels - panel)
            here = range(row, row + take), range(panel, panel + wide)
            _register_tile(arithmetic, size, builder, arguments, *here, fetches)
            panel += wide
            fetches = False


def _register_tile(
    arithmetic: Arithmetic, size: int, builder, arguments, rows: range, panels: range, fetches: bool
) -> None:
    """One accumulator for each row and panel.

    Each runs over k in order, so its bits depend neither on the tile nor on the rows beside it.
    """
    x, offsets, k, w, w_stride, start, start_stride, y, y_stride, ahead, ahead_stride = arguments
    cells = [(row, panel) for row in rows for panel in panels]
    # What there are fewer of stays in registers while the others pass by.
    if len(rows) < len(panels):
        cells.sort(key=lambda cell: cell[1])

    def element(base, index, of=arithmetic.element):
        return builder.gep(builder.inttoptr(base, of.as_pointer()), [index])

    def vector(base, stride, row, panel):
        index = builder.add(builder.mul(stride, INT64(row)), INT64(panel * PANEL))
        return builder.bitcast(element(base, index), arithmetic.total.as_pointer())

    def x_row(row):
        first = element(x, builder.load(element(offsets, INT64(row), INT64)), arithmetic.unit)
        return builder.bitcast(first, arithmetic.element.as_pointer())

    x_rows = [x_row(row) for row in rows]
    first = [builder.load(vector(start, start_stride, *cell), align=4) for cell in cells]

    entry = builder.block
    head = builder.append_basic_block("k.head")
    body = builder.append_basic_block("k.body")
    done = builder.append_basic_block("k.done")
    builder.branch(head)

    builder.position_at_end(head)
    index = builder.phi(INT64)
    index.add_incoming(INT64(0), entry)
    sums = [builder.phi(arithmetic.total) for _ in cells]
    for total, value in zip(sums, first):
        total.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", index, k), body, done)

    builder.position_at_end(body)
    if fetches:
        line = builder.add(ahead, builder.mul(index, ahead_stride))
        fetched(builder, line, NEAR_THE_CORE)
    w_row = element(w, builder.mul(index, w_stride), arithmetic.weight)
    panel_type = vector_of(arithmetic.weight, PANEL).as_pointer()
    anything = undefined(vector_of(arithmetic.element, PANEL))

    @cache
    def weights(panel):
        place = builder.bitcast(builder.gep(w_row, [INT64(panel * PANEL)]), panel_type)
        return arithmetic.w(builder, builder.load(place, align=size * PANEL))

    @cache
    def spread(row):
        value = builder.load(builder.gep(x_rows[row - rows.start], [index]), align=arithmetic.alignment)
        single = builder.insert_element(anything, value, INT32(0))
        return arithmetic.x(builder, shuffled(builder, single, anything, [0] * PANEL))

    for (row, panel), total in zip(cells, sums):
        w_here, x_here = weights(panel), spread(row)
        total.add_incoming(arithmetic.step(builder, x_here, w_here, total), body)
    index.add_incoming(builder.add(index, INT64(1)), body)
    builder.branch(head)

    builder.position_at_end(done)
    for cell, total in zip(cells, sums):
        builder.store(total, vector(y, y_stride, *cell), align=4)
