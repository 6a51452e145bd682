"""Sequences of tensors, as scripted loops make them, as tensors.

A sequence whose elements are known one by one is a list of names; what is taken out of it, put into it or
joined is written with these. One that a loop appends to, or that a tensor is split into, is a tensor whose
elements along one axis are those of the sequence. All others are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from tinyseq.converters.onnx.drafts import NodeDraft

from tinyseq.errors import ModelError, UnsupportedError


class Along(NamedTuple):
    """A sequence of what lies at the places of a tensor's axis, which elements keep, with size 1, or not."""

    tensor: str
    axis: int
    keeps: bool


Sequence = tuple[str, ...] | Along
"""The tensors of a sequence by name, or where they lie."""


def _sequence(draft: NodeDraft) -> Sequence:
    draft.need(0)
    found = draft.sequences.get(draft.inputs[0])
    if found is None:
        raise UnsupportedError(
            f"{draft.label}: nothing tells what the sequence {draft.inputs[0]!r} is made of; tinyseq follows "
            "those that are made of tensors, split off one, or appended to in a Loop"
        )
    return found


def _listed(draft: NodeDraft) -> list[str]:
    found = _sequence(draft)
    if isinstance(found, Along):
        raise UnsupportedError(
            f"{draft.label} changes the sequence {draft.inputs[0]!r}, of which nothing tells the length; "
            "append to sequences in a Loop, or build them of tensors"
        )
    return list(found)


def _place(draft: NodeDraft, position: int, count: int, absent: int) -> int:
    """A place in a list, counted from its end if negative."""
    if not draft.has_input(position):
        return absent
    place = int(draft.known(position, "the place in a sequence").item())
    if not -count <= place <= count:
        raise ModelError(f"{draft.label}: place {place} of a sequence of {count}")
    return place + count if place < 0 else place


def _construct(draft: NodeDraft) -> None:
    draft.becomes_sequence(tuple(draft.inputs))


def _empty(draft: NodeDraft) -> None:
    draft.becomes_sequence(())


def _insert(draft: NodeDraft) -> None:
    names = _listed(draft)
    draft.need(1)
    names.insert(_place(draft, 2, len(names), len(names)), draft.inputs[1])
    draft.becomes_sequence(tuple(names))


def _erase(draft: NodeDraft) -> None:
    names = _listed(draft)
    place = _place(draft, 1, len(names), len(names) - 1)
    if place >= len(names):
        raise ModelError(f"{draft.label}: place {place} of a sequence of {len(names)}")
    del names[place]
    draft.becomes_sequence(tuple(names))


def _identity(draft: NodeDraft) -> None:
    if draft.input(0) in draft.sequences:
        draft.becomes_sequence(_sequence(draft))


def _length(draft: NodeDraft) -> None:
    found = _sequence(draft)
    if isinstance(found, Along):
        shape = draft.before("Shape", found.tensor)
        draft.becomes("Gather", shape, draft.constant(np.int64(found.axis)))
    else:
        draft.becomes("Identity", draft.constant(np.int64(len(found))))


def _at(draft: NodeDraft) -> None:
    """A computed place of a list is one of its elements put together, which must then be of one shape."""
    found = _sequence(draft)
    draft.need(1)
    place = draft.constants.get(draft.inputs[1])
    if isinstance(found, Along):
        picked = draft.inputs[1]
        if found.keeps:
            picked = draft.before("Unsqueeze", picked, draft.constant(np.array([0])))
        draft.becomes("Gather", found.tensor, picked, axis=found.axis)
    elif place is not None:
        number = int(place.item())
        if not -len(found) <= number < len(found):
            raise ModelError(f"{draft.label}: place {number} of a sequence of {len(found)}")
        draft.becomes("Identity", found[number])
    else:
        draft.becomes("Gather", _stacked(draft, found, 0), draft.inputs[1])


def _stacked(draft: NodeDraft, names: tuple[str, ...], axis: int) -> str:
    along = draft.constant(np.array([axis]))
    return draft.before("Concat", *[draft.before("Unsqueeze", name, along) for name in names], axis=axis)


def _concat(draft: NodeDraft) -> None:
    found = _sequence(draft)
    axis, new = draft.take("axis", 0), bool(draft.take("new_axis", 0))
    draft.end()
    if isinstance(found, Along):
        _joined(draft, found, axis, new)
    elif not found:
        raise ModelError(f"{draft.label} joins a sequence of no tensors")
    elif new:
        draft.becomes("Identity", _stacked(draft, found, axis))
    else:
        draft.becomes("Concat", *found, axis=axis)


