"""Programs as code, in LLVM IR: every instruction a call with constant operands, every jump a branch.

What kernels take as addresses is computed from those of the scratch and of the state, or is that of a weight.
A number that differs with the number of frames is computed from it where it grows evenly, else looked up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.export.steps import Steps
from tinyseq.kernels.embedded import EMBEDDED, kernel_name
from tinyseq.kernels.instructions import FAILED, INSTRUCTIONS, SEGMENT_SHIFT, Instruction

ARENA, STATE = 0, 1
OFFSET_MASK = (1 << SEGMENT_SHIFT) - 1

CODES = ("function", "cell", "format")
"""Operands that say what an instruction computes; a library has a function for each that is asked for."""


def byte_text(data: bytes) -> str:
    """Bytes as a constant of LLVM's."""
    return 'c"' + ("\\" + data.hex("\\") if data else "") + '"'


class Code:
    """The IR of a library, under construction; ``prefix`` begins every name."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.weights: dict[str, np.ndarray] = {}
        self.messages: list[str] = []
        self._texts: list[str] = []
        self._made: dict[object, str] = {}
        self._names: dict[bytes, str] = {}

    def __str__(self) -> str:
        return "\n".join(self._texts)

    def add(self, text: str) -> None:
        """Appends a definition or a declaration."""
        self._texts.append(text)

    def failure(self, message: str) -> int:
        """What a library gives for a message: below 0."""
        if message not in self.messages:
            self.messages.append(message)
        return -1 - self.messages.index(message)

    def once(self, key: object, name: str, text: str) -> str:
        """A definition that is made when it is first asked for; gives its name."""
        if key not in self._made:
            self._made[key] = name
            self.add(text)
        return self._made[key]

    def weight(self, array: np.ndarray) -> str:
        """The name of an array's bytes, which all that are equal share."""
        data = array.tobytes()
        name = self._names.get(data)
        if name is None:
            name = self._names[data] = f"{self.prefix}.weight.{len(self.weights)}"
            self.weights[name] = array
            self.add(f'@"{name}" = external hidden constant [{array.nbytes} x i8], align 64')
        return name

    def words(self, values: list[int]) -> str:
        """The name of a constant array of int64."""
        name = f"{self.prefix}.words.{len(self._made)}"
        items = ", ".join(f"i64 {value}" for value in values)
        text = f'@"{name}" = internal constant [{len(values)} x i64] [{items}], align 64'
        return self.once(("words", *values), name, text)

    def kernel(self, row: Instruction, codes: dict[int, int]) -> str:
        """The function that computes an instruction; ``codes`` are by position, it takes what is left."""
        places = range(len(row.operands))
        name = kernel_name(row.name)
        types = ", ".join(["i64"] * len(places))
        self.once(("kernel", row.name), name, f'declare i64 @"{name}"({types})')
        if not codes:
            return name
        own = ".".join([self.prefix, row.name, *map(str, codes.values())])
        parameters = ", ".join(f"i64 %p{place}" for place in places if place not in codes)
        given = ", ".join(f"i64 {codes.get(place, f'%p{place}')}" for place in places)
        text = (
            f'define internal i64 @"{own}"({parameters}) {{\n'
            f'  %value = call i64 @"{name}"({given})\n  ret i64 %value\n}}'
        )
        return self.once(("kernel", row.name, *codes.values()), own, text)


class Body:
    """The lines of a function, and of its first block. ``count`` is one of ``counts``."""

    def __init__(self, code: Code, counts: tuple[int, ...]) -> None:
        self.code, self.counts = code, np.array(counts)
        self.lines: list[str] = []
        self.first: list[str] = []
        self._numbers = 0

    def value(self, expression: str, first: bool = False) -> str:
        """A new value; gives its name."""
        self._numbers += 1
        (self.first if first else self.lines).append(f"  %v{self._numbers} = {expression}")
        return f"%v{self._numbers}"

    def number(self, column: np.ndarray) -> str:
        """A number for each of the counts."""
        counts = self.counts
        if (column == column[0]).all():
            return str(column[0])
        slope, rest = divmod(int(column[-1]) - int(column[0]), int(counts[-1]) - int(counts[0]))
        start = int(column[0]) - slope * int(counts[0])
        if rest == 0 and (column == start + slope * counts).all():
            grown = self.value(f"mul i64 %count, {slope}")
            return self.value(f"add i64 {grown}, {start}")
        table = np.zeros(counts.max() - counts.min() + 1, np.int64)
        table[counts - counts.min()] = column
        name = self.code.words(table.tolist())
        index = self.value(f"sub i64 %count, {counts.min()}")
        place = self.value(f'getelementptr i64, ptr @"{name}", i64 {index}')
        return self.value(f"load i64, ptr {place}")


