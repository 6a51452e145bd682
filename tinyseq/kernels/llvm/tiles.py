"""What differs between ISAs, in LLVM IR: the register tiles of the product and fused multiply-add."""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm.isa import Isa

FLOAT = ir.FloatType()
DOUBLE = ir.DoubleType()
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, PANEL)
INTEGERS = ir.VectorType(INT32, PANEL)
BYTES = ir.VectorType(ir.IntType(8), 4 * PANEL)
PAIRS = ir.VectorType(ir.IntType(16), 2 * PANEL)

WIDTH = 4
"""Bytes of an element of a panel, of either kind."""

FMA32, FMA64 = "tinyseq.fma32", "tinyseq.fma64"

TAPS = "tinyseq.taps"
"""The function that computes a panel of channels; ``intrinsics.taps_of_panel`` says what it does."""

DENORMALS_OFF, DENORMALS_RESTORE = "tinyseq.denormals.off", "tinyseq.denormals.restore"
"""What sets the control word of floating-point arithmetic, which ``build.py`` defines."""

TILE_ROWS = (6, 5, 4, 3, 2, 1)
"""Rows of the tiles that the product asks for, largest first."""

TILE_PANELS = (4, 2, 1)
"""Panels of the tiles that the product asks for, widest first."""


KINDS = ("floats", "bytes")
"""What the tiles multiply: float32, or groups of four unsigned bytes of x with four signed ones of w."""


def tile_name(kind: str, rows: int, panels: int) -> str:
    """The function that computes a tile; ``intrinsics.tile`` says what it does."""
    return f"tinyseq.tile.{kind}.{rows}.{panels}"


def names() -> list[str]:
    """All that ``intrinsics.py`` calls by name."""
    return [
        FMA32,
        FMA64,
        TAPS,
        DENORMALS_OFF,
        DENORMALS_RESTORE,
        *(tile_name(kind, rows, panels) for kind in KINDS for rows in TILE_ROWS for panels in TILE_PANELS),
    ]


def definitions(isa: Isa) -> str:
    """LLVM IR of all that ``intrinsics.py`` calls by name, for one ISA."""
    module = ir.Module(name=isa.name)
    for name, element in ((FMA32, FLOAT), (FMA64, DOUBLE)):
        builder, arguments = _function(module, name, element, [element] * 3)
        builder.ret(_fma(isa, builder, *arguments))
    builder, arguments = _function(module, TAPS, ir.VoidType(), [INT64] * 7)
    _taps(isa, builder, *arguments)
    for kind, arithmetic in zip(KINDS, (_Floats(isa), _Bytes(isa)), strict=True):
        single = _single(module, arithmetic, kind) if isa.apart else None
        for rows in TILE_ROWS:
            for panels in TILE_PANELS:
                name = tile_name(kind, rows, panels)
                builder, arguments = _function(module, name, ir.VoidType(), [INT64] * 9)
                if single:
                    _called(single, builder, arguments, rows, panels)
                else:
                    _tile(isa, arithmetic, builder, arguments, rows, panels)
                builder.ret_void()
    return str(module)


