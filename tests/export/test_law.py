"""The law of libraries: what is computed in C has the bits of what Python computes, step by step."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tinyseq
from tests.export.together import check, compiled, same
from tests.models import Case
from tests.strategies import CASES
from tests.strategies.streams import layered
from tinyseq.errors import FeedError, ModelError
from tinyseq.export.steps import Request, stepping

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.BroadcastWarning")

MODELS = 16
"""Models that are drawn for one library: compiling takes seconds, however few they are."""

MOST_PROGRAMS = 20
"""Programs of a model that is taken: compiling them takes long where there are many."""

EXAMPLES = 3
"""Models of an op that are drawn, of which the last is taken: the first ones are the simplest."""


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


def planned(case: Case):
    """A library's steps for an op's model and inputs; inputs that must be known are."""
    session = tinyseq.load(case.model)
    sizes = {
        size: n
        for value in session.inputs
        for size, n in zip(value.shape or (), case.feeds[value.name].shape)
        if isinstance(size, str)
    }
    known: dict = {}
    while True:
        try:
            return stepping(session, Request(sizes, known))
        except FeedError as error:
            missing = str(error).partition("give its value: ")[2].partition("=")[0]
            if not missing:
                raise
            known[missing] = case.feeds[missing]


FORMS = list(CASES)


@pytest.mark.parametrize("part", range(2))
def test_every_op(tmp_path, part):
    made = []
    for form in FORMS[part::2]:
        case = drawn(CASES[form], EXAMPLES)[-1]
        try:
            expected = tinyseq.load(case.model).stream().step(case.feeds)
        except (ModelError, FeedError):
            continue
        made.append((case, planned(case), expected))
    assert len(made) > len(FORMS) // 5
    for native, (case, own, expected) in zip(
        compiled([one for _, one, _ in made], tmp_path), made, strict=True
    ):
        assert check(native, 0, 1, {value.name: case.feeds[value.name] for value in own.inputs}, expected)
