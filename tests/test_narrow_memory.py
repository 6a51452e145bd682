"""Narrow weights are narrow in memory: a session keeps no float32 numbers of weights that are rounded."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from stat import S_IFREG
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper, load_from_string

import tinyseq
from tests.models import Case, model, one_node, recurrent, value
from tests.test_bits import projected, same_bits, sequence
from tinyseq.errors import ModelError
from tinyseq.ir import format
from tinyseq.ir.model import Model, constants_of
from tinyseq.ir.narrow import EXACT, PRECISIONS, Narrow
from tinyseq.passes.narrow import with_precision

N = 256
"""Units and features. All weights here are of N * N numbers or more."""

HEADER = 128
"""Bytes that lie before or behind an array's elements, at the most."""

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.BroadcastWarning")


def drawn(*shape: int) -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal(shape) / N**0.5).astype(np.float32)


def normalised() -> Case:
    """A convolution whose weights simplification replaces."""
    constants = {"w": drawn(128, 64, 8)} | {name: np.abs(drawn(128)) for name in ("a", "b", "mean", "var")}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("BatchNormalization", ["t", "a", "b", "mean", "var"], ["y"]),
    ]
    inputs = [value("x", shape=["rows", 64, "frames"])]
    return Case(model(nodes, inputs, [value("y")], constants), {"x": drawn(1, 64, 17)})


CASES: dict[str, Callable[[], Case]] = {
    "RNN": lambda: recurrent("RNN", 3, 1, N, N),
    "GRU": lambda: recurrent("GRU", 3, 1, N, N),
    "LSTM": lambda: recurrent("LSTM", 3, 1, N, N),
    "MatMul": lambda: one_node("MatMul", [drawn(3, N), drawn(N, N)], fed=(0,)),
    "Gemm": lambda: one_node("Gemm", [drawn(3, N), drawn(N, N), drawn(N)], fed=(0,), transB=1),
    "FusedMatMul": lambda: one_node("FusedMatMul", [drawn(3, N), drawn(N, N)], fed=(0,)),
    "Einsum": lambda: one_node("Einsum", [drawn(3, N), drawn(N, N)], fed=(0,), equation="ab,cb->ac"),
    "Conv": lambda: one_node("Conv", [drawn(1, 64, 17), drawn(128, 64, 8)], fed=(0,)),
    "ConvTranspose": lambda: one_node("ConvTranspose", [drawn(1, 128, 3), drawn(128, 64, 8)], fed=(0,)),
    "Conv, BatchNormalization": normalised,
}


def in_use(session: tinyseq.Session, case: Case, folder: Path) -> list[object]:
    """All that may look at weights, for two shapes."""
    ((name, x),) = case.feeds.items()
    longer = {name: np.repeat(x, 2, [size in (3, 17) for size in x.shape].index(True))}
    kept: list[object] = [session.run(case.feeds), session.run(longer), session.fingerprint]
    session.save(folder / "saved.tinyseq")
    if session.streams:
        stream, pool = session.stream(), session.pool(2)
        rows = pool.open(), pool.open()
        kept += [stream.step(case.feeds), stream.step(longer), pool, rows, stream]
    return kept


def wide_copies(case: Case, work: Callable[[], object]) -> list[int]:
    """The sizes of what is held after work that may be a weight of a case in float32."""
    initializers = load_from_string(case.model).graph.initializer
    sizes = {4 * int(np.prod(one.dims)) for one in initializers} - set(range(4 * N * N))
    assert sizes
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        gc.collect()
        held = [trace.size for trace in tracemalloc.take_snapshot().traces]
    finally:
        tracemalloc.stop()
    assert kept
    return [size for size in held if any(wide <= size <= wide + HEADER for wide in sizes)]


def most_of(work: Callable[[], object]) -> int:
    """Bytes that work takes at the most, once all is imported that it needs."""
    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_nothing_holds_a_rounded_weight_in_float32(tmp_path, name, precision):
    case = CASES[name]()
    (tmp_path / "m.onnx").write_bytes(case.model)
    tinyseq.load(case.model, precision=precision).save(tmp_path / "m.tinyseq")
    for source in ("m.onnx", "m.tinyseq"):

        def used(path: Path = tmp_path / source) -> list[object]:
            session = tinyseq.load(path, precision=precision)
            return [session, in_use(session, case, tmp_path)]

        assert not wide_copies(case, used), source


def test_what_holds_weights_in_float32_is_found(tmp_path):
    case = CASES["LSTM"]()

    def used() -> list[object]:
        session = tinyseq.load(case.model)
        return [session, in_use(session, case, tmp_path)]

    assert len(wide_copies(case, used)) == 2