class Program(Body):
    """A program as a function: ``i64 name(i64 arena, i64 state, i64 count)`` gives 0, or below 0 the
    failure."""

    def __init__(self, code: Code, steps: Steps, name: str) -> None:
        super().__init__(code, steps.counts)
        self.name = name
        self.plan = steps.plans[0]
        self.program = np.stack([plan.program for plan in steps.plans])

    def define(self) -> str:
        """Appends the function; gives its name."""
        for at, following in self._rows():
            self.lines.append(f"row.{at}:")
            self._instruction(at, following)
        self.lines += [f"row.{self.program.shape[1]}:", "  ret i64 0"]
        head = f'define internal i64 @"{self.name}"(i64 %arena, i64 %state, i64 %count) {{\nentry:'
        self.code.add("\n".join([head, *self.first, "  br label %row.0", *self.lines, "}"]))
        return self.name

    def _rows(self) -> Iterator[tuple[int, int]]:
        words, at = self.program[0], 0
        while at < words.size:
            following = at + int(words[at + 1])
            yield at, following
            at = following

    def _instruction(self, at: int, following: int) -> None:
        row = INSTRUCTIONS[int(self.program[0, at])]
        if row.advice:
            self.lines.append(f"  br label %row.{following}")
            return
        if row not in EMBEDDED:
            raise UnsupportedError(f"a library does not do the instruction {row.name}")
        codes, operands = {}, []
        for position, kind in enumerate(row.operands):
            if kind in CODES:
                codes[position] = int(self.program[0, at + 2 + position])
            else:
                operands.append(self._operand(kind, at + 2 + position, following))
        kernel = self.code.kernel(row, codes)
        arguments = ", ".join(f"i64 {operand}" for operand in operands)
        result = self.value(f'call i64 @"{kernel}"({arguments})')
        if not row.returns:
            self.lines.append(f"  br label %row.{following}")
            return
        if row.failure:
            failed = self.value(f"icmp eq i64 {result}, {FAILED}")
            self.lines.append(f"  br i1 {failed}, label %failed.{at}, label %row.{following}")
            blamed = self.plan.places.get(at, f"a row of the state {row.failure}")
            message = f"{blamed}. No state was changed"
            self.lines += [f"failed.{at}:", f"  ret i64 {self.code.failure(message)}"]
            return
        target = following + int(self.program[0, following - 1])
        jumps = self.value(f"icmp ne i64 {result}, 0")
        self.lines.append(f"  br i1 {jumps}, label %row.{target}, label %row.{following}")

    def _operand(self, kind: str, place: int, end: int) -> str:
        if kind[0] == "*":
            return self._tail(self.program[:, place:end])
        column = self.program[:, place]
        return self._address(column) if kind[0] == "&" else self.number(column)

    def _address(self, column: np.ndarray) -> str:
        segment = int(column[0]) >> SEGMENT_SHIFT
        offset = self.number(column & OFFSET_MASK)
        if segment in (ARENA, STATE):
            base = ("%arena", "%state")[segment]
        else:
            array = self.plan.weights[segment - STATE - 1]
            if not array.nbytes:
                return "0"
            base = f'ptrtoint (ptr @"{self.code.weight(array)}" to i64)'
        return base if offset == "0" else self.value(f"add i64 {base}, {offset}")

    def _tail(self, columns: np.ndarray) -> str:
        """The address of the numbers that an instruction ends with."""
        if (columns == columns[0]).all():
            if not columns.size:
                return "0"
            return f'ptrtoint (ptr @"{self.code.words(columns[0].tolist())}" to i64)'
        room = self.value(f"alloca [{columns.shape[1]} x i64], align 64", first=True)
        for place in range(columns.shape[1]):
            slot = self.value(f"getelementptr i64, ptr {room}, i64 {place}")
            self.lines.append(f"  store i64 {self.number(columns[:, place])}, ptr {slot}")
        return self.value(f"ptrtoint ptr {room} to i64")
