"""Frames in chunks: convolutions, layers made backward by hand, what looks at all frames."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tests.field.written_out import conv, drawn, file, gru, lstm, node

FRAMES, CHANNELS, FILTERS, UNITS = 12, 4, 6, 5
X = np.random.default_rng(1).standard_normal((1, FRAMES, CHANNELS)).astype(np.float32)
CHUNKS = [12, 6, 4, 5, 1]


def convolved(past: str, **attributes) -> tuple[bytes, dict[str, np.ndarray]]:
    """A convolution before a GRU, as exporters write it; ``past`` is how its past is padded."""
    weights = drawn(k=(FILTERS, CHANNELS, 3), w=(1, 3 * UNITS, FILTERS), r=(1, 3 * UNITS, UNITS))
    reach = 2 * attributes.get("dilations", [1])[0]
    pads = {"pads": (reach, 0), "cut": (reach, reach), "centred": (reach // 2, reach // 2)}.get(past, (0, 0))
    numbers = {
        "front": np.array([0, 0, reach, 0, 0, 0]), "zeros": np.zeros((1, CHANNELS, reach), np.float32),
        "zero": np.array([0]), "end": np.array([-reach]), "time": np.array([2]), "one": np.array([1]),
    }  # fmt: skip
    nodes = [node("Transpose", "x", "c", perm=[0, 2, 1])]
    source = "c"
    if past == "padded":
        nodes.append(node("Pad", "c front", "p"))
        source = "p"
    elif past == "joined":
        nodes.append(node("Concat", "zeros c", "p", axis=2))
        source = "p"
    nodes.append(node("Conv", f"{source} k", "d", pads=pads, **attributes))
    if past == "cut":
        nodes.append(node("Slice", "d zero end time", "s"))
    nodes += [
        node("Transpose", "s" if past == "cut" else "d", "e", perm=[2, 0, 1]),
        node("GRU", "e w r", "g", hidden_size=UNITS),
        node("Squeeze", "g one", "y"),
    ]
    read = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in (weights | numbers).items() if name in read}
    return file(nodes, {"x": ["b", "t", CHANNELS]}, {"y": ["n", "b", UNITS]}, constants), weights


CONVOLUTIONS = {
    "pads": ("pads", {}, 0),
    "Pad": ("padded", {}, 0),
    "Concat with zeros": ("joined", {}, 0),
    "both ends, cut": ("cut", {}, 0),
    "far apart": ("pads", {"dilations": [3]}, 0),
    "every second": ("pads", {"strides": [2]}, 0),
    "centred": ("centred", {}, 1),
}


@pytest.mark.parametrize(("past", "attributes", "latency"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_before_a_layer_streams_in_any_chunks(past, attributes, latency):
    source, own = convolved(past, **attributes)
    dilation, stride = attributes.get("dilations", [1])[0], attributes.get("strides", [1])[0]
    before, after = (1, 1) if past == "centred" else (2 * dilation, 0)
    frames = conv(X[0], own["k"], before, after, stride, dilation)
    right = gru(frames[:, None], own["w"], own["r"])
    model = tinyseq.load(source)
    assert model.latency == latency
    assert f"latency y {latency} frames" in str(model) or not latency
    whole = model.run({"x": X})["y"]
    np.testing.assert_allclose(whole, right, atol=1e-6)
    for size in CHUNKS:
        stream = model.stream()
        parts = [stream.step({"x": X[:, start : start + size]})["y"] for start in range(0, FRAMES, size)]
        np.testing.assert_array_equal(np.concatenate([*parts, *stream.finish().values()]), whole)


def flipped(how: str) -> bytes:
    """A layer that runs backward."""
    turned = {"Slice": "last far zero step", "ReverseSequence": "lengths"}.get(how, "")
    constants = drawn(w=(1, 4 * UNITS, CHANNELS), r=(1, 4 * UNITS, UNITS)) | {
        "last": np.array([-1]), "far": np.array([-(2**63)]), "zero": np.array([0]), "step": np.array([-1]),
        "lengths": np.array([FRAMES]), "one": np.array([1]),
    }  # fmt: skip
    if how == "reverse":
        nodes = [
            node("LSTM", "x w r", "l", hidden_size=UNITS, direction="reverse"),
            node("Squeeze", "l one", "y"),
        ]
    else:
        nodes = [
            node(how, f"x {turned}", "b"),
            node("LSTM", "b w r", "l", hidden_size=UNITS),
            node("Squeeze", "l one", "f"),
            node(how, f"f {turned}", "y"),
        ]
    read = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in constants.items() if name in read}
    return file(nodes, {"x": ["t", 1, CHANNELS]}, {"y": ["t", 1, UNITS]}, constants)


@pytest.mark.parametrize("how", ["Slice", "ReverseSequence", "reverse"])
def test_a_layer_that_runs_backward_runs_whole_and_has_no_stream(how):
    weights, x = drawn(w=(1, 4 * UNITS, CHANNELS), r=(1, 4 * UNITS, UNITS)), X.transpose(1, 0, 2)
    model = tinyseq.load(flipped(how))
    right = lstm(x[::-1], weights["w"], weights["r"])[0][::-1]
    np.testing.assert_allclose(model.run({"x": x})["y"], right, atol=1e-6)
    with pytest.raises(tinyseq.ModelError, match=r"^node '\w+' \(\w+\) .*give whole sequences to model.run"):
        model.stream()


def summed_up(op: str) -> bytes:
    """What a layer gives, and what comes of all its frames."""
    constants = drawn(w=(1, 4 * UNITS, CHANNELS), r=(1, 4 * UNITS, UNITS)) | {"one": np.array([1])}
    constants["axes"] = np.array([0])
    nodes = [node("LSTM", "x w r", "l", hidden_size=UNITS), node("Squeeze", "l one", "f")]
    nodes.append(node("Softmax", "f", "y", axis=0) if op == "Softmax" else node(op, "f axes", "y"))
    constants = {n: a for n, a in constants.items() if n != "axes" or op != "Softmax"}
    return file(nodes, {"x": ["t", 1, CHANNELS]}, {"y": ["n", 1, UNITS]}, constants)


@pytest.mark.parametrize(
    ("op", "of"), [("ReduceMean", np.mean), ("ReduceMax", np.max), ("ReduceSum", np.sum)]
)
def test_what_is_of_all_frames_is_in_each_step_of_those_so_far(op, of):
    weights, x = drawn(w=(1, 4 * UNITS, CHANNELS), r=(1, 4 * UNITS, UNITS)), X.transpose(1, 0, 2)
    y, stream = lstm(x, weights["w"], weights["r"])[0], tinyseq.load(summed_up(op)).stream()
    for start, end in ((0, 4), (4, 5), (5, 12)):
        found = stream.step({"x": x[start:end]})["y"]
        np.testing.assert_allclose(found, of(y[:end], 0, keepdims=True), atol=1e-6)


def test_a_softmax_over_time_runs_whole_and_has_no_stream():
    weights, x = drawn(w=(1, 4 * UNITS, CHANNELS), r=(1, 4 * UNITS, UNITS)), X.transpose(1, 0, 2)
    raised = np.exp(lstm(x, weights["w"], weights["r"])[0])
    model = tinyseq.load(summed_up("Softmax"))
    np.testing.assert_allclose(model.run({"x": x})["y"], raised / raised.sum(0), atol=1e-6)
    with pytest.raises(
        tinyseq.ModelError, match=r"node 'Softmax_y' \(Softmax\) is normalised over all frames"
    ):
        model.stream()
