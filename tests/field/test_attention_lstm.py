"""onnxruntime's LSTM that attends to a memory, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import tinyseq
from tests.models import graph, value

FRAMES, ROWS, FEATURES, UNITS, STEPS, DEPTH, KEYS = 6, 2, 3, 4, 5, 3, 7
FED = ("x", "lengths", "h", "c", "memory", "memory_lengths")
NAMES = ("x", "w", "r", "b", "lengths", "h", "c", "p", "qw", "mw", "v", "memory", "memory_lengths", "aw")

LENGTHS = {"lengths": np.array([3, 6], np.int32)}
MEMORY_LENGTHS = {"memory_lengths": np.array([5, 2], np.int32)}

FORMS = {
    "forward": ((), {}, {}),
    "reverse": ((), {}, {"direction": "reverse"}),
    "both ways": ((), {}, {"direction": "bidirectional"}),
    "attention layer": (("aw",), {}, {}),
    "first states": (("h", "c"), {}, {}),
    "lengths": ((), LENGTHS, {}),
    "lengths, reverse": ((), LENGTHS, {"direction": "reverse"}),
    "lengths of the memory": ((), MEMORY_LENGTHS, {}),
    "all": (("aw", "h", "c", "p"), LENGTHS | MEMORY_LENGTHS, {"direction": "bidirectional"}),
    "activations": ((), {}, {"activations": ["HardSigmoid", "relu", "Tanh"]}),
}


def made(more: tuple[str, ...] = (), given: dict | None = None, **attributes) -> tuple[bytes, dict]:
    """A file and its feeds."""
    rng = np.random.default_rng(0)
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    attended = 2 if "aw" in more else DEPTH
    shapes = {
        "x": (FRAMES, ROWS, FEATURES),
        "w": (count, 4 * UNITS, FEATURES + attended),
        "r": (count, 4 * UNITS, UNITS),
        "b": (count, 8 * UNITS),
        "qw": (count, UNITS, KEYS),
        "mw": (count, DEPTH, KEYS),
        "v": (count, KEYS),
        "memory": (ROWS, STEPS, DEPTH),
    }
    others = {
        "h": (count, ROWS, UNITS), "c": (count, ROWS, UNITS), "p": (count, 3 * UNITS),
        "aw": (count, UNITS + DEPTH, 2),
    }  # fmt: skip
    shapes |= {name: others[name] for name in more}
    arrays = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= given or {}
    names = [name if name in arrays else "" for name in NAMES]
    fed = {name: arrays.pop(name) for name in FED if name in arrays}
    node = helper.make_node(
        "AttnLSTM", names, ["y", "y_h", "y_c"], "it", domain="com.microsoft", hidden_size=UNITS, **attributes
    )
    inputs = [
        value(name, array.dtype, ["frames", *array.shape[1:]] if name == "x" else array.shape)
        for name, array in fed.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in ("y", "y_h", "y_c")]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    whole = helper.make_model(graph([node], inputs, outputs, arrays), opset_imports=imports, ir_version=8)
    return whole.SerializeToString(), fed


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_onnxruntime_gives(form, device):
    more, given, attributes = FORMS[form]
    model, feeds = made(more, given, **attributes)
    expected = onnxruntime.InferenceSession(model).run(None, feeds)
    found = tinyseq.load(model, device=device).run(feeds)
    for name, theirs in zip(("y", "y_h", "y_c"), expected, strict=True):
        np.testing.assert_allclose(found[name], theirs, atol=1e-5)


def test_a_stream_is_refused_by_name():
    model, _ = made()
    with pytest.raises(tinyseq.ModelError, match=r"'it'.*no state inputs"):
        tinyseq.load(model).stream()


def test_what_is_wrong_is_said():
    for words, attributes in (
        (r"'it'.*'sideways' is none of forward", {"direction": "sideways"}),
        (
            r"'it'.*two directions",
            {"direction": "bidirectional", "activations": ["Elu"] * 6, "activation_alpha": [0.5] * 6},
        ),
        (r"'it'.*clips", {"clip": 0.3}),
        ("'it'", {"beam": 3}),
    ):
        model, _ = made(**attributes)
        with pytest.raises(tinyseq.ModelError, match=words):
            tinyseq.load(model)
