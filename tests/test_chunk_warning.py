"""Models that take their state as inputs and pad the frames of each chunk."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper, parser

import tinyseq
from tests import assets
from tests.strategies.streams import FRAMES, Layers, layered, signal
from tinyseq.passes.state import expose_state


def exported(width: int, pads: list[int], cached: bool = False) -> ModelProto:
    """A convolution over frames, then an LSTM whose state is an input, as are frames before if ``cached``."""
    given = "float[2, rows, 2] old, float[frames, rows, 2] x" if cached else "float[frames, rows, 2] x"
    joined = "longer = Concat <axis = 0> (old, x) new = Slice (longer, ago, end, zero)" if cached else ""
    model = parser.parse_model(f"""
        <ir_version: 9, opset_import: ["": 17]>
        m ({given}, float[1, rows, 4] h0, float[1, rows, 4] c0) => (y, h, c{", new" if cached else ""}) {{
            {joined}
            turned = Transpose <perm = [1, 2, 0]> ({"longer" if cached else "x"})
            seen = Conv <pads = {pads}> (turned, kernel)
            back = Transpose <perm = [2, 0, 1]> (seen)
            y, h, c = LSTM <hidden_size = 4> (back, w, r, , , h0, c0)
        }}
    """)
    numbers = np.random.default_rng(0)
    arrays = {"kernel": (2, 2, width), "w": (1, 16, 2), "r": (1, 16, 4)}
    for name, shape in arrays.items():
        array = numbers.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for name, number in {"ago": -2, "end": 2**31, "zero": 0}.items() if cached else ():
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    for value in model.graph.output:
        value.type.tensor_type.elem_type = 1
    return model


STATE = {"h0": "h", "c0": "c"}


def test_padding_at_each_cut_is_warned_of():
    model = tinyseq.load(exported(3, [1, 1]), state=STATE)
    with pytest.warns(tinyseq.ChunkWarning, match=r"Conv.*pads each chunk along 'frames'"):
        model.stream()
    with pytest.warns(tinyseq.ChunkWarning):
        model.pool(2)


@pytest.mark.parametrize(
    ("model", "state"),
    [(exported(1, [0, 0]), STATE), (exported(3, [0, 0], cached=True), STATE | {"old": "new"})],
    ids=["one frame", "cached"],
)
def test_what_sees_no_edge_is_not_warned_of(model, state):
    loaded = tinyseq.load(model, state=state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = loaded.stream()
    x = np.random.default_rng(1).normal(size=(6, 1, 2)).astype(np.float32)
    start = {name: np.zeros((2, 1, 2) if name == "old" else (1, 1, 4), np.float32) for name in state}
    whole = loaded.run({"x": x} | start)["y"]
    chunks = [stream.step({"x": chunk})["y"] for chunk in (x[:1], x[1:4], x[4:])]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_the_voice_detector_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tinyseq.load(assets.fetch("silero-chunk").read_bytes()).stream()


def with_state_as_inputs(layers: Layers) -> tinyseq.Session:
    """A model of some layers and an LSTM behind them, which takes the state of all that run along frames."""
    return tinyseq.Session(expose_state(layers.lstm().model().model))


@settings(max_examples=max(100, settings.default.max_examples))
@given(
    layers=layered(),
    cuts=st.lists(st.integers(1, FRAMES - 1), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_as_many_frames_but_other_ones_are_warned_of(layers, cuts):
    session = with_state_as_inputs(layers).with_any_state()
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        one, many = session.stream(), session.stream()
    try:
        whole = one.step({"x": signal()})["y"]
        parts = [many.step({"x": part})["y"] for part in np.split(signal(), cuts, 1)]
    except tinyseq.FeedError:  # Fewer frames than a window takes.
        return
    together = np.concatenate(parts, 1)
    # Of other numbers of frames, as windows that are not padded give them, whole and parts may come to one.
    if together.shape == whole.shape == signal().shape and not np.array_equal(
        together, whole, equal_nan=True
    ):
        assert [one.category for one in given] == [tinyseq.ChunkWarning] * 2


@pytest.mark.parametrize(
    ("model", "broken"),
    [(exported(1, [0, 0]), ""), (exported(3, [2, 0]), "pads each chunk along 'frames'")],
    ids=["one frame", "padded"],
)
def test_the_check_of_streams_cuts_what_such_a_model_is_fed(model, broken):
    session = tinyseq.load(model, state=STATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tinyseq.ChunkWarning)
        law, *others = tinyseq.check_stream(session).findings
    assert law.tried and bool(law.broken) == bool(broken) and broken in law.broken
    assert not any(other.broken for other in others)
