"""Layers gathered from the instructions around them.

A plan copies a layer's initial state to where the layer works on it, multiplies the input with its weights,
and then runs the frames. A stream's looks whether the new state is finite, and copies it to where it is kept.
Where there are few frames, the launches of a frame do all of it. That is so if nothing is overwritten that
another block may still read.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from tinyseq.kernels.cells import VARIANTS
from tinyseq.kernels.cuda.committing import COUNTER, NO_COMMIT, UNCHECKED, Commit
from tinyseq.kernels.cuda.launch import Facts, Launch, Tail
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.recurrent import RecurrentOperands, frame_by_frame
from tinyseq.kernels.cuda.stages import Feed
from tinyseq.kernels.formats import AS_THEY_ARE, FORMATS
from tinyseq.kernels.instructions import FUNCTION_CODES, HAS_Y, OPERANDS, PROJECTED

COPY = FUNCTION_CODES["copy", "f"]

STATES = 2
"""Most states of a layer."""

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


def gathered(ahead: Sequence[PlacedInstruction], facts: Facts) -> tuple[int, list[Launch]] | None:
    """The launches of the layer that the next instructions make up, and how many these are; None if there is
    none or it is better run instruction by instruction.

    ``ahead`` are the next instructions that follow upon each other whatever happens.
    """
    begun: dict[ByteRange, int] = {}
    for one in ahead[:STATES]:
        found = _begun(one)
        if found is None:
            break
        begun[found.range] = found.source
    fed = len(ahead) > len(begun) and ahead[len(begun)].name == "linear"
    count = len(begun) + fed + 1
    if count == 1 or len(ahead) < count or ahead[count - 1].name != "recurrent":
        return None
    layer = RecurrentOperands(*ahead[count - 1].operands, h0=0, c0=0)
    own = _states(layer)
    if not layer.live or layer.frames == 0 or not begun.keys() <= own:
        return None
    # With the product of the input, too, there are no registers to spare for cells of any activations.
    if fed and VARIANTS[layer.code].general:
        return None
    first = {target.start: source for target, source in begun.items()}
    layer = layer._replace(h0=first.get(layer.h, layer.h), c0=first.get(layer.c, layer.c))
    read = [ByteRange(source, target.bytes) for target, source in begun.items() if source]
    if fed:
        linear = ahead[len(begun)]
        if not _feeds(layer, linear):
            return None
        layer, x = _fed(layer, linear)
        read.append(x)
    if any(one.meets(other) for one in read for other in _written(layer)):
        return None
    more, commit = _committed(layer, begun.keys(), ahead[count:], facts)
    return count + more, frame_by_frame(layer, facts, commit)


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
    if not states <= apart:
        return 0, None
    checks: dict[ByteRange, int] = {}
    kept: dict[ByteRange, int] = {}
    for one in after:
        if one.name == "finite" and not kept:
            state = ByteRange(one.value("x"), one.value("count") * BYTES)
            if state not in states - checks.keys():
                break
            checks[state] = one.place
            continue
        found = _begun(one)
        state = found and ByteRange(found.source, found.range.bytes)
        if state not in states - kept.keys() or any(found.range.meets(other) for other in states):
            break
        kept[state] = found.range.start
    if not kept or not checks.keys() <= kept.keys():
        return 0, None
    in_order = sorted(kept, key=lambda state: checks.get(state, UNCHECKED))
    rows = [
        (state.start, kept[state], state.bytes // BYTES, checks.get(state, UNCHECKED)) for state in in_order
    ]
    rows += [NO_COMMIT[:4]] * (STATES - len(rows))
    counter = facts.meeting + COUNTER
    return len(checks) + len(kept), Commit(*rows[0], *rows[1], counter)


def _states(layer: RecurrentOperands) -> set[ByteRange]:
    """Where the state lies."""
    h = ByteRange(layer.h, layer.rows * layer.units * BYTES)
    return {h, ByteRange(layer.c, layer.rows * layer.hidden * BYTES)} if layer.cell.has_c else {h}


def _feeds(layer: RecurrentOperands, linear: PlacedInstruction) -> bool:
    """Whether a product is the one that the layer starts from."""
    wanted = layer.xw, layer.width, layer.width, layer.frames * layer.rows
    rows = linear.value("outer") * linear.value("inner")
    if FORMATS[linear.value("format")].activations is not AS_THEY_ARE:
        return False
    return (*map(linear.value, ("y", "n", "y_stride")), rows) == wanted


def _fed(layer: RecurrentOperands, linear: PlacedInstruction) -> tuple[RecurrentOperands, ByteRange]:
    """The layer with the input of a product, and where that lies."""
    names = ("x", "outer_stride", "inner", "inner_stride", "k", "w", "bias")
    feed = Feed(*map(linear.value, names), 0)
    last = (linear.value("outer") - 1) * feed.outer_stride + (feed.inner - 1) * feed.inner_stride
    return layer._replace(feed=feed), ByteRange(feed.x, (last + feed.k) * BYTES)


def _written(layer: RecurrentOperands) -> list[ByteRange]:
    """Where a layer writes while other blocks may still read."""
    spans = [*_states(layer), ByteRange(layer.xw, layer.frames * layer.rows * layer.width * BYTES)]
    if layer.flags & HAS_Y:
        last = (layer.frames - 1) * layer.y_frame + (layer.rows - 1) * layer.y_row
        spans.append(ByteRange(layer.y, (last + layer.units) * BYTES))
    if layer.cell.reset or layer.flags & PROJECTED:
        spans.append(ByteRange(layer.scratch, layer.rows * (layer.hidden + layer.units) * BYTES))
    return spans
