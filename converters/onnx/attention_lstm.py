"""onnxruntime's LSTM that attends to a memory, as a Scan of the table's LSTM and products.

In each frame the LSTM is given the input and what was attended to in the frame before; its hidden state is
the query of an additive attention (Bahdanau et al., 2014) to the memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from tinyseq.converters.onnx.drafts import NodeDraft

from tinyseq.errors import UnsupportedError
from tinyseq.ir.model import ModelGraph, Value

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Of each direction of a layer, whether it goes backward."""

X, LENGTHS, H, C, P, MEMORY, MEMORY_LENGTHS, AFTER = 0, 4, 5, 6, 7, 11, 12, 13


class Memory(NamedTuple):
    """What is attended to: values [rows, steps, depth]; where they count, [rows, steps], if not all do."""

    values: str
    there: str


def attention_lstm(draft: NodeDraft) -> None:
    """Its inputs are those of an LSTM, then weights of queries, of keys and of scores, the memory, its
    lengths and the weights of the attention layer."""
    draft.need(0, 1, 2, 8, 9, 10, MEMORY)
    direction = draft.take("direction", "forward", str)
    if direction not in DIRECTIONS:
        raise UnsupportedError(f"{draft.label}: direction {direction!r} is none of {', '.join(DIRECTIONS)}")
    if draft.attributes.get("clip"):
        raise UnsupportedError(
            f"{draft.label} clips, which onnxruntime does here to gates alone, in an LSTM to cells, too; "
            "tinyseq does the latter: export the layer without clip"
        )
    backward, memory = DIRECTIONS[direction], _memory(draft)
    found = [
        _layer(draft, d, back, _of_direction(draft, d, len(backward)), memory)
        for d, back in enumerate(backward)
    ]
    for output, parts, axis in zip(draft.outputs, zip(*found), (1, 0, 0)):
        if output:
            draft.also("Concat", list(parts), [output], axis=axis)
    draft.op = ""


