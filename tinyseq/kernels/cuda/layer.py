"""A recurrent layer as a launch or two for each frame: what its cells have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.quantized import dynamic_product
from tinyseq.kernels.cuda.steps import NO_PRODUCT, Cell, Frame, Product, finished, step
from tinyseq.kernels.intrinsics import floats


class Turn(NamedTuple):
    """A frame to compute: its number, the address of its gates, and the state before and after it.

    A state is an address of rows and their stride.
    """

    t: int
    gates: int
    before: tuple[int, int]
    target: tuple[int, int]


def _copy_rows(source, stride, target, rows, units):
    for i in range(block() * threads() + thread(), rows * units, blocks() * threads()):
        floats(target)[i] = floats(source)[i // units * stride + i % units]


_copying_rows = Kernel(_copy_rows)


class Layer(NamedTuple):
    """What every recurrent instruction says of its layer; see ``tinyseq.kernels.recurrent``."""

    frames: int
    rows: int
    hidden: int
    reverse: int
    y: int
    y_frame: int
    y_row: int
    lengths: int
    flags: int

    def turns(self, xw: int, gates: int, h: int) -> Iterator[Turn]:
        """The frames in order, for cells that read all of a row's state to make any of it.

        Other blocks may still read the state while one writes, so that it cannot be kept in place: each
        frame leaves it where its first gate was, and the last of several brings it home.
        """
        width = gates * self.hidden
        before = h, self.hidden
        for number, (t, address) in enumerate(self._addresses(xw, width)):
            last = number == self.frames - 1 > 0
            target = (h, self.hidden) if last else (address, width)
            yield Turn(t, address, before, target)
            before = target

    def turns_in_place(self, xw: int, gates: int, state: tuple[int, int]) -> Iterator[Turn]:
        """The frames in order, for cells that read of a state only what they write."""
        for t, address in self._addresses(xw, gates * self.hidden):
            yield Turn(t, address, state, state)

    def _addresses(self, xw: int, width: int) -> Iterator[tuple[int, int]]:
        for number in range(self.frames):
            t = self.frames - 1 - number if self.reverse else number
            yield t, xw + t * self.rows * width * BYTES

    def settled(self, xw: int, gates: int, h: int) -> list[Launch]:
        """What brings the state home where a lone frame has left it with its gates."""
        if self.frames != 1:
            return []
        arguments = xw, gates * self.hidden, h, self.rows, self.hidden
        return _copying_rows.over(self.rows * self.hidden, *arguments)

    def frame(
        self, turn: Turn, gates: int, *, sums: int = 0, others: int = 0, constants: int = 0, options: int = 0
    ) -> Frame:
        """The operands of a cell in one frame."""
        y = self.y + turn.t * self.y_frame * BYTES
        own = turn.gates, gates * self.hidden, sums, *turn.before, *turn.target
        given = others, constants, options, self.lengths
        return Frame(*own, *given, turn.t, y, self.y_row, self.flags)

    def step(
        self,
        cell: Cell,
        source: tuple[int, int],
        frame: Frame,
        product: Product,
        last: Product = NO_PRODUCT,
        k: int | None = None,
    ) -> list[Launch]:
        """A frame of ``hidden`` units, of a source of as many numbers or of ``k``."""
        k = self.hidden if k is None else k
        return step(cell, source, k, self.rows, self.hidden, frame, product, last)

    def of_gates(self, cell: Cell, xw: int, r: int, h: int, **operands: int) -> list[Launch]:
        """Launches for a cell all of whose gates add their products to what is there."""
        gates, width = cell.gates, cell.gates * self.hidden
        launches = []
        for turn in self.turns(xw, gates, h):
            product = Product(r, width, turn.gates, width, turn.gates, width)
            frame = self.frame(turn, gates, **operands)
            launches += self.step(cell, turn.before, frame, product)
        return launches + self.settled(xw, gates, h)

    def of_bytes(self, cell: Cell, xw: int, r: int, h: int, rounded: int, **operands: int) -> list[Launch]:
        """``of_gates`` where ``r`` is a block of bytes and each frame's state is quantised."""
        width, launches = cell.gates * self.hidden, []
        for turn in self.turns_in_place(xw, cell.gates, (h, self.hidden)):
            bounds = self.lengths, turn.t, self.flags
            launches += dynamic_product(h, self.rows, self.hidden, r, width, turn.gates, rounded, *bounds)
            launches += finished(cell, self.rows, self.hidden, self.frame(turn, cell.gates, **operands))
        return launches

    def of_reset_state(
        self,
        cells: tuple[Cell, Cell],
        xw: int,
        matrices: tuple[int, int],
        h: int,
        scratch: int,
        options: int = 0,
    ) -> list[Launch]:
        """Launches for a GRU whose candidate sees the reset state: two for each frame, with the products
        of its first two gates and with that of its candidate."""
        width, state, reset = 3 * self.hidden, (h, self.hidden), (scratch, self.hidden)
        r, r_hidden = matrices
        launches = []
        for turn in self.turns_in_place(xw, 3, state):
            product = Product(r, 2 * self.hidden, turn.gates, width, turn.gates, width)
            frame = self.frame(turn._replace(target=reset), 3, options=options)
            launches += self.step(cells[0], state, frame, product)
            candidates = turn.gates + 2 * self.hidden * BYTES
            product = Product(r_hidden, self.hidden, candidates, width, candidates, width)
            launches += self.step(cells[1], reset, self.frame(turn, 3, options=options), product)
        return launches
