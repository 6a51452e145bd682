"""Lowerings of the recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.ir.weights import Constant
from tinyseq.kernels.cells import CELLS, PEEPHOLES, VARIANT_CODES, Variant
from tinyseq.kernels.instructions import HAS_LENGTHS, HAS_Y, PROJECTED
from tinyseq.plan import packing
from tinyseq.plan.lookup import check_all, gather_rows, is_worthwhile, picks, products
from tinyseq.plan.lower.linear import linear, packed_matrix, scratch_of
from tinyseq.plan.lower.operands import along, given, joined, real, reshaped, whole
from tinyseq.plan.view import Factor, View
from tinyseq.shapes import one_row_for_all
from tinyseq.shapes.activations import cell_functions

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


Sizes = tuple[int, ...]
"""The integers of an instruction, from ``frames`` on."""

Sides = tuple[range, range]
"""Of which gates the biases of the input side and of the recurrent side are added up."""


INPUT_GRU: Sides = range(3), range(2)
"""What the input projection adds when the reset gate scales h R + Rb."""

RECURRENT_GRU: Sides = range(0), range(2, 3)


def bias_of(p: Builder, b, d: int, gates: int, hidden: int, sides: Sides) -> View:
    """A direction's biases, [G, H] of each side, added up; zeros where there are none."""
    if b is None:
        return p.zeros(gates * hidden)
    if isinstance(b, View):
        parts = real(p, b).sliced([(d, 1, 1), (0, 1, 2 * gates * hidden)])
        parts = reshaped(p, parts, (2, gates, hidden))
        total = p.fill(p.allocate((gates, hidden)))
        for side, own in enumerate(sides):
            target = along(total, 0, own.start, len(own))
            source = parts.sliced([(side, 1, 1), (own.start, 1, len(own)), (0, 1, hidden)]).matrix()
            p.elementwise("add", target, target, source)
        return total

    return p.weight(known_bias(p, b, d, gates, hidden, sides))


def known_bias(p: Builder, b: np.ndarray | None, d: int, gates: int, hidden: int, sides: Sides) -> np.ndarray:
    """``bias_of`` where the biases are known."""
    if b is None:
        return packing.aligned(4 * gates * hidden).view(np.float32)

    def make() -> np.ndarray:
        total = np.zeros((gates, hidden), np.float32)
        for own, part in zip(sides, b[d].reshape(2, gates, hidden)):
            total[own] += part[own]
        return packing.segment(total.ravel())

    return p.made(b, ("bias", d, sides), make)


BACKWARD = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}
"""For each direction whether it runs from the last frame to the first."""


