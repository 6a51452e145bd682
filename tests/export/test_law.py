"""The law of libraries: what is computed in C has the bits of what Python computes, step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tinyseq
from tests.export.together import check, compiled, same
from tests.models import Case, recurrent
from tests.strategies import CASES
from tests.strategies.streams import layered
from tinyseq.errors import FeedError, ModelError
from tinyseq.export.steps import Request, Stepping, stepping
from tinyseq.kernels.instructions import OPCODES
from tinyseq.runtime.session import Session

pytestmark = pytest.mark.filterwarnings(
    "ignore::tinyseq.BroadcastWarning", "ignore::tinyseq.ConversionWarning"
)

MODELS = 10
"""Models that are drawn for one library: compiling takes seconds, however few they are."""

MOST_PROGRAMS = 20
"""Programs of a model that is taken: compiling them takes long where there are many."""

EXAMPLES = 8
"""Models of an op that are drawn, of which the last one that streams is taken: the first are the simplest."""


def drawn(strategy: st.SearchStrategy, count: int) -> list:
    """Random examples, simple ones first."""
    found: list = []

    @settings(max_examples=count, phases=[Phase.generate], database=None)
    @given(strategy)
    def draw(one):
        found.append(one)

    draw()
    return found


def test_layers_over_frames(tmp_path):
    choices = st.tuples(layered(), st.sampled_from([None, 1, 3]), st.sampled_from([1, 1, 3]))
    made = []
    for layers, frames, rows in drawn(choices, MODELS):
        session = layers.model()
        try:
            session.stream()
            pooled = bool(session.state) and not session.pool(1).one_by_one
        except ModelError:
            continue
        one = stepping(session, Request(frames=frames, rows=rows if pooled else 1))
        if len(one.steps) <= MOST_PROGRAMS:
            made.append(one)
    assert len(made) > MODELS // 2
    assert any(one.request.rows > 1 for one in made) and any(one.has_place for one in made)
    assert any(one.has_place and one.request.frames == 3 for one in made)
    for native in compiled(made, tmp_path):
        assert same(native, 12)


def planned(session: tinyseq.Session, feeds: dict) -> Stepping:
    """A library's steps for inputs, of which those that must be known are."""
    known: dict = {}
    while True:
        try:
            return stepping(session, Request(given=known))
        except FeedError as error:
            missing = str(error).partition("give its value: ")[2].partition("=")[0]
            if not missing:
                raise
            known[missing] = feeds[missing]


def streamed(case: Case) -> tuple[tinyseq.Session, dict] | None:
    """An op's model for inputs of just these shapes and what a step gives; None where it is no stream."""
    model = tinyseq.load(case.model).model
    inputs = tuple(value._replace(shape=case.feeds[value.name].shape) for value in model.graph.inputs)
    session = Session(model._replace(graph=model.graph._replace(inputs=inputs)))
    try:
        return session, session.stream().step(case.feeds)
    except (ModelError, FeedError):
        return None


FORMS = list(CASES)

NO_STREAMS = {"Loop", "Loop: nested", "Scan", "Scan: nested", "If: nested"} | {
    f"{op}{form}" for op in ("RNN", "GRU", "LSTM") for form in ("", ": any")
}
"""What carries values from turn to turn begins anew in every run; layers are drawn of many rows and
directions, see ``test_recurrent_layers``."""


@pytest.mark.parametrize("part", range(2))
def test_every_op(tmp_path, part):
    made = []
    for form in FORMS[part::2]:
        cases = ((case, streamed(case)) for case in reversed(drawn(CASES[form], EXAMPLES)))
        case, found = next(((case, found) for case, found in cases if found), (None, None))
        assert found or form in NO_STREAMS, form
        if found:
            made.append((case, planned(found[0], case.feeds), found[1]))
    for native, (case, own, expected) in zip(
        compiled([one for _, one, _ in made], tmp_path), made, strict=True
    ):
        assert check(native, 0, 1, {value.name: case.feeds[value.name] for value in own.inputs}, expected)


LAYERS = {
    "RNN": {"op": "RNN"},
    "RNN of another activation": {"op": "RNN", "activations": ["Affine"], "activation_alpha": [0.5]},
    "GRU": {"op": "GRU"},
    "GRU after": {"op": "GRU", "linear_before_reset": 1, "frames": 4},
    "GRU clipped": {"op": "GRU", "clip": 0.3},
    "LSTM": {"op": "LSTM", "frames": 4},
    "LSTM with peepholes": {"op": "LSTM", "peepholes": True, "fed": (0,)},
    "LSTM coupled": {"op": "LSTM", "input_forget": 1},
    "LSTM without bias": {"op": "LSTM", "bias": False, "hidden": 21, "features": 3},
}


def test_recurrent_layers(tmp_path):
    made = []
    for options in LAYERS.values():
        case = recurrent(**{"frames": 1, "static": True, **options})
        made.append(stepping(tinyseq.load(case.model), Request()))
    for native in compiled(made, tmp_path):
        assert native.own.stepping.state_bytes and same(native, 12) == 12


def test_inputs_that_never_change_may_be_plain_numbers(tmp_path):
    graph = tinyseq.Graph()
    x, k, n = graph.input("x", [1, 3]), graph.input("k", []), graph.input("n", [1], np.int16)
    product = graph.apply("Mul", x, k)
    graph.output("y", graph.apply("Add", product, graph.apply("Cast", n, to=np.dtype(np.float32))))
    session = tinyseq.load(graph)
    made = [stepping(session, Request(given=one)) for one in ({"k": 2.5, "n": [7]}, {"k": 0.1}, {})]
    for native in compiled(made, tmp_path):
        assert same(native) == 5


def test_what_python_does_in_blocks_has_the_same_bits_without_them(tmp_path):
    graph = tinyseq.Graph()
    x = graph.input("x", [400, 160])
    raised = graph.apply("LogSoftmax", graph.apply("Erf", x), axis=1)
    graph.output("y", graph.softmax(graph.apply("Mul", raised, x)))
    own = stepping(tinyseq.load(graph), Request())
    assert OPCODES["blocks"] in {row[0] for row in program_rows(own.steps[0].plans[0].program)}
    (native,) = compiled([own], tmp_path)
    assert same(native, 3) == 3


def program_rows(program: np.ndarray):
    """The rows of a program."""
    place = 0
    while place < program.size:
        yield program[place : place + program[place + 1]]
        place += program[place + 1]
