"""Whatever is wrong with a file or an input ends in an error that says what, where and what to do."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import graph, lstm_with_state, model, one_node, recogniser, recurrent, running_sum, value
from tests.strategies import CASES, op_of
from tinyseq.ir.ops import OPS

MANY = settings(max_examples=12 * settings().max_examples)
"""For damage: a few hundred examples."""

X = np.zeros((4, 1, 3), np.float32)
WEIGHTS = Path(__file__).parent / "data" / "layers.pt"


def node(op: str, inputs=("x",), outputs=("y",), name: str = "it", domain: str = "", **attributes) -> bytes:
    """A model of one node that reads x[2, 3], whether that makes sense or not."""
    return model(
        [helper.make_node(op, inputs, outputs, name, domain=domain, **attributes)],
        [value("x", shape=(2, 3))],
        [value("y")],
    )


def two_nodes(first, second) -> bytes:
    return model(
        [helper.make_node("Relu", *first, "first"), helper.make_node("Relu", *second, "second")],
        [value("x", shape=(2, 3))],
        [value("y")],
    )


def run_node(op: str, *inputs, fed=None, **settings):
    """Runs one node."""
    case = one_node(op, inputs, fed=fed, **settings)
    return tinyseq.load(case.model).run(case.feeds)


def huge(device: str) -> dict:
    """Runs one node on 2**50 numbers that take no memory."""
    graph = tinyseq.Graph()
    graph.output("y", graph.relu(graph.input("x", ["size"])))
    return tinyseq.load(graph, device=device).run({"x": np.broadcast_to(np.float32(0), 2**50)})


def starting_at(h: np.ndarray) -> tinyseq.Session:
    """A GRU of four units whose initial state is in the file."""
    graph = tinyseq.Graph()
    x = graph.input("x", ["frames", "rows", 3])
    weights = [np.zeros(shape, np.float32) for shape in ((12, 3), (12, 4), 12, 12)]
    graph.output("y", graph.gru(x, weights, layout="torch", h=h)[0])
    return tinyseq.load(graph)


def data_dependent_if() -> bytes:
    then, other = (graph([helper.make_node(op, ["x"], ["z"])], [], [value("z")]) for op in ("Relu", "Neg"))
    return model(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("If", ["sum"], ["y"], "choice", then_branch=then, else_branch=other),
        ],
        [value("x", shape=(2, 3))],
        [value("y")],
    )


def data_dependent_reshape() -> bytes:
    return model(
        [
            helper.make_node("Cast", ["x"], ["sizes"], "cut", to=onnx.TensorProto.INT64),
            helper.make_node("Reshape", ["x", "sizes"], ["y"], "reshape"),
        ],
        [value("x", shape=("n", 3))],
        [value("y")],
    )


def step_with_out(out: object) -> dict:
    return tinyseq.load(lstm_with_state()).stream().step({"x": X}, out=out)


def restore_scaled(scale: float) -> None:
    """Restores the state, as float64 and far too large."""
    stream = tinyseq.load(lstm_with_state()).stream()
    stream.restore({name: np.full(array.shape, scale) for name, array in stream.snapshot().items()})


def state_of_other_rows() -> dict:
    """An LSTM whose state is of two rows and whose input of one."""
    state = np.zeros((1, 2, 4), np.float32)
    return tinyseq.load(lstm_with_state()).run({"x": X, "h": state, "c": state})


def step_with(**out):
    return tinyseq.load(recogniser()).stream().step({"x": X}, out)


def read_only() -> np.ndarray:
    array = np.zeros((4, 1, 5), np.float32)
    array.flags.writeable = False
    return array


def folder_of_a_models_name() -> Path:
    path = Path(tempfile.mkdtemp()) / "own.tinyseq"
    path.mkdir()
    return path


@dataclass(frozen=True)
class Tensor:
    """What other packages have: it gives an array, or says why not."""

    held: np.ndarray | Exception

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if isinstance(self.held, Exception):
            raise self.held
        return self.held if dtype is None else self.held.astype(dtype)


def run(feeds):
    return tinyseq.load(recogniser()).run(feeds)


@dataclass(frozen=True)
class Bad:
    """Something wrong, the error it ends in and the words that its message holds."""

    act: Callable
    error: type[Exception]
    words: tuple[str, ...]


def bad(act: Callable, error: type[Exception], *words: str) -> Bad:
    return Bad(act, error, words)


load = tinyseq.load

BAD_MODELS = {
    "missing file": bad(lambda: load("nowhere.onnx"), tinyseq.ModelError, "nowhere.onnx", "check the path"),
    "missing own file": bad(
        lambda: load("nowhere.tinyseq"), tinyseq.ModelError, "nowhere.tinyseq", "missing"
    ),
    "a folder": bad(lambda: load(folder_of_a_models_name()), tinyseq.ModelError, "own.tinyseq", "folder"),
    "wrong suffix": bad(lambda: load(__file__), tinyseq.ModelError, "test_errors.py", ".onnx", ".tinyseq"),
    "weights": bad(lambda: load(WEIGHTS), tinyseq.ModelError, "layers.pt", "weights", ".onnx", ".tinyseq"),
    "no such name": bad(lambda: load("nowhere"), tinyseq.ModelError, "nowhere", "no such file"),
    "any folder": bad(lambda: load(Path(__file__).parent), tinyseq.ModelError, "tests", "folder"),
    "no onnx": bad(lambda: load(b"RIFF\0\0\0\0WAVEfmt "), tinyseq.ModelError, "not an ONNX file"),
    "nothing": bad(lambda: load(b""), tinyseq.ModelError, "not an ONNX file"),
    "half a file": bad(lambda: load(recogniser()[:500]), tinyseq.ModelError, "damaged"),
    "unknown op": bad(
        lambda: load(node("Unique")),
        tinyseq.UnsupportedError,
        "node 'it'",
        "Unique",
        "no op Unique",
        "docs/ops.md",
    ),
    "unknown domain": bad(
        lambda: load(node("Relu", domain="com.example")), tinyseq.UnsupportedError, "com.example:Relu"
    ),
    "unsupported attribute value": bad(
        lambda: load(recurrent("GRU", layout=2).model),
        tinyseq.UnsupportedError,
        "node 'it'",
        "layout=2",
        "export",
    ),
    "activations of another number": bad(
        lambda: load(recurrent("GRU", activations=["Relu"]).model), tinyseq.ModelError, "'it'", "1 activ", "2"
    ),
    "unknown attribute": bad(
        lambda: load(node("Relu", colour=1)), tinyseq.UnsupportedError, "node 'it'", "colour"
    ),
    "missing attribute": bad(lambda: load(node("Concat")), tinyseq.ModelError, "node 'it'", "axis"),
    "attribute of another type": bad(
        lambda: load(node("Transpose", perm="back")), tinyseq.ModelError, "node 'it'", "perm"
    ),
    "missing input": bad(lambda: load(node("Add")), tinyseq.ModelError, "node 'it'", "'b'"),
    "too many inputs": bad(
        lambda: load(node("Relu", ["x", "x"])), tinyseq.ModelError, "node 'it'", "2 inputs"
    ),
    "undefined tensor": bad(lambda: load(node("Relu", ["z"])), tinyseq.ModelError, "node 'it'", "'z'"),
    "undefined output": bad(lambda: load(node("Relu", outputs=["z"])), tinyseq.ModelError, "output 'y'"),
    "doubled name": bad(
        lambda: load(two_nodes((["x"], ["y"]), (["x"], ["y"]))),
        tinyseq.ModelError,
        "'second'",
        "'y'",
        "unique",
    ),
    "nodes in a circle": bad(
        lambda: load(two_nodes((["z"], ["y"]), (["y"], ["z"]))), tinyseq.ModelError, "'first'", "'z'", "order"
    ),
    "unknown device": bad(lambda: load(recogniser(), device="tpu"), tinyseq.DeviceError, "'tpu'", "'cpu'"),
    "state input unknown": bad(
        lambda: load(recogniser(), state={"h": "y"}), tinyseq.ModelError, "'h'", "inputs are x"
    ),
    "state output unknown": bad(
        lambda: load(lstm_with_state(), state={"h": "z"}), tinyseq.ModelError, "'z'", "outputs y, hn, cn"
    ),
    "state does not fit": bad(
        lambda: load(lstm_with_state(), state={"h": "y"}), tinyseq.ModelError, "'h'", "cannot carry"
    ),
}

BAD_RUNS = {
    "feeds not a dict": bad(lambda: run([X]), tinyseq.FeedError, "dict", "list"),
    "missing feed": bad(lambda: run({}), tinyseq.FeedError, "missing 'x'", "x float32[frames, rows, 3]"),
    "unknown feed": bad(lambda: run({"x": X, "z": X}), tinyseq.FeedError, "unknown 'z'", "it takes x"),
    "float64": bad(
        lambda: run({"x": X.astype(np.float64)}), tinyseq.FeedError, "'x'", "float64", ".astype(np.float32)"
    ),
    "integers": bad(lambda: run({"x": X.astype(int)}), tinyseq.FeedError, "'x'", "int64", ".astype(np."),
    "numbers beyond float32": bad(
        lambda: run({"x": np.full((1, 1, 3), 1e300).tolist()}), tinyseq.FeedError, "'x'", "too large"
    ),
    "a masked array": bad(
        lambda: run({"x": np.ma.array(X, mask=X > 0)}), tinyseq.FeedError, "masked", "filled"
    ),
    "a list with a masked array": bad(
        lambda: run({"x": [np.ma.array(X[0], mask=True)]}), tinyseq.FeedError, "masked"
    ),
    "a tensor of float64": bad(
        lambda: run({"x": Tensor(X.astype(np.float64))}), tinyseq.FeedError, "float64", ".astype(np.float32)"
    ),
    "a tensor that gives no array": bad(
        lambda: run({"x": Tensor(RuntimeError("requires grad"))}), tinyseq.FeedError, "'x'", "requires grad"
    ),
    "words": bad(lambda: run({"x": "four"}), tinyseq.FeedError, "'x'", "float32"),
    "ragged list": bad(lambda: run({"x": [[[1, 2, 3]], [[1, 2]]]}), tinyseq.FeedError, "'x'", "float32"),
    "rank": bad(lambda: run({"x": X[0]}), tinyseq.FeedError, "'x'", "[1, 3]", "3 are needed"),
    "static size": bad(lambda: run({"x": X[:, :, 1:]}), tinyseq.FeedError, "'x'", "axis 2 must be 3"),
    "dynamic size": bad(state_of_other_rows, tinyseq.FeedError, "LSTM", "initial_h", "[1, 2, 4]"),
    "shapes that do not broadcast": bad(
        lambda: run_node("Add", np.ones(2, "f4"), np.ones(3, "f4")), tinyseq.FeedError, "'it'", "broadcast"
    ),
    "a condition that is no boolean": bad(
        lambda: load(data_dependent_if()).run({"x": X[:2, 0]}),
        tinyseq.ModelError,
        "'choice'",
        "float32",
        "bool",
        "Cast",
    ),
    "data-dependent Reshape": bad(
        lambda: load(data_dependent_reshape()).run({"x": X[:2, 0]}),
        tinyseq.UnsupportedError,
        "'reshape'",
        "at run time",
    ),
    "no such index": bad(
        lambda: run_node("Gather", np.zeros(2, "f4"), np.array([2])), tinyseq.FeedError, "node 'it'", "index"
    ),
    "no such index, and nothing to pick": bad(
        lambda: run_node("Gather", np.zeros((2, 0), "f4"), np.array([2])),
        tinyseq.FeedError, "node 'it'", "index",
    ),
    "no such place, and nothing to put": bad(
        lambda: run_node("ScatterND", np.zeros((2, 0), "f4"), np.array([[5]]), np.zeros((1, 0), "f4")),
        tinyseq.FeedError, "node 'it'", "index",
    ),
    "axes that are no whole numbers": bad(
        lambda: run_node("Squeeze", np.zeros((2, 1), "f4"), np.array([0.5]), fed=[0]),
        tinyseq.ModelError, "node 'it'", "'axes'", "float64", "integer",
    ),
    "a root of integers": bad(
        lambda: run_node("Sqrt", np.array([4]), dtype=np.int64), tinyseq.ModelError, "'it'", "int64"
    ),
    "booleans of floats": bad(
        lambda: run_node("And", np.ones(2, "f4"), np.ones(2, "f4")),
        tinyseq.ModelError, "node 'it'", "float32", "bool", "Cast",
    ),
    "impossible Reshape": bad(
        lambda: run_node("Reshape", np.ones(4, "f4"), np.array([3, -1])), tinyseq.FeedError, "'it'", "[4]"
    ),
    "no such axis": bad(
        lambda: run_node("Flatten", np.zeros(4, "f4"), axis=3), tinyseq.FeedError, "node 'it'", "axis 3"
    ),
    "a kernel wider than its input": bad(
        lambda: run_node("Conv", np.zeros((1, 1, 2), "f4"), np.zeros((1, 1, 3), "f4"), fed=[0]),
        tinyseq.FeedError, "node 'it'", "kernel",
    ),
    "out is no dict": bad(lambda: step_with_out([1]), tinyseq.FeedError, "out", "dict", "list"),
    "a state that is no dict": bad(
        lambda: tinyseq.load(lstm_with_state()).stream().restore(None), tinyseq.StateError, "dict"
    ),
    "a state beyond float32": bad(
        lambda: restore_scaled(1e300), tinyseq.StateError, "too large for float32"
    ),
    "more than the machine can hold": bad(lambda: huge("cpu"), tinyseq.FeedError, "working memory"),
    "more than the reference can hold": bad(
        lambda: huge("reference"), tinyseq.FeedError, "float64"
    ),
    "a baked state of another size": bad(
        lambda: starting_at(np.zeros((1, 1, 5), "f4")).stream(), tinyseq.ModelError, "[1, 1, 5]", "rows, 4]"
    ),
    "an absent input among many": bad(
        lambda: tinyseq.load(node("Concat", ("x", "", "x"), axis=0)), tinyseq.ModelError, "'it'", "lacks"
    ),
    "a state of nothing": bad(lambda: tinyseq.State(None), tinyseq.StateError, "dict", "NoneType"),
    "a state of rags": bad(lambda: tinyseq.State({"h": [[1], [2, 3]]}), tinyseq.StateError, "'h'", "array"),
    "a state of words": bad(lambda: tinyseq.State({"h": ["a"]}), tinyseq.StateError, "'h'", "numbers"),
    "a state without a name": bad(lambda: tinyseq.State({None: X}), tinyseq.StateError, "None", "names"),
    "bytes that are none": bad(lambda: tinyseq.State.from_bytes(5), tinyseq.StateError, "bytes", "int"),
    "state pairs that are no dict": bad(
        lambda: tinyseq.load(lstm_with_state(), state="h"), tinyseq.ModelError, "dict", "str"
    ),
    "state pairs that are no words": bad(
        lambda: tinyseq.load(lstm_with_state(), state={"h": ["hn"]}), tinyseq.ModelError, "words", "['hn']"
    ),
    "a device that is no word": bad(lambda: load(recogniser(), device=X), tinyseq.DeviceError, "choose"),
    "a pickled model": bad(lambda: pickle.dumps(load(recogniser())), tinyseq.ModelError, "save"),
    "a copied stream": bad(
        lambda: copy.copy(load(recogniser()).stream()), tinyseq.StateError, "fork", "snapshot"
    ),
    "a pickled pool": bad(
        lambda: pickle.dumps(load(lstm_with_state()).pool(2)), tinyseq.StateError, "snapshot(row)"
    ),
    "a model that is no path": bad(lambda: tinyseq.load(None), tinyseq.ModelError, "path", "NoneType"),
    "a name that cannot be written": bad(
        lambda: tinyseq.load(lstm_with_state()).save(""), tinyseq.ModelError, "cannot write"
    ),
    "a name too long to be written": bad(
        lambda: load(recogniser()).save("a" * 5000), tinyseq.ModelError, "cannot write", "too long"
    ),
    "a name that no file has": bad(
        lambda: load(recogniser()).save("\0"), tinyseq.ModelError, "path", "'\\x00'", "null"
    ),
    "Expand to a negative size": bad(
        lambda: run_node("Expand", np.ones(1, "f4"), np.array([-1]), fed=[0]), tinyseq.FeedError, "[-1]"
    ),
    "out lacks a name": bad(lambda: step_with(), tinyseq.FeedError, "out", "nothing", "y"),
    "out of other names": bad(lambda: step_with(z=X), tinyseq.FeedError, "out['y']", "y float32[4, 1, 5]"),
    "out of another shape": bad(
        lambda: step_with(y=np.zeros((4, 1, 4), "f4")), tinyseq.FeedError, "out['y']", "y float32[4, 1, 5]"
    ),
    "out of another dtype": bad(
        lambda: step_with(y=np.zeros((4, 1, 5))), tinyseq.FeedError, "out['y']", "y float32[4, 1, 5]"
    ),
    "out is read-only": bad(lambda: step_with(y=read_only()), tinyseq.FeedError, "out['y']", "read-only"),
    "out is no array": bad(lambda: step_with(y=[0.0]), tinyseq.FeedError, "out['y']", "array"),
    "restore of another model's state": bad(
        lambda: load(recogniser()).stream().restore(load(running_sum()).stream().snapshot()),
        tinyseq.StateError, "'gru0.h'", "'h'",
    ),
    "restore of another shape": bad(
        lambda: load(running_sum()).stream().restore({"h": np.zeros((1, 4), "f4")}),
        tinyseq.StateError, "'h'", "float32[1, 4]", "float32[1, 3]",
    ),
    "bytes that are no state": bad(
        lambda: tinyseq.State.from_bytes(b"not a state"), tinyseq.StateError, "11 bytes", "damaged"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", (BAD_MODELS | BAD_RUNS).values(), ids=(BAD_MODELS | BAD_RUNS).keys())
def test_bad_input_is_explained(case):
    with pytest.raises(case.error) as caught:
        case.act()
    message = str(caught.value)
    assert [word for word in case.words if word not in message] == []
    assert isinstance(caught.value, tinyseq.TinyseqError)


@pytest.mark.parametrize("given", [[[1, 2, 3]], ((1.0, 2.0, 3.0),)], ids=["list", "tuple"])
def test_lists_are_taken(given):
    case = one_node("Neg", [np.zeros((1, 3), np.float32)])
    results = tinyseq.load(case.model).run({"x": given})
    np.testing.assert_array_equal(results["y"], np.array([[-1, -2, -3]], np.float32))


def test_tensors_of_the_right_type_are_taken():
    for taken in (Tensor(X), X.tolist()):
        np.testing.assert_array_equal(run({"x": taken})["y"], run({"x": X})["y"])
    infinite = np.full((1, 1, 3), np.inf)
    assert set(run({"x": infinite.tolist()})) == {"y"}


@pytest.mark.parametrize("given", [2, 2.0, True, np.float32(2)])
def test_scalars_are_taken(given):
    case = one_node("Neg", [np.float32(0)])
    results = tinyseq.load(case.model).run({"x": given})
    assert results["y"] == -given if given is not True else results["y"] == -1


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_poisoned_row_is_as_ieee_says_and_alone(isa, poison):
    x = np.random.default_rng(0).standard_normal((5, 3, 3)).astype(np.float32)
    poisoned = x.copy()
    poisoned[2, 1, 0] = poison
    session = tinyseq.load(recogniser())
    clean, y = (session.run({"x": array})["y"] for array in (x, poisoned))
    with np.errstate(all="ignore"):
        exact = tinyseq.load(recogniser(), device="reference").run({"x": poisoned})["y"]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(y[:, [0, 2]], clean[:, [0, 2]])
    np.testing.assert_array_equal(y[:2], clean[:2])
    assert not np.array_equal(y[2:, 1], clean[2:, 1])


# Damaged files.

SECONDS = 20
"""More than any small model, whole or damaged, may keep a slow machine busy."""


def survives(act: Callable) -> None:
    """Runs to the end or to a TinyseqError, in bounded time; any other exception is a failure."""
    start = time.monotonic()
    try:
        act()
    except tinyseq.TinyseqError as error:
        assert str(error)
    assert time.monotonic() - start < SECONDS


def use(session: tinyseq.Session) -> None:
    """Runs a model on ones of the sizes that it states."""
    feeds = {}
    for entry in session.inputs:
        sizes = [size if isinstance(size, int) else 2 for size in entry.shape or ()]
        if np.prod(sizes, dtype=float) > 1e6:
            return
        feeds[entry.name] = np.ones(sizes, entry.dtype)
    session.run(feeds)


def flipped(data: bytes, draw) -> bytes:
    """The data with a few bytes changed."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        changed[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def saved(tmp_path, content: bytes) -> bytes:
    path = tmp_path / "saved.tinyseq"
    tinyseq.load(content).save(path)
    return path.read_bytes()


