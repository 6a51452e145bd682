"""The n-th shape that a session meets gives what it gives to a session that meets no other, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import tinyseq
from tests.models import model, value
from tests.strategies import CASES, at, cut
from tinyseq.errors import TinyseqError
from tinyseq.runtime.session import Session
from tinyseq.tools.verify import random_feeds

SIZES = (3, 5, 2, 7, 1, 5, 3, 6)

MODELS = (
    *("silero-chunk", "silero-sequence", "khmer", "gtcrn", "dtln-1", "dtln-2", "nsnet2", "tashkeel"),
    *("romanizer-encoder", "romanizer-decoder", "voicefilter", "voicefilter-embedder", "ocr"),
)
"""Assets of models."""

FIXED = {"silero-chunk": {"sequence": 576}}
"""Open sizes that a model takes at one value only."""


def encoder() -> bytes:
    """Attention over frames x[rows, n, 4] with tables of every type cut to n: positions, masks, numbers of
    frames. A state h[rows, 4] adds up what each step saw."""
    rng = np.random.default_rng(0)
    many, fours = 16, np.array([4])
    constants = {
        "positions": rng.standard_normal((many, 4)).astype(np.float32),
        "seen": np.tril(np.ones((many, many), bool)),
        "bias": np.where(np.tril(np.ones((many, many), bool)), 0, -np.inf).astype(np.float32),
        "odd": np.array([np.nan, -0.0, np.inf, -1.5] * 4, np.float32),
        "counts": np.arange(many, dtype=np.int32) * 3,
        "numbers": np.arange(many),
        "w": rng.standard_normal((4, 4)).astype(np.float32),
        "from": np.array([0]),
        "froms": np.array([0, 0]),
        "axes": np.array([0, 1]),
        "axis": np.array([1]),
        "one": np.array(1),
        "lowest": np.array(-np.inf, np.float32),
        "four": fours,
    }

    def node(op: str, inputs: str, output: str, **attributes):
        return helper.make_node(op, inputs.split(), [output], **attributes)

    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "n", axis=0),
        node("Unsqueeze", "n from", "n1"),
        node("Concat", "n1 n1", "nn", axis=0),
        node("Slice", "positions from n1", "p"),
        node("MatMul", "p w", "q"),
        node("Tanh", "q", "tanh"),
        node("Softmax", "q", "soft", axis=0),
        node("ReduceSum", "q from", "sum"),
        node("Slice", "seen froms nn axes", "causal"),
        node("Slice", "bias froms nn axes", "mask"),
        node("Slice", "odd from n1", "specials"),
        node("Slice", "counts from n1", "int32"),
        node("Gather", "numbers n", "number", axis=0),
        node("Sub", "n one", "last"),
        node("Gather", "positions last", "last_position", axis=0),
        node("Add", "x q", "placed"),
        node("Transpose", "placed", "turned", perm=[0, 2, 1]),
        node("MatMul", "placed turned", "scores"),
        node("Where", "causal scores lowest", "hidden"),
        node("Add", "hidden mask", "masked"),
        node("Softmax", "masked", "weights", axis=-1),
        node("MatMul", "weights x", "y"),
        node("ReduceSum", "y axis", "total", keepdims=0),
        node("Add", "h total", "hn"),
        node("Not", "causal", "hides"),
        node("Cast", "n", "size", to=TensorProto.FLOAT),
    ]
    known = {"tanh": np.float32, "soft": np.float32, "sum": np.float32, "mask": np.float32}
    known |= {"specials": np.float32, "int32": np.int32, "number": np.int64, "last_position": np.float32}
    known |= {"hides": bool, "size": np.float32, "nn": np.int64, "causal": bool}
    return model(
        nodes,
        [value("x", shape=["rows", "n", 4]), value("h", shape=["rows", 4])],
        [value("y"), value("hn", shape=["rows", 4]), *(value(name, of) for name, of in known.items())],
        constants,
    )


def frames(size: int, rows: int = 2) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((rows, size, 4)).astype(np.float32)


def outcome(run: Callable[[int], dict], size: int) -> list | type:
    """All that a run of a size gave, or what it raised."""
    try:
        results = run(size)
    except TinyseqError as error:
        return type(error)
    arrays = {name: np.asarray(array) for name, array in results.items()}
    return [(name, array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()]


def as_fresh(once: Callable[[], Callable[[int], dict]], sizes: Iterable[int]) -> list:
    """``once()`` makes what runs a size; one runs all sizes as a new one runs each. Gives the outcomes."""
    kept = once()
    found = [outcome(kept, size) for size in sizes]
    for size, mine in zip(sizes, found, strict=True):
        assert mine == outcome(once(), size), f"size {size}"
    return found


def running(session: Session) -> Callable[[int], dict]:
    return lambda size: session.run({"x": frames(size), "h": np.zeros((2, 4), np.float32)})


def streaming(session: Session) -> Callable[[int], dict]:
    stream = session.stream()

    def step(size: int) -> dict:
        stream.reset()
        results = stream.step({"x": frames(size, 1)})
        return {**results, "state": stream.snapshot()["h"]}

    return step


def pooled(session: Session) -> Callable[[int], dict]:
    pool = session.pool(3)
    rows = [pool.open() for _ in range(3)][1:]

    def step(size: int) -> dict:
        for row in rows:
            pool.reset(row)
        results = pool.step(rows, {"x": frames(size)})
        return {**results, "state": pool.snapshot(rows[1])["h"]}

    return step


WAYS = (running, streaming, pooled)


@pytest.mark.parametrize("way", WAYS)
def test_tables_of_every_type(isa, way):
    assert type not in map(type, as_fresh(lambda: way(tinyseq.load(encoder(), state={"h": "hn"})), SIZES))


def test_tables_of_every_type_in_an_inference_session():
    def once() -> Callable[[int], dict]:
        session = tinyseq.InferenceSession(encoder())
        names = [output.name for output in session.get_outputs()]
        feeds = {"h": np.zeros((2, 4), np.float32)}
        return lambda size: dict(zip(names, session.run(None, feeds | {"x": frames(size)})))

    as_fresh(once, SIZES)


def test_every_size_agrees_with_the_reference():
    session, exact = (tinyseq.load(encoder(), device=device) for device in ("cpu", "reference"))
    for size in SIZES:
        expected = running(exact)(size)
        for name, array in running(session)(size).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)
            assert array.dtype.kind == expected[name].dtype.kind


@pytest.mark.parametrize("name", MODELS)
def test_real_models(asset, name):
    path = asset(name)

    def once() -> Callable[[int], dict]:
        session = tinyseq.load(path)
        named = {size for each in session.inputs for size in each.shape or () if isinstance(size, str)}
        given = {"sr": np.array(16000)} if name == "silero-chunk" else {}

        def run(size: int) -> dict:
            sizes = dict.fromkeys(named, size) | FIXED.get(name, {})
            return session.run(random_feeds(session, sizes, given, size))

        return run

    assert list in map(type, as_fresh(once, (3, 5, 2, 4)))


@given(form=st.sampled_from(sorted(CASES)), base=st.integers(2, 5), data=st.data())
def test_any_op(form, base, data):
    case = data.draw(cut(data.draw(CASES[form]), base))

    def once() -> Callable[[int], dict]:
        session = tinyseq.load(case.model)
        return lambda size: session.run(at(case, size))

    try:
        tinyseq.load(case.model)
    except TinyseqError:
        return
    as_fresh(once, [base, base + 1, *data.draw(st.lists(st.integers(0, 8), max_size=3)), base])
