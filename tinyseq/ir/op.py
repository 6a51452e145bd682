"""A row of the op table: what is known of an op, and how it is written.

Inputs and outputs are written in order: ``name`` is required, ``name?`` may be absent, ``name*`` is
any number. A ``!`` says that the value must be known when planning: a constant, a shape, or computed
from those and inputs; a ``~`` that planning makes use of it where it is. ``-`` stands before what the
specification has and tinyseq refuses, ``+`` before what is tinyseq's own: files of other formats cannot
hold it.

Behind a colon stands the type. A letter is a class of types: ``f`` floating numbers, ``i`` integers, ``n``
numbers (``f`` or ``i``), ``q`` int8 and uint8, ``b`` booleans, ``a`` any of these; a name is that type
alone. All ports of an op with the same capital letter are of one type of its class; a digit tells two such
types apart. Floating numbers of any precision count as one type, since all are computed in one. Of an
output, ``@name`` is the type that an attribute tells; ``/`` stands before what holds where the former is
absent. Ports without a type have those of the op's graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyseq.shapes import looks

REQUIRED = object()
"""The default of an attribute that has none."""

INT, INTS, FLOAT, FLOATS, TEXT, TEXTS, TENSOR, DTYPE, GRAPH = (
    "an integer", "integers", "a number", "numbers", "a word", "words", "a tensor", "a type", "a graph",
)  # fmt: skip
"""The kinds of attributes."""


class Attribute:
    """An attribute, its kind, its default and, where only some values are supported, those values."""

    __slots__ = ("allowed", "default", "kind", "name")

    def __init__(self, name: str, kind: str, default: Any, allowed: tuple[Any, ...] | None = None) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.allowed = allowed


class Port:
    """One input or output of an op, from what the module's notation says of it. ``type`` is as it is written
    there; ``tinyseq.ir.types`` reads it."""

    __slots__ = ("known", "name", "optional", "own", "supported", "type", "variadic", "wanted")

    def __init__(self, text: str) -> None:
        text, _, self.type = text.partition(":")
        mark = text[0]
        self.name = text.strip("-+?*!~")
        self.optional = "?" in text or mark == "-"
        self.variadic = "*" in text
        self.known = "!" in text
        self.wanted = "~" in text
        self.supported = mark != "-"
        self.own = mark == "+"


class Op:
    """One row of the table.

    ``shape(attributes, shapes, values)`` gives the shapes of the outputs from the inputs' shapes and,
    where known, their values (else None). ``state`` names the input and output ports that carry
    recurrent state. ``check(attributes)`` raises ``Mismatch`` for attributes that do not fit each other.
    ``looks(attributes, shapes, values)`` gives the axes along which an element of the result needs more than
    one element of an input, see ``shapes/looks.py``.

    What else is to be known of an op; inputs are counted as ports, a variadic one is all that it stands for:

    * ``moves``: the inputs whose elements come to the result as they are;
    * ``keeps_values``: the result holds elements of the first input and nothing else, maybe in another type;
    * ``rearranges``: it holds each of them once;
    * ``grows``: the result may be far larger than what is given;
    * ``rows_meet``: rows of a batch change what comes of each other;
    * ``open_inputs``: how many inputs, from the first on, may hold sizes that are open while planning;
    * ``sizes_only``: the result tells of the input's shape, whatever its elements are;
    * ``needs``: why it takes all frames of a tensor that it looks along, where it has no form for chunks;
    * ``takes_bytes``: its lowering takes narrow tensors, see ``plan/view.py``;
    * ``multiplications`` and ``turns``, where it has any: what it takes, see ``shapes/effort.py``.
    """

    __slots__ = (
        "attributes", "check", "domain", "grows", "inputs", "keeps_values", "looks", "moves",
        "multiplications", "name", "needs", "open_inputs", "outputs", "rearranges", "rows_meet", "shape",
        "sizes_only", "state", "takes_bytes", "turns",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        attributes: tuple[Attribute, ...],
        shape: Callable,
        *,
        state: tuple[tuple[str, str], ...] = (),
        check: Callable[[dict[str, Any]], None] | None = None,
        domain: str = "",
        looks: Callable = looks.everything,
        moves: tuple[int, ...] = (),
        keeps_values: bool = False,
        rearranges: bool = False,
        grows: bool = False,
        rows_meet: bool = False,
        open_inputs: int = 0,
        takes_bytes: bool = False,
        sizes_only: bool = False,
        needs: str = "looks at all frames at once",
        multiplications: Callable | None = None,
        turns: Callable | None = None,
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = attributes
        self.shape = shape
        self.state = state
        self.check = check
        self.domain = domain
        self.looks = looks
        self.moves = moves
        self.keeps_values = keeps_values
        self.rearranges = rearranges
        self.grows = grows
        self.rows_meet = rows_meet
        self.open_inputs = open_inputs
        self.takes_bytes = takes_bytes
        self.sizes_only = sizes_only
        self.needs = needs
        self.multiplications = multiplications
        self.turns = turns

    def port(self, index: int) -> Port:
        """The input port of position ``index``; a variadic one repeats."""
        return self.inputs[self.place(index)]

    def place(self, index: int) -> int:
        """The place of the port of position ``index``."""
        return min(index, len(self.inputs) - 1)