def chain(count: int) -> tinyseq.Graph:
    g = tinyseq.Graph()
    y = g.input("x", ["rows", N])
    for number in range(count):
        y = g.apply("MatMul", y, np.roll(drawn(N, N), number))
    g.output("y", y)
    return g


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_of_a_narrow_file_are_not_widened_together(tmp_path, precision):
    count, x = 6, drawn(1, N)
    tinyseq.load(chain(count), precision=precision).save(tmp_path / "m.tinyseq")
    narrow = PRECISIONS[precision].dtype.itemsize * count * N * N

    def used() -> list[object]:
        session = tinyseq.load(tmp_path / "m.tinyseq")
        return [session, session.run({"x": x})]

    assert most_of(used) < 2 * narrow + 8 * N * N

    def told() -> list[object]:
        return [tinyseq.load(tmp_path / "m.tinyseq").fingerprint]

    assert most_of(told) < narrow + 8 * N * N


def test_a_narrow_weight_is_no_array_and_numpy_widens_it():
    (narrow,) = constants_of(tinyseq.load(chain(1), precision="int8").computed.graph)
    assert isinstance(narrow, Narrow)
    assert (narrow.shape, narrow.ndim, narrow.size, narrow.dtype) == ((N, N), 2, N * N, np.float32)
    assert narrow.nbytes == np.asarray(narrow).nbytes == 4 * narrow.stored.nbytes
    same_bits(np.asarray(narrow), narrow.numbers)
    assert np.array(narrow, np.float64).dtype == np.float64
    same_bits(np.ones((1, N), np.float32) * narrow, narrow.numbers)
    with pytest.raises(AttributeError):
        narrow.T  # noqa: B018
    with pytest.raises(TypeError):
        narrow[0]
    with pytest.raises(ValueError, match="they are a copy"):
        np.array(narrow, copy=False)


# Weights that may be fed.


def with_defaults(case: Case) -> bytes:
    """The model of a case, whose constants are inputs too, as files of older versions have them."""
    proto = load_from_string(case.model)
    for one in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(one.name, one.data_type, one.dims))
    return proto.SerializeToString()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_that_may_be_fed_are_narrow_until_they_are(tmp_path, precision):
    case = CASES["LSTM"]()
    path = tmp_path / "m.onnx"
    path.write_bytes(with_defaults(case))

    def used() -> list[object]:
        session = tinyseq.load(path, precision=precision)
        return [session, session.run(case.feeds)]

    assert not wide_copies(case, used)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_follows_from_weights_that_are_fed_is_rounded_once(precision):
    case = normalised()
    session = tinyseq.load(with_defaults(case), precision=precision)
    a = np.abs(drawn(128)) * 3
    found = session.run({**case.feeds, "a": a})["y"]
    proto = load_from_string(case.model)
    for one in proto.graph.initializer:
        if one.name == "a":
            one.raw_data = a.tobytes()
    right = tinyseq.load(proto.SerializeToString()).run(case.feeds)["y"]
    np.testing.assert_allclose(found, right, rtol=0, atol=0.05 * np.abs(right).max())
    # What is fed is known at run time, and so is not in the weights.
    alone = one_node("Conv", [case.feeds["x"], drawn(128, 64, 8)], fed=(0,))
    y = tinyseq.load(alone.model, precision=precision).run({"x": case.feeds["x"]})["y"].astype(np.float64)
    mean, var, b = (np.abs(drawn(128)).astype(np.float64)[:, None] for _ in range(3))
    exact = (y - mean) / np.sqrt(var + 1e-5) * a[:, None] + b
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


# Models that are rounded already.


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_is_rounded_no_more_and_what_it_kept_stays_so(tmp_path, precision):
    path, x = tmp_path / "m.tinyseq", sequence(5)
    session = tinyseq.load(projected(9, 20), precision=precision, keep=["layer"])
    assert not any(isinstance(each, Narrow) for each in constants_of(session.computed.graph))
    tinyseq.load(projected(9, 20), precision=precision).save(path)
    loaded = tinyseq.load(path, precision=precision)
    first, again = (list(constants_of(one.computed.graph)) for one in (loaded, loaded.with_any_state()))
    assert sum(isinstance(each, Narrow) for each in first) == 3
    assert all(one is other for one, other in zip(first, again, strict=True))
    wide = tinyseq.load(path, precision=EXACT).run({"x": x})["y"]
    names = loaded.computed.graph.nodes[0].inputs
    for place, narrow in ((1, 2), (2, 1), (8, 1)):
        # What a layer's time loop multiplies with is of one kind.
        kept = tinyseq.load(path, keep=[names[place]])
        assert sum(isinstance(each, Narrow) for each in constants_of(kept.computed.graph)) == narrow
        np.testing.assert_allclose(kept.run({"x": x})["y"], wide, rtol=0, atol=1e-3)


