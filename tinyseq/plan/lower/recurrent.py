"""Lowerings of the recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.kernels.instructions import (
    ACTIVATIONS,
    COUPLED,
    GENERAL,
    HAS_LENGTHS,
    HAS_PEEPHOLES,
    HAS_Y,
    QUANTIZED,
    RESET_AFTER,
)
from tinyseq.plan import packing
from tinyseq.plan.lookup import check_all, gather_rows, is_worthwhile, picks, products
from tinyseq.plan.lower.linear import linear, packed_matrix
from tinyseq.plan.lower.operands import along, given, joined, real, reshaped, whole
from tinyseq.plan.view import View
from tinyseq.shapes import cell_functions, one_row_for_all

if TYPE_CHECKING:
    from tinyseq.model import Node
    from tinyseq.plan.builder import Builder


Sides = tuple[range, range]
"""Of which gates the biases of the input side and of the recurrent side are added up."""


def summed(gates: int) -> Sides:
    """All of both sides."""
    return range(gates), range(gates)


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
    """One recurrent node being lowered: its operands with frames first, and what its flags say."""

    def __init__(
        self,
        p: Builder,
        node: Node,
        inputs: list,
        gates: int,
        states: int,
        projection: np.ndarray | None = None,
    ) -> None:
        self.p = p
        self.node = node
        self.gates = gates
        self.rows_first = bool(node.attributes["layout"])
        self.x = self._frames_first(real(p, inputs[0]))
        self.w, self.r, self.b = inputs[1], inputs[2], given(inputs, 3)
        self.hidden = node.attributes["hidden_size"]
        self.projection = projection
        self.units = self.hidden if projection is None else projection.shape[1]
        self.frames, self.rows = self.x.shape[:2]
        self.initials = [given(inputs, 5 + s) for s in range(states)]
        self.lengths = self._lengths(given(inputs, 4))
        self.functions = cell_functions(node.attributes)
        usual = (
            ("Sigmoid", "Tanh", "Tanh") if gates == 4 else ("Sigmoid", "Tanh") if gates == 3 else ("Tanh",)
        )
        clip = node.attributes["clip"]
        self.plain = clip is None and all(tuple(f.name for f in own) == usual for own in self.functions)
        self.clip = np.inf if clip is None else clip

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

    def input_product(self, d: int, sides: Sides | None = None) -> View:
        """x[T,N,I] times w[d], plus the biases, by default of both sides: what the time loop starts from."""
        sides = sides or summed(self.gates)
        indices = picks(self.x) if self._weighs_alone else None
        if indices is not None and is_worthwhile(self.x.buffer.lookup.table, self.gates * self.hidden):
            return self._looked_up_product(indices, d, sides)
        bias = bias_of(self.p, self.b, d, self.gates, self.hidden, sides)
        packed = self._packed(self.w, d, range(self.gates))
        return linear(self.p, self.x, packed, self.gates * self.hidden, bias)

    @property
    def _weighs_alone(self) -> bool:
        """Whether the input's weights and biases are the model's own: what is made of others is not kept."""
        own = [array for array in (self.w, self.b) if array is not None]
        return all(isinstance(array, np.ndarray) and self.p.owns(array) for array in own)

    def _looked_up_product(self, indices: View, d: int, sides: Sides) -> View:
        """``input_product`` of rows of a table."""
        p, (node, table, _), n = self.p, self.x.buffer.lookup, self.gates * self.hidden
        w, b = self.w, self.b
        check_all(p, self.x.buffer.lookup, indices)

        def make() -> np.ndarray:
            return products(
                table, packing.panels(w[d].T), known_bias(p, b, d, self.gates, self.hidden, sides)
            )

        of_all = p.packed(w, ("looked up", id(table), id(b), d, sides), make)
        return gather_rows(p, node, of_all, (len(table), n), indices, p.allocate((*indices.shape, n)))

    def recurrent_weights(self, d: int, gates: range | None = None) -> View:
        """r[d], or some of its gates, packed."""
        return self._packed(self.r, d, range(self.gates) if gates is None else gates)

    def _packed(self, w: np.ndarray | View, d: int, gates: range) -> View:
        """The weights w[d] of some gates, packed: now if they are known, else at run time."""
        start, count = gates.start * self.hidden, len(gates) * self.hidden
        if isinstance(w, View):
            rows = w.sliced([(d, 1, 1), (start, 1, count), (0, 1, w.shape[2])]).matrix()
            return packed_matrix(self.p, rows, None, flip=True)[0]
        pack = lambda: packing.panels(w[d][start : start + count].T)  # noqa: E731
        return self.p.packed(w, ("gates", d, gates), pack)

    def options(self, d: int) -> View:
        """The operand ``options`` of the general kernels."""
        numbers = [self.clip]
        for function in self.functions[d]:
            numbers += [ACTIVATIONS.index(function.name), function.alpha, function.beta]
        return self.p.constant(np.array(numbers, np.float32))

    def run(self, emit, flags: int = 0) -> list[View | None]:
        """All directions: ``emit(d, initials, y, sizes)`` emits one, the outputs are put together."""
        p, node = self.p, self.node
        shape = (self.frames, self.rows, len(self.functions), self.units)
        y = p.allocate(shape) if node.outputs[0] else None
        flags |= (HAS_Y if y is not None else 0) | (HAS_LENGTHS if self.lengths is not None else 0)
        finals: list[list[View]] = []
        for d, reverse in enumerate(BACKWARD[node.attributes["direction"]]):
            initials = [self.initial(s, d) for s in range(len(self.initials))]
            target = None if y is None else y.laid(shape, y.strides, d * self.units)
            sizes = (self.frames, self.rows, self.hidden, reverse, *y_strides(shape), flags)
            if self.rows:
                emit(d, initials, target, sizes)
            finals.append(initials)
        return [self._y(y), *(self._final(states) for states in zip(*finals))]

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
    layer = Layer(p, node, inputs, 1, 1)

    def emit(d, initials, y, sizes):
        xw, r = layer.input_product(d), layer.recurrent_weights(d)
        if layer.plain:
            p.emit("rnn", xw, r, *initials, y, layer.lengths, *sizes)
        else:
            p.emit("rnn_general", xw, r, *initials, y, layer.lengths, layer.options(d), *sizes)

    return layer.run(emit)


def lstm(p: Builder, node: Node, inputs, shapes) -> list[View | None]:
    return lstm_of(Layer(p, node, inputs, 4, 2, given(inputs, 8)), inputs)


def lstm_of(layer: Layer, inputs, flags: int = 0) -> list[View | None]:
    """The outputs of an LSTM, whose weights and products ``layer`` knows."""
    p, node = layer.p, layer.node
    peepholes, coupled = given(inputs, 7), node.attributes["input_forget"]
    plain = layer.plain and peepholes is None and not coupled
    flags |= (0 if peepholes is None else HAS_PEEPHOLES) | (COUPLED if coupled else 0)
    flags |= 0 if plain else GENERAL
    rounded = layer.rounded(layer.rows, layer.hidden) if flags & QUANTIZED else None

    def emit(d, initials, y, sizes):
        xw, r = layer.input_product(d), layer.recurrent_weights(d)
        if plain and layer.projection is None:
            p.emit("lstm", xw, r, *initials, y, rounded, layer.lengths, *sizes)
            return
        own = None
        if isinstance(peepholes, View):
            own = p.dense(real(p, peepholes).sliced([(d, 1, 1), (0, 1, 3 * layer.hidden)]))
        elif peepholes is not None:
            own = p.packed(peepholes, ("peepholes", d), lambda: packing.segment(peepholes[d]))
        scratch = p.allocate((layer.hidden,))
        if layer.projection is None:
            others = scratch, rounded, layer.lengths, layer.options(d)
            p.emit("lstm_general", xw, r, own, *initials, y, *others, *sizes)
        else:
            _lstm_projected(p, layer, d, (xw, r), (own, *initials, y), scratch, sizes)

    return layer.run(emit, flags)


def _lstm_projected(p: Builder, layer: Layer, d: int, weights, operands, scratch, sizes) -> None:
    """Emits one direction: ``weights`` xw and r, ``operands`` the peepholes, the states and y."""
    matrix, rows, units = layer.projection, layer.rows, layer.units
    projection = p.packed(matrix, ("projection", d), lambda: packing.panels(matrix[d].T))
    working = p.allocate((rows, layer.hidden)), p.allocate((rows, units)), scratch
    others = layer.lengths, layer.options(d), *sizes, units
    p.emit("lstm_projected", *weights, projection, p.zeros(units), *operands, *working, *others)


def gru(p: Builder, node: Node, inputs, shapes) -> list[View | None]:
    layer = Layer(p, node, inputs, 3, 1)
    after = bool(node.attributes["linear_before_reset"])
    emit = {
        (True, True): _gru_reset_after,
        (True, False): _gru_reset_before,
        (False, True): _gru_general,
        (False, False): _gru_general,
    }[layer.plain, after]
    return layer.run(
        lambda d, initials, y, sizes: emit(p, layer, d, initials, y, sizes), RESET_AFTER if after else 0
    )


def _gru_reset_after(p: Builder, layer: Layer, d: int, initials, y, sizes) -> None:
    xw = layer.input_product(d, INPUT_GRU)
    bias = bias_of(p, layer.b, d, 3, layer.hidden, RECURRENT_GRU)
    scratch = p.allocate((layer.rows, 3 * layer.hidden))
    r = layer.recurrent_weights(d)
    p.emit("gru_reset_after", xw, r, bias, *initials, y, scratch, layer.lengths, *sizes)


def _gru_reset_before(p: Builder, layer: Layer, d: int, initials, y, sizes) -> None:
    xw = layer.input_product(d)
    gates, candidate = layer.recurrent_weights(d, range(2)), layer.recurrent_weights(d, range(2, 3))
    scratch = p.allocate((layer.rows, layer.hidden))
    p.emit("gru_reset_before", xw, gates, candidate, *initials, y, scratch, layer.lengths, *sizes)


def _gru_general(p: Builder, layer: Layer, d: int, initials, y, sizes) -> None:
    after = sizes[-1] & RESET_AFTER
    xw = layer.input_product(d, INPUT_GRU if after else None)
    gates, candidate = layer.recurrent_weights(d, range(2)), layer.recurrent_weights(d, range(2, 3))
    bias = bias_of(p, layer.b, d, 3, layer.hidden, RECURRENT_GRU) if after else None
    if bias is not None and layer.b is not None:
        bias = bias.laid((layer.hidden,), (1,), bias.offset + 2 * layer.hidden)
    scratch = p.allocate((layer.rows, layer.hidden))
    p.emit(
        "gru_general",
        xw,
        gates,
        candidate,
        bias,
        *initials,
        y,
        scratch,
        layer.lengths,
        layer.options(d),
        *sizes,
    )


LOWERINGS = {"RNN": rnn, "LSTM": lstm, "GRU": gru}
