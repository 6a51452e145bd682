"""How a model's configuration writes down what its layers are called with.

What is found in nested lists, tuples and dicts is a leaf: a Reference, a slice, an array, a number, a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import UnsupportedError


class Reference(NamedTuple):
    """A tensor of a functional model: layer, which of its calls, which of its results."""

    layer: str
    call: int
    place: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a layer: its number among them, and what is given by place and by name."""

    index: int
    arguments: list[Any]
    keywords: dict[str, Any]

    def references(self) -> Iterator[Reference]:
        """The tensors that it reads."""
        for leaf in leaves([self.arguments, self.keywords]):
            if isinstance(leaf, Reference):
                yield leaf

    def given(self, results: Mapping[tuple[str, int], Sequence[Any]]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments and keywords, references replaced by the results that they mean."""

        def found(leaf: Any) -> Any:
            is_reference = isinstance(leaf, Reference)
            return results[leaf.layer, leaf.call][leaf.place] if is_reference else leaf

        return mapped(found, self.arguments), mapped(found, self.keywords)


def leaves(structure: Any) -> Iterator[Any]:
    """The leaves in order; those of a dict in that of its keys, as Keras has it."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (list, tuple)) and not isinstance(structure, Reference):
        for inner in structure:
            yield from leaves(inner)
    else:
        yield structure


def mapped(change: Callable[[Any], Any], structure: Any) -> Any:
    """The structure with each leaf changed."""
    if isinstance(structure, dict):
        return {key: mapped(change, inner) for key, inner in structure.items()}
    if isinstance(structure, (list, tuple)) and not isinstance(structure, Reference):
        return [mapped(change, inner) for inner in structure]
    return change(structure)


def references(structure: Any) -> Iterator[Reference]:
    """The tensors in a structure of nothing else, as configurations write it."""
    for leaf in leaves(parsed(structure)):
        if not isinstance(leaf, Reference):
            raise UnsupportedError(f"a layer is called with {shown(leaf)}, which is no tensor")
        yield leaf


def read(index: int, node: Any) -> Call:
    """A call as Keras 3 writes it, a dict of arguments, or as Keras 2 does: a list of the tensors, each with
    what else is given by name."""
    if isinstance(node, dict):
        return Call(index, parsed(node["args"]), parsed(node["kwargs"]))
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]
    keywords: dict[str, Any] = {}
    tensors = []
    for entry in node.values() if isinstance(node, dict) else node:
        tensors.append(parsed(entry[:3]))
        for more in entry[3:]:
            keywords |= parsed(more)
    return Call(index, tensors if len(tensors) == 1 else [tensors], keywords)


def parsed(structure: Any) -> Any:
    """A structure as configurations write it, its leaves made what they stand for.

    Raises:
        UnsupportedError: a leaf is an object of another kind.
    """
    if isinstance(structure, dict):
        return _object(structure)
    if not isinstance(structure, (list, tuple)):
        return structure
    if len(structure) >= 3 and isinstance(structure[0], str) and type(structure[1]) is int:
        if structure[0] == "_CONSTANT_VALUE":
            return parsed(structure[2])
        if type(structure[2]) is int:
            return Reference(*structure[:3])
    return [parsed(inner) for inner in structure]


def _object(written: dict[str, Any]) -> Any:
    kind, config = written.get("class_name"), written.get("config", {})
    if kind is None:
        if written.keys() == {"start", "stop", "step"}:
            return slice(*(_bound(written[name]) for name in ("start", "stop", "step")))
        return {key: parsed(inner) for key, inner in written.items()}
    if kind == "__keras_tensor__":
        return Reference(*config["keras_history"])
    if kind == "__slice__":
        return slice(*(_bound(config[name]) for name in ("start", "stop", "step")))
    if kind == "__ellipsis__":
        return ...
    if kind == "__tuple__":
        return parsed(written["items"])
    if kind in ("__numpy__", "__tensor__"):
        return np.asarray(config["value"], config["dtype"])
    raise UnsupportedError(f"a layer is called with a {kind}, which tinyseq does not read: {shown(config)}")


def _bound(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise UnsupportedError(
            f"a slice begins, ends or steps by {shown(value)}; tinyseq slices by whole numbers in the file"
        )
    return value