def _of_direction(draft: NodeDraft, d: int, count: int) -> dict[str, Any]:
    """The attributes of the LSTM of a direction."""
    own = dict(draft.attributes)
    names = own.get("activations")
    if names and count > 1:
        own["activations"] = names[len(names) // count * d :][: len(names) // count]
        if own.get("activation_alpha") or own.get("activation_beta"):
            raise UnsupportedError(
                f"{draft.label} has parameters of activations in two directions, which tinyseq does not "
                "read; split it into two"
            )
    return own


def _memory(draft: NodeDraft) -> Memory:
    """The memory, 0 beyond its lengths."""
    if not draft.has_input(MEMORY_LENGTHS):
        return Memory(draft.inputs[MEMORY], "")
    steps = _size(draft, draft.inputs[MEMORY], 1)
    zero, one = draft.constant(np.int64(0)), draft.constant(np.int64(1))
    places = draft.before("Range", zero, draft.before("Squeeze", steps), one)
    there = draft.before("Less", places, _column(draft, _whole(draft, draft.inputs[MEMORY_LENGTHS])))
    none = draft.constant(np.float32(0))
    values = draft.before("Where", _column(draft, there, 2), draft.inputs[MEMORY], none)
    return Memory(values, there)


def _layer(draft: NodeDraft, d: int, backward: bool, attributes: dict[str, Any], memory: Memory) -> list[str]:
    """A direction: its outputs [frames, 1, rows, units] and last states."""
    x, lengths = draft.inputs[X], draft.input(LENGTHS)
    if lengths:
        lengths = _whole(draft, lengths)
    turned = backward and bool(lengths)
    if turned:
        x = draft.before("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
    w, r, b, p = (_own(draft, place, d) for place in (1, 2, 3, P))
    state = [_begin(draft, place, d) for place in (H, C)]
    state += [_attended(draft), draft.constant(np.int64(0))]
    body = _Body(draft, state)
    h, c, attended, count = body.given[:4]
    step = body.draft.before("Concat", body.given[4], attended, axis=-1)
    step = _column(body.draft, step, 0)
    _, h_next, c_next = body.draft.before_all("LSTM", [step, w, r, b, "", h, c, p], 3, **attributes)
    y = body.draft.before("Squeeze", h_next, draft.constant(np.array([0])))
    if lengths:
        goes_on = body.draft.before("Less", count, lengths)
        goes_on = _column(body.draft, goes_on)
        y = body.draft.before("Where", goes_on, y, draft.constant(np.float32(0)))
        h_next = body.draft.before("Where", goes_on, h_next, h)
        c_next = body.draft.before("Where", goes_on, c_next, c)
    attended = _attention(draft, body.draft, d, h_next, memory)
    count = body.draft.before("Add", count, draft.constant(np.int64(1)))
    y, h, c = body.run([h_next, c_next, attended, count], y, x, backward and not turned)
    if turned:
        y = draft.before("ReverseSequence", y, lengths, time_axis=0, batch_axis=1)
    return [_column(draft, y, 1), h, c]


def _attention(draft: NodeDraft, body: NodeDraft, d: int, h: str, memory: Memory) -> str:
    """What a hidden state [1, rows, units] attends to, [rows, depth], or the attention layer makes of it."""
    queries, keys, scores = (
        draft.before("Gather", draft.inputs[n], draft.constant(np.int64(d))) for n in (8, 9, 10)
    )
    keys = draft.before("MatMul", memory.values, keys)
    h = body.before("Squeeze", h, draft.constant(np.array([0])))
    query = _column(body, body.before("MatMul", h, queries))
    likeness = body.before("Tanh", body.before("Add", keys, query))
    last = draft.constant(np.array([-1]))
    weights = body.before("ReduceSum", body.before("Mul", likeness, scores), last, keepdims=0)
    if memory.there:
        weights = body.before("Where", memory.there, weights, draft.constant(np.float32(-np.inf)))
    weights = _column(body, body.before("Softmax", weights, axis=-1))
    context = body.before(
        "Squeeze", body.before("MatMul", weights, memory.values), draft.constant(np.array([1]))
    )
    if not draft.has_input(AFTER):
        return context
    after = draft.before("Gather", draft.inputs[AFTER], draft.constant(np.int64(d)))
    return body.before("MatMul", body.before("Concat", h, context, axis=-1), after)


class _Body:
    """The graph of a Scan over frames. ``given`` are its states and the frame; ``draft`` collects nodes."""

    def __init__(self, outer: NodeDraft, state: list[str]) -> None:
        self._outer, self._state = outer, state
        self.draft = replace(outer, nodes=[], later=[])
        self.given = [next(outer.names) for _ in (*state, "frame")]

    def run(self, following: list[str], y: str, x: str, backward: bool) -> tuple[str, str, str]:
        """The outputs of all frames, and the first two states behind the last."""
        inputs = tuple(Value(name, None, None) for name in self.given)
        outputs = tuple(Value(name, None, None) for name in (*following, y))
        graph = ModelGraph(inputs, outputs, tuple(self.draft.nodes), {})
        ways = (int(backward),)
        results = self._outer.before_all(
            "Scan", [*self._state, x], len(outputs), body=graph, num_scan_inputs=1,
            scan_input_directions=ways, scan_output_directions=ways,
        )  # fmt: skip
        return results[-1], results[0], results[1]


def _column(draft: NodeDraft, name: str, axis: int = 1) -> str:
    """A tensor with another axis of size 1."""
    return draft.before("Unsqueeze", name, draft.constant(np.array([axis])))


def _whole(draft: NodeDraft, lengths: str) -> str:
    return draft.before("Cast", lengths, to=np.dtype(np.int64))


def _size(draft: NodeDraft, name: str, axis: int) -> str:
    """A size of a tensor, [1]."""
    return draft.before("Shape", name, start=axis, end=axis + 1)


def _own(draft: NodeDraft, place: int, d: int) -> str:
    """The part of an input that is for a direction, [1, ...]; nothing of an absent one."""
    name = draft.input(place)
    return draft.before("Gather", name, draft.constant(np.array([d]))) if name else ""


def _begin(draft: NodeDraft, place: int, d: int) -> str:
    """The first state of a direction: given, or zeros [1, rows, units]."""
    if draft.has_input(place):
        return _own(draft, place, d)
    one, units = draft.constant(np.array([1])), _size(draft, draft.inputs[2], 2)
    shape = draft.before("Concat", one, _size(draft, draft.inputs[X], 1), units, axis=0)
    return draft.before("ConstantOfShape", shape)


def _attended(draft: NodeDraft) -> str:
    """What is attended to before the first frame: zeros [rows, depth], the depth of the attention layer's
    output if there is one."""
    depth = (
        _size(draft, draft.inputs[AFTER], 2)
        if draft.has_input(AFTER)
        else _size(draft, draft.inputs[MEMORY], 2)
    )
    shape = draft.before("Concat", _size(draft, draft.inputs[X], 1), depth, axis=0)
    return draft.before("ConstantOfShape", shape)
