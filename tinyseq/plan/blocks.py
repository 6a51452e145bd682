"""Runs of element by element instructions over much memory go through it once, a block at a time."""

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from tinyseq.kernels.instructions import ALIGNMENT, BYTES, ELEMENT_BYTES, FUNCTIONS, INSTRUCTIONS, OPCODES
from tinyseq.plan.view import Span

if TYPE_CHECKING:
    from tinyseq.plan.builder import Builder

FAR = 2**19
"""Bytes from which on what a run of instructions reads and writes is not near after each of them."""

NEAR = 2**15
"""Bytes that a block of a run reads and writes, if ``TOGETHER`` units do not take more."""

MOST_ROWS = 32
"""Instructions that a run has at the most."""

TOGETHER = 8
"""Rows that a fold takes at once; the units of a block are as many or several times so many."""

ARENA = 0
ELEMENTWISE, BLOCKS, WINDOWS, ABREAST = (
    OPCODES[name] for name in ("elementwise", "blocks", "windows", "abreast")
)
JUMPS = {code for code, row in enumerate(INSTRUCTIONS) if row.operands[-1] == "distance"}

_OPERANDS = 4
_RANK, _DIMS = 7, 8
_DISTANCE = 5
"""Where in a row of ``windows`` is how many words it does what is there to do in."""

_SCRATCH, _HEAD = 3, 8
"""Where in a row of ``blocks`` the address of its scratch is, and its slots begin."""


class _Operand(NamedTuple):
    """Where an instruction's operand lies: ``skip`` bytes into a buffer, ``stride`` apart along the first
    dimension, along all others from ``low`` to below ``high``."""

    buffer: Span
    skip: int
    stride: int
    low: int
    high: int


class _Row(NamedTuple):
    """An element by element instruction: where it begins and ends, the size of its first dimension, and its
    operands, y last."""

    start: int
    end: int
    step: int
    count: int
    operands: list[_Operand]


