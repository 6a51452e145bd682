"""The program under construction: what lowerings say."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable

import numpy as np

from tinyseq.errors import BroadcastWarning, PlanError, UnsupportedError
from tinyseq.ir.effort import Allowance
from tinyseq.ir.weights import Constant, widened
from tinyseq.kernels.formats import FLOAT32, FOURIER, WeightFormat
from tinyseq.kernels.fourier import FourierMatrix, found
from tinyseq.kernels.instructions import (
    FUNCTION_CODES,
    INSTRUCTIONS,
    MAX_RANK,
    MOST_TURNS,
    OPCODES,
)
from tinyseq.plan.kinds import KINDS, REPORT, RESULTS, check_kinds
from tinyseq.plan.packing import PackedWeights, Quantised, dense, format_of, segment
from tinyseq.plan.pieces import MOST_PIECES, Bounds, Pieces, made_of
from tinyseq.plan.ring import Ring
from tinyseq.plan.sizes import closed
from tinyseq.plan.turns import PlannedTurns
from tinyseq.plan.view import (
    BYTE,
    FLOAT,
    INTEGER,
    NARROW,
    SIGNED,
    Factor,
    Shape,
    Span,
    View,
    collapsed,
    computed,
    dense_strides,
    storage,
)

ARENA, STATE, FIRST_WEIGHT = 0, 1, 2
"""Segments: scratch and edges, the stream's state, then one for each packed weight."""

SPARE = 3
"""Bytes behind a narrow tensor that the product of bytes may read: it takes four at a time."""

_ADDRESSES = {
    row.name: [position for position, kind in enumerate(row.operands) if kind[0] == "&"]
    for row in INSTRUCTIONS
}
_CHANGED = {row.name: row.changes for row in INSTRUCTIONS}
_COUNTS = {row.name: len(row.operands) for row in INSTRUCTIONS}
_FAILURES = {row.name: row.failure for row in INSTRUCTIONS}

KNOWN_EFFORT, KNOWN_BYTES, KNOWN_BYTES_EACH = 2**28, 2**29, 2**28
"""What may be computed and kept while planning, see ``effort.py``: for a plan, and for one node of it."""


class Mark:
    """The place of the next instruction in a program under construction, to jump or to go back to."""

    __slots__ = ("addresses", "buffers", "step", "words")

    def __init__(self, builder: Builder) -> None:
        self.words = len(builder.words)
        self.addresses = len(builder.addresses)
        self.buffers = len(builder.buffers)
        self.step = builder.step


