"""A node on its way from a file to the form of the op table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir.model import Node, filled_attributes
from tinyseq.ir.ops import OPS


@dataclass
class NodeDraft:
    """A node on its way from a file to the form of the op table.

    ``constants`` and ``nodes`` are those of its graph so far; ``names`` gives fresh names; ``ranks`` are the
    dimensions that the file declares of tensors, ``sequences`` what sequences are, see ``sequences.py``.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    name: str
    label: str
    opset: int
    constants: dict[str, np.ndarray]
    nodes: list[Node]
    names: Iterator[str]
    domain: str = ""
    ranks: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, Any] = field(default_factory=dict)
    later: list[Node] = field(default_factory=list)

    def has_input(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] != ""

    def set_input(self, position: int, name: str) -> None:
        self.inputs += [""] * (position + 1 - len(self.inputs))
        self.inputs[position] = name

    def constant(self, value) -> str:
        """The name of a new constant."""
        name = next(self.names)
        self.constants[name] = np.array(value)
        return name

    def to_input(self, attribute: str, position: int, dtype=None) -> None:
        """Makes an attribute, where it is given, the constant input that newer opsets take."""
        if attribute in self.attributes:
            value = np.array(self.attributes.pop(attribute))
            if value.dtype.kind not in "if":
                raise ModelError(
                    f"{self.label}: {attribute} is no number and no numbers; the file is damaged"
                )
            self.set_input(position, self.constant(value if dtype is None else value.astype(dtype)))

    def before(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node in front of this one; gives its output."""
        output = next(self.names)
        self.nodes.append(self._node(op, inputs, [output], attributes))
        return output

    def before_all(self, op: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
        """``before`` of an op with several outputs."""
        outputs = [next(self.names) for _ in range(count)]
        self.nodes.append(self._node(op, inputs, outputs, attributes))
        return outputs

    def also(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Adds a node in front of this one that gives outputs of the file."""
        self.nodes.append(self._node(op, inputs, outputs, attributes))

    def after(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Adds a node right behind this one, in front of those added so before, that takes over its first
        output and reads it first."""
        inner = next(self.names)
        self.later.insert(0, self._node(op, [inner, *inputs], self.outputs[:1], attributes))
        self.outputs[0] = inner

    def input(self, position: int) -> str:
        """The name of an input, empty where it is absent."""
        return self.inputs[position] if self.has_input(position) else ""

    def becomes(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Makes the node one of the table's, with other inputs and attributes."""
        self.op, self.domain, self.inputs, self.attributes = op, "", list(inputs), attributes

    def becomes_sequence(self, value: Any) -> None:
        """Makes the first output a sequence, which no node of the table gives."""
        self.sequences[self.outputs[0]] = value
        self.op = ""

    def take(self, name: str, default: Any, kind: type | tuple[type, ...] = int) -> Any:
        """An attribute, which the node then has no more.

        Raises:
            ModelError: it is of another kind.
        """
        value = self.attributes.pop(name, default)
        if value is not default and not isinstance(value, kind):
            raise ModelError(f"{self.label}: {name} is {shown(value)}; the file is damaged")
        return value

    def end(self) -> None:
        """Refuses attributes that nothing has taken.

        Raises:
            UnsupportedError: names one.
        """
        for name in self.attributes:
            raise UnsupportedError(f"{self.label}: the attribute {name!r} is not known to tinyseq")

    def known(self, position: int, what: str) -> np.ndarray:
        """An input that must be a constant of the file.

        Raises:
            UnsupportedError: it is computed.
        """
        array = self.constants.get(self.input(position))
        if array is None:
            raise UnsupportedError(
                f"{self.label}: tinyseq reads {what} from constants of the file, and here it is computed; "
                "export the model with it fixed"
            )
        return array

    def rank(self, name: str) -> int | None:
        """The dimensions of a tensor, if the file tells them."""
        array = self.constants.get(name)
        return self.ranks.get(name) if array is None else array.ndim

    def need(self, *positions: int) -> None:
        """Refuses a node without one of these inputs.

        Raises:
            ModelError: one is absent.
        """
        for position in positions:
            if not self.has_input(position):
                raise ModelError(f"{self.label} lacks its input {position}; the file is damaged")

    def finish(self) -> None:
        """Adds the node to its graph."""
        if self.op:
            self.nodes.append(self._node(self.op, self.inputs, self.outputs, self.attributes))
        self.nodes += self.later

    def _node(self, op: str, inputs, outputs, attributes: dict[str, Any]) -> Node:
        filled = filled_attributes(OPS[op], attributes, self.label)
        return Node(op, _without_tail(inputs), _without_tail(outputs), filled, self.name)


def _without_tail(names) -> tuple[str, ...]:
    """Input or output names less the absent ones at the end."""
    count = max((position for position, name in enumerate(names, start=1) if name), default=0)
    return tuple(names[:count])