def _joined(draft: NodeDraft, found: Along, axis: int, new: bool) -> None:
    """The elements of a tensor along one axis, put together along another."""
    if found.axis == axis and found.keeps != new:
        draft.becomes("Identity", found.tensor)
        return
    if found.axis or found.keeps or not -8 <= axis < 8:
        raise UnsupportedError(
            f"{draft.label} puts what was split along axis {found.axis} together along axis {axis}; split "
            "and join along one axis"
        )
    letters = "bcdefghi"[: axis if axis >= 0 else -axis - new]
    moved = f"a{letters}...->{letters}a..." if axis >= 0 else f"a...{letters}->...a{letters}"
    turned = draft.before("Einsum", found.tensor, equation=moved)
    if new:
        draft.becomes("Identity", turned)
        return
    shape = draft.before("Shape", turned)
    first = axis if axis >= 0 else axis - 1
    head = draft.before("Slice", shape, *(draft.constant(np.array([n])) for n in (0, first)))
    parts = [head, draft.constant(np.array([-1]))]
    if first != -2:
        parts.append(
            draft.before("Slice", shape, *(draft.constant(np.array([n])) for n in (first + 2, 2**62)))
        )
    draft.becomes("Reshape", turned, draft.before("Concat", *parts, axis=0))


def _split(draft: NodeDraft) -> None:
    """Without sizes, or in parts of one, a tensor is its own sequence."""
    draft.need(0)
    axis, keeps = draft.take("axis", 0), bool(draft.take("keepdims", 1))
    draft.end()
    sizes = draft.known(1, "the sizes of a split") if draft.has_input(1) else None
    if sizes is None or (sizes.ndim == 0 and sizes == 1):
        if axis < 0:
            raise UnsupportedError(f"{draft.label} splits along axis {axis}; count axes from the first")
        draft.becomes_sequence(Along(draft.inputs[0], axis, keeps or sizes is not None))
        return
    if sizes.ndim == 0:
        raise UnsupportedError(
            f"{draft.label} splits into parts of {sizes}, however many these are; tell the size of each part"
        )
    names = draft.before_all("Split", draft.inputs[:2], sizes.size, axis=axis)
    draft.becomes_sequence(tuple(names))


SEQUENCES: dict[str, Callable[[NodeDraft], None]] = {
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceLength": _length,
    "SequenceAt": _at,
    "ConcatFromSequence": _concat,
    "SplitToSequence": _split,
    "Identity": _identity,
}
"""By op."""


def without_sequences(
    proto: Any, sequences: Mapping[str, Sequence], names: Iterator[str], label: str
) -> tuple[Any, dict[str, Sequence]]:
    """A Loop that appends to sequences as one that gives what it appends, each turn's along a first axis; and
    what its sequences then are.

    Raises:
        UnsupportedError: it does something else with one.
    """
    carried = [place for place, name in enumerate(proto.input[2:]) if name in sequences]
    if not carried:
        return proto, {}
    made = type(proto)()
    made.CopyFrom(proto)
    body = next(attribute.g for attribute in made.attribute if attribute.name == "body")
    appended, found = [], {}
    for place in reversed(carried):
        given, result = body.input[2 + place].name, body.output[1 + place].name
        readers = [node for node in body.node if given in node.input]
        one = len(readers) == 1 and readers[0].op_type == "SequenceInsert" and result in readers[0].output
        if not one or sequences[proto.input[2 + place]] != () or any(readers[0].input[2:]):
            raise UnsupportedError(
                f"{label}: tinyseq follows a sequence that is empty before a Loop and to which each turn "
                f"appends one tensor; {proto.input[2 + place]!r} is another one"
            )
        inner, outer = next(names), next(names)
        node = readers[0]
        node.op_type, tensor = "Identity", node.input[1]
        del node.input[:], node.output[:]
        node.input.append(tensor)
        node.output.append(inner)
        found[made.output[place]] = Along(outer, 0, False)
        appended.append((inner, outer))
        del body.input[2 + place], body.output[1 + place], made.input[2 + place], made.output[place]
    for inner, outer in appended:
        body.output.add(name=inner)
        made.output.append(outer)
    return made, found