def into_blocks(builder: "Builder") -> None:
    """Puts ``blocks`` before runs of instructions each of which does, for each unit of the first dimension,
    what depends on no other unit of what those before it in the run have written."""
    if all(buffer.bytes < FAR // _OPERANDS for buffer in builder.buffers):
        return
    insertions = [made for run in _runs(_rows(builder)) if (made := _advice(builder, run)) is not None]
    if insertions:
        insert(builder, insertions)


def _rows(builder: "Builder") -> list[_Row | None]:
    """The instructions in order, None for those of other kinds and for what ``windows`` and ``abreast`` may
    do in their place; none where some lead elsewhere."""
    words, found = builder.words, []
    at = {position: (buffer, skip) for position, buffer, skip in builder.addresses}
    start = step = spared = 0
    while start < len(words):
        code, end = words[start], start + words[start + 1]
        if code in JUMPS:
            return []
        if code == ABREAST:  # It goes in when the steps are counted.
            spared = max(spared, end + words[end - 1])
            start = end
            continue
        if code == WINDOWS:
            spared = max(spared, end + words[start + _DISTANCE])
        found.append(_row(words, start, end, step, at) if code == ELEMENTWISE and end > spared else None)
        start, step = end, step + 1
    return found


def _row(words: list, start: int, end: int, step: int, at: dict) -> _Row | None:
    rank, function = words[start + _RANK], FUNCTIONS[words[start + 2]]
    kinds = (function.operands + function.operands[0] * 2)[:3] + function.result
    sizes = words[start + _DIMS : start + _DIMS + rank]
    operands = []
    for place, kind in enumerate(kinds):
        first = start + _DIMS + (place + 1) * rank
        stride, *others = words[first : first + rank]
        reaches = [(size - 1) * other for size, other in zip(sizes[1:], others)]
        low = sum([reach for reach in reaches if reach < 0])
        high = sum([reach for reach in reaches if reach > 0]) + ELEMENT_BYTES[kind]
        operands.append(_Operand(*at[start + 3 + place], stride, low, high))
    if operands[-1].buffer.segment != ARENA:
        return None
    return _Row(start, end, step, sizes[0], operands)


class _Run:
    """Neighbours that can go through their memory together: each row takes, of what the run writes, from each
    unit of the first dimension what belongs to that unit."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.units = 0
        self._touched: set[Span] = set()
        self._written: dict[Span, tuple[int, int] | None] = {}

    def takes(self, row: _Row) -> bool:
        """Adds a row, if it can."""
        if len(self.rows) == MOST_ROWS:
            return False
        units, y = self.units, row.operands[-1].buffer
        if self.rows and row.count == units and (y in self._written or y not in self._touched):
            return self._adds([row], units)
        if self.rows and row.count > units:
            return (
                self._adds([row], units) if y in self._written or y not in self._touched else self._anew(row)
            )
        return self._anew(row)

    def unit_bytes(self) -> dict[Span, int]:
        """How many bytes of each buffer a unit has."""
        found: dict[Span, int] = {}
        for row in self.rows:
            for operand in row.operands:
                own = row.count // self.units * operand.stride
                found[operand.buffer] = max(found.get(operand.buffer, 0), own)
        return found

    def _anew(self, row: _Row) -> bool:
        """Looks at all rows again, for units that are larger: not so large that a block of them is far."""
        other = _Run()
        rows = [*self.rows, row]
        if not other._adds(rows, min([each.count for each in rows])):
            return False
        if self.rows and TOGETHER * sum(other.unit_bytes().values()) > FAR:
            return False
        self.rows, self.units = other.rows, other.units
        self._touched, self._written = other._touched, other._written
        return True

    def _adds(self, rows: list[_Row], units: int) -> bool:
        written = self._written | {
            row.operands[-1].buffer: None for row in rows if row.operands[-1].buffer not in self._written
        }
        for row in rows:
            if row.count % units != 0:
                return False
            each = row.count // units
            for operand in row.operands:
                if operand.buffer in written:
                    place = _unit_of(operand, each)
                    if place is None or (written[operand.buffer] or place) != place:
                        return False
                    written[operand.buffer] = place
        self._written, self.units = written, units
        self.rows += rows
        self._touched.update([operand.buffer for row in rows for operand in row.operands])
        return True


def _unit_of(operand: _Operand, each: int) -> tuple[int, int] | None:
    """How many bytes a unit of an operand takes, and how many such units lie before the first one; None where
    units lie within each other."""
    unit = each * operand.stride
    if unit <= 0:
        return None
    begin = operand.skip % unit
    if begin + operand.low < 0 or begin + (each - 1) * operand.stride + operand.high > unit:
        return None
    return unit, operand.skip // unit


def _runs(rows: list[_Row | None]) -> list[_Run]:
    """As many neighbours as can go together, more than one."""
    runs, run = [], _Run()
    for row in rows:
        if row is None or not run.takes(row):
            runs.append(run)
            run = _Run()
            if row is not None:
                run.takes(row)
    return [run for run in (*runs, run) if len(run.rows) > 1]


class Insertion(NamedTuple):
    """The words of a row that goes in at a place, and the scratch whose address is among them."""

    start: int
    words: list
    scratch: Span | None = None


class _Slot:
    """Room in the scratch: ``unit`` bytes for each unit of a block, taken up to the end of a step."""

    def __init__(self, unit: int, until: int) -> None:
        self.unit = unit
        self.until = until
        self.offset = 0


def _slots(run: _Run, units: dict[Span, int]) -> dict[Span, _Slot]:
    """Room for what nothing reads beyond the run."""
    first, last = run.rows[0].step, run.rows[-1].step
    taken: dict[Span, _Slot] = {}
    slots: list[_Slot] = []
    for buffer in dict.fromkeys([row.operands[-1].buffer for row in run.rows]):
        if buffer.first < first or buffer.last > last:
            continue
        free = (slot for slot in slots if slot.until < buffer.first and slot.unit == units[buffer])
        slot = next(free, None)
        if slot is None:
            slot = _Slot(units[buffer], 0)
            slots.append(slot)
        slot.until = buffer.last
        taken[buffer] = slot
    return taken


def _advice(builder: "Builder", run: _Run) -> Insertion | None:
    """The row of ``blocks`` for a run, if it goes through so much memory that it is worth it.

    What nothing reads beyond the run has a block in the scratch; all else stays where it is until it ends.
    """
    units = run.unit_bytes()
    if run.units * sum(units.values()) < FAR:
        return None
    taken = _slots(run, units)
    slots = list(dict.fromkeys(taken.values()))
    each = sum([unit for buffer, unit in units.items() if buffer not in taken])
    each += sum([slot.unit for slot in slots])
    size = max(NEAR // each // TOGETHER, 1) * TOGETHER
    if size >= run.units:
        return None
    room = 0
    for slot in slots:
        slot.offset = room
        room += -(-(size * slot.unit) // ALIGNMENT) * ALIGNMENT
    table, first, last = [], run.rows[0], run.rows[-1]
    for operand in [operand for row in run.rows for operand in row.operands]:
        slot = taken.get(operand.buffer)
        table.append(-1 if slot is None else slot.offset + operand.skip)
        if slot is None:
            operand.buffer.last = max(operand.buffer.last, last.step)
    scratch = builder.allocate((-(-room // BYTES) + 1,)).buffer
    scratch.first, scratch.last = first.step, last.step
    words = [BLOCKS, _HEAD + len(table), 0, 0, run.units, size, len(run.rows), last.end - first.start, *table]
    return Insertion(first.start, words, scratch)


def insert(builder: "Builder", insertions: list[Insertion]) -> None:
    """Puts rows into the program, in order of where they go in."""
    words: list = []
    scratches, starts, added, begin = [], [], [0], 0
    for start, own, scratch in insertions:
        words += builder.words[begin:start]
        if scratch is not None:
            scratches.append((len(words) + _SCRATCH, scratch, 0))
        words += own
        starts.append(start)
        added.append(added[-1] + len(own))
        begin = start
    words += builder.words[begin:]

    def moved(position: int) -> int:
        return position + added[bisect_right(starts, position)]

    kept = [(moved(position), buffer, skip) for position, buffer, skip in builder.addresses]
    builder.addresses = kept + scratches
    builder.places = {moved(position): text for position, text in builder.places.items()}
    builder.words = words
