"""What ops make of the frames they look along: the form each has for a stream's chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.ir.model import Node
from tinyseq.ir.ops import OPS
from tinyseq.passes import running, windows
from tinyseq.passes.probe import scan_axis
from tinyseq.passes.tracks import Padding, Refusal, Track, Window
from tinyseq.shapes import (
    axis_of,
    pad_widths,
    slice_bounds,
)
from tinyseq.shapes.looks import ENDLESS

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following

Handler = Callable[["Following", Node, int, Track], None]


PADDED = ("Conv", "MaxPool", "AveragePool", "LpPool", "Pad", "Slice", "Gather")
"""Ops that look along frames and can take padding that nothing holds yet."""

NORMALISED = "is normalised over all frames"
SUMMED = "sums over all frames"

WHY = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "LpNormalization", "Hardmax"), NORMALISED),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization", "GroupNormalization"), NORMALISED),
    **dict.fromkeys(("RMSNormalization", "MeanVarianceNormalization"), NORMALISED),
    **dict.fromkeys(("MatMul", "Gemm", "MatMulInteger", "Einsum", "FusedMatMul", "DFT"), SUMMED),
    "Resize": "changes how many frames there are, by the number of all of them",
    "STFT": "takes frames of a length or distance that is computed; one whose frames are constants streams",
    "ReverseSequence": "turns the frames round, and the first of the result is the last given",
    "ReduceLogSumExp": "weighs each frame by the greatest of all frames",
    "ConvInteger": "is a convolution of integers along the frames, which streams do not keep",
}
"""What each op needs of the frames, where it has no form for chunks."""


def handle(following: Following, node: Node, index: int, track: Track) -> None:
    """Writes the form that a node which looks along the frames of its input ``index`` has in a stream.

    Raises:
        Refusal: it needs frames that are not there yet, or is not known in chunks.
    """
    handler = HANDLERS.get(node.op)
    if handler is None or (index and node.op not in ("Concat", "Scan")):
        raise Refusal(WHY.get(node.op, "looks at all frames at once"))
    alone = node.op not in ("Concat", "Gather", "Scan") and not node.row.state
    if alone and sum(name in following.tracks for name in node.inputs) > 1:
        raise Refusal("looks along its frames by what other frames say")
    if track.padding is not None and node.op not in PADDED:
        raise Refusal("takes frames that are padded in time")
    handler(following, node, index, track)


def recurrent(following: Following, node: Node, index: int, track: Track) -> None:
    """Its state is carried from chunk to chunk; its last state is that of all frames so far. Forward only."""
    if track.axis != (1 if node.attributes.get("layout") else 0):
        raise Refusal("takes features that grow with the frames")
    if node.attributes["direction"] != "forward":
        raise Refusal(f"runs {node.attributes['direction']}: its first output needs the last input")
    lengths = node.inputs[4] if len(node.inputs) > 4 else ""
    if lengths in following.graph.constants:
        raise Refusal("ends after the number of frames that its constant lengths say")
    if lengths in following.tracks or lengths in following.latest:
        raise Refusal("has lengths that frames decide")
    if any(name in following.latest or name in following.tracks for name in node.inputs[5:7]):
        raise Refusal("starts at a state that is known after the last frame")
    y, *last = [*node.outputs, "", ""][:3]
    if y:
        following.tracks[y] = track._replace(axis=following.growing(y), alike=False)
    following.end(track, *last)


def scanned(following: Following, node: Node, index: int, track: Track) -> None:
    """What it carries is carried from chunk to chunk. Forward only, and over frames alone."""
    kept = len(node.inputs) - node.attributes["num_scan_inputs"]
    for place, name in enumerate(node.inputs):
        own = following.tracks.get(name)
        if place < kept:
            if own is not None:
                raise Refusal("carries what grows with the frames")
            continue
        if own is None or not own.same_clock(track) or own.padding is not None or own.rows != 1:
            raise Refusal("goes over frames and over others")
        if scan_axis(node, "input", place - kept, len(following.shapes(name)[0])) != own.axis:
            raise Refusal("goes over something else than frames, and takes all frames in each turn")
    if any(any(node.attributes[f"scan_{what}_directions"] or ()) for what in ("input", "output")):
        raise Refusal("goes over the frames backward: its first output needs the last input")
    for place, name in enumerate(node.outputs):
        if name and place < kept:
            following.end(track, name)
        elif name:
            axis = scan_axis(node, "output", place - kept, len(following.shapes(name)[0]))
            following.tracks[name] = track._replace(axis=axis, alike=False)


def quantised(following: Following, node: Node, index: int, track: Track) -> None:
    """Each frame by itself, but rounded by the range of its chunk."""
    following.tracks[node.outputs[0]] = track


# What moves frames.


def padded(following: Following, node: Node, index: int, track: Track) -> None:
    """Constant frames are what the convolution or pool that takes them begins and ends with."""
    widths = [
        pad_widths(probe.shapes[node.inputs[0]], following.values(node, probe))[track.axis]
        for probe in following.probes
    ]
    before, after = widths[0]
    if widths[1] != widths[0]:
        raise Refusal("is padded by as much as the number of frames asks for")
    if node.attributes["mode"] != "constant":
        raise Refusal(f"repeats frames at the ends (mode {node.attributes['mode']!r})")
    number = following.values(node)[2] if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1)
    if number is None or number.size != 1:
        raise Refusal("pads with a number that is computed")
    rest = pad_widths(following.shapes(node.inputs[0])[0], following.values(node))
    rest[track.axis] = (0, 0)
    pads = following.rings.integers(*[a for a, _ in rest], *[b for _, b in rest])
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    kept = node._replace(inputs=(node.inputs[0], pads, value), outputs=node.outputs)
    cropped = max(0, -before), max(0, -after)
    padding = Padding(max(0, before), max(0, after), float(number.ravel()[0]))
    if any(cropped):
        if padding.before or padding.after or track.padding:
            raise Refusal("both pads and crops frames")
        inner = following.rings.fresh(f"{node.name}.cropped")
        track = _cropped(following, node, track, *cropped, output=inner)
        following.rings.nodes.append(kept._replace(inputs=(inner, *kept.inputs[1:])))
    else:
        following.rings.nodes.append(kept)
        track = track._replace(padding=_sum(track.padding, padding))
    following.tracks[node.outputs[0]] = track._replace(alike=False)


def _sum(one: Padding | None, other: Padding) -> Padding:
    if one is None:
        return other
    if one.value != other.value:
        raise Refusal(f"pads with {other.value} what is padded with {one.value}")
    return Padding(one.before + other.before, one.after + other.after, one.value)


def joined(following: Following, node: Node, index: int, track: Track) -> None:
    """Constants of one number before or after the frames are padding, as of Pad."""
    sides: list[tuple[int, float]] = []
    place = None
    for position, name in enumerate(node.inputs):
        if name in following.tracks:
            if place is not None:
                raise Refusal("puts frames of two tensors one after the other")
            place = position
            sides.append((0, 0.0))
            continue
        one, other = (shape[track.axis] for shape in following.shapes(name))
        value = _uniform(following, name)
        if one != other or value is None:
            raise Refusal(f"puts {name!r} before or after the frames, which is not one number throughout")
        sides.append((one, value))
    values = {value for count, value in sides if count}
    if len(values) > 1:
        raise Refusal("pads with several numbers")
    padding = Padding(
        sum(count for count, _ in sides[:place]),
        sum(count for count, _ in sides[place:]),
        values.pop() if values else 0.0,
    )
    following.rings.add("Identity", node.name, node.inputs[place], output=node.outputs[0])
    following.tracks[node.outputs[0]] = following.tracks[node.inputs[place]]._replace(
        padding=_sum(following.tracks[node.inputs[place]].padding, padding), alike=False
    )


def _uniform(following: Following, name: str) -> float | None:
    """The one number that a tensor holds throughout, if it does."""
    for probe in following.probes:
        array = probe.values.get(name)
        if array is not None:
            first = array.ravel()[:1]
            return float(first[0]) if array.size and (array == first).all() else None
    node = following.maker(name)
    if node is not None and node.op == "ConstantOfShape":
        value = node.attributes["value"]
        return 0.0 if value is None else float(np.ravel(value)[0])
    if node is not None and node.row.keeps_values and node.row.moves:
        return _uniform(following, node.inputs[0])
    return None


def latest(following: Following, node: Node, index: int, track: Track) -> None:
    """The last frame only: the last so far. Or windows, whose places are told by the number of frames."""
    if following.growing(node.inputs[1]) is not None:
        windows.gathered(following, node, track)
        return
    if track.padding is not None:
        raise Refusal("takes frames that are padded in time")
    places = following.values(node)[1]
    if places is None or places.size != 1 or int(places.ravel()[0]) != -1:
        raise Refusal("picks frames by their places")
    _last_so_far(following, node, track)


def _last_so_far(following: Following, node: Node, track: Track) -> None:
    if (np.diff(track.emitted) < 1).any():
        raise Refusal("takes the last frame where some steps have none")
    if node.op == "Slice":
        # A Slice of no frames gives none, but there may have been some before.
        places = following.rings.integers(-1)
        last = following.rings.add("Gather", node.name, node.inputs[0], places, axis=track.axis)
        node = node._replace(inputs=(last, *node.inputs[1:]))
    following.rings.nodes.append(node)
    following.end(track, node.outputs[0])


def cut(following: Following, node: Node, index: int, track: Track) -> None:
    """A number of frames cut off at either end, every n-th frame, or the last so far."""
    bounds, ends = [], []
    for probe in following.probes:
        shape, values = probe.shapes[node.inputs[0]], following.values(node, probe)
        bounds.append((shape[track.axis], *slice_bounds(shape, values)[track.axis]))
        ends.append(_end_of(values, track.axis, shape))
    if any(step < 0 for _, _, step, _ in bounds):
        raise Refusal("turns the frames round, and the first of the result is the last given")
    if all(count == 1 and start == size - 1 for size, start, _, count in bounds):
        if track.padding is not None:
            raise Refusal("takes frames that are padded in time")
        _last_so_far(following, node, track)
        return
    start, step = bounds[0][1:3]
    if start != bounds[1][1] or ends[0] != ends[1]:
        raise Refusal("cuts frames by how many there are")
    if track.padding is not None:
        raise Refusal("cuts frames that are padded in time")
    own = track.axis
    inner = following.rings.fresh(f"{node.name}.cut")
    track = _cropped(following, node, track, start, ends[0], step, output=inner)
    places = following.values(node)
    axes = places[3] if len(places) > 3 and places[3] is not None else range(len(places[1]))
    rank = len(following.shapes(node.inputs[0])[0])
    others = [i for i, axis in enumerate(axes) if axis_of(int(axis), rank) != own]
    if others:
        if any(name and name not in following.graph.constants for name in node.inputs[1:]):
            raise Refusal("cuts other axes too, by computed places")
        steps = places[4] if len(places) > 4 and places[4] is not None else np.ones(len(places[1]), int)
        columns = [[int(values[i]) for i in others] for values in (places[1], places[2], axes, steps)]
        rings = following.rings
        columns = [rings.integers(*column) for column in columns]
        rings.add("Slice", node.name, inner, *columns, output=node.outputs[0])
    else:
        following.rings.add("Identity", node.name, inner, output=node.outputs[0])
    following.tracks[node.outputs[0]] = track._replace(alike=False)


def _end_of(values: list, axis: int, shape) -> int:
    """How many frames from the end a Slice leaves out."""
    axes = values[3] if len(values) > 3 and values[3] is not None else range(len(values[1]))
    for place, own in enumerate(axes):
        if axis_of(int(own), len(shape)) == axis:
            end = int(values[2].ravel()[place])
            if shape[axis] < end < ENDLESS:
                raise Refusal("cuts frames by how many there are")
            return -end if end < 0 else max(0, shape[axis] - end)
    return 0


def _cropped(
    following: Following, node: Node, track: Track, before: int, after: int, step: int = 1, *, output: str
) -> Track:
    """Frames without the first ``before`` and the last ``after``, and every ``step``-th of them."""
    rings, axis, source = following.rings, track.axis, node.inputs[0]
    going = np.arange(len(track.emitted)) > 0
    owed = np.where(going, np.maximum(0, after - (track.whole - track.emitted)), 0)
    back = int(owed.max())
    if (owed[going] != back).any():
        raise Refusal("cuts off the last frames, of which some come late and some do not")
    window = Window(back + 1, step, -before)
    if step > 1 and after != back:
        raise Refusal("takes some frames of those before a padded end")
    held = window.held(track)
    count = max(0, int(held.max()))
    joined, ring = following.kept(node, source, axis, count)
    rings.keep(node, ring, joined, axis)
    start = rings.at(node, count - held)
    size = rings.size(node, joined, axis)
    end = rings.add("Sub", node.name, size, rings.integers(back))
    if after != back:
        end = rings.add("Sub", node.name, end, rings.last(node, after - back))
    end = rings.add("Max", node.name, end, rings.integers(0))
    rings.slice(node, joined, axis, start, end, step, output=output)
    rings.period *= step
    emitted, _ = window.slides(track)
    whole = window.complete(track.whole, back - after)
    return track._replace(emitted=emitted, whole=whole)


HANDLERS: dict[str, Handler] = {
    **{row.name: recurrent for row in OPS.values() if row.state},
    **dict.fromkeys(running.FOLDS, running.reduced),
    "Scan": scanned,
    "DynamicQuantizeLinear": quantised,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), windows.pooled),
    "Conv": windows.convolved,
    "ConvTranspose": windows.transposed,
    "Pad": padded,
    "Concat": joined,
    "Gather": latest,
    "Slice": cut,
    "CumSum": running.cumulated,
}
