"""Keras' convolutional LSTM: a Scan over frames, whose gates are convolutions.

States are [rows, filters, sizes...] here, whatever the layer's order of channels is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.settings import BOOL, Settings, Tensor, activate
from tinyseq.converters.keras.windows import channels_first, same_padding, sizes_after

from tinyseq.ir.graph import Graph
from tinyseq.ir.model import ModelGraph


def conv_lstm(
    graph: Graph, settings: Settings, variables: Variables, inputs: Sequence[Tensor]
) -> list[Tensor]:
    """ConvLSTM1D and 2D of x [rows, frames, sizes..., channels]; further inputs are its initial states."""
    x, *initials = inputs
    axes = int(settings.kind[-2])
    if x.rank != axes + 3 or len(initials) not in (0, 2):
        raise settings.refusal(f"it gets {x.rank} dimensions and {len(initials)} states")
    first = channels_first(settings)
    settings.get("stateful", False)
    settings.expect("time_major", False)
    settings.expect("padding", "valid", "same")
    (filters,), kernel = settings.sizes("filters", 1), settings.sizes("kernel_size", axes)
    strides, dilations = settings.sizes("strides", axes, 1), settings.sizes("dilation_rate", axes, 1)
    channels = x.shape[2] if first else x.shape[-1]
    sizes = x.shape[3:] if first else x.shape[2:-1]
    own = variables.child("cell")
    w = np.moveaxis(own.take(*kernel, channels, 4 * filters), (-1, -2), (0, 1))
    r = np.moveaxis(own.take(*kernel, filters, 4 * filters), (-1, -2), (0, 1))
    b = own.take(4 * filters) if settings.get("use_bias", True) else None
    backwards = bool(settings.get("go_backwards", False))
    sequences, state = (bool(settings.get(f"return_{what}", False)) for what in ("sequences", "state"))
    zeros = bool(settings.get("zero_output_for_mask", False))

    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations)]
    after = sizes_after(settings, sizes, spans, strides)
    if None in after:
        raise settings.refusal("the sizes of its frames are open; give the model's input their sizes")
    padding = same_padding(settings, sizes, after, spans, strides)
    body = _step(settings, filters, axes, w, r, b, strides, dilations, padding, x.mask is not None, zeros)

    # [frames, rows, channels, sizes...].
    ahead = [1, 0, *range(2, x.rank)] if first else [1, 0, x.rank - 1, *range(2, x.rank - 1)]
    frames = graph.transpose(x.name, ahead)
    starts = [_channels_moved(graph, start, first) for start in initials] or [
        _nothing(graph, x, (filters, *after))
    ] * 2
    scanned = [frames] if x.mask is None else [frames, graph.transpose(x.mask, [1, 0])]
    body = _within(body, frames)
    h, c, y = graph.apply(
        "Scan", *starts, *scanned, outputs=3, name=settings.name, body=body, num_scan_inputs=len(scanned),
        scan_input_directions=(int(backwards),) * len(scanned),
    )  # fmt: skip
    shape = (x.shape[0], filters, *after) if first else (x.shape[0], *after, filters)
    last = [Tensor(_channels_back(graph, part, first, axes), shape) for part in (h, c)]
    if sequences:
        order = [1, 0, *range(2, x.rank)] if first else [1, 0, *range(3, x.rank), 2]
        result = Tensor(graph.transpose(y, order), (x.shape[0], x.shape[1], *shape[1:]), mask=x.mask)
    elif zeros and x.mask is not None:
        raise settings.refusal("it gives zeros for a hidden last frame, which tinyseq does not do")
    else:
        result = last[0]
    return [result, *(last if state else [])]


def _step(settings, filters, axes, w, r, b, strides, dilations, padding, masked, zeros):
    """What is done for a frame: from h, c, the frame and whether it is shown to h, c and the output."""
    graph = Graph()
    open_sizes = [f"size{axis}" for axis in range(axes)]
    h, c = (graph.input(name, ["rows", filters, *(f"after{a}" for a in range(axes))]) for name in "hc")
    frame = graph.input("frame", ["rows", w.shape[1], *open_sizes])
    kernel = r.shape[2:]
    around = [(size - 1) // 2 for size in kernel], [size // 2 for size in kernel]
    sums = graph.add(
        graph.apply("Conv", frame, w, b, strides=strides, dilations=dilations, **padding),
        graph.apply("Conv", h, r, pads=(*around[0], *around[1])),
    )
    i, f, g, o = graph.apply("Split", sums, np.full(4, filters, np.int64), axis=1, outputs=4)
    recurrent, own = (
        settings.function("recurrent_activation", "sigmoid"),
        settings.function("activation", "tanh"),
    )
    i, f, o = (activate(graph, gate, recurrent, settings) for gate in (i, f, o))
    new_c = graph.add(graph.mul(f, c), graph.mul(i, activate(graph, g, own, settings)))
    new_h = graph.mul(o, activate(graph, new_c, own, settings))
    y = new_h
    if masked:
        shown = graph.unsqueeze(graph.input("shown", ["rows"], BOOL), list(range(1, axes + 2)))
        y = graph.apply("Where", shown, new_h, np.float32(0) if zeros else h)
        new_h, new_c = (graph.apply("Where", shown, new, old) for new, old in ((new_h, h), (new_c, c)))
    for name, tensor in (("new_h", new_h), ("new_c", new_c), ("y", y)):
        graph.output(name, graph.apply("Identity", tensor))
    return graph.model().graph


def _within(body: ModelGraph, place: str) -> ModelGraph:
    """A graph with names that no other has: those of a graph within another must differ from its."""

    def named(name: str) -> str:
        return name and f"{place}/{name}"

    return ModelGraph(
        tuple(value._replace(name=named(value.name)) for value in body.inputs),
        tuple(value._replace(name=named(value.name)) for value in body.outputs),
        tuple(
            node._replace(
                inputs=tuple(map(named, node.inputs)), outputs=tuple(map(named, node.outputs)),
                name=named(node.name),
            )
            for node in body.nodes
        ),
        {named(name): array for name, array in body.constants.items()},
    )  # fmt: skip


def _nothing(graph: Graph, x: Tensor, shape: Sequence[int]) -> str:
    """States of zeros, for as many rows as there are."""
    rows = graph.slice(graph.apply("Shape", x.name), 0, 0, 1)
    return graph.apply("Expand", np.float32(0), graph.concat([rows, np.array(shape)], axis=0))


def _channels_moved(graph: Graph, state: Tensor, first: bool) -> str:
    rank = state.rank
    return state.name if first else graph.transpose(state.name, [0, rank - 1, *range(1, rank - 1)])


def _channels_back(graph: Graph, state: str, first: bool, axes: int) -> str:
    return state if first else graph.transpose(state, [0, *range(2, axes + 2), 1])
