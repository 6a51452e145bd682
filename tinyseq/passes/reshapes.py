"""Reshapes of frames: put together, parted, or joined with rows in one axis."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from tinyseq.ir.model import Node
from tinyseq.passes.tracks import Refusal, Track

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following


def stacked(following: Following, name: str, output: str, axis: int) -> int:
    """How many frames a Reshape puts together; 1 if none."""
    track, before, after = following.tracks[name], following.shapes(name)[0], following.shapes(output)[0]
    same = prod(before[: track.axis]) == prod(after[:axis]) and track.rows == 1
    count, rest = divmod(before[track.axis], after[axis])
    return count if same and not rest and track.padding is None else 1


def reshaped(following: Following, name: str, output: str, axis: int) -> Track:
    """Frames that are joined with what lies within or around them, or parted from it."""
    track = following.tracks[name]
    before, after = following.shapes(name)[0], following.shapes(output)[0]
    outside = prod(before[: track.axis]) * track.rows
    within, kept = prod(before[track.axis + 1 :]), prod(after[axis + 1 :])
    rows, rest = divmod(outside, prod(after[:axis]))
    if rest or not _only_rows(following, rows):
        raise Refusal("lays frames and what lies around them together anew")
    joined = track.times(within, kept)
    if joined is None:
        raise Refusal(f"puts several frames together, {within} elements as {kept}")
    return joined._replace(axis=axis, rows=rows)


def sizes_wanted(following: Following, node: Node) -> list[int] | None:
    """What a Reshape makes, in words that hold for no frames too: -1 for theirs, 0 where rows stay."""
    source, output = node.inputs[0], node.outputs[0]
    wanted = list(following.shapes(output)[0])
    rows = {place for name in following.others for place in following.sizes.growing(name, output)}
    axis = following.growing(output)
    given = following.shapes(source)[0]
    if axis is None or node.attributes["allowzero"] or 0 in wanted:
        return None
    for place in rows - {axis}:
        if place >= len(given) or given[place] != wanted[place]:
            return None
        wanted[place] = 0
    wanted[axis] = -1
    return wanted


def _only_rows(following: Following, count: int) -> bool:
    """Whether a number is one of rows: a product of open sizes."""
    for size in map(following.sizes.number, following.others):
        if count % size == 0:
            count //= size
    return count == 1