class Builder:
    """Collects instructions, buffers and weights for one plan."""

    def __init__(self, weights: PackedWeights) -> None:
        self.step = 0
        self.turns = 1
        self.arrays: list[np.ndarray] = []
        self.places: dict[int, str] = {}
        self.words: list[int] = []
        self.addresses: list[tuple[int, Span, int]] = []
        self.buffers: list[Span] = []
        self.allowance = Allowance(KNOWN_EFFORT, KNOWN_BYTES, KNOWN_BYTES_EACH)
        self._weights = weights
        self._zeros: View | None = None
        self._turns_left: View | None = None
        self.planned_turns = PlannedTurns()
        self._segments: dict[int, Span] = {}
        self._postponed: dict[Span, Callable[[], object]] = {}
        self.rings: dict[Span, Ring] = {}
        self.straight = False
        self.pieces: dict[Span, Pieces] = {}

    def allocate(
        self, shape: Shape, strides: Shape | None = None, dtype: np.dtype = FLOAT, narrow: bool = False
    ) -> View:
        """A new tensor in the arena; ``strides`` permute its dimensions."""
        size = max(math.prod(shape), 1) * (NARROW[dtype] if narrow else storage(dtype)).itemsize
        buffer = Span(size + SPARE if narrow else size, ARENA)
        self.buffers.append(buffer)
        return View(buffer, shape, dense_strides(shape) if strides is None else strides, 0, dtype, narrow)

    def wide(self, view: View) -> View:
        """The tensor itself, or a narrow one as all ops take it."""
        if not view.narrow:
            return view
        y = self.elementwise("to_integer", self.allocate(view.shape, dtype=view.dtype), view)
        if view.dtype == SIGNED:
            y = self.elementwise("subtract", y, y, self.constant(np.array(128)).broadcast(y.shape))
        return y

    def narrow(self, value: np.ndarray | View) -> View:
        """An operand of 8 bits or int32 as a narrow tensor."""
        if isinstance(value, np.ndarray):
            return self._narrow_constant(value)
        if value.narrow:
            return value
        source = value
        if value.dtype == SIGNED:
            shift = self.constant(np.array(128)).broadcast(value.shape)
            source = self.elementwise("add", self.allocate(value.shape, dtype=value.dtype), value, shift)
        function = "to_byte" if NARROW[value.dtype] == BYTE else "to_word"
        return self.elementwise(function, self.allocate(value.shape, dtype=value.dtype, narrow=True), source)

    def _narrow_constant(self, array: np.ndarray) -> View:
        def make() -> np.ndarray:
            return segment(array.view(np.uint8) ^ np.uint8(128) if array.dtype == SIGNED else array)

        packed = self._weights.get(array, "narrow", make)
        return View(self.segment(packed), array.shape, dense_strides(array.shape), 0, array.dtype, True)

    def constant(self, array: Constant) -> View:
        """What is known of a tensor as one that kernels can read."""
        array = closed(array)
        if array.dtype.kind not in "fiub":
            raise UnsupportedError(
                f"computing with {array.dtype} tensors is not supported; floats, integers and bool are"
            )
        packed = self._weights.get(array, "dense", lambda: dense(array))
        return View(self.segment(packed), array.shape, dense_strides(array.shape), 0, computed(array.dtype))

    def scalar(self, value: float, shape: Shape) -> View:
        """A known number as a float32 tensor of any shape."""
        return self.constant(np.array(value, np.float32)).broadcast(shape)

    def owns(self, array: Constant) -> bool:
        """Whether a constant is one of the model's own, so that what is made of it is kept."""
        return self._weights.owns(array)

    def made(self, source: Constant, layout: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Weights in a kernel's layout; ``make`` packs them the first time."""
        return self._weights.get(source, layout, make)

    def packed(self, source: Constant, layout: object, make: Callable[[], np.ndarray]) -> View:
        """``made`` as a tensor."""
        return self.weight(self.made(source, layout, make))

    def factor(
        self,
        source: Constant,
        layout: object,
        n: int,
        lay: Callable,
        of: WeightFormat | None = None,
        quantised: Quantised | None = None,
    ) -> Factor:
        """A known matrix [..., n], which ``lay`` makes of its ``source`` or of an array of that shape, packed
        as one [k, n] the first time; ``layout`` tells it from others that are made of it."""
        of = of or format_of(source)
        return Factor(self.weight(self._weights.factor(source, layout, lay, of, quantised)), n, of)

    def found_transform(self, source: Constant, layout: object, lay: Callable) -> Factor | None:
        """The matrix that ``lay`` makes of a constant, if it is that of a Fourier transform."""
        if not self._weights.transforms or format_of(source) is not FLOAT32:
            return None
        # In a tuple, as that there is none is worth knowing too.
        (matrix,) = self._weights.get(source, ("transform", layout), lambda: (found(lay(widened(source))),))
        if matrix is None:
            return None
        packed = self.packed(source, (FOURIER.name, layout), lambda: segment(FOURIER.pack(matrix)))
        return Factor(packed, len(matrix.bins), FOURIER)

    def transform(self, matrix: FourierMatrix) -> Factor | None:
        """The matrix of a Fourier transform to multiply with, where such are."""
        if not self._weights.transforms:
            return None
        return Factor(self.weight(segment(FOURIER.pack(matrix))), len(matrix.bins), FOURIER)

    def zeros(self, count: int) -> View:
        """A constant vector of zeros, shared by all that ask for no more than it holds."""
        if self._zeros is None or self._zeros.buffer.bytes < count * 4:
            self._zeros = self.weight(self._weights.zeros(count))
        return self._zeros

    def weight(self, array: np.ndarray) -> View:
        """An aligned, packed array as a tensor."""
        return View(self.segment(array), array.shape, (1,))

    def segment(self, array: np.ndarray) -> Span:
        """The buffer of an aligned array, one segment each."""
        buffer = self._segments.get(id(array))
        if buffer is None:
            buffer = Span(array.nbytes, FIRST_WEIGHT + len(self.arrays), 0)
            self._segments[id(array)] = buffer
            self.arrays.append(array)
        return buffer

    def view(self, value: Constant | View) -> View:
        """An operand as a tensor."""
        return value if isinstance(value, View) else self.constant(value)

    def emit(self, name: str, *operands) -> None:
        """Appends an instruction: Views for addresses (None for an absent one), integers, a list last."""
        if self._postponed:
            self._demand_all(name, operands)
        if name in KINDS:
            check_kinds(name, operands)
        words = self.words
        start = len(words)
        count = _COUNTS[name]
        words += (OPCODES[name], 0)
        words += operands
        for position in _ADDRESSES[name]:
            view = operands[position]
            words[start + 2 + position] = 0
            if view is not None:
                buffer = view.buffer
                if buffer.first < 0:
                    buffer.first = self.step
                buffer.last = self.step
                self.addresses.append((start + 2 + position, buffer, view.offset * view.itemsize))
        for position in _CHANGED[name]:
            if operands[position] is not None:
                operands[position].buffer.changed = True
        if type(operands[-1]) is list:
            words.pop()
            words += operands[-1]
        if len(operands) != count:
            raise TypeError(f"instruction {name} takes {count} operands, not {len(operands)}")
        words[start + 1] = len(words) - start
        self.step += 1

    def emit_checked(self, node: object, name: str, *operands) -> None:
        """``emit`` for an instruction that may fail, for which ``node`` is then blamed."""
        if self._postponed:
            self._demand_all(name, operands)
        self.places[len(self.words)] = f"{node} {_FAILURES[name]}"
        self.emit(name, *operands)

    def postpone(self, y: View, emit: Callable[[], object]) -> None:
        """Lets ``emit`` append what computes y when something reads it; where nothing does, never."""
        self._postponed[y.buffer] = emit

    def ring(self, view: View) -> Ring | None:
        """The parts of a tensor that has not been put together."""
        return self.rings.get(view.buffer) if view.buffer in self._postponed else None

    def demand(self, view: View) -> None:
        """Something reads the tensor."""
        emit = self._postponed.pop(view.buffer, None)
        if emit is not None:
            emit()

    def parts_of(self, view: View, most: int) -> list[tuple[Bounds, View]]:
        """What a view is made of: itself, or ``most`` pieces or fewer, each with where in the view it is."""
        return made_of(self.pieces.get(view.buffer) if view.buffer in self._postponed else None, view, most)

    def _demand_all(self, name: str, operands: tuple) -> None:
        for position in _ADDRESSES[name]:
            if operands[position] is not None:
                self.demand(operands[position])

    def settle(self) -> None:
        """Appends what was postponed: what follows may not be run, or run several times."""
        while self._postponed:
            self._postponed.pop(next(iter(self._postponed)))()

    def finish(self) -> None:
        """Nothing follows: what was postponed is never read, and would keep the builder alive."""
        self._postponed.clear()

    def mark(self) -> Mark:
        """The place of the next instruction."""
        self.settle()
        return Mark(self)

    def rewind(self, mark: Mark) -> None:
        """Takes back all that was said since the mark."""
        self._postponed.clear()
        del self.words[mark.words :], self.addresses[mark.addresses :], self.buffers[mark.buffers :]
        while self.places and next(reversed(self.places)) >= mark.words:
            self.places.popitem()
        self.step = mark.step

    def emit_jump(self, name: str, *operands) -> int:
        """Appends a jump forward; ``land`` takes what it gives and says how far."""
        self.settle()
        self.emit(name, *operands, 0)
        return len(self.words)

    def land(self, jump: int) -> None:
        """The jump ends at the next instruction."""
        self.settle()
        self.words[jump - 1] = len(self.words) - jump

    def repeat(self, start: Mark) -> None:
        """Jumps back to the mark."""
        self.settle()
        self.emit("jump", 0)
        self.words[-1] = start.words - len(self.words)

    def outlive(self, start: Mark, others: Iterable[View]) -> None:
        """All that was emitted since the mark runs repeatedly: what it uses of former buffers, and the
        ``others``, must keep what they hold from the first turn to the last."""
        own = {id(buffer) for buffer in self.buffers[start.buffers :]}
        used = {id(buffer): buffer for _, buffer, _ in self.addresses[start.addresses :]}
        former = [buffer for key, buffer in used.items() if key not in own]
        for buffer in (*former, *[view.buffer for view in others]):
            buffer.first = min(buffer.first, start.step)
            buffer.last = self.step

    def hold(self, count: int) -> None:
        """All that the instructions since the one before which there were ``count`` addresses read and wrote
        is still there when the last of them runs, so that a device may run them as one."""
        for _, buffer, _ in self.addresses[count:]:
            buffer.last = self.step - 1

    def begin_windows(self, scratch: View | None, together: int) -> tuple[int, int]:
        """Appends ``windows``; ``end_windows`` takes what it gives."""
        addresses = len(self.addresses)
        self.emit("windows", 0, scratch, together, 0, [])
        return len(self.words), addresses

    def end_windows(self, begun: tuple[int, int]) -> None:
        """The instructions since then are those that ``windows`` stands for."""
        words, addresses = begun
        self.words[words - 1] = len(self.words) - words
        self.hold(addresses)

    def limit_turns(self) -> None:
        """From here on, loops may ``spend`` a number of turns that is the same for each run."""
        self._turns_left = self.copy(self.constant(np.array(MOST_TURNS)), self.allocate((), dtype=INTEGER))

    def note_turns(self, count: int) -> None:
        """Of a loop that turns so often, if it is not within another one and no other follows."""
        self.turns = min(self.turns * max(count, 1), MOST_TURNS)

    def spend_turn(self, node: object) -> None:
        """Counts a turn of a loop of ``node`` at run time."""
        self.emit_checked(node, "spend", self._turns_left)

    def elementwise(self, function: str, y: View, a: View, *others: View) -> View:
        """y = function(a, ...), operands already of y's shape. Gives y."""
        if 0 in y.shape:
            return y
        code = FUNCTION_CODES.get((function, "".join([a.kind, *[other.kind for other in others]])))
        if code is None:
            types = ", ".join(str(operand.dtype) for operand in (a, *others))
            raise UnsupportedError(f"{function} of {types}; cast the operands to types that the op takes")
        if RESULTS[code] != y.kind:
            raise PlanError(f"{function} of {a.dtype} would be written as {y.dtype}; {REPORT}")
        b, c = (*others, a, a)[:2]
        count = math.prod(y.shape)
        fills = y.offset == 0 and y.buffer.bytes - (SPARE if y.narrow else 0) == count * y.itemsize
        if fills and a.strides == b.strides == c.strides == y.strides:
            dims = [count, a.itemsize, b.itemsize, c.itemsize, y.itemsize]
            self.emit("elementwise", code, a, b, c, y, 1, dims)
            return y
        sizes, *steps = collapsed(y.shape, a.strides, b.strides, c.strides, y.strides)
        if len(sizes) > MAX_RANK:
            raise UnsupportedError(f"more than {MAX_RANK} dimensions that do not merge")
        dims = list(sizes)
        for operand, step in zip((a, b, c, y), steps):
            size = operand.itemsize
            dims += [stride * size for stride in step]
        self.emit("elementwise", code, a, b, c, y, len(sizes), dims)
        return y

    def copy(self, source: View, target: View) -> View:
        """Copies elements between tensors of one shape and storage."""
        found = self.parts_of(source, MOST_PIECES)
        if found[0][1] is source:
            return self.elementwise("copy", target, source)
        for bounds, piece in found:
            self.copy(piece, target.sliced(bounds))
        return target

    def move(self, pairs: list[tuple[View, View]]) -> None:
        """Copies each source to its target, as if all were read before any is written."""
        for source, _ in pairs:
            # What it is made of may be written to.
            self.demand(source)
        written = {id(target.buffer) for _, target in pairs}
        pairs = [(source, target) for source, target in pairs if not source.same(target)]
        staged = [
            (self.fresh(source) if id(source.buffer) in written else source, target)
            for source, target in pairs
        ]
        for source, target in staged:
            self.copy(source, target)

    def finite(self, what: object, view: View) -> View:
        """The tensor, dense if need be, where it is sure that it holds neither NaN nor infinity: the program
        fails otherwise, for which ``what`` is then blamed."""
        run = view.run()
        if run is None:
            view = run = self.fresh(view)
        if view.kind == "f" and view.size:
            self.emit_checked(what, "finite", run, view.size)
        return view

    def fresh(self, source: View) -> View:
        """A dense copy in a buffer of its own."""
        return self.copy(source, self.allocate(source.shape, dtype=source.dtype, narrow=source.narrow))

    def fill(self, target: View, value: float = 0.0) -> View:
        """Sets every element of a dense tensor that is not narrow."""
        if target.narrow:
            raise PlanError(f"a narrow tensor of {target.dtype} cannot be filled; {REPORT}")
        if target.kind == "i" and value:
            return self.copy(self.constant(np.array(value, np.int64)).broadcast(target.shape), target)
        words = target.size * target.itemsize // 4
        self.emit("fill", target, words, int(np.float32(value).view(np.int32)))
        return target

    def note(self, message: str) -> None:
        """Warns of a constant of one row that stands for all; once for each model and message."""
        if message not in self._weights.notes:
            self._weights.notes.add(message)
            warnings.warn(message, BroadcastWarning, stacklevel=2)

    def dense(self, view: View) -> View:
        """The tensor itself if it is dense, else a dense copy."""
        return view if view.dense else self.fresh(view)
