"""Cases of recurrent layers."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.models import Case, recurrent
from tests.strategies.drawing import CASES
from tinyseq.kernels.activations import ACTIVATIONS as activation_table

SIZES = st.integers(1, 40) | st.sampled_from([16, 64, 65, 100])


ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@st.composite
def layers(draw, op: str, least: int = 0) -> Case:
    """A recurrent layer; ``least`` is the smallest number of frames, of rows and of valid frames."""
    frames, rows = draw(st.integers(least, 12)), draw(st.integers(least, 5))
    names = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    kept = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    activations = ACTIVATIONS[op] * (2 if direction == "bidirectional" else 1)
    attributes = {"linear_before_reset": draw(st.sampled_from([None, 0, 1]))} if op == "GRU" else {}
    lengths = st.lists(st.integers(least, frames), min_size=rows, max_size=rows)
    hidden = draw(SIZES)
    return recurrent(
        op, frames, rows, draw(SIZES), hidden,
        bias=draw(st.booleans()),
        lengths=draw(st.none() | lengths),
        initial=draw(st.booleans()),
        fed=draw(st.sampled_from([(0,), (0, 4), (0, 5, 6), (0, 4, 5, 6)])),
        outputs=[name if name in kept else "" for name in names],
        direction=direction,
        seed=draw(st.integers(0, 99)),
        activations=draw(st.sampled_from([None, activations])),
        **attributes,
    )  # fmt: skip


FUNCTIONS = {name: tuple(row.parameters) for name, row in activation_table.items()}
"""The functions of cells and the parameters of each."""

HAVE_DEFAULTS = {"LeakyRelu", "HardSigmoid", "Elu"}
"""Those for whose parameters onnxruntime has defaults."""


def activations(draw, count: int) -> dict[str, list]:
    """Any functions, with parameters where onnxruntime needs them or chance gives them."""
    names = draw(st.lists(st.sampled_from(sorted(FUNCTIONS)), min_size=count, max_size=count))
    bare = {name for name in names if FUNCTIONS[name]} <= HAVE_DEFAULTS and draw(st.booleans())
    given = {"activations": names}
    for kind in ("alpha", "beta"):
        users = 0 if bare else sum(kind in FUNCTIONS[name] for name in names)
        values = draw(st.lists(st.sampled_from([0.125, 0.25, 0.5, 0.75]), min_size=users, max_size=users))
        given[f"activation_{kind}"] = values or None
    return given


@st.composite
def layers_of_any_kind(draw, op: str, for_onnxruntime: bool = False) -> Case:
    """A recurrent layer with all that the specification gives, or all that onnxruntime takes of it."""
    least = int(for_onnxruntime)
    frames, rows = draw(st.integers(least, 8)), draw(st.integers(least, 4))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    functions = len(ACTIVATIONS[op]) * (2 if direction == "bidirectional" else 1)
    attributes = activations(draw, functions) if draw(st.booleans()) else {}
    if op == "GRU":
        attributes["linear_before_reset"] = draw(st.sampled_from([None, 0, 1]))
    if op == "LSTM":
        attributes["input_forget"] = draw(st.sampled_from([None, 0, 1]))
        attributes["peepholes"] = draw(st.booleans())
    lengths = st.lists(st.integers(least, frames), min_size=rows, max_size=rows)
    return recurrent(
        op, frames, rows, draw(st.integers(1, 6)), draw(st.integers(1, 20)),
        bias=draw(st.booleans()),
        lengths=draw(st.none() | lengths),
        initial=draw(st.booleans()),
        direction=direction,
        seed=draw(st.integers(0, 99)),
        fed=draw(st.sampled_from([(0,), (0, 4, 5, 6), range(8)])),
        layout=None if for_onnxruntime else draw(st.sampled_from([None, 0, 1])),
        # To the function of an LSTM's output, onnxruntime gives the cell unclipped.
        clip=None if op == "LSTM" and for_onnxruntime else draw(st.sampled_from([None, 0.25, 1.5])),
        **attributes,
    )  # fmt: skip


LAYERS = ("RNN", "GRU", "LSTM")
CASES.update({f"{op}: any": layers_of_any_kind(op) for op in LAYERS})


CASES.update({op: layers(op) for op in LAYERS})