@pytest.mark.parametrize("other", PRECISIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounded_weights_are_rounded_to_another_precision(tmp_path, precision, other):
    tinyseq.load(chain(2), precision=precision).save(tmp_path / "m.tinyseq")
    twice = tinyseq.load(tmp_path / "m.tinyseq", precision=other)
    wide = tinyseq.load(tmp_path / "m.tinyseq", precision=EXACT)
    right = tinyseq.Session(wide.computed, precision=other)
    if other == precision:
        # Rounding their numbers once more might find other scales.
        right = tinyseq.load(chain(2), precision=other)
    assert twice.fingerprint == right.fingerprint
    same_bits(twice.run({"x": drawn(2, N)})["y"], right.run({"x": drawn(2, N)})["y"])


def changed(narrow: Narrow, scales: np.ndarray) -> Model:
    """A model of one product with a weight that no pass would make."""
    made = tinyseq.load(chain(1), precision="int8").computed
    weight = Narrow(narrow.precision, narrow.stored, scales)
    (name,) = made.graph.constants
    return made._replace(graph=made.graph._replace(constants={name: weight}))


def test_scales_along_what_is_summed_are_no_scales_of_a_weight():
    (narrow,) = constants_of(tinyseq.load(chain(1), precision="int8").computed.graph)
    scales = np.linspace(1e-3, 1e-2, N, dtype=np.float32)[:, None]
    found = tinyseq.Session(changed(narrow, scales)).run({"x": drawn(2, N)})["y"]
    right = drawn(2, N) @ (narrow.stored * scales)
    np.testing.assert_allclose(found, right, rtol=0, atol=0.03 * np.abs(right).max())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_read_otherwise_than_as_a_weight_is_float32(precision):
    g = tinyseq.Graph()
    x, w = g.input("x", ["rows", N]), drawn(N, N)
    g.output("y", g.apply("MatMul", x, w))
    rounded = tinyseq.load(g, precision=precision).computed
    (name,) = rounded.graph.constants
    node = rounded.graph.nodes[0]._replace(inputs=(name, "x"), outputs=("z",))
    graph = rounded.graph._replace(nodes=(node, *rounded.graph.nodes))
    output = rounded.graph.outputs[0]._replace(name="z", shape=None)
    both = with_precision(rounded._replace(graph=graph._replace(outputs=(*graph.outputs, output))), precision)
    kinds = [type(both.graph.constants[node.inputs[place]]) for node, place in zip(both.graph.nodes, (0, 1))]
    assert kinds == [np.ndarray, Narrow]


def test_a_file_whose_floating_numbers_have_scales_is_refused(tmp_path):
    path = tmp_path / "m.tinyseq"
    tinyseq.load(chain(1), precision="bfloat16").save(path)
    data = path.read_bytes()
    header = header_of(data)
    document = json.loads(header["__metadata__"]["tinyseq"])
    ((name, stored),) = document["graph"]["constants"].items()
    assert stored == ["0", None]
    document["graph"]["constants"][name] = ["0", "0"]
    header["__metadata__"]["tinyseq"] = json.dumps(document)
    path.write_bytes(with_header(data, header))
    with pytest.raises(ModelError, match="damaged"):
        tinyseq.load(path)


def header_of(data: bytes) -> dict:
    """That of a safetensors file."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(data: bytes, header: dict) -> bytes:
    """A safetensors file with another header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def test_tensors_that_lie_in_each_other_are_refused(tmp_path):
    path = tmp_path / "m.tinyseq"
    tinyseq.load(chain(2)).save(path)
    data = path.read_bytes()
    header = header_of(data)
    path.write_bytes(with_header(data, header))
    assert tinyseq.load(path).fingerprint == tinyseq.load(chain(2)).fingerprint
    path.write_bytes(with_header(data, header | {"more": header["0"]}))
    with pytest.raises(ModelError, match="tensors that lie in each other"):
        tinyseq.load(path)


def test_a_file_that_ends_too_early_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "m.tinyseq"
    tinyseq.load(chain(2)).save(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="a tensor at"):
        tinyseq.load(path)
    # As where somebody cuts it while it is read.
    size = path.stat().st_size
    monkeypatch.setattr(format.os, "fstat", lambda number: SimpleNamespace(st_size=size + 1, st_mode=S_IFREG))
    with pytest.raises(ModelError, match="shorter"):
        tinyseq.load(path)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_is_let_go_of_once_its_weights_are_rounded(tmp_path, precision):
    case, path = CASES["LSTM"](), tmp_path / "m.tinyseq"
    tinyseq.load(case.model).save(path)
    wide = path.stat().st_size

    def kept() -> int:
        session = tinyseq.load(path, precision=precision)
        gc.collect()
        assert session.precision == precision
        return tracemalloc.get_traced_memory()[0]

    kept()
    tracemalloc.start()
    try:
        assert kept() < 0.6 * wide
    finally:
        tracemalloc.stop()
