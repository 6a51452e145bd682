"""What ops make of the frames they look along."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tinyseq.model import Node
from tinyseq.passes.tracks import Refusal, Track

if TYPE_CHECKING:
    from tinyseq.passes.follow import Following

Handler = Callable[["Following", Node, int, Track], None]

WHY = {
    "Softmax": "is normalised over all frames",
    "LogSoftmax": "is normalised over all frames",
    "LpNormalization": "is normalised over all frames",
    "InstanceNormalization": "is normalised over all frames",
    "LayerNormalization": "is normalised over all frames",
    "ReverseSequence": "turns the frames round: its first needs the last",
    "MatMul": "sums over all frames",
    "Gemm": "sums over all frames",
    "MatMulInteger": "sums over all frames",
    "DynamicQuantizeLinear": "takes its scale from all frames at once",
    "DynamicQuantizeLSTM": "takes its scales from all frames at once",
}
"""What each op needs of the frames, where it has no form for chunks."""


def handle(following: Following, node: Node, index: int, track: Track) -> None:
    """Notes what comes of a node that looks along the frames of its input ``index``.

    Raises:
        Refusal: it needs frames that are not there yet, or is not known in chunks.
    """
    handler = HANDLERS.get(node.op)
    if handler is None:
        raise Refusal(WHY.get(node.op, "looks at all frames at once"))
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
    """A layer that runs along the frames; its last state is of all so far."""
    if index or track.axis != (1 if node.attributes.get("layout") else 0):
        raise Refusal("has weights or features that grow with the frames")
    if track.padding is not None:
        raise Refusal("takes frames that are padded in time")
    lengths = node.inputs[4] if len(node.inputs) > 4 else ""
    if lengths in following.graph.constants:
        raise Refusal("ends after the number of frames that its constant lengths say")
    if lengths in following.tracks or lengths in following.latest:
        raise Refusal("has lengths that frames decide")
    if any(name in following.latest or name in following.tracks for name in node.inputs[5:7]):
        raise Refusal("starts at a state that is known after the last frame")
    y, *last = [*node.outputs, "", ""][:3]
    if y:
        axis = following.growing(y)
        following.tracks[y] = track._replace(axis=axis, alike=False)
    following.latest.update(filter(None, last))


def latest(following: Following, node: Node, index: int, track: Track) -> None:
    """Gather of the last frame."""
    places = following.values(node)[1]
    if index or places is None or places.size != 1 or int(places.ravel()[0]) != -1:
        raise Refusal("picks frames by their places")
    following.latest.add(node.outputs[0])


def cut(following: Following, node: Node, index: int, track: Track) -> None:
    """Slice of the last frame."""
    from tinyseq.shapes import slice_bounds

    bounds = []
    for probe in following.probes:
        values = [probe.values.get(name) if name else None for name in node.inputs]
        size = probe.shapes[node.inputs[0]][track.axis]
        bounds.append((size, slice_bounds(probe.shapes[node.inputs[0]], values)[track.axis]))
    if any(step < 0 and count > 1 for _, (_, step, count) in bounds):
        raise Refusal("turns the frames round: its first needs the last")
    if all(count == 1 and start == size - 1 for size, (start, _, count) in bounds):
        following.latest.add(node.outputs[0])
        return
    raise Refusal("cuts frames off")


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("RNN", "GRU", "LSTM"), recurrent),
    "Gather": latest,
    "Slice": cut,
}