def _single(module: ir.Module, arithmetic, kind: str) -> ir.Function:
    """A tile of one row and one panel that stays a function."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT64] * 9), f"tinyseq.tile.{kind}")
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _register_tile(arithmetic, builder, function.args, range(1), range(1))
    builder.ret_void()
    return function


def _called(single: ir.Function, builder, arguments: list, rows: int, panels: int) -> None:
    """A tile as calls of one that has one row and one panel."""
    x, offsets, k, w, w_stride, start, start_stride, y, y_stride = arguments

    def moved(address, stride, row: int, panel: int):
        """An address so many rows and panels on."""
        elements = builder.add(builder.mul(stride, INT64(row)), INT64(panel * PANEL))
        return builder.add(address, builder.mul(elements, INT64(WIDTH)))

    for row in range(rows):
        for panel in range(panels):
            own = builder.add(offsets, INT64(8 * row)), k, builder.add(w, INT64(panel * PANEL * WIDTH))
            starts = moved(start, start_stride, row, panel), start_stride
            builder.call(single, [x, *own, w_stride, *starts, moved(y, y_stride, row, panel), y_stride])


def _function(module: ir.Module, name: str, result, arguments: list):
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.attributes.add("alwaysinline")
    return ir.IRBuilder(function.append_basic_block("entry")), function.args


def _fma(isa: Isa, builder, a, b, c):
    if not isa.fma:
        return builder.fadd(builder.fmul(a, b), c)
    suffix = {VECTOR: f"v{PANEL}f32", FLOAT: "f32", DOUBLE: "f64"}[a.type]
    return _call(builder, f"llvm.fma.{suffix}", a.type, a, b, c)


def _taps(isa: Isa, builder, x, offsets, count, w, w_stride, start, y) -> None:
    def panel(address):
        return builder.inttoptr(address, VECTOR.as_pointer())

    first = builder.load(panel(start), align=4)
    entry, body, done = builder.block, builder.append_basic_block("tap"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", INT64(0), count), body, done)

    builder.position_at_end(body)
    index, total = builder.phi(INT64), builder.phi(VECTOR)
    offset = builder.load(builder.gep(builder.inttoptr(offsets, INT64.as_pointer()), [index]))
    met = builder.load(panel(builder.add(x, offset)), align=4)
    weights = builder.load(panel(builder.add(w, builder.mul(index, w_stride))), align=4)
    following, further = _fma(isa, builder, met, weights, total), builder.add(index, INT64(1))
    builder.cbranch(builder.icmp_signed("<", further, count), body, done)
    for phi, before, after in ((index, INT64(0), further), (total, first, following)):
        phi.add_incoming(before, entry)
        phi.add_incoming(after, body)

    builder.position_at_end(done)
    result = builder.phi(VECTOR)
    result.add_incoming(first, entry)
    result.add_incoming(following, body)
    builder.store(result, panel(y), align=4)
    builder.ret_void()


def _call(builder, name: str, result, *arguments):
    """Calls an intrinsic of LLVM."""
    function = builder.module.globals.get(name)
    if function is None:
        types = [argument.type for argument in arguments]
        function = ir.Function(builder.module, ir.FunctionType(result, types), name)
    return builder.call(function, arguments)


class _Floats(NamedTuple):
    """Elements of float32: one multiply-add a step of k."""

    isa: Isa
    element = FLOAT
    unit = FLOAT
    alignment = 4
    vector = VECTOR

    def x(self, builder, spread):
        return spread

    def w(self, builder, weights):
        return weights

    def step(self, builder, x, w, total):
        return _fma(self.isa, builder, x, w, total)


class _Bytes(NamedTuple):
    """Elements of four bytes, summed in int32 exactly: x unsigned, w signed.

    Without an instruction for groups of four, the even and the odd bytes are multiplied as 16-bit pairs;
    without one for those, each byte by itself.
    """

    isa: Isa
    element = INT32
    unit = ir.IntType(8)
    alignment = 1
    vector = INTEGERS

    def x(self, builder, spread):
        if self._fours:
            return builder.bitcast(spread, BYTES)
        if not self.isa.dot:
            byte = _repeated(INTEGERS, 255)
            shifted = [builder.lshr(spread, _repeated(INTEGERS, 8 * place)) for place in range(4)]
            return [builder.and_(one, byte) for one in shifted]
        pairs = builder.bitcast(spread, PAIRS)
        even = builder.and_(pairs, _repeated(PAIRS, 255))
        return even, builder.lshr(pairs, _repeated(PAIRS, 8))

    def w(self, builder, weights):
        if self._fours:
            return builder.bitcast(weights, BYTES)
        if not self.isa.dot:
            high = [builder.shl(weights, _repeated(INTEGERS, 24 - 8 * place)) for place in range(4)]
            return [builder.ashr(one, _repeated(INTEGERS, 24)) for one in high]
        pairs = builder.bitcast(weights, PAIRS)
        byte = _repeated(PAIRS, 8)
        return builder.ashr(builder.shl(pairs, byte), byte), builder.ashr(pairs, byte)

    def step(self, builder, x, w, total):
        if self._fours:
            return _call(builder, f"llvm.x86.{self.isa.dot}", INTEGERS, total, x, w)
        for a, b in zip(x, w, strict=True):
            total = builder.add(total, self._pairs(builder, a, b) if self.isa.dot else builder.mul(a, b))
        return total

    @property
    def _fours(self) -> bool:
        return "vpdpbusd" in self.isa.dot

    def _pairs(self, builder, a, b):
        """The products of 16-bit pairs, in as many parts as the ISA's registers ask for."""
        lanes = {"sse2": 8, "avx2": 16, "avx512": 32}[self.isa.dot.split(".")[0]]
        part, result = ir.VectorType(ir.IntType(16), lanes), ir.VectorType(INT32, lanes // 2)
        sums = [
            _call(
                builder,
                f"llvm.x86.{self.isa.dot}",
                result,
                *(_lanes(builder, v, start, part) for v in (a, b)),
            )
            for start in range(0, 2 * PANEL, lanes)
        ]
        while len(sums) > 1:
            sums = [_joined(builder, *pair) for pair in zip(sums[::2], sums[1::2])]
        return sums[0]


def _repeated(vector, value: int):
    return ir.Constant(vector, [value] * vector.count)


def _shuffled(builder, a, b, places):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(places)), list(places)))


