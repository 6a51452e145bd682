"""Lowerings of ops that run graphs: branches are jumped over, loops jump back.

``lowering(builder, node, inputs, run, known)`` plans one of the node's graphs in its place with
``run(attribute, *inputs)``, which gives the graph's outputs; ``deciding`` is the part of a Loop's body that
decides on the next turn. ``known`` says that what comes of the node, or goes into its graph, must be known
when planning.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.plan.lower.operands import given, whole
from tinyseq.plan.lower.repetition import (
    ENDLESS,
    Line,
    Operand,
    Repetition,
    alike,
    element_type,
    is_large,
    type_of,
)
from tinyseq.plan.needs import FORMAL, RETURNED, deciding_part
from tinyseq.plan.sizes import Size
from tinyseq.plan.view import View
from tinyseq.shapes import Mismatch, axis_of

if TYPE_CHECKING:
    from tinyseq.ir.model import ModelGraph, Node, Value
    from tinyseq.plan.builder import Builder


def _one(p: Builder, value: Operand, what: str) -> View | Size | int:
    """The one element of an integer or boolean tensor: a number if it is known."""
    if math.prod(value.shape) != 1:
        raise Mismatch(f"a {what} of shape {list(value.shape)}")
    if isinstance(value, View):
        return whole(p, value)
    if element_type(value).kind not in "iub":
        raise UnsupportedError(f"a {what} of {value.dtype}; cast it to an integer or boolean")
    return value.item() if value.dtype == object else min(int(value.item()), ENDLESS)


def if_(p: Builder, node: Node, inputs, run, known: bool) -> list[Operand]:
    """A known condition leaves one branch; a computed one jumps to one of both."""
    condition = _one(p, inputs[0], "condition")
    if not isinstance(condition, View):
        return run("then_branch" if condition else "else_branch")
    other = p.emit_jump("jump_unless", condition)
    results = _read(node, run("then_branch"))
    targets = [p.fresh(p.view(result)) for result in results.values()]
    end = p.emit_jump("jump")
    p.land(other)
    others = _read(node, run("else_branch"))
    for name, result in results.items():
        if not alike(result, others[name]):
            raise UnsupportedError(
                f"its branches give {type_of(result)} and {type_of(others[name])} for {name!r} and its "
                "condition is computed at run time, when shapes and types must be fixed: let both branches "
                "give the same, or decide by a shape or by an integer or boolean input; the reference "
                "(device='reference') runs it"
            )
    p.move(list(zip(map(p.view, others.values()), targets)))
    p.land(end)
    agreed = dict(zip(results, map(_agreed, results.values(), others.values(), targets)))
    return [agreed.get(name) for name in node.outputs]


def _read(node: Node, results: list[Operand]) -> dict[str, Operand]:
    """A branch's results by the names of the node's outputs, as far as these are there."""
    if len(results) < len(node.outputs):
        raise Mismatch(f"{len(results)} results of a branch for {len(node.outputs)} outputs")
    return {name: result for name, result in zip(node.outputs, results) if name}


def _agreed(a: Operand, b: Operand, computed: View) -> Operand:
    """What both branches know to be the same, else what is computed."""
    known = isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    # Zeros of both signs are equal, but not the same.
    return a if known and (a.dtype.kind != "f" or a.tobytes() == b.tobytes()) else computed


def _scalar_as(value: Value, turn: Operand) -> Operand:
    """The number of the turn or the condition, in one dimension where the graph says so."""
    if value.shape is None or len(value.shape) != 1:
        return turn
    return turn.reshape(1) if isinstance(turn, np.ndarray) else turn.reshaped((1,))


def _lines(axes, directions, ranks: list[int | None], what: str) -> list[Line]:
    axes, directions = axes or (0,) * len(ranks), directions or (0,) * len(ranks)
    if not len(axes) == len(directions) == len(ranks):
        raise Mismatch(f"{len(axes)} axes and {len(directions)} directions for {len(ranks)} scan {what}s")
    return [
        Line(axis if rank is None else axis_of(axis, rank), bool(direction))
        for axis, direction, rank in zip(axes, directions, ranks)
    ]


def _handed_through(graph: ModelGraph, ins: int, outs: int, kept: int) -> set[int]:
    """The numbers of the carried values that a body gives back as it takes them: they stay what they are.

    Its carried values are its inputs from number ``ins`` on, and its outputs from ``outs`` on.
    """
    sources = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.op == "Identity"}

    def source(name: str) -> str:
        return source(sources[name]) if name in sources else name

    return {i for i in range(kept) if source(graph.outputs[outs + i].name) == graph.inputs[ins + i].name}


def _stacks(node: Node, kept: int, lines: list[Line]) -> list[Line | None]:
    """The scan outputs that the node has, of all that its graph gives."""
    names = node.outputs[kept:] + ("",) * len(lines)
    return [line if name else None for line, name in zip(lines, names)]


def loop(p: Builder, node: Node, inputs, run, known: bool) -> list[Operand]:
    trips, condition = given(inputs, 0), given(inputs, 1)
    carried = list(inputs[2:])
    graph = node.attributes["body"]
    kept = len(carried)
    if trips is None and condition is None:
        raise Mismatch("neither a trip count nor a condition would end it")
    if any(value is None for value in carried):
        raise Mismatch("a carried value that is absent")
    if len(graph.inputs) != 2 + kept or len(graph.outputs) < 1 + kept:
        raise Mismatch(
            f"{kept} carried values for a body of {len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        )

    def body(turn, carried, elements):
        formal = map(_scalar_as, graph.inputs, (turn, np.array(True)))
        flag, *results = run("body", *formal, *carried)
        goes_on = 1 if condition is None else _one(p, flag, "condition")
        return goes_on, results[:kept], results[kept:]

    stacks = _stacks(node, kept, [Line(0, False)] * (len(graph.outputs) - 1 - kept))
    trips = ENDLESS if trips is None else _one(p, trips, "trip count")
    goes_on = 1 if condition is None else _one(p, condition, "condition")
    fixed = _handed_through(graph, FORMAL["Loop"], RETURNED["Loop"], kept)
    if condition is not None and any(stacks) and deciding_part(graph):
        number = _counted(p, graph, run, trips, goes_on, carried, fixed)
        trips, condition = (trips, condition) if number is None else (number, None)
    return Repetition(p, node, body, trips, goes_on, carried, fixed, [], stacks).planned(known)


def _counted(
    p: Builder, graph: ModelGraph, run, trips, goes_on, carried: list[Operand], fixed: set[int]
) -> int | None:
    """The number of turns of a loop that ends by its condition, where planning can tell; else None.

    Conditions that only count are computed to their end: those of loops that were ``while`` loops once.
    """
    mark = p.mark()
    turn, number = 0, None
    while not isinstance(trips, View) and not isinstance(goes_on, View):
        if not goes_on or turn >= trips:
            number = turn
            break
        if not p.planned_turns.count() or any(
            is_large(value) for i, value in enumerate(carried) if i not in fixed
        ):
            break
        formal = map(_scalar_as, graph.inputs, (np.array(turn), np.array(True)))
        try:
            flag, *carried = run("deciding", *formal, *carried)
            goes_on = _one(p, flag, "condition")
        except UnsupportedError:
            break
        turn += 1
    p.rewind(mark)
    return number


def scan(p: Builder, node: Node, inputs, run, known: bool) -> list[Operand]:
    graph, a = node.attributes["body"], node.attributes
    kept = len(inputs) - a["num_scan_inputs"]
    if not 0 <= kept < len(inputs) or any(value is None for value in inputs):
        raise Mismatch(f"num_scan_inputs is {a['num_scan_inputs']} of {len(inputs)} inputs")
    if len(graph.inputs) != len(inputs) or len(graph.outputs) < kept:
        raise Mismatch(
            f"{len(inputs)} inputs, {kept} of them states, for a body of {len(graph.inputs)} inputs and "
            f"{len(graph.outputs)} outputs"
        )
    ranks = [len(x.shape) for x in inputs[kept:]]
    lines = _lines(a["scan_input_axes"], a["scan_input_directions"], ranks, "input")
    lengths = [x.shape[line.axis] for x, line in zip(inputs[kept:], lines)]
    if any(length != lengths[0] for length in lengths):
        raise Mismatch(f"scan inputs of {' and '.join(map(str, lengths))} elements")

    def body(turn, carried, elements):
        results = run("body", *carried, *elements)
        return 1, results[:kept], results[kept:]

    others = [None] * (len(graph.outputs) - kept)
    lines_out = _lines(a["scan_output_axes"], a["scan_output_directions"], others, "output")
    sequences = list(zip(inputs[kept:], lines))
    stacks = _stacks(node, kept, lines_out)
    fixed = _handed_through(graph, FORMAL["Scan"], RETURNED["Scan"], kept)
    carried = list(inputs[:kept])
    return Repetition(p, node, body, lengths[0], 1, carried, fixed, sequences, stacks).planned(known)


LOWERINGS = {"If": if_, "Loop": loop, "Scan": scan}
