"""What runs on from frame to frame: sums, means and greatest of the frames so far, and numbers of frames."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinyseq.ir.model import Node
from tinyseq.passes.rings import END
from tinyseq.passes.tracks import Refusal, Track
from tinyseq.shapes import reduce_axes, slice_bounds

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following


class Fold(NamedTuple):
    """How a reduction folds frames: ``before`` of each element, ``op`` with what all so far are folded to, at
    first ``start``, and ``after`` of the result."""

    op: str
    start: float = 0.0
    before: str = ""
    after: str = ""


FOLDS = {
    "ReduceMax": Fold("ReduceMax", -np.inf),
    "ReduceMin": Fold("ReduceMin", np.inf),
    "ReduceSum": Fold("ReduceSum"),
    "ReduceProd": Fold("ReduceProd", 1.0),
    "ReduceMean": Fold("ReduceSum", after="mean"),
    "ReduceL1": Fold("ReduceSum", before="Abs"),
    "ReduceSumSquare": Fold("ReduceSum", before="Mul"),
    "ReduceL2": Fold("ReduceSum", before="Mul", after="Sqrt"),
    "ReduceLogSum": Fold("ReduceSum", after="Log"),
    "GlobalMaxPool": Fold("ReduceMax", -np.inf),
    "GlobalAveragePool": Fold("ReduceSum", after="mean"),
}


def cumulated(following: Following, node: Node, index: int, track: Track) -> None:
    """The sum so far is kept."""
    if node.attributes["reverse"]:
        raise Refusal("sums from the last frame on (reverse=1)")
    rings, axis, source = following.rings, track.axis, node.inputs[0]
    joined, ring = following.kept(node, source, axis, 1)
    sums = rings.add("CumSum", node.name, joined, node.inputs[1], exclusive=0, reverse=0)
    start, end = (0, -1) if node.attributes["exclusive"] else (1, END)
    rings.slice(node, sums, axis, rings.integers(start), rings.integers(end), output=node.outputs[0])
    rings.keep(node, ring, sums, axis)
    following.tracks[node.outputs[0]] = track._replace(alike=False)


def reduced(following: Following, node: Node, index: int, track: Track) -> None:
    """What the frames so far are folded to is kept; a mean is of those so far, and their number is kept. Of
    several axes, sums go on where that of the frames is the first"""
    rings, axis, source = following.rings, track.axis, node.inputs[0]
    fold, shape = FOLDS[node.op], following.shapes(source)[0]
    if node.op.startswith("Global"):
        axes = tuple(range(2, len(shape)))
    else:
        axes = reduce_axes(node.attributes, [shape], following.values(node))
    summed = fold.op in ("ReduceSum", "ReduceProd")
    real = following.types[source].kind == "f"
    if summed and real and any(shape[own] != 1 for own in axes if own < axis):
        raise Refusal("sums over all frames within other axes, in an order that chunks would change")
    if fold.after and not real:
        raise Refusal("makes of all frames a number that is no sum of whole numbers")
    each = source
    if fold.before:
        each = rings.add(fold.before, node.name, *[source] * (2 if fold.before == "Mul" else 1))
    joined, ring = following.kept(node, source, axis, 1, fold.start, what=each)
    folded = axes if summed else (axis,)
    so_far = rings.add(fold.op, node.name, joined, rings.integers(*folded), keepdims=1)
    rings.keep(node, ring, _as_frame(following, node, so_far, folded, fold.start, axis), axis)
    if fold.after == "mean":
        count = following.counted(node, source, axis)
        elements = prod(shape[own] for own in axes if own != axis)
        count = rings.add("Mul", node.name, count, rings.integers(elements)) if elements != 1 else count
        so_far = rings.add("Div", node.name, so_far, rings.add("CastLike", node.name, count, so_far))
    elif fold.after:
        so_far = rings.add(fold.after, node.name, so_far)
    # What is left to do is done on one frame.
    keepdims = node.attributes.get("keepdims", 1)
    end = fold.op if fold.op in ("ReduceMax", "ReduceMin") else "ReduceSum"
    rings.add(end, node.name, so_far, rings.integers(*axes), keepdims=keepdims, output=node.outputs[0])
    following.end(track, node.outputs[0])


def _as_frame(
    following: Following, node: Node, so_far: str, folded: tuple[int, ...], start: float, axis: int
) -> str:
    """What the frames so far are folded to, as a frame that is first to be folded with those to come: behind
    it stand elements that change nothing."""
    rings, shape = following.rings, following.shapes(node.inputs[0])[0]
    others = [own for own in folded if own != axis and shape[own] != 1]
    if not others:
        return so_far
    widths = rings.integers(*[0] * len(others), *[shape[own] - 1 for own in others])
    nothing = rings.add("CastLike", node.name, rings.number(start), so_far)
    return rings.add("Pad", node.name, so_far, widths, nothing, rings.integers(*others), mode="constant")


# What counts frames.


def grown(following: Following, node: Node) -> None:
    """Frames made where there were none: the same again and again, or positions."""
    for name in filter(None, node.outputs):
        axis = following.growing(name)
        if axis is None:
            continue
        clock = following.clock_of(node)
        repeated = node.op == "Tile" and following.shapes(node.inputs[0])[0][axis] == 1
        if node.op in ("ConstantOfShape", "Expand") or repeated:
            one, other = (shape[axis] for shape in following.shapes(name))
            track = scaled(clock, one, other, *following.lengths(clock))
            following.tracks[name] = track._replace(axis=axis, rows=1, alike=True, padding=None)
            continue
        try:
            counted(following, node, name, axis, clock)
        except Refusal as refusal:
            # Places where windows lie are no frames, but may tell of windows over frames.
            if not all(name in probe.values for probe in following.probes):
                raise
            following.places[name] = refusal.with_traceback(None)
        else:
            following.generated.add(name)


def scaled(track: Track, one: int, other: int, frames: int, more: int) -> Track:
    """The track of something that is ``one`` long for so many frames of a track and ``other`` for more."""
    if one * more != other * frames or not frames:
        raise Refusal("makes frames whose number is not a multiple of those that it counts")
    result = track.times(one, frames)
    if result is None:
        raise Refusal("makes fewer frames than it counts")
    return result


def counted(following: Following, node: Node, name: str, axis: int, clock: Track) -> None:
    """Range, and a part of a table that begins with its first frame: they go on from the frames so far.

    Raises:
        Refusal: frames are numbered in another way.
    """
    one, other = (shape[axis] for shape in following.shapes(name))
    track = scaled(clock, one, other, *following.lengths(clock))
    following.looking.append(node)
    rings = following.rings
    chunk = rings.fresh(f"{node.name}.chunk")
    rings.nodes.append(node._replace(outputs=(chunk,)))
    if node.op == "Range":
        gone = rings.place(node, rings.size(node, chunk, 0), following.in_rows)
        step = rings.add("Mul", node.name, rings.add("CastLike", node.name, gone, chunk), node.inputs[2])
        rings.add("Add", node.name, chunk, step, output=name)
    elif (
        node.op == "Slice"
        and node.inputs[0] in following.graph.constants
        and _from_first(following, node, axis)
    ):
        size = rings.size(node, chunk, axis)
        gone = rings.place(node, size, following.in_rows)
        count = rings.add("Squeeze", node.name, size)
        places = rings.add("Range", node.name, rings.integer(0), count, rings.integer(1))
        places = rings.add("Add", node.name, places, gone)
        rings.add("Gather", node.name, node.inputs[0], places, axis=axis, output=name)
    else:
        raise Refusal("makes something of the number of frames that chunks would make anew")
    following.tracks[name] = track._replace(axis=axis, rows=1, alike=False, padding=None)


def _from_first(following: Following, node: Node, axis: int) -> bool:
    """Whether a Slice cuts along one axis only, from the first place on, one by one."""
    values = following.values(node)
    bounds = slice_bounds(following.shapes(node.inputs[0])[0], values)
    whole = following.graph.constants[node.inputs[0]].shape
    return all(
        bound[:2] == (0, 1) if own == axis else bound == (0, 1, whole[own])
        for own, bound in enumerate(bounds)
    )