@MANY
@given(data=st.data())
def test_a_truncated_own_file_is_refused(tmp_path, data):
    whole = saved(tmp_path, recogniser())
    path = tmp_path / "damaged.tinyseq"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(tinyseq.ModelError, match="damaged"):
        tinyseq.load(path)


@MANY
@given(data=st.data())
def test_a_damaged_own_file_is_survived(tmp_path, data):
    path = tmp_path / "damaged.tinyseq"
    path.write_bytes(flipped(saved(tmp_path, recogniser()), data.draw))
    survives(lambda: use(tinyseq.load(path)))


def test_an_initial_state_of_another_shape_is_refused(tmp_path):
    own = tinyseq.load(lstm_with_state()).model
    pairs = [pair._replace(initial=np.zeros((5, 5), np.float32)) for pair in own.state]
    tinyseq.Session(own.with_state(pairs)).save(tmp_path / "own.tinyseq")
    with pytest.raises(tinyseq.ModelError, match=r"initial value of \(5, 5\)"):
        tinyseq.load(tmp_path / "own.tinyseq")


def header(data: bytes) -> tuple[dict, bytes]:
    """A safetensors file's header and the bytes after it."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(document: dict, tail: bytes) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + tail


JUNK = (
    st.none()
    | st.integers(-3, 2**40)
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=2)
    | st.just({})
)


@MANY
@given(data=st.data())
def test_an_own_file_with_a_strange_graph_is_survived(tmp_path, data):
    document, tail = header(saved(tmp_path, lstm_with_state()))
    content = json.loads(document["__metadata__"]["tinyseq"])
    place = content
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JUNK)
            break
        place = inner
    document["__metadata__"]["tinyseq"] = json.dumps(content)
    path = tmp_path / "damaged.tinyseq"
    path.write_bytes(with_header(document, tail))
    survives(lambda: use(tinyseq.load(path)))


@MANY
@given(data=st.data())
def test_a_damaged_onnx_file_is_survived(data):
    content = data.draw(st.sampled_from([recogniser(), lstm_with_state(), running_sum()]))
    damaged = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    survives(lambda: use(tinyseq.load(flipped(damaged or b"\0", data.draw))))


@pytest.mark.parametrize("form", CASES)
@given(data=st.data())
def test_a_damaged_node_is_survived(form, data):
    case = data.draw(CASES[form])
    survives(lambda: use(tinyseq.load(flipped(case.model, data.draw))))


@pytest.mark.parametrize("form", CASES)
@given(data=st.data())
def test_strange_attributes_are_survived(form, data):
    """Every attribute as every kind: a number, a list, a word, a tensor."""
    op = op_of(form)
    proto = onnx.load_from_string(data.draw(CASES[form]).model)
    it = proto.graph.node[-1]
    names = [attribute.name for attribute in OPS[op].attributes]
    if not names:
        return
    name = data.draw(st.sampled_from(names))
    strange = data.draw(st.sampled_from([-1, 3, 2**40, 1.5, "word", [1, 2], [-1, 7], [0.5], ["word"]]))
    kept = [attribute for attribute in it.attribute if attribute.name != name]
    del it.attribute[:]
    it.attribute.extend([*kept, helper.make_attribute(name, strange)])
    survives(lambda: use(tinyseq.load(proto.SerializeToString())))
