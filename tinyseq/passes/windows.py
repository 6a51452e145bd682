"""Windows over frames: what slides along them keeps those that windows to come need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.ir.model import Node
from tinyseq.passes.tracks import Refusal, Track, Window
from tinyseq.shapes import conv_geometry, conv_transpose_geometry, pool_geometry

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following


UNEVEN = "picks frames by their places, which are not those of windows at equal distances"


def _slid(following: Following, node: Node, track: Track, window: Window, value: float) -> tuple[str, Track]:
    """The frames that complete windows need, behind those kept, and the track of the windows."""
    rings, axis = following.rings, track.axis
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
    joined = _joined(following, node, axis, count, value)
    steady = window.stride == 1 and window.after == 0 and (held == window.reach - 1).all()
    if steady and not following.guarded:
        joined = rings.unless_none(node, joined, axis, node.inputs[0], window.reach)
    else:
        joined = rings.padded(node, joined, axis, window.after, value)
        start = rings.at(node, count - held)
        joined = rings.complete(node, joined, axis, start, window.reach, window.stride)
    emitted, whole = window.slides(track)
    rings.period *= window.stride
    return joined, track._replace(emitted=emitted, whole=whole, alike=False)


def _joined(following: Following, node: Node, axis: int, count: int, value: float = 0.0) -> str:
    """What a node takes behind the last ``count`` frames before.

    They are kept with their channels last, where the elements of a window lie one after the other.
    """
    rings, source = following.rings, node.inputs[0]
    if node.op in ("Reshape", "Gather") or not count:
        joined, ring = following.kept(node, source, axis, count, value)
        rings.keep(node, ring, joined, axis)
        return joined
    rank = len(following.shapes(source)[0])
    last = (0, *range(2, rank), 1)
    maker = following.maker(source)
    if (
        maker is not None
        and maker.op == "Transpose"
        and maker.attributes["perm"] == (0, rank - 1, *last[1:-1])
    ):
        turned = maker.inputs[0]
    else:
        turned = rings.add("Transpose", node.name, source, perm=last)
    joined, ring = following.kept(node, source, axis, count, value, what=turned, perm=last)
    rings.keep(node, ring, joined, axis - 1)
    return rings.add("Transpose", node.name, joined, perm=(0, rank - 1, *range(1, rank - 1)))


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
    """Frames that windows to come need are kept; those that a window waits for are latency."""
    if track.axis < 2:
        raise Refusal("sums over all frames")
    window, attributes = _along(following, node, track, lambda x, w: conv_geometry(node.attributes, x, w))
    source, track = _slid(following, node, track, window, 0.0)
    _replaced(following, node, source, track, **attributes)


def pooled(following: Following, node: Node, index: int, track: Track) -> None:
    """Frames that windows to come need are kept; those that a window waits for are latency. A mean is refused
    whose windows at the ends are of fewer elements: ceil_mode=1 with strides, or count_include_pad=0."""
    if track.axis < 2:
        raise Refusal("has channels that grow with the frames")
    window, attributes = _along(following, node, track, lambda x, *_: pool_geometry(node.attributes, x))
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("tells the places of the greatest elements, which count from the first frame")
    mean = node.op == "AveragePool"
    if node.attributes["ceil_mode"] and window.stride > 1:
        if mean:
            raise Refusal("is a mean with ceil_mode=1, whose last window is of fewer frames than the others")
        # The last window may reach beyond the end, but not begin there.
        window = window._replace(after=min(window.after + window.stride - 1, window.reach - 1))
    if mean and not node.attributes["count_include_pad"] and (window.before or window.after):
        raise Refusal("is a mean that leaves padding out (count_include_pad=0)")
    source, track = _slid(following, node, track, window, -np.inf if node.op == "MaxPool" else 0.0)
    _replaced(following, node, source, track, **attributes)


def transposed(following: Following, node: Node, index: int, track: Track) -> None:
    """Frames that add to what the next ones give are kept."""
    if track.axis < 2:
        raise Refusal("sums over all frames")
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
    joined = _joined(following, node, axis, count)
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
        joined, ring = following.kept(node, name, track.axis, most)
        rings.keep(node, ring, joined, track.axis)
        start = rings.at(node, most - held)
        end = rings.add("Add", node.name, start, count)
        waiting[name] = rings.slice(node, joined, track.axis, start, end)
        following.tracks[waiting[name]] = track._replace(emitted=emitted)
    following.aligned.update(waiting.values())
    return node._replace(inputs=tuple(waiting.get(name, name) for name in node.inputs))


def stacked(following: Following, node: Node, track: Track, count: int) -> None:
    """A Reshape that puts frames together: it waits until there are so many."""
    source, track = _slid(following, node, track, Window(count, count), 0.0)
    _replaced(following, node, source, track)


def gathered(following: Following, node: Node, track: Track) -> None:
    """Windows that are picked by their places, one after the other at equal distances."""
    one, other = (following.values(node, probe)[1] for probe in following.probes)
    if one is None or other is None:
        raise Refusal("picks frames by places that are computed")
    along = following.growing(node.inputs[1])
    (first, stride), (again, same) = (_line(np.moveaxis(places, along, 0)) for places in (one, other))
    if stride != same or not np.array_equal(first, again):
        raise Refusal(UNEVEN)
    start, reach = int(first.min()), int(first.max() - first.min()) + 1
    window = Window(reach, stride, -start)
    for probe in following.probes:
        frames, count = probe.shapes[node.inputs[0]][track.axis], probe.shapes[node.inputs[1]][along]
        if (frames - start - reach) // stride + 1 != count:
            raise Refusal("picks fewer windows than there are, or others at the end")
    rings = following.rings
    source, track = _slid(following, node, track, window, 0.0)
    size = rings.add("Sub", node.name, rings.size(node, source, track.axis), rings.integers(reach - stride))
    count = rings.add(
        "Div", node.name, rings.add("Max", node.name, size, rings.integers(0)), rings.integers(stride)
    )
    count = rings.add("Squeeze", node.name, count)
    places = rings.add("Range", node.name, rings.integer(0), count, rings.integer(1))
    places = rings.add("Mul", node.name, places, rings.integer(stride))
    around = [axis for axis in range(one.ndim) if axis != along]
    if around:
        places = rings.add("Unsqueeze", node.name, places, rings.integers(*around))
    within = np.expand_dims(first - start, along)
    places = rings.add("Add", node.name, places, rings.whole(within))
    rings.add("Gather", node.name, source, places, axis=node.attributes["axis"], output=node.outputs[0])
    following.tracks[node.outputs[0]] = track._replace(axis=following.growing(node.outputs[0]))


def _line(places: np.ndarray) -> tuple[np.ndarray, int]:
    """The first of places [windows, ...], and how far from each other they are."""
    steps = np.diff(places, axis=0)
    if not len(steps) or (steps != steps.flat[0]).any() or steps.flat[0] < 1 or (places < 0).any():
        raise Refusal(UNEVEN)
    return places[0], int(steps.flat[0])
