"""Ops that run graphs."""

from __future__ import annotations

import itertools

import numpy as np

from tinyseq.ir.model import ModelGraph, Value
from tinyseq.reference.common import defines


@defines("If")
def if_(run, condition, *, then_branch, else_branch):
    return tuple(run(then_branch if condition.item() else else_branch))


def _stacked(parts: list[np.ndarray], graph: ModelGraph, position: int, axis: int = 0) -> np.ndarray:
    """The results of all turns along a new axis; of no turns, as far as the graph says their shape."""
    if parts:
        return np.stack(parts, axis)
    value = graph.outputs[position]
    sizes = [size if isinstance(size, int) else 0 for size in value.shape or ()]
    return np.expand_dims(np.zeros(sizes, value.dtype), axis)[(slice(None),) * axis + (slice(0, 0),)]


def _as_declared(value: Value, number) -> np.ndarray:
    """A scalar, or a tensor of one element where the graph says that it takes one."""
    return np.full(1 if value.shape is not None and len(value.shape) == 1 else (), number)


@defines("Loop")
def loop(run, trips=None, condition=None, *carried, body):
    """Runs while there are trips left and the condition holds; what is absent does not end it.

    Without a condition, the one that the body computes is ignored.
    """
    if trips is None and condition is None:
        raise ValueError("neither a trip count nor a condition; the loop would never end")
    kept = len(carried)
    goes_on = condition is None or bool(condition.item())
    turns: list[list[np.ndarray]] = []
    for turn in itertools.count() if trips is None else range(int(trips.item())):
        if not goes_on:
            break
        number, going = map(_as_declared, body.inputs, (np.int64(turn), True))
        flag, *results = run(body, number, going, *carried)
        goes_on = condition is None or bool(flag.item())
        carried = tuple(results[:kept])
        turns.append(results[kept:])
    count = len(body.outputs) - 1 - kept
    return *carried, *(_stacked([r[i] for r in turns], body, 1 + kept + i) for i in range(count))


@defines("Scan")
def scan(
    run, *inputs, body, num_scan_inputs,
    scan_input_axes, scan_input_directions, scan_output_axes, scan_output_directions,
):  # fmt: skip
    kept = len(inputs) - num_scan_inputs
    state, sequences = inputs[:kept], inputs[kept:]
    axes = scan_input_axes or (0,) * len(sequences)
    turned = scan_input_directions or (0,) * len(sequences)
    sequences = [
        np.flip(np.moveaxis(x, axis, 0), 0) if flip else np.moveaxis(x, axis, 0)
        for x, axis, flip in zip(sequences, axes, turned, strict=True)
    ]
    if len({len(x) for x in sequences}) != 1:
        raise ValueError(f"scan inputs of {[len(x) for x in sequences]} elements")
    turns = []
    for elements in zip(*sequences):
        results = run(body, *state, *elements)
        state = tuple(results[:kept])
        turns.append(results[kept:])
    count = len(body.outputs) - kept
    axes = scan_output_axes or (0,) * count
    turned = scan_output_directions or (0,) * count
    outputs = []
    for i, (axis, flip) in enumerate(zip(axes, turned, strict=True)):
        parts = [results[i] for results in turns]
        rank = parts[0].ndim + 1 if parts else len(body.outputs[kept + i].shape or ()) + 1
        outputs.append(_stacked(parts[::-1] if flip else parts, body, kept + i, axis % rank))
    return *state, *outputs
