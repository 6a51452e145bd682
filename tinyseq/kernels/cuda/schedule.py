"""The schedule: what a program becomes on a device, instruction by instruction; the machine's twin.

The host reads the program once. Each instruction becomes launches of kernels, which the device runs in
order; a jump waits for what it depends on and is decided by the host.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.kernels.cuda.chains import WORDS, chain, codes_of, is_short
from tinyseq.kernels.cuda.depthwise import depthwise
from tinyseq.kernels.cuda.elementwise import elementwise, fill, shift
from tinyseq.kernels.cuda.gathering import LONGEST, PlacedInstruction, gathered
from tinyseq.kernels.cuda.indexing import (
    extreme,
    extreme_integer,
    finite,
    gather,
    gather_elements,
    top_k,
    top_k_integer,
    within,
)
from tinyseq.kernels.cuda.jumps import jump, jump_unless, spend, turn
from tinyseq.kernels.cuda.launch import EXACT, Facts, Failure, Launch, Tail
from tinyseq.kernels.cuda.normalise import normalise
from tinyseq.kernels.cuda.product import pack, products
from tinyseq.kernels.cuda.quantized import linear_bytes, quantize_dynamic
from tinyseq.kernels.cuda.recurrent import recurrent
from tinyseq.kernels.cuda.scores import ban_ngrams, ban_tokens, force_token, log_softmax, penalize_repetition
from tinyseq.kernels.cuda.searches import beam, feed, pick, unroll
from tinyseq.kernels.cuda.softmax import softmax
from tinyseq.kernels.cuda.weighted import FORMAT_PLACES, LINEARS, linear
from tinyseq.kernels.formats import FORMATS
from tinyseq.kernels.instructions import INSTRUCTIONS, OPERANDS, SEGMENT_SHIFT

TWINS: dict[str, Callable[..., list[Launch]]] = {
    twin.__name__: twin
    for twin in (
        *(fill, shift, elementwise, pack, linear, products, depthwise, softmax, normalise),
        *(quantize_dynamic, linear_bytes, recurrent),
        *(gather, gather_elements, within, finite, extreme, extreme_integer, top_k, top_k_integer),
        *(log_softmax, ban_tokens, force_token, penalize_repetition, ban_ngrams, feed, unroll, pick, beam),
    )
}
"""What makes an instruction's launches, by its name: a function of its operands, in their order."""

ADVICE = {row.name for row in INSTRUCTIONS if row.advice}
"""The instructions that a device passes by."""

JUMPS: dict[str, Callable[..., int]] = {one.__name__: one for one in (jump, jump_unless, turn, spend)}
"""What decides a jump, by its name: a function of the device's memory and the operands."""

ASKING = {name for name, twin in TWINS.items() if "facts" in inspect.signature(twin).parameters}
"""The instructions whose launches depend on the device."""

LEADING = {row.name for row in INSTRUCTIONS if row.operands[-1] == "distance"}
"""The instructions that lead elsewhere."""

OFFSET_MASK = (1 << SEGMENT_SHIFT) - 1


class Jump(NamedTuple):
    """A choice of what comes next, at ``place`` in the program; ``end`` is where its row ends."""

    choose: Callable[..., int]
    operands: list[int]
    place: int
    end: int


class Schedule(NamedTuple):
    """A program's steps in order: runs of launches, and the jumps between them.

    ``starts`` gives the step that begins at a place of the program; the program's end has one too.
    """

    steps: list[list[Launch] | Jump]
    starts: dict[int, int]


def missing(program: np.ndarray) -> list[str]:
    """The instructions of a program that have no twin, or none for the format of their weights."""
    found: dict[str, None] = {}
    for _, row in _rows(program):
        name = INSTRUCTIONS[row[0]].name
        if name not in TWINS and name not in JUMPS and name not in ADVICE:
            found[name] = None
        elif name in FORMAT_PLACES and row[FORMAT_PLACES[name]] not in LINEARS:
            found[f"{name} with weights of {FORMATS[row[FORMAT_PLACES[name]]].name}"] = None
    return list(found)


