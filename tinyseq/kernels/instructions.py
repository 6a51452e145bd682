"""The instruction set: the one table that the planner writes, the machine reads and CUDA will walk.

A program is an int64 array of rows ``[opcode, length, operand, ...]``. Each operand is one word:

* an **address** (``&name`` below): ``segment << SEGMENT_SHIFT | byte offset`` into that segment;
* an **integer** (plain name): a size, an element stride or a variant;
* a **tail** (``*name``, last): any number of integers, reached by the kernel through a pointer.

Nothing in a program is a process address, so it can be saved, embedded or sent to another machine.
"""

from __future__ import annotations

from dataclasses import dataclass

SEGMENT_SHIFT = 48

PANEL = 16
"""Columns of a packed weight panel; 64 bytes of float32."""

GROUP = 4
"""Panels that lie interleaved in memory, so that one row of k is one contiguous run."""

ALIGNMENT = 64
"""Bytes to which every segment and every buffer in it is aligned."""

MAX_RANK = 8
"""Longest list of dimensions that the elementwise kernel walks."""


@dataclass(frozen=True)
class Instruction:
    """One row of the table: the kernel's name and its operands in order."""

    name: str
    operands: tuple[str, ...]


_LAYER = ("frames", "rows", "hidden", "reverse", "y_frame", "y_row", "flags")

INSTRUCTIONS = (
    Instruction("fill", ("&y", "count", "bits")),
    Instruction("elementwise", ("function", "&a", "&b", "&y", "rank", "*dims")),
    Instruction(
        "linear",
        ("&x", "outer", "outer_stride", "inner", "inner_stride", "k", "&w", "n", "&bias", "&y", "y_stride"),
    ),
    Instruction("rnn", ("&xw", "&r", "&h", "&y", "&lengths", *_LAYER)),
    Instruction("lstm", ("&xw", "&r", "&h", "&c", "&y", "&lengths", *_LAYER)),
    Instruction("gru_reset_after", ("&xw", "&r", "&bias", "&h", "&y", "&scratch", "&lengths", *_LAYER)),
    Instruction(
        "gru_reset_before", ("&xw", "&r_gates", "&r_hidden", "&h", "&y", "&scratch", "&lengths", *_LAYER)
    ),
)

OPCODES = {instruction.name: code for code, instruction in enumerate(INSTRUCTIONS)}

UNARY = ("copy", "negate", "absolute", "relu", "sigmoid", "tanh", "exp", "sqrt", "square", "reciprocal")
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum")

FUNCTIONS = {name: code for code, name in enumerate(UNARY + BINARY)}
"""Scalar functions of the elementwise kernel, by code."""

HAS_Y = 1
HAS_LENGTHS = 2
"""Bits of a recurrent kernel's ``flags``: which optional buffers are there."""
