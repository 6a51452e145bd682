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
from tinyseq.errors import FeedError, ModelError, UnsupportedError
from tinyseq.export.steps import Request, stepping

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.BroadcastWarning")

AT_ONCE = 8
"""Models in one library: compiling takes seconds, however few they are."""

once = settings(max_examples=1, phases=[Phase.generate], database=None)


@once
@given(st.lists(layered(), min_size=AT_ONCE, max_size=AT_ONCE), st.data())
def test_layers_over_frames(tmp_path, models, data):
    made = []
    for layers in models:
        frames = data.draw(st.sampled_from([None, 1, 5, 9]))
        rows = data.draw(st.sampled_from([1, 1, 3]))
        session = layers.model()
        if session.doubts or not session.state:
            rows = 1
        try:
            session.stream()
        except ModelError:
            continue
        made.append(stepping(session, Request(frames=frames, rows=rows)))
    assert len(made) > AT_ONCE // 2
    assert any(one.request.rows > 1 for one in made) and any(one.has_place for one in made)
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


@pytest.mark.parametrize("part", range(4))
def test_every_op(tmp_path, part):
    @once
    @given(st.data())
    def run(data):
        made = []
        for form in FORMS[part::4]:
            case = data.draw(CASES[form], label=form)
            try:
                session = tinyseq.load(case.model)
                expected = session.stream().step(case.feeds)
                made.append((case, planned(case), expected))
            except (ModelError, FeedError, UnsupportedError):
                continue
        assert len(made) > len(FORMS) // 8
        natives = compiled([one for _, one, _ in made], tmp_path)
        for native, (case, own, expected) in zip(natives, made, strict=True):
            feeds = {name: case.feeds[name] for name in (value.name for value in own.inputs)}
            assert check(native, 0, 1, feeds, expected)

    run()
