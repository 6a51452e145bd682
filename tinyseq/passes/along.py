"""What ops make of the frames they look along: the form each has for a stream's chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.model import Node
from tinyseq.passes.rings import END
from tinyseq.passes.tracks import Padding, Refusal, Track, Window
from tinyseq.shapes import (
    axis_of,
    conv_geometry,
    conv_transpose_geometry,
    pad_widths,
    pool_geometry,
    reduce_axes,
    slice_bounds,
)

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following

Handler = Callable[["Following", Node, int, Track], None]

RECURRENT = ("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM")

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
    if node.op not in ("Concat", *RECURRENT) and sum(name in following.tracks for name in node.inputs) > 1:
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
    """A layer that runs along the frames: its state is carried, its last state is of all frames so far."""
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
    """Bytes by the range of a chunk: frames by themselves, but for their rounding."""
    following.tracks[node.outputs[0]] = track


# What keeps frames.


def _slid(following: Following, node: Node, track: Track, window: Window, value: float) -> tuple[str, Track]:
    """The frames that complete windows need, behind those kept, and the track of the windows."""
    rings, source, axis = following.rings, node.inputs[0], track.axis
    if track.padding is not None:
        own = window.before or window.after
        if own and track.padding.value != value:
            raise Refusal(f"pads with {value} what is padded with {track.padding.value}")
        value = track.padding.value
        window = window._replace(
            before=window.before + track.padding.before, after=window.after + track.padding.after
        )
        track = track._replace(padding=None)
    if window.before >= window.reach:
        raise Refusal("has windows that hold padding alone")
    held = window.held(track)
    count = max(0, int(held.max()))
    joined, ring = rings.kept(node, source, following.frames_of(source, axis, count), axis, value)
    rings.keep(node, ring, joined, axis)
    steady = window.stride == 1 and window.after == 0 and (held == window.reach - 1).all()
    if not steady or following.guarded:
        joined = rings.padded(node, joined, axis, window.after, value)
        start = rings.at(node, count - held)
        joined = rings.complete(node, joined, axis, start, window.reach, window.stride)
    emitted, whole = window.slides(track)
    rings.period *= window.stride
    return joined, track._replace(emitted=emitted, whole=whole, alike=False)


def _replaced(
    following: Following, node: Node, source: str, track: Track, output: str = "", **attributes
) -> None:
    """The node on other frames, and the track of its first output."""
    following.rings.nodes.append(
        node._replace(inputs=(source, *node.inputs[1:]), attributes=node.attributes | attributes)
    )
    following.tracks[node.outputs[0]] = track._replace(axis=following.growing(node.outputs[0]))


def _along(following: Following, node: Node, track: Track, geometry: Callable) -> tuple[Window, dict]:
    """The window along the frames, and the attributes of the node without padding there."""
    found = [geometry(*[probe.shapes[name] for name in node.inputs[:2]]) for probe in following.probes]
    place = track.axis - 2
    kernel, stride, dilation, before, after = (numbers[place] for numbers in found[0])
    if any((other.before[place], other.after[place]) != (before, after) for other in found[1:]) or (
        node.attributes["auto_pad"].startswith("SAME") and stride > 1
    ):
        raise Refusal("is padded by as much as the number of frames asks for")
    pads = [list(numbers) for numbers in (found[0].before, found[0].after)]
    for numbers in pads:
        numbers[place] = 0
    window = Window((kernel - 1) * dilation + 1, stride, before, after)
    return window, {"auto_pad": "NOTSET", "pads": (*pads[0], *pads[1])}


def convolved(following: Following, node: Node, index: int, track: Track) -> None:
    """The frames that windows to come need are kept."""
    if track.axis < 2:
        raise Refusal(SUMMED)
    window, attributes = _along(following, node, track, lambda x, w: conv_geometry(node.attributes, x, w))
    source, track = _slid(following, node, track, window, 0.0)
    _replaced(following, node, source, track, **attributes)


def pooled(following: Following, node: Node, index: int, track: Track) -> None:
    """The frames that windows to come need are kept."""
    if track.axis < 2:
        raise Refusal("has channels that grow with the frames")
    window, attributes = _along(following, node, track, lambda x, *_: pool_geometry(node.attributes, x))
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("tells the places of the greatest elements, which count from the first frame")
    if node.attributes["ceil_mode"] and window.stride > 1:
        raise Refusal("has ceil_mode=1, by which its last window is cut where the frames end")
    least = node.op == "MaxPool"
    if not least and not node.attributes["count_include_pad"] and (window.before or window.after):
        raise Refusal("is a mean that leaves padding out (count_include_pad=0)")
    source, track = _slid(following, node, track, window, -np.inf if least else 0.0)
    _replaced(following, node, source, track, **attributes)


def transposed(following: Following, node: Node, index: int, track: Track) -> None:
    """A transposed convolution: the frames kept add to what the next ones give."""
    if track.axis < 2:
        raise Refusal(SUMMED)
    if node.attributes["output_shape"] or node.attributes["auto_pad"].startswith("SAME"):
        raise Refusal("has an output_shape or auto_pad, which a stream does not know")
    shapes = [following.shapes(name)[0] for name in node.inputs[:2]]
    geometry, _ = conv_transpose_geometry(node.attributes, *shapes)
    place, rank = track.axis - 2, len(shapes[0]) - 2
    taps, stride, dilation, before, after = (numbers[place] for numbers in geometry)
    reach = (taps - 1) * dilation + 1
    more = (node.attributes["output_padding"] or (0,) * rank)[place]
    extra = reach - stride - after + more
    if extra < 0:
        raise Refusal("cuts off more than its last frame adds")
    rings, axis, source = following.rings, track.axis, node.inputs[0]
    count = -(-reach // stride) - 1
    joined, ring = rings.kept(node, source, following.frames_of(source, axis, count), axis)
    rings.keep(node, ring, joined, axis)
    pads = list(node.attributes["pads"] or (0,) * 2 * rank)
    pads[place] = pads[place + rank] = 0
    full = rings.fresh(f"{node.name}.full")
    attributes = node.attributes | {"pads": tuple(pads), "auto_pad": "NOTSET"}
    rings.nodes.append(
        node._replace(inputs=(joined, *node.inputs[1:]), outputs=(full,), attributes=attributes)
    )
    shape = rings.size(node, source, axis)
    length = rings.add("Mul", node.name, shape, rings.integers(stride))
    start = rings.at(node, count * stride + np.maximum(0, before - stride * track.emitted))
    end = rings.add("Add", node.name, length, rings.integers(count * stride))
    end = rings.add("Add", node.name, end, rings.last(node, extra))
    rings.slice(node, full, axis, start, end, output=node.outputs[0])
    going = np.arange(len(track.emitted)) > 0
    emitted = np.maximum(0, track.emitted * stride - before)
    whole = np.where(going, np.maximum(0, track.whole * stride - before + extra), 0)
    following.tracks[node.outputs[0]] = track._replace(emitted=emitted, whole=whole, alike=False)


def aligned(following: Following, node: Node) -> Node:
    """The node on frames that come together: those that come early wait for the latest."""
    tracks = {name: following.tracks[name] for name in node.inputs if name in following.tracks}
    emitted = np.min([track.emitted for track in tracks.values()], 0)
    late = [name for name, track in tracks.items() if np.array_equal(track.emitted, emitted)]
    whole = tracks[late[0]].whole if late else None
    if whole is None or any(not np.array_equal(track.whole, whole) for track in tracks.values()):
        raise Refusal("takes tensors whose frames do not come one beside another")
    rings, waiting = following.rings, {}
    count = rings.size(node, late[0], tracks[late[0]].axis)
    for name, track in tracks.items():
        held = track.emitted - emitted
        if not held.any():
            continue
        if track.padding is not None:
            raise Refusal("takes frames that are padded in time")
        most = int(held.max())
        joined, ring = rings.kept(node, name, following.frames_of(name, track.axis, most), track.axis)
        rings.keep(node, ring, joined, track.axis)
        start = rings.at(node, most - held)
        end = rings.add("Add", node.name, start, count)
        waiting[name] = rings.slice(node, joined, track.axis, start, end)
        following.tracks[waiting[name]] = track._replace(emitted=emitted)
    following.aligned.update(waiting.values())
    return node._replace(inputs=tuple(waiting.get(name, name) for name in node.inputs))


# What moves frames.


def padded(following: Following, node: Node, index: int, track: Track) -> None:
    """Pad: the op that looks along the frames next begins with what is added."""
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
    """Concat along the frames: with constants of one number it is padding."""
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
    """Gather of the last frame, which is the last so far."""
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
    """Slice: frames cut off at the beginning or at the end, the last frame, or every n-th."""
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
    """CumSum: the sum so far is kept."""
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


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(RECURRENT, recurrent),
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ReduceSum"), reduced),
    "DynamicQuantizeLinear": quantised,
    **dict.fromkeys(("MaxPool", "AveragePool"), pooled),
    "Conv": convolved,
    "ConvTranspose": transposed,
    "Pad": padded,
    "Concat": joined,
    "Gather": latest,
    "Slice": cut,
    "CumSum": cumulated,
}
