"""What a row of the op table says of its op beside inputs, outputs and attributes: that it holds, and that it
is read where it counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.strategies import CASES, op_of
from tinyseq import reference
from tinyseq.decode.generation import decoder
from tinyseq.ir import effort
from tinyseq.ir.model import needed_values, rows_meet
from tinyseq.ir.ops import OPS
from tinyseq.passes import reach
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import Plans
from tinyseq.runtime.loading import read
from tinyseq.tools.cost import operations

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.ConversionWarning")

MOVING = [form for form in CASES if OPS[op_of(form)].moves]
KEEPING = [form for form in CASES if OPS[op_of(form)].keeps_values]


@pytest.fixture
def flag(monkeypatch):
    """Gives an op another row."""
    return lambda op, **flags: [monkeypatch.setattr(OPS[op], flag, value) for flag, value in flags.items()]


def computed(form: str, data: st.DataObject) -> tuple:
    """The node of a random model, its inputs and its results by the reference."""
    case = data.draw(CASES[form])
    graph = read(case.model).graph
    names = graph.constants | case.feeds
    for node in graph.nodes:
        inputs = [names[name] if name else None for name in node.inputs]
        results = reference.apply(node, inputs)
        if node.op == op_of(form):
            return node, inputs, results
        names |= dict(zip(node.outputs, results))
    raise AssertionError(form)


def words(array: np.ndarray) -> np.ndarray:
    """Numbers of any type as float64, NaN being equal to itself."""
    return np.nan_to_num(np.asarray(array, np.float64), nan=12345.0)


@pytest.mark.parametrize("form", KEEPING)
@given(data=st.data())
def test_what_keeps_values_gives_those_of_its_first_input(form, data):
    node, inputs, results = computed(form, data)
    row = node.row
    if row.moves:
        for array in results:
            assert np.isin(words(array), words(inputs[0])).all()
    if row.rearranges:
        np.testing.assert_array_equal(np.sort(words(results[0]).ravel()), np.sort(words(inputs[0]).ravel()))
    elif not row.moves:
        assert results[0].shape == inputs[0].shape


@pytest.mark.parametrize("form", MOVING)
@given(data=st.data())
def test_what_an_op_moves_comes_through(form, data):
    """Of zeros in the inputs that it moves come zeros only, whatever the others hold."""
    node, inputs, _ = computed(form, data)
    if node.op in ("ScatterElements", "ScatterND") and node.attributes["reduction"] != "none":
        return
    marked = [
        np.full_like(array, 0) if node.row.place(index) in node.row.moves and array is not None else array
        for index, array in enumerate(inputs)
    ]
    if node.op == "Pad" and len(marked) > 2 and marked[2] is not None:
        marked[2] = np.full_like(marked[2], 0)
    for array in reference.apply(node, marked):
        assert not np.asarray(array, np.float64).any()


def graph(*ops: str, shape: tuple = ("rows", 4)) -> tinyseq.Graph:
    """Ops of one input, one after the other."""
    g = tinyseq.Graph()
    x = g.input("x", shape)
    for op in ops:
        x = g.apply(op, x)
    g.output("y", x)
    return g


def test_rows_meet(flag):
    model = graph("Relu").model()
    assert not rows_meet(model.graph)
    flag("Relu", rows_meet=True)
    assert rows_meet(model.graph)
    assert {op for op, row in OPS.items() if row.rows_meet} == {
        "Relu",
        "DynamicQuantizeLinear",
        "DynamicQuantizeLSTM",
    }


def drafts(monkeypatch) -> list:
    found: list = []
    draft = Planner.draft
    monkeypatch.setattr(Planner, "draft", lambda self, *given: found.append(given) or draft(self, *given))
    return found


@pytest.mark.parametrize(("count", "anew"), [(1, 1), (0, 4)])
def test_open_inputs(flag, monkeypatch, count, anew):
    """Planned once for all numbers of rows, where a concatenation may hold them open."""
    flag("Concat", open_inputs=count)
    g = tinyseq.Graph()
    x = g.input("x", ["rows", 4])
    rows = g.apply("Shape", x, end=1)
    g.output("y", g.apply("Reshape", x, g.concat([rows, np.array([2, 2], np.int64)], 0)))
    plans, found = Plans(Planner(g.model(), PackedWeights(()))), drafts(monkeypatch)
    for size in (3, 4, 5, 6):
        plans.plan({"x": np.zeros((size, 4), np.float32)})
    assert (len(found) <= 2) == (anew == 1)


@pytest.mark.parametrize(("narrow", "copies"), [(True, 0), (False, 1)])
def test_takes_bytes(flag, narrow, copies):
    """What takes no narrow tensors is given them widened, by a copy."""

    def length(between: tuple[str, ...]) -> int:
        g = tinyseq.Graph()
        scale, zero = np.float32(0.1), np.uint8(3)
        x = g.apply("QuantizeLinear", g.input("x", [4, 6]), scale, g.constant(zero))
        for op in between:
            x = g.apply(op, x)
        g.output("y", g.apply("DequantizeLinear", x, scale, g.constant(zero)))
        return Planner(g.model(), PackedWeights(())).draft({"x": (4, 6)}, {}).plan().program.size

    plain = length(())
    flag("Flatten", takes_bytes=narrow)
    assert (length(("Flatten",)) > plain) == bool(copies)


def test_sizes_only(flag):
    """What tells of sizes alone need not be computed before the model runs for what decides shapes."""
    g = tinyseq.Graph()
    x = g.input("x", ["rows"], np.int64)
    g.output("y", g.apply("Reshape", g.input("z", ["size"]), g.apply("Neg", x)))
    model = g.model()
    assert needed_values(model.graph) >= {"x"}
    flag("Neg", sizes_only=True)
    assert "x" not in needed_values(model.graph)


def test_needs(flag):
    """Why an op cannot be streamed is said in its row's words."""
    flag("Softmax", needs="would rather wait")
    session = tinyseq.load(graph("Softmax", shape=("frames",)), device="reference")
    with pytest.raises(tinyseq.ModelError, match="would rather wait"):
        session.stream()