def _lanes(builder, whole, start: int, part):
    """A run of lanes."""
    undefined = ir.Constant(whole.type, ir.Undefined)
    return _shuffled(builder, whole, undefined, range(start, start + part.count))


def _joined(builder, a, b):
    """The lanes of a, then those of b."""
    return _shuffled(builder, a, b, range(2 * a.type.count))


def _tile(isa: Isa, arithmetic, builder, arguments, rows: int, panels: int) -> None:
    """A tile as the register tiles of the ISA that cover it."""
    register_rows, register_panels = next((r, p) for r, p in isa.tiles if r <= rows)
    for row in range(0, rows, register_rows):
        take = min(register_rows, rows - row)
        panel = 0
        while panel < panels:
            wide = min(register_panels, panels - panel)
            here = range(row, row + take), range(panel, panel + wide)
            _register_tile(arithmetic, builder, arguments, *here)
            panel += wide


def _register_tile(arithmetic, builder, arguments, rows: range, panels: range) -> None:
    """One accumulator for each row and panel.

    Each runs over k in order, so its bits depend neither on the tile nor on the rows beside it.
    """
    x, offsets, k, w, w_stride, start, start_stride, y, y_stride = arguments
    cells = [(row, panel) for row in rows for panel in panels]

    def element(base, index, of=arithmetic.element):
        return builder.gep(builder.inttoptr(base, of.as_pointer()), [index])

    def vector(base, stride, row, panel):
        index = builder.add(builder.mul(stride, INT64(row)), INT64(panel * PANEL))
        return builder.bitcast(element(base, index), arithmetic.vector.as_pointer())

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
    sums = [builder.phi(arithmetic.vector) for _ in cells]
    for total, value in zip(sums, first):
        total.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", index, k), body, done)

    builder.position_at_end(body)
    w_row = element(w, builder.mul(index, w_stride))
    panel_type = arithmetic.vector.as_pointer()
    loaded = [
        builder.load(builder.bitcast(builder.gep(w_row, [INT64(panel * PANEL)]), panel_type), align=64)
        for panel in panels
    ]
    weights = [arithmetic.w(builder, weight) for weight in loaded]
    undefined = ir.Constant(arithmetic.vector, ir.Undefined)
    following = []
    for row in x_rows:
        value = builder.load(builder.gep(row, [index]), align=arithmetic.alignment)
        single = builder.insert_element(undefined, value, INT32(0))
        spread = arithmetic.x(builder, _shuffled(builder, single, undefined, [0] * PANEL))
        for weight in weights:
            following.append(arithmetic.step(builder, spread, weight, sums[len(following)]))
    for total, value in zip(sums, following):
        total.add_incoming(value, body)
    index.add_incoming(builder.add(index, INT64(1)), body)
    builder.branch(head)

    builder.position_at_end(done)
    for cell, total in zip(cells, sums):
        builder.store(total, vector(y, y_stride, *cell), align=4)
