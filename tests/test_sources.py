"""Ops give the same wherever their inputs come from and however these lie."""

from __future__ import annotations

from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import tinyseq
from tests.models import Case
from tests.strategies import CASES, LAYERS, chains, layers_of_any_kind, op_of
from tests.strategies.sources import SOURCES, Sourced, sourced
from tinyseq.errors import TinyseqError
from tinyseq.ir.ops import FAMILY
from tinyseq.plan import abreast, blocks, draft, ring
from tinyseq.plan.lower import movement, sliding

FAMILIES = ("linear", "recurrent", "reduction", "signal", "windows")
"""Those of ops that compute with what lies beside an element."""

FORMS = {
    **{form: case for form, case in CASES.items() if FAMILY[op_of(form)] in FAMILIES},
    "chains": chains(),
    **{f"any {layer}": layers_of_any_kind(layer) for layer in LAYERS},
}

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.BroadcastWarning", "ignore:no node reads")


def as_if_large() -> ExitStack:
    """What is done for large tensors alone is done for all."""
    stack = ExitStack()
    for module, limits in (
        (sliding, {"MANY": 0}),
        (blocks, {"FAR": 256, "NEAR": 64}),
        (draft, {"LARGE": 4}),
        (abreast, {"MOST_UNITS": 10**6}),
        (ring, {"LONG": 1}),
        (movement, {"LONG": 1, "LARGE": 1}),
    ):
        stack.enter_context(mock.patch.multiple(module, **limits))
    return stack


def results(given_: Sourced) -> dict[str, np.ndarray]:
    if not given_.state:
        return tinyseq.load(given_.case.model).run(given_.case.feeds)
    stream = tinyseq.load(given_.case.model, state=given_.pairs, finite=False).stream()
    for name, array in given_.state.items():
        stream.state[name][...] = array
    return dict(stream.step(given_.case.feeds))


def same_as(case: Case, given_: Sourced) -> None:
    try:
        right, found = tinyseq.load(case.model).run(case.feeds), results(given_)
    except TinyseqError:
        reject()
    for name, array in right.items():
        assert found[name].shape == array.shape, name
        np.testing.assert_allclose(found[name], array, rtol=2e-4, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_an_op_gives_the_same_wherever_its_inputs_come_from(form, source, data):
    case = data.draw(FORMS[form])
    with as_if_large() if data.draw(st.booleans()) else ExitStack():
        same_as(case, data.draw(sourced(case, source)))
