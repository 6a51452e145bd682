"""Layers gathered from the instructions around them.

A plan copies a layer's initial state to where the layer works on it, multiplies the input with its weights,
and then runs the frames. A stream's looks whether the new state is finite, and copies it to where it is kept.
Where each frame is a launch, that does all of it, the product only for few rows. That is so if nothing is
overwritten that another block may still read.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from tinyseq.kernels.cells import VARIANTS
from tinyseq.kernels.cuda.committing import COUNTER, NO_COMMIT, UNCHECKED, Commit
from tinyseq.kernels.cuda.launch import Facts, Launch, Tail
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.recurrent import RecurrentOperands, frame_by_frame, kept
from tinyseq.kernels.cuda.stages import Input
from tinyseq.kernels.formats import AS_THEY_ARE, FORMATS
from tinyseq.kernels.instructions import FUNCTION_CODES, GATHER, HAS_Y, OPERANDS, PROJECTED

COPY = FUNCTION_CODES["copy", "f"]

INDEX_BYTES = 8

STATES = 2
"""Most states of a layer."""

MOST_COMMITTED = 2**17
"""Bytes of states that a launch commits, at the most: it may be one block that sees to all of them."""

LONGEST = 3 * STATES + 2
"""Most instructions that make up a layer."""


class PlacedInstruction(NamedTuple):
    """An instruction's name, its operands in order, addresses being the device's, and where it is."""

    name: str
    operands: Sequence
    place: int = 0

    def value(self, operand: str) -> int | Tail:
        return self.operands[OPERANDS[self.name].index(operand)]


class ByteRange(NamedTuple):
    """So many bytes from an address on."""

    start: int
    bytes: int

    def meets(self, other: ByteRange) -> bool:
        return self.start < other.start + other.bytes and other.start < self.start + self.bytes


class Gathered(NamedTuple):
    """A layer that the next ``count`` instructions make up: its launches, which come after those of the
    instruction that is ``between`` its copies and itself, by number, if it is not part of it."""

    count: int
    between: int | None
    launches: list[Launch]


def gathered(ahead: Sequence[PlacedInstruction], facts: Facts) -> Gathered | None:
    """The layer that the next instructions make up; None if there is none or it is better run instruction by
    instruction.

    ``ahead`` are the next instructions that follow upon each other whatever happens.
    """
    begun: dict[ByteRange, int] = {}
    for one in ahead[:STATES]:
        found = _begun(one)
        if found is None:
            break
        begun[found.range] = found.source
    place = len(begun)
    between = ahead[place] if place < len(ahead) and ahead[place].name in ("linear", "gather") else None
    count = place + (between is not None) + 1
    if count == 1 or len(ahead) < count or ahead[count - 1].name != "recurrent":
        return None
    layer = RecurrentOperands(*ahead[count - 1].operands, h0=0, c0=0)
    if layer.frames == 0 or not begun.keys() <= _states(layer):
        return None
    if not layer.live(facts) and (layer.rounds or kept(layer, facts) is not None):
        return None
    first = {target.start: source for target, source in begun.items()}
    layer = layer._replace(h0=first.get(layer.h, layer.h), c0=first.get(layer.c, layer.c))
    read = [ByteRange(source, target.bytes) for target, source in begun.items() if source]
    fed = between is not None and _feeds(layer, between, facts)
    if fed:
        layer, x = _fed(layer, between)
        read.append(x)
    elif not begun or (between is not None and not _passes_by(between, layer, read)):
        return None
    if any(one.meets(other) for one in read for other in _written(layer)):
        return None
    more, commit = _committed(layer, begun.keys(), ahead[count:], facts) if layer.live(facts) else (0, None)
    launches = frame_by_frame(layer, facts, commit)
    return Gathered(count + more, None if fed or between is None else place, launches)


def _passes_by(between: PlacedInstruction, layer: RecurrentOperands, read: Sequence[ByteRange]) -> bool:
    """Whether an instruction may come before the copies that begin a layer."""
    spans = _spans(between)
    if spans is None:
        return False
    states = _states(layer)
    written, *others = spans
    late = any(written.meets(one) for one in (*read, *states))
    return not late and not any(one.meets(state) for one in others for state in states)


def _spans(one: PlacedInstruction) -> list[ByteRange] | None:
    """The bytes that an instruction writes, and those that it reads, weights aside; None if nobody knows."""
    if one.name == "linear":
        if FORMATS[one.value("format")].activations is not AS_THEY_ARE:
            return None
        rows = one.value("outer") * one.value("inner")
        last = (one.value("outer") - 1) * one.value("outer_stride")
        last += (one.value("inner") - 1) * one.value("inner_stride") + one.value("k")
        y = (rows - 1) * one.value("y_stride") + one.value("n")
        return [ByteRange(one.value("y"), y * BYTES), ByteRange(one.value("x"), last * BYTES)]
    outer, count, depth, dims = (one.value(name) for name in ("outer", "count", "depth", "dims"))
    if one.value("store") != GATHER:
        return None
    sizes, strides, step = dims.values[:depth], dims.values[depth : 2 * depth], dims.values[2 * depth]
    reach = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + one.value("inner")
    return [
        ByteRange(one.value("y"), outer * count * one.value("inner")),
        ByteRange(one.value("x"), (outer - 1) * one.value("x_outer") + reach),
        ByteRange(one.value("indices"), ((outer - 1) * step + count * depth) * INDEX_BYTES),
    ]


class Filled(NamedTuple):
    """Bytes that an instruction gives their numbers, and where it copies them from, 0 for zeros."""

    range: ByteRange
    source: int


def _begun(one: PlacedInstruction) -> Filled | None:
    """What an instruction fills in a row."""
    if one.name == "fill" and one.value("bits") == 0:
        return Filled(ByteRange(one.value("y"), one.value("count") * BYTES), 0)
    if one.name == "elementwise" and one.value("function") == COPY and one.value("rank") == 1:
        size, *steps = one.value("dims").values
        if steps[0] == steps[-1] == BYTES:
            return Filled(ByteRange(one.value("y"), size * BYTES), one.value("a"))
    return None


def _committed(
    layer: RecurrentOperands, apart: Set[ByteRange], after: Sequence[PlacedInstruction], facts: Facts
) -> tuple[int, Commit | None]:
    """How many instructions behind a layer its last launch does, and what it does of them: checks and then
    copies of its whole states, which are ``apart`` from what a frame reads."""
    states = _states(layer)
    if not states <= apart or sum(state.bytes for state in states) > MOST_COMMITTED:
        return 0, None
    checks: dict[ByteRange, int] = {}
    homes: dict[ByteRange, int] = {}
    for one in after:
        if one.name == "finite" and not homes:
            state = ByteRange(one.value("x"), one.value("count") * BYTES)
            if state not in states - checks.keys():
                break
            checks[state] = one.place
            continue
        found = _begun(one)
        state = found and ByteRange(found.source, found.range.bytes)
        if state not in states - homes.keys() or any(found.range.meets(other) for other in states):
            break
        homes[state] = found.range.start
    if not homes or not checks.keys() <= homes.keys():
        return 0, None
    in_order = sorted(homes, key=lambda state: checks.get(state, UNCHECKED))
    rows = [
        (state.start, homes[state], state.bytes // BYTES, checks.get(state, UNCHECKED)) for state in in_order
    ]
    rows += [NO_COMMIT[:4]] * (STATES - len(rows))
    counter = facts.meeting + COUNTER
    return len(checks) + len(homes), Commit(*rows[0], *rows[1], counter)


def _states(layer: RecurrentOperands) -> set[ByteRange]:
    """Where the state lies."""
    h = ByteRange(layer.h, layer.rows * layer.units * BYTES)
    return {h, ByteRange(layer.c, layer.rows * layer.hidden * BYTES)} if layer.cell.has_c else {h}


def _feeds(layer: RecurrentOperands, linear: PlacedInstruction, facts: Facts) -> bool:
    """Whether an instruction is the product that a layer of few rows starts from, and can be part of it.

    There are no registers to spare for cells of any activations.
    """
    if linear.name != "linear" or not layer.live(facts) or VARIANTS[layer.code].general:
        return False
    wanted = layer.xw, layer.width, layer.width, layer.frames * layer.rows
    rows = linear.value("outer") * linear.value("inner")
    if FORMATS[linear.value("format")].activations is not AS_THEY_ARE:
        return False
    if (*map(linear.value, ("y", "n", "y_stride")), rows) != wanted:
        return False
    source = _input(linear)
    return all(source.fed(t * layer.rows, layer.rows) for t in range(layer.frames))


def _input(linear: PlacedInstruction) -> Input:
    names = ("x", "outer_stride", "inner", "inner_stride", "k", "w", "bias")
    return Input(*map(linear.value, names))


def _fed(layer: RecurrentOperands, linear: PlacedInstruction) -> tuple[RecurrentOperands, ByteRange]:
    """The layer with the input of a product, and where that lies."""
    source = _input(linear)
    last = (linear.value("outer") - 1) * source.outer_stride + (source.inner - 1) * source.inner_stride
    return layer._replace(feed=source), ByteRange(source.x, (last + source.k) * BYTES)


def _written(layer: RecurrentOperands) -> list[ByteRange]:
    """Where a layer writes while other blocks may still read."""
    spans = [*_states(layer), ByteRange(layer.xw, layer.frames * layer.rows * layer.width * BYTES)]
    if layer.flags & HAS_Y:
        last = (layer.frames - 1) * layer.y_frame + (layer.rows - 1) * layer.y_row
        spans.append(ByteRange(layer.y, (last + layer.units) * BYTES))
    if layer.cell.reset or layer.flags & PROJECTED:
        spans.append(ByteRange(layer.scratch, layer.rows * (layer.hidden + layer.units) * BYTES))
    return spans