def test_moves(flag):
    node = graph("Relu").model().graph.nodes[0]
    assert not reach.moves(node, [1, 0]) and not reach.moves_only(node)
    flag("Relu", moves=(0,))
    assert reach.moves(node, [1, 0])
    flag("Relu", moves=(0,), keeps_values=True)
    assert reach.moves_only(node) and not reach.recasts(node)
    flag("Relu", moves=(), keeps_values=True)
    assert reach.recasts(node) and reach.moves(node, [1, 0])


def test_keeps_values(flag):
    """Scores stay probabilities through what keeps values."""
    made = graph("Softmax", "Relu").model().graph
    assert decoder.kind_of(made, "y", None) == decoder.LOGITS
    flag("Relu", keeps_values=True)
    assert decoder.kind_of(made, "y", None) == decoder.PROBABILITIES


@pytest.mark.parametrize("streams", [True, False])
def test_rearranges(flag, streams):
    """Padding in time passes through what rearranges elements, up to the convolution that takes it."""
    flag("Identity", rearranges=streams)
    g = tinyseq.Graph()
    x = g.input("x", [1, 3, "frames"])
    padded = g.apply("Pad", x, np.array([0, 0, 2, 0, 0, 0], np.int64))
    g.output("y", g.conv1d(g.apply("Identity", padded), np.ones((2, 3, 3), np.float32)))
    session = tinyseq.load(g, device="reference")
    assert bool(session.stream_inputs) == streams


def test_grows(flag, monkeypatch):
    asked: list = []
    monkeypatch.setattr(reference, "_check_room", lambda node, inputs: asked.append(node.op))
    model, feeds = graph("Relu").model(), {"x": np.zeros((2, 4), np.float32)}
    reference.run(model, feeds)
    assert asked == []
    flag("Relu", grows=True)
    reference.run(model, feeds)
    assert asked == ["Relu"]


def test_multiplications_and_turns(flag):
    model, feeds = graph("Relu").model(), {"x": np.zeros((2, 4), np.float32)}
    node, inputs = model.graph.nodes[0], [feeds["x"]]
    before = effort.effort(node, inputs, [(2, 4)])
    assert operations(model, feeds) == 0
    flag("Relu", multiplications=lambda attributes, shapes, y: 7 * y[1], turns=lambda shapes: shapes[0][0])
    assert operations(model, feeds) == 2 * 28
    assert effort.effort(node, inputs, [(2, 4)]) == before + 28 + 2 * effort.A_TURN


def test_looks(flag):
    """What looks along the frames is not computed frame by frame."""
    made = graph("Relu", shape=("frames", 1, 4))
    assert tinyseq.load(made, device="reference").stream_inputs
    flag("Relu", looks=OPS["NonZero"].looks)
    with pytest.raises(tinyseq.ModelError, match="looks at all frames"):
        tinyseq.load(graph("Relu", shape=("frames", 1, 4)), device="reference").stream()
