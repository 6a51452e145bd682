"""Recurrent layers that do not wait for each other run frame by frame together: none is alone with what it
waits for."""

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from tinyseq.kernels.instructions import HAS_LENGTHS, INSTRUCTIONS, MOST_ABREAST, OPCODES, OPERANDS
from tinyseq.plan.blocks import JUMPS, Insertion, insert
from tinyseq.plan.view import Span

if TYPE_CHECKING:
    from tinyseq.plan.builder import Builder

MOST_UNITS = 16
"""Units of all rows of a layer up to which most of its time is waiting."""

ABREAST, RECURRENT = OPCODES["abreast"], OPCODES["recurrent"]
BEFORE = {OPCODES[name] for name in ("fill", "linear", "elementwise")}
"""What may come before a layer."""

ALIKE = ("cell", "frames", "rows", "hidden", "units", "y_row", "flags", "format")
"""The operands of layers that are the same for all that run together."""


class _Row(NamedTuple):
    """An instruction: its words, where it begins and ends, its number, and the buffers of its operands."""

    code: int
    words: list
    start: int
    end: int
    step: int
    buffers: dict[str, Span]

    def operand(self, name: str) -> int:
        return self.words[2 + OPERANDS[INSTRUCTIONS[self.code].name].index(name)]

    def touches(self, buffers: set[Span]) -> bool:
        return not buffers.isdisjoint(self.buffers.values())

    def written(self) -> set[Span]:
        """The buffers that a layer writes to, but for its output: each writes a part of that."""
        return {self.buffers[name] for name in ("xw", "h", "c", "scratch", "rounded") if name in self.buffers}


def run_abreast(builder: "Builder") -> None:
    """Puts ``abreast`` before instructions of which the layers may run together, behind all others of
    them."""
    insertions = []
    for run in _runs(_rows(builder)):
        first, last = run[0], run[-1]
        insertions.append(Insertion(first.start, [ABREAST, 4, 0, last.end - first.start]))
        for row in run:
            for buffer in row.buffers.values():
                buffer.last = max(buffer.last, last.step)
    if insertions:
        insert(builder, insertions)


def _rows(builder: "Builder") -> list[_Row]:
    """The instructions in order; none where some lead elsewhere, or where there are no layers."""
    words, ends, start = builder.words, [], 0
    while start < len(words):
        if words[start] in JUMPS:
            return []
        start += words[start + 1]
        ends.append(start)
    starts = [0, *ends]
    if all(words[start] != RECURRENT for start in starts[:-1]):
        return []
    rows = [
        _Row(words[start], words[start:end], start, end, step, {})
        for step, (start, end) in enumerate(zip(starts, ends))
    ]
    for position, buffer, _ in builder.addresses:
        row = rows[bisect_right(starts, position) - 1]
        row.buffers[OPERANDS[INSTRUCTIONS[row.code].name][position - row.start - 2]] = buffer
    return rows


def _runs(rows: list[_Row]) -> list[list[_Row]]:
    """Neighbours from a layer to the last one that may run together with it."""
    runs, number = [], 0
    while number < len(rows):
        run = _run(rows, number) if _waits(rows[number]) else []
        if run:
            runs.append(run)
        number += max(len(run), 1)
    return runs


def _waits(row: _Row) -> bool:
    """Whether it is a layer most of whose time is waiting."""
    if row.code != RECURRENT or "options" in row.buffers or row.operand("flags") & HAS_LENGTHS:
        return False
    return row.operand("rows") * row.operand("hidden") <= MOST_UNITS


def _run(rows: list[_Row], start: int) -> list[_Row]:
    first, count, end = rows[start], 1, start + 1
    wanted = [first.operand(name) for name in ALIKE]
    taken, outputs = first.written(), {first.buffers["y"]} if "y" in first.buffers else set()
    for number in range(start + 1, len(rows)):
        row = rows[number]
        if row.code == RECURRENT:
            others = set(row.buffers.values()) - {row.buffers.get("y")}
            alike = _waits(row) and [row.operand(name) for name in ALIKE] == wanted
            if not alike or count == MOST_ABREAST or row.touches(taken) or others & outputs:
                break
            taken |= row.written()
            outputs |= {row.buffers["y"]} if "y" in row.buffers else set()
            count, end = count + 1, number + 1
        elif row.code not in BEFORE or row.touches(taken | outputs):
            break
    return rows[start:end] if count > 1 else []
