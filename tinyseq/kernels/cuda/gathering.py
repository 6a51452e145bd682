"""Layers gathered from the instructions around them.

A plan copies a layer's initial state to where the layer works on it, multiplies the input with its weights,
and then runs the frames. Where there are few of them the launches of a frame do all of it. That is so if
nothing is overwritten that another block may still read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinyseq.kernels.cells import VARIANTS
from tinyseq.kernels.cuda.launch import Launch, Tail
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.recurrent import RecurrentOperands, frame_by_frame
from tinyseq.kernels.cuda.stages import Feed
from tinyseq.kernels.formats import AS_THEY_ARE, FORMATS
from tinyseq.kernels.instructions import FUNCTION_CODES, HAS_Y, OPERANDS, PROJECTED

COPY = FUNCTION_CODES["copy", "f"]

STATES = 2
"""Most states of a layer."""

LONGEST = STATES + 2
"""Most instructions that make up a layer."""


class PlacedInstruction(NamedTuple):
    """An instruction's name and its operands in order, addresses being the device's."""

    name: str
    operands: Sequence

    def value(self, operand: str) -> int | Tail:
        return self.operands[OPERANDS[self.name].index(operand)]


class ByteRange(NamedTuple):
    """So many bytes from an address on."""

    start: int
    bytes: int

    def meets(self, other: ByteRange) -> bool:
        return self.start < other.start + other.bytes and other.start < self.start + self.bytes


def gathered(ahead: Sequence[PlacedInstruction]) -> tuple[int, list[Launch]] | None:
    """The launches of the layer that the next instructions make up, and how many these are; None if there is
    none or it is better run instruction by instruction.

    ``ahead`` are the next instructions that follow upon each other whatever happens.
    """
    begun: dict[ByteRange, int] = {}
    for one in ahead[:STATES]:
        found = _begun(one)
        if found is None:
            break
        begun[found[0]] = found[1]
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
    return count, frame_by_frame(layer)


def _begun(one: PlacedInstruction) -> tuple[ByteRange, int] | None:
    """Which bytes an instruction gives their first numbers, and where it copies them from, 0 for zeros."""
    if one.name == "fill" and one.value("bits") == 0:
        return ByteRange(one.value("y"), one.value("count") * BYTES), 0
    if one.name == "elementwise" and one.value("function") == COPY and one.value("rank") == 1:
        size, *steps = one.value("dims").values
        if steps[0] == steps[-1] == BYTES:
            return ByteRange(one.value("y"), size * BYTES), one.value("a")
    return None


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
