"""Every op and random graphs: the CPU against the float64 reference and against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinyseq
from tests.models import Case, recurrent
from tests.strategies import CASES, LAYERS, SIZES, chains, layers, layers_of_any_kind, op_of
from tinyseq.errors import UnsupportedError
from tinyseq.ir.ops import OPS

BOUND = 2e-5
"""The most that float32 results may differ from exact ones, absolute below 1 and relative above.
The operands are of magnitude 1, the sums short and the layers at most a dozen frames long. Recurrent layers,
of any kind and size that is drawn here, stay within a twentieth of it."""

GROWN = 1e12
"""With activations that have no bounds, states can grow beyond all that float32 holds: layers whose exact
results are larger are not compared."""


def close(results: dict, expected: dict, bound: float = BOUND) -> None:
    assert list(results) == list(expected)
    for name, array in results.items():
        np.testing.assert_allclose(array, expected[name], rtol=bound, atol=bound, err_msg=name)


def by_onnxruntime(case: Case) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, case.feeds), strict=True))


REFUSED = {
    "Loop": "how many turns it makes is computed",
    "Dropout": "training_mode is on",
}
"""What the CPU refuses of an op that it runs otherwise, and what it then says."""


def runs_or_is_refused(form: str, check: Callable[[Case], None], case: Case) -> None:
    try:
        check(case)
    except UnsupportedError as error:
        assert REFUSED.get(form, "nothing is refused") in str(error)


QUANTUM = 2e-3
"""The most that results may differ where rounded numbers are rounded again: one step of a byte."""


def bound_of(form: str) -> float:
    return QUANTUM if op_of(form) == "DynamicQuantizeLSTM" else BOUND


def agrees_with_onnxruntime(case: Case, device: str = "cpu", bound: float = BOUND) -> None:
    results = tinyseq.load(case.model, device=device).run(case.feeds)
    expected = by_onnxruntime(case)
    close(results, expected, bound)
    for name, array in results.items():
        dtype = expected[name].dtype
        if device == "reference" and dtype.kind == "f":
            dtype = np.dtype(np.float64)
        assert (array.shape, array.dtype) == (expected[name].shape, dtype)


def agrees_with_the_reference(case: Case, bound: float = BOUND) -> None:
    expected = tinyseq.load(case.model, device="reference").run(case.feeds)
    assume(
        all(np.all(np.abs(y) < GROWN, where=np.isfinite(y)) for y in expected.values() if y.dtype.kind == "f")
    )
    results = tinyseq.load(case.model).run(case.feeds)
    close(results, expected, bound)
    for name, array in results.items():
        assert array.shape == expected[name].shape


ONNXRUNTIME_CASES = (
    CASES
    | {op: layers(op, least=1) for op in LAYERS}
    | {f"{op}: any": layers_of_any_kind(op, for_onnxruntime=True) for op in LAYERS}
)
"""In layers, onnxruntime aborts on empty tensors and zeroes the states of rows without a valid frame."""

ONNXRUNTIME_LACKS = {
    "Mod: floats": "fmod=0 of floats",
    "SpaceToDepth: any": "the attribute mode",
    "LpNormalization: zeros": "the zero that the specification gives what has no length",
    "TopK: special": "an order of numbers and not-a-number",
    "ArgMax: special": "a place of not-a-number",
    "ArgMin: special": "a place of not-a-number",
}
"""What onnxruntime does not do as the specification, or as NumPy, says."""

NOT_EMPTY = {"MatMul", "Split"}
"""Ops for which onnxruntime refuses some empty tensors."""


def test_every_op_has_cases():
    assert set(map(op_of, CASES)) == set(OPS)


@pytest.mark.parametrize("form", sorted(CASES))
@given(data=st.data())
def test_op_agrees_with_the_reference(isa, form, data):
    runs_or_is_refused(form, partial(agrees_with_the_reference, bound=bound_of(form)), data.draw(CASES[form]))


@pytest.mark.parametrize("form", sorted(ONNXRUNTIME_CASES.keys() - ONNXRUNTIME_LACKS.keys()))
@given(data=st.data())
def test_op_agrees_with_onnxruntime(form, data):
    case = data.draw(ONNXRUNTIME_CASES[form])
    assume(op_of(form) not in NOT_EMPTY or all(array.size for array in case.feeds.values()))
    bound = bound_of(form)
    runs_or_is_refused(form, partial(agrees_with_onnxruntime, bound=bound), case)
    agrees_with_onnxruntime(case, "reference", bound)


@given(case=chains())
def test_chain_agrees_with_the_reference(isa, case):
    agrees_with_the_reference(case)


@given(case=chains())
def test_chain_agrees_with_onnxruntime(case):
    agrees_with_onnxruntime(case)


@pytest.mark.parametrize("op", LAYERS)
@given(hidden=SIZES, cuts=st.lists(st.integers(0, 12), max_size=3), seed=st.integers(0, 99))
def test_streams_agree_with_the_reference(isa, op, hidden, cuts, seed):
    case = recurrent(op, 12, hidden=hidden, outputs=["y"], seed=seed)
    stream, exact = (tinyseq.load(case.model, device=device).stream() for device in ("cpu", "reference"))
    for x in np.split(case.feeds["x"], sorted(cuts)):
        close(stream.step({"x": x}), exact.step({"x": x}))
    close(dict(stream.snapshot()), dict(exact.snapshot()))


@given(case=chains())
def test_repeated_runs_agree_in_every_bit(isa, case):
    """Plans are kept and arenas used again: a run must not depend on what ran before."""
    session = tinyseq.load(case.model)
    first = session.run(case.feeds)
    other = {name: np.full_like(array, np.nan) for name, array in case.feeds.items()}
    session.run(other)
    second = session.run(case.feeds)
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)