def schedule(
    program: np.ndarray, segments: list[int], address: int, status: int, facts: Facts, table: int
) -> Schedule:
    """The steps of a program whose segments, the program itself and whose run's status are at these
    addresses of the device; ``table`` is where the addresses of the segments lie there.

    Raises:
        UnsupportedError: an instruction has no kernel for the device; says which.
    """
    absent = missing(program)
    if absent:
        raise UnsupportedError(f"no CUDA kernel for {', '.join(absent)} yet; load with device='cpu'")
    targets = {
        place + len(row) + row[-1] for place, row in _rows(program) if INSTRUCTIONS[row[0]].name in LEADING
    }
    steps: list[list[Launch] | Jump] = [[]]
    starts = {0: 0}
    layers = _layers(program, targets, segments, address, facts) if facts.precision == EXACT else {}
    codes, done = codes_of(row for _, row in _rows(program)), 0
    ends = _chains(program, targets, facts.precision, layers)
    for place, row in _rows(program):
        instruction = INSTRUCTIONS[row[0]]
        if place in targets:
            starts[place] = len(steps)
            steps.append([])
        if instruction.name in JUMPS:
            end, operands = place + len(row), _operands(row, place, segments, address)
            steps.append(Jump(JUMPS[instruction.name], operands, place, end))
            starts[end] = len(steps)
            steps.append([])
            continue
        if place < done or instruction.advice:
            continue
        if place in layers:
            done, between, launches = layers[place]
            if between is not None:
                steps[-1] += _launched(*between, segments, address, status, facts)
            steps[-1] += launches
            continue
        if place in ends:
            done = ends[place]
            size = done - place
            steps[-1].append(chain(codes, address, place, size, table, len(segments)))
            continue
        steps[-1] += _launched(place, row, segments, address, status, facts)
    starts.setdefault(program.size, len(steps))
    return Schedule(steps, starts)


def _launched(
    place: int, row: list[int], segments: list[int], address: int, status: int, facts: Facts
) -> list[Launch]:
    """The launches of an instruction by itself."""
    instruction, operands = INSTRUCTIONS[row[0]], _operands(row, place, segments, address)
    if instruction.failure:
        operands.append(Failure(status, place))
    if instruction.name in ASKING:
        operands.append(facts)
    return TWINS[instruction.name](*operands)


class PlacedLayer(NamedTuple):
    """Where a layer that several instructions make up ends, the place and row of one that is to be run before
    it, and its launches."""

    done: int
    between: tuple[int, list[int]] | None
    launches: list[Launch]


def _chains(
    program: np.ndarray, targets: set[int], precision: str, layers: dict[int, PlacedLayer]
) -> dict[int, int]:
    """Where chains of two instructions or more begin and end in a program; nothing jumps into one, and none
    takes what layers are made of."""
    ends, start, count, taken = {}, 0, 0, 0
    for place, row in (*_rows(program), (program.size, [])):
        taken = layers[place].done if place in layers else taken
        goes_on = bool(row) and place >= taken and is_short(row, precision)
        if not goes_on or place in targets or place + len(row) - start > WORDS:
            if count > 1:
                ends[start] = place
            start, count = place, 0
        if goes_on:
            start, count = start if count else place, count + 1
    return ends


def _rows(program: np.ndarray):
    """Each instruction's place and words."""
    words = program.tolist()
    place = 0
    while place < len(words):
        length = words[place + 1]
        yield place, words[place : place + length]
        place += length


def _layers(
    program: np.ndarray, targets: set[int], segments: list[int], address: int, facts: Facts
) -> dict[int, PlacedLayer]:
    """The layers that several instructions make up, by where the first is; nothing jumps into one."""
    rows, layers, done = list(_rows(program)), {}, 0
    for number, (place, _) in enumerate(rows):
        if place < done:
            continue
        ahead = _straight(rows[number : number + LONGEST], targets)
        if all(INSTRUCTIONS[row[0]].name != "recurrent" for _, row in ahead):
            continue
        found = gathered([
            PlacedInstruction(INSTRUCTIONS[row[0]].name, _operands(row, start, segments, address), start)
            for start, row in ahead
        ], facts)  # fmt: skip
        if found is not None:
            last, row = ahead[found.count - 1]
            done = last + len(row)
            between = None if found.between is None else ahead[found.between]
            layers[place] = PlacedLayer(done, between, found.launches)
    return layers


def _straight(rows: list[tuple[int, list[int]]], targets: set[int]) -> list[tuple[int, list[int]]]:
    """Those of the next rows at which nothing begins that jumps lead to, but for the first."""
    count = next((n for n, (place, _) in enumerate(rows) if n and place in targets), len(rows))
    return rows[:count]


def _operands(row: list[int], place: int, segments: list[int], address: int) -> list:
    """The operands of a row, addresses being the device's."""
    operands = []
    for position, operand in enumerate(INSTRUCTIONS[row[0]].operands, start=2):
        word = row[position] if position < len(row) else 0
        if operand[0] == "&":
            operands.append(segments[word >> SEGMENT_SHIFT] + (word & OFFSET_MASK))
        elif operand[0] == "*":
            operands.append(Tail(address + 8 * (place + position), row[position:]))
        else:
            operands.append(word)
    return operands


def _check_twins() -> None:
    """Twins take their instruction's operands by the same names, then a failure where it may fail, then
    facts if they ask for them."""
    for row in INSTRUCTIONS:
        twin = TWINS.get(row.name) or JUMPS.get(row.name)
        names = [*OPERANDS[row.name]]
        if row.name in JUMPS:
            names.insert(0, "memory")
        elif row.failure:
            names.append("failure")
        if row.name in ASKING:
            names.append("facts")
        if twin is not None and list(inspect.signature(twin).parameters) != names:
            raise TypeError(f"the twin of {row.name} does not take the operands {names}")


_check_twins()
