"""The recurrent layers over whole sequences; the twin of ``tinyseq.kernels.compute.recurrent``.

Where the recurrent weights fit the device's registers a layer is one launch; see ``forms.py``. Elsewhere, and
where there are so few frames that they pass by only once or twice, each frame is a launch or a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tinyseq.kernels.cells import VARIANTS, Cell
from tinyseq.kernels.cuda import forms, recurrent_cores
from tinyseq.kernels.cuda.cells import PROJECTION, stages_of
from tinyseq.kernels.cuda.committing import Commit
from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.quantized import dynamic_product
from tinyseq.kernels.cuda.stages import Feed, Frame, Input, Product
from tinyseq.kernels.cuda.steps import FEW_ROWS, finished, step
from tinyseq.kernels.formats import AS_THEY_ARE, FORMATS
from tinyseq.kernels.instructions import PROJECTED
from tinyseq.kernels.llvm.intrinsics import floats

State = tuple[int, int]
"""An address of rows and their stride."""

NOWHERE: State = 0, 0

FEW_FRAMES, SOME_ROWS = 4, 64
"""Frames and rows up to which weights are not worth being kept."""


class Turn(NamedTuple):
    """A frame to compute: its number, the address of its gates, and the state before and after it."""

    t: int
    gates: int
    before: State
    target: State


def _copy_rows(source, stride, target, rows, units):
    for i in range(block() * threads() + thread(), rows * units, blocks() * threads()):
        floats(target)[i] = floats(source)[i // units * stride + i % units]


_copying_rows = Kernel(_copy_rows)


class RecurrentOperands(NamedTuple):
    """The operands of the instruction, see ``tinyseq.kernels.compute.recurrent``; where its state comes from:
    h0 and c0, 0 for zeros, which are h and c where nothing else is known; and its input, if ``xw`` is yet to
    be computed from it."""

    code: int
    xw: int
    r: int
    second: int
    bias: int
    constants: int
    options: int
    h: int
    c: int
    y: int
    scratch: int
    rounded: int
    lengths: int
    frames: int
    rows: int
    hidden: int
    units: int
    reverse: int
    y_frame: int
    y_row: int
    flags: int
    format: int
    h0: int
    c0: int
    feed: Input | None = None

    def few(self, facts: Facts) -> bool:
        """Whether weights pass by its rows: few of them, or some of few frames where bits are the same."""
        if self.rows <= FEW_ROWS:
            return True
        some = self.frames <= FEW_FRAMES and self.rows <= SOME_ROWS
        return some and forms.has_any_rows(VARIANTS[self.code], self, facts)

    def live(self, facts: Facts) -> bool:
        """Whether its weights are not worth being kept."""
        return self.frames <= FEW_FRAMES and self.few(facts) and not self.rounds

    @property
    def rounds(self) -> bool:
        """Whether the state is rounded as the layer runs."""
        return FORMATS[self.format].activations is not AS_THEY_ARE

    @property
    def cell(self) -> Cell:
        return VARIANTS[self.code].cell

    @property
    def width(self) -> int:
        """Numbers in a row of gates."""
        return len(self.cell.gates) * self.hidden

    @property
    def last(self) -> int:
        """The number of the frame that is computed last."""
        return 0 if self.reverse else self.frames - 1

    def turns(self, in_place: bool) -> Iterator[Turn]:
        """The frames in order, their state in place if what reads it and what writes it are two launches.

        Elsewhere other blocks may still read the state while one writes: each frame leaves it where its
        first gate was, and the last one brings it home unless it comes from there.
        """
        home, before = (self.h, self.units), (self.h0, self.units)
        for number in range(self.frames):
            t = self.frames - 1 - number if self.reverse else number
            gates = self.xw + t * self.rows * self.width * BYTES
            at_home = in_place or (number == self.frames - 1 and before != home)
            target = home if at_home else (gates, self.width)
            yield Turn(t, gates, before, target)
            before = target

    def settled(self) -> list[Launch]:
        """What brings the state home where a lone frame has left it with its gates."""
        if self.frames != 1 or self.h0 != self.h:
            return []
        arguments = self.xw, self.width, self.h, self.rows, self.hidden
        return _copying_rows.over(self.rows * self.hidden, *arguments)

    def frame(self, turn: Turn, sums: int = 0) -> Frame:
        """What the cells of a frame read and write."""
        y = self.y + turn.t * self.y_frame * BYTES
        first = turn.t == (self.frames - 1 if self.reverse else 0)
        c_before = (self.c0 if first else self.c) if self.cell.has_c else 0
        known = c_before, self.c, self.constants, self.options, self.lengths
        return Frame(
            turn.gates,
            self.width,
            sums,
            *turn.before,
            *turn.target,
            *known,
            turn.t,
            y,
            self.y_row,
            self.flags,
        )

    def fed(self, turn: Turn) -> Feed | None:
        """The input of a frame that is not computed yet."""
        return self.feed and self.feed.fed(turn.t * self.rows, self.rows)

    def product(self, turn: Turn, columns: int) -> Product:
        """The product of the state with the first weights."""
        apart = (self.bias, 0, self.scratch) if self.cell.apart else (turn.gates, self.width, turn.gates)
        return Product(self.r, columns, *apart, self.width)


def recurrent(
    cell: int, xw: int, r: int, second: int, bias: int, constants: int, options: int, h: int, c: int, y: int,
    scratch: int, rounded: int, lengths: int, frames: int, rows: int, hidden: int, units: int, reverse: int,
    y_frame: int, y_row: int, flags: int, format: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    layer = RecurrentOperands(
        cell, xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths,
        frames, rows, hidden, units, reverse, y_frame, y_row, flags, format, h, c,
    )  # fmt: skip
    launches = kept(layer, facts)
    return frame_by_frame(layer, facts) if launches is None else launches


def kept(layer: RecurrentOperands, facts: Facts) -> list[Launch] | None:
    """The launches of a layer whose weights are kept over its frames; None if they pass by."""
    launches = recurrent_cores.sequence(VARIANTS[layer.code], layer, facts)
    if launches is None and not layer.live(facts):
        launches = forms.sequence(VARIANTS[layer.code], layer, facts)
    return launches


def frame_by_frame(layer: RecurrentOperands, facts: Facts, commit: Commit | None = None) -> list[Launch]:
    """A layer as launches for each frame, the last of which commits its state."""
    stages, launches = stages_of(VARIANTS[layer.code]), []
    rows, hidden, units, few = layer.rows, layer.hidden, layer.units, layer.few(facts)
    quantized, projected = layer.rounds, layer.flags & PROJECTED
    in_place = bool(quantized or projected or stages.reset)
    for turn in layer.turns(in_place):
        at_last = commit if turn.t == layer.last else None
        between = layer.scratch, hidden
        halfway = layer.frame(turn._replace(before=NOWHERE if projected else turn.before, target=between))
        product = layer.product(turn, layer.width - hidden if stages.reset else layer.width)
        if quantized:
            bounds = layer.lengths, turn.t, layer.flags
            launches += dynamic_product(layer.h, rows, units, product, layer.rounded, *bounds)
            launches += finished(stages.whole, rows, hidden, layer.frame(turn, product.sums))
        elif projected:
            fed = layer.fed(turn)
            launches += step(
                stages.unprojected, turn.before, units, rows, hidden, halfway, product, facts, few, fed
            )
            sums = layer.scratch + rows * hidden * BYTES
            product = Product(layer.second, units, layer.bias, 0, sums, units)
            frame = layer.frame(turn)._replace(gates=sums, stride=units, c_before=0)
            launches += step(
                PROJECTION, between, hidden, rows, units, frame, product, facts, few, commit=at_last
            )
        elif stages.reset:
            fed = layer.fed(turn)
            launches += step(
                stages.reset, turn.before, hidden, rows, hidden, halfway, product, facts, few, fed
            )
            last = turn.gates + (layer.width - hidden) * BYTES
            product = Product(layer.second, hidden, last, layer.width, last, layer.width)
            launches += step(
                stages.candidate,
                between,
                hidden,
                rows,
                hidden,
                layer.frame(turn),
                product,
                facts,
                few,
                commit=at_last,
            )
        else:
            frame = layer.frame(turn, product.sums)
            fed = layer.fed(turn)
            launches += step(
                stages.whole, turn.before, units, rows, hidden, frame, product, facts, few, fed, at_last
            )
    return launches if in_place else launches + layer.settled()
