"""What ops make of the frames they look along: the form each has for a stream's chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.ir.model import Node
from tinyseq.ir.ops import OPS
from tinyseq.passes import windows
from tinyseq.passes.rings import END
from tinyseq.passes.tracks import Padding, Refusal, Track, Window
from tinyseq.shapes import (
    axis_of,
    pad_widths,
    reduce_axes,
    slice_bounds,
)
from tinyseq.shapes.looks import ENDLESS

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following

Handler = Callable[["Following", Node, int, Track], None]

DIGIT = 2**20
"""What numbers of frames are counted in; float32 holds each digit exactly."""

NORMALISED = "is normalised over all frames"
SUMMED = "sums over all frames"

WHY = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "LpNormalization", "Hardmax"), NORMALISED),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization"), NORMALISED),
    **dict.fromkeys(("MatMul", "Gemm", "MatMulInteger"), SUMMED),
    **dict.fromkeys(("ReduceMean", "GlobalAveragePool"), "is a mean over all frames"),
    "ReverseSequence": "turns the frames round, and the first of the result is the last given",
    "ConvInteger": "is a convolution of integers along the frames, which streams do not keep",
}
"""What each op needs of the frames, where it has no form for chunks."""


def handle(following: Following, node: Node, index: int, track: Track) -> None:
    """Writes the form that a node which looks along the frames of its input ``index`` has in a stream.

    Raises:
        Refusal: it needs frames that are not there yet, or is not known in chunks.
    """
    handler = HANDLERS.get(node.op)
    if handler is None or (index and node.op != "Concat"):
        raise Refusal(WHY.get(node.op, "looks at all frames at once"))
    alone = node.op != "Concat" and not node.row.state
    if alone and sum(name in following.tracks for name in node.inputs) > 1:
        raise Refusal("looks along its frames by what other frames say")
    if track.padding is not None and node.op not in ("Conv", "MaxPool", "AveragePool", "Pad", "Slice"):
        raise Refusal("takes frames that are padded in time")
    handler(following, node, index, track)


def scaled(track: Track, one: int, other: int, frames: int, more: int) -> Track:
    """The track of something that is ``one`` long for so many frames and ``other`` for more."""
    if one * more != other * frames:
        raise Refusal("makes frames whose number is not a multiple of the stream's")
    result = track.times(one, frames)
    if result is None:
        raise Refusal("makes fewer frames than the stream has")
    return result


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
    following.latest.update(filter(None, last))


def quantised(following: Following, node: Node, index: int, track: Track) -> None:
    """Each frame by itself, but rounded by the range of its chunk."""
    following.tracks[node.outputs[0]] = track


# What moves frames.


def padded(following: Following, node: Node, index: int, track: Track) -> None:
    """Constant frames are what the convolution or pool that takes them begins and ends with."""
    widths = [
        pad_widths(probe.shapes[node.inputs[0]], _values(following, node, probe))[track.axis]
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


def _values(following: Following, node: Node, probe) -> list:
    return [probe.values.get(name) if name else None for name in node.inputs]


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
        value = following.uniform(name)
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


def latest(following: Following, node: Node, index: int, track: Track) -> None:
    """The last frame only: the last so far."""
    places = following.values(node)[1]
    if places is None or places.size != 1 or int(places.ravel()[0]) != -1:
        raise Refusal("picks frames by their places")
    _last_so_far(following, node, track)


def _last_so_far(following: Following, node: Node, track: Track) -> None:
    if (np.diff(track.emitted) < 1).any():
        raise Refusal("takes the last frame where some steps have none")
    following.rings.nodes.append(node)
    following.latest.add(node.outputs[0])


def cut(following: Following, node: Node, index: int, track: Track) -> None:
    """A number of frames cut off at either end, every n-th frame, or the last so far."""
    bounds, ends = [], []
    for probe in following.probes:
        shape, values = probe.shapes[node.inputs[0]], _values(following, node, probe)
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
    places = _values(following, node, following.probes[0])
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
    joined, ring = rings.kept(node, source, following.frames_of(source, axis, count), axis)
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


# What runs on.


def cumulated(following: Following, node: Node, index: int, track: Track) -> None:
    """The sum so far is kept."""
    if node.attributes["reverse"]:
        raise Refusal("sums from the last frame on (reverse=1)")
    rings, axis, source = following.rings, track.axis, node.inputs[0]
    joined, ring = rings.kept(node, source, following.frames_of(source, axis, 1), axis)
    sums = rings.add("CumSum", node.name, joined, node.inputs[1], exclusive=0, reverse=0)
    start, end = (0, -1) if node.attributes["exclusive"] else (1, END)
    rings.slice(node, sums, axis, rings.integers(start), rings.integers(end), output=node.outputs[0])
    rings.keep(node, ring, sums, axis)
    following.tracks[node.outputs[0]] = track._replace(alike=False)


def reduced(following: Following, node: Node, index: int, track: Track) -> None:
    """The greatest, the least or the sum so far is kept."""
    rings, axis, source = following.rings, track.axis, node.inputs[0]
    axes = reduce_axes(node.attributes, following.shapes(source)[:1], following.values(node))
    if node.op == "ReduceSum" and len(axes) > 1:
        raise Refusal("sums over all frames and more, in an order that chunks would change")
    start = {"ReduceMax": -np.inf, "ReduceMin": np.inf}.get(node.op, 0.0)
    joined, ring = rings.kept(node, source, following.frames_of(source, axis, 1), axis, start)
    so_far = rings.add(node.op, node.name, joined, rings.integers(axis), keepdims=1)
    rings.keep(node, ring, so_far, axis)
    rings.nodes.append(node._replace(inputs=(so_far, *node.inputs[1:])))
    following.latest.add(node.outputs[0])


# What counts frames.


def counted(following: Following, node: Node, name: str, axis: int, clock: Track) -> None:
    """Range, and a part of a table that begins with its first frame: they go on from the frames so far.

    Raises:
        Refusal: frames are numbered in another way.
    """
    one, other = (shape[axis] for shape in following.shapes(name))
    track = scaled(clock, one, other, *following.frames)
    following.looking.append(node)
    rings = following.rings
    chunk = rings.fresh(f"{node.name}.chunk")
    rings.nodes.append(node._replace(outputs=(chunk,)))
    if node.op == "Range":
        gone = _gone(following, node, chunk, 0)
        step = rings.add("Mul", node.name, rings.add("CastLike", node.name, gone, chunk), node.inputs[2])
        rings.add("Add", node.name, chunk, step, output=name)
    elif (
        node.op == "Slice"
        and node.inputs[0] in following.graph.constants
        and _from_first(following, node, axis)
    ):
        gone = _gone(following, node, chunk, axis)
        count = rings.add("Squeeze", node.name, rings.size(node, chunk, axis))
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


def _gone(following: Following, node: Node, chunk: str, axis: int) -> str:
    """The number of frames before those of a chunk, int64 [1]; its state holds it in two float32."""
    rings = following.rings
    before = rings.counter(node)
    gone = rings.add("Cast", node.name, before, to=np.dtype(np.int64))
    gone = rings.add("Mul", node.name, gone, rings.integers(1, DIGIT))
    gone = rings.add("ReduceSum", node.name, gone, rings.integers(0), keepdims=1)
    after = rings.add("Add", node.name, gone, rings.size(node, chunk, axis))
    low = rings.add("Mod", node.name, after, rings.integers(DIGIT))
    high = rings.add("Div", node.name, after, rings.integers(DIGIT))
    digits = rings.add("Concat", node.name, low, high, axis=0)
    rings.add("Cast", node.name, digits, to=np.dtype(np.float32), output=f"{before}.next")
    return gone


HANDLERS: dict[str, Handler] = {
    **{row.name: recurrent for row in OPS.values() if row.state},
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ReduceSum"), reduced),
    "DynamicQuantizeLinear": quantised,
    **dict.fromkeys(("MaxPool", "AveragePool"), windows.pooled),
    "Conv": windows.convolved,
    "ConvTranspose": windows.transposed,
    "Pad": padded,
    "Concat": joined,
    "Gather": latest,
    "Slice": cut,
    "CumSum": cumulated,
}