class Layer:
    """One recurrent node being lowered: its operands with frames first, and what its flags say.

    ``name`` is its cell's in ``CELLS``.
    """

    def __init__(self, p: Builder, node: Node, inputs: list, name: str) -> None:
        self.p = p
        self.node = node
        self.cell = CELLS[name]
        self.gates = len(self.cell.gates)
        self.rows_first = bool(node.attributes["layout"])
        self.x = self._frames_first(real(p, inputs[0]))
        self.w, self.r, self.b = inputs[1], inputs[2], given(inputs, 3)
        self.hidden = node.attributes["hidden_size"]
        self.peepholes, self.projection = (given(inputs, place) for place in (7, 8))
        self.units = self.hidden if self.projection is None else self.projection.shape[1]
        self.frames, self.rows = self.x.shape[:2]
        self.initials = [given(inputs, 5 + s) for s in range(1 + self.cell.has_c)]
        self.lengths = self._lengths(given(inputs, 4))
        self.functions = cell_functions(node.attributes)
        clip = node.attributes["clip"]
        usual = all(tuple(f.name for f in own) == self.cell.activations for own in self.functions)
        self.clip = np.inf if clip is None else clip
        coupled = bool(node.attributes.get("input_forget"))
        self.variant = Variant(name, not usual or clip is not None, self.peepholes is not None, coupled)

    def _frames_first(self, x: View) -> View:
        return x.transposed((1, 0, 2)) if self.rows_first else x

    def _lengths(self, lengths) -> View | None:
        if lengths is None:
            return None
        lengths = self.p.dense(whole(self.p, lengths))
        self.p.emit_checked(self.node, "within", lengths, self.rows, 0, self.frames)
        return lengths

    def initial(self, state: int, d: int) -> View:
        """A working copy of one direction's initial state, [N, H]; the first state is h, [N, P]."""
        shape = (self.rows, self.hidden if state else self.units)
        value = self.initials[state]
        target = self.p.allocate(shape)
        self._note_one_row(value)
        if value is None or (isinstance(value, np.ndarray) and not value.any()):
            return self.p.fill(target)
        # [D, N, H]
        source = self._frames_first(real(self.p, value))
        source = source.broadcast((source.shape[0], *shape))
        own = source.sliced([(d, 1, 1), (0, 1, self.rows), (0, 1, shape[1])])
        return self.p.copy(own.matrix(), target)

    def _note_one_row(self, value: np.ndarray | View | None) -> None:
        rows_first = self.rows_first
        wanted = (self.rows, 0, 0) if rows_first else (0, self.rows, 0)
        if value is not None and one_row_for_all(value.shape, wanted, rows_first):
            self.p.note(
                f"{self.node}: its initial state is a constant of one row and starts all rows of the batch; "
                "export the model with a state for each row if that is not meant"
            )

    @property
    def sides(self) -> Sides:
        """The biases that the input projection adds."""
        return INPUT_GRU if self.cell.apart else (range(self.gates), range(self.gates))

    def input_product(self, d: int) -> View:
        """x[T,N,I] times w[d], plus biases: what the time loop starts from."""
        indices = picks(self.x) if self._weighs_alone else None
        if indices is not None and is_worthwhile(self.x.buffer.lookup.table, self.gates * self.hidden):
            return self._looked_up_product(indices, d)
        return linear(self.p, self.x, self._packed(self.w, d, range(self.gates)), self.bias(d, self.sides))

    def bias(self, d: int, sides: Sides) -> View:
        """Biases of one direction, added up."""
        return bias_of(self.p, self.b, d, self.gates, self.hidden, sides)

    @property
    def _weighs_alone(self) -> bool:
        """Whether the input's weights and biases are the model's own: what is made of others is not kept."""
        own = [array for array in (self.w, self.b) if array is not None]
        return not any(isinstance(array, View) or not self.p.owns(array) for array in own)

    def _looked_up_product(self, indices: View, d: int) -> View:
        """``input_product`` of rows of a table."""
        p, lookup, n = self.p, self.x.buffer.lookup, self.gates * self.hidden
        table, w, b, sides = lookup.table, self.w, self.b, self.sides
        of = packing.format_of(w)
        check_all(p, lookup, indices)

        def make() -> np.ndarray:
            bias = known_bias(p, b, d, self.gates, self.hidden, sides)
            return products(table, packing.factor_of(w, lambda own: own[d].T, of), bias, of)

        of_all = p.packed(w, ("looked up", of.name, id(table), id(b), d, sides), make)
        return gather_rows(p, lookup.node, of_all, (len(table), n), indices, p.allocate((*indices.shape, n)))

    def recurrent_weights(self, d: int) -> list[Factor]:
        """r[d], packed; that of a gate that sees the reset state apart, or the projection after it."""
        if self.cell.reset is not None:
            split = self.gates - 1
            return [self._packed(self.r, d, range(split)), self._packed(self.r, d, range(split, self.gates))]
        first, matrix = self._packed(self.r, d, range(self.gates)), self.projection
        if matrix is None:
            return [first]
        return [first, self.p.factor(matrix, ("projection", d), self.units, lambda own: own[d].T, first.of)]

    def _packed(self, w: Constant | View, d: int, gates: range) -> Factor:
        """The weights w[d] of some gates, packed: now if they are known, else at run time."""
        start, count = gates.start * self.hidden, len(gates) * self.hidden
        if isinstance(w, View):
            rows = w.sliced([(d, 1, 1), (start, 1, count), (0, 1, w.shape[2])]).matrix()
            return packed_matrix(self.p, rows, flip=True)
        return self.p.factor(w, ("gates", d, gates), count, lambda own: own[d][start : start + count].T)

    def constants(self, d: int) -> View | None:
        """The peepholes of one direction."""
        p, peepholes, count = self.p, self.peepholes, PEEPHOLES * self.hidden
        if isinstance(peepholes, View):
            return p.dense(real(p, peepholes).sliced([(d, 1, 1), (0, 1, count)]))
        if peepholes is None:
            return None
        return p.packed(peepholes, ("peepholes", d), lambda: packing.segment(peepholes[d]))

    def options(self, d: int) -> View | None:
        """The clip threshold, and the activations of one direction where they are named."""
        if not self.variant.general:
            return None
        numbers = [self.clip]
        for function in self.functions[d]:
            # Imported here: few layers name their activations.
            from tinyseq.kernels.activations import CODES

            numbers += [CODES[function.name], function.alpha, function.beta]
        return self.p.constant(np.array(numbers, np.float32))

    def starts(self, d: int) -> View | None:
        """What products start from that are not added to the input's."""
        if self.cell.apart:
            return self.bias(d, RECURRENT_GRU)
        return None if self.projection is None else self.p.zeros(self.units)

    def scratch(self) -> View | None:
        """Working memory of the time loop."""
        if self.projection is not None:
            return self.p.allocate((self.rows, self.hidden + self.units))
        if self.cell.apart:
            return self.p.allocate((self.rows, self.gates * self.hidden))
        return None if self.cell.reset is None else self.p.allocate((self.rows, self.hidden))

    def emit(self, d: int, initials: list[View], y: View | None, sizes: Sizes) -> None:
        """Emits one direction."""
        xw, factors = self.input_product(d), self.recurrent_weights(d)
        weights, of = [factor.view for factor in factors], factors[0].of
        weights += [None] if len(factors) == 1 else []
        operands = self.starts(d), self.constants(d), self.options(d), *initials
        operands += () if self.cell.has_c else (None,)
        widest = max(self.hidden, self.units), max(self.gates * self.hidden, self.units)
        others = y, self.scratch(), scratch_of(self.p, of, self.rows, *widest), self.lengths
        code = VARIANT_CODES[self.variant]
        self.p.emit("recurrent", code, xw, *weights, *operands, *others, *sizes, of.code)

    def run(self) -> list[View | None]:
        """All directions, their outputs put together."""
        p, node = self.p, self.node
        shape = (self.frames, self.rows, len(self.functions), self.units)
        y = p.allocate(shape) if node.outputs[0] else None
        parts = (y, HAS_Y), (self.lengths, HAS_LENGTHS), (self.projection, PROJECTED)
        flags = sum(flag for part, flag in parts if part is not None)
        finals: list[list[View]] = []
        for d, reverse in enumerate(BACKWARD[node.attributes["direction"]]):
            held = len(p.addresses)
            initials = [self.initial(s, d) for s in range(len(self.initials))]
            target = None if y is None else y.laid(shape, y.strides, d * self.units)
            sizes = self.frames, self.rows, self.hidden, self.units, reverse, *y_strides(shape), flags
            if self.rows:
                self.emit(d, initials, target, sizes)
                p.hold(held)
            finals.append(initials)
        wanted = [*map(bool, node.outputs[1:]), *[False] * len(self.initials)]
        states = zip(wanted, zip(*finals))
        return [self._y(y), *(self._final(own) if needed else None for needed, own in states)]

    def _y(self, y: View | None) -> View | None:
        """[T, D, N, H], or [N, T, D, H] with rows first."""
        if y is None:
            return None
        return y.transposed((1, 0, 2, 3) if self.rows_first else (0, 2, 1, 3))

    def _final(self, states: tuple[View, ...]) -> View:
        """[D, N, H], or [N, D, H] with rows first."""
        parts = [state.reshaped((1, *state.shape)) for state in states]
        return self._frames_first(parts[0] if len(parts) == 1 else joined(self.p, parts, 0))


def y_strides(shape) -> tuple[int, int]:
    """Elements from one frame to the next and from one row to the next in y[T, N, D, P]."""
    _, rows, directions, units = shape
    return rows * directions * units, directions * units


def rnn(p: Builder, node: Node, inputs, shapes) -> list[View | None]:
    return Layer(p, node, inputs, "RNN").run()


def lstm(p: Builder, node: Node, inputs, shapes) -> list[View | None]:
    return Layer(p, node, inputs, "LSTM").run()


def gru(p: Builder, node: Node, inputs, shapes) -> list[View | None]:
    kind = "after" if node.attributes["linear_before_reset"] else "before"
    return Layer(p, node, inputs, f"GRU, reset {kind}").run()


LOWERINGS = {"RNN": rnn, "LSTM": lstm, "GRU": gru}
