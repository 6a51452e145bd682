"""Models and inputs that ask for too much are refused before it is taken; work grows with what is asked."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array
from tinyseq.converters import weights

import tinyseq
from tinyseq.common import memory
from tinyseq.decode.lm.arpa import read_arpa
from tinyseq.plan.draft import _placed, _turns
from tinyseq.plan.view import Span

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def model(nodes, constants=(), inputs=("x",), opset=19) -> bytes:
    types = {"x": TensorProto.FLOAT, "h": TensorProto.FLOAT}
    shapes = {"x": ["a", 3], "h": ["a", 3]}
    given = [
        make_tensor_value_info(name, types.get(name, TensorProto.INT64), shapes.get(name, ["n"]))
        for name in inputs
    ]
    y = make_tensor_value_info("y", TensorProto.FLOAT, None)
    arrays = [from_array(np.asarray(array), name) for name, array in dict(constants).items()]
    graph = make_graph(nodes, "g", given, [y], arrays)
    return make_model(graph, opset_imports=[make_opsetid("", opset)], ir_version=8).SerializeToString()


# Graphs of many nodes.


def unrolled(steps: int) -> bytes:
    """A layer, frame by frame, of whose outputs only the last is read."""
    nodes, h = [make_node("MatMul", ["x", "w"], ["xw"])], "h"
    for t in range(steps):
        nodes += [
            make_node("MatMul", [h, "r"], [f"hr{t}"]),
            make_node("Add", ["xw", f"hr{t}"], [f"s{t}"]),
            make_node("Tanh", [f"s{t}"], [h := f"h{t}"]),
        ]
    nodes.append(make_node("Identity", [h], ["y"]))
    eye = np.eye(3, dtype=np.float32)
    return model(nodes, {"w": eye, "r": eye}, ("x", "h"))


def summed(count: int) -> bytes:
    """Tensors that all live at the same time."""
    names = [f"v{place}" for place in range(count)]
    nodes = [make_node("Relu", ["x"], [name]) for name in names]
    return model([*nodes, make_node("Sum", names, ["y"])])


def layers(count: int) -> bytes:
    """Cells with different weights, each of which is a layer alone."""
    nodes, constants, h = [], {}, "h"
    for place in range(count):
        constants |= {f"{kind}{place}": np.eye(3, dtype=np.float32) * (place + 1) for kind in "wr"}
        nodes += [
            make_node("MatMul", [h, f"w{place}"], [f"a{place}"]),
            make_node("MatMul", ["x", f"r{place}"], [f"b{place}"]),
            make_node("Add", [f"a{place}", f"b{place}"], [f"s{place}"]),
            make_node("Tanh", [f"s{place}"], [h := f"h{place}"]),
        ]
    nodes.append(make_node("Identity", [h], ["y"]))
    return model(nodes, constants, ("x", "h"))


def instructions(work) -> int:
    """How many instructions of Python's some work takes."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(former)
    return count


@pytest.mark.parametrize("make", [unrolled, summed, layers])
def test_work_grows_as_the_number_of_nodes_does(make):
    def work(source: bytes) -> None:
        session = tinyseq.load(source)
        session.run({value.name: X["x"] for value in session.inputs})

    work(make(2))
    few, many = (instructions(partial(work, make(count))) for count in (40, 160))
    assert many < 5 * few


def test_buffers_lie_where_first_fit_puts_them():
    random = np.random.default_rng(0)
    for _ in range(200):
        buffers = []
        for first in range(random.integers(1, 40)):
            buffer = Span(int(random.integers(1, 500)), 0)
            buffer.first, buffer.last = first, first + int(random.integers(0, 12))
            buffers.append(buffer)
        offsets, total = _placed([buffer.bytes for buffer in buffers], _turns(buffers))
        for place, buffer in enumerate(buffers):
            living = sorted(
                (offsets[other], offsets[other] + -(-buffers[other].bytes // 64) * 64)
                for other in range(place)
                if buffers[other].last >= buffer.first
            )
            starts = [0, *[end for _, end in living]]
            size = -(-buffer.bytes // 64) * 64
            free = [s for s in starts if all(s + size <= a or s >= b for a, b in living)]
            assert offsets[place] == min(free)
            assert offsets[place] + size <= total


# Constants.


def shaped(*nodes, **constants) -> bytes:
    """A model to whose input the sum of the last node's tensor is added."""
    last = nodes[-1].output[0]
    tail = [
        make_node("Cast", [last], ["cast"], to=TensorProto.FLOAT),
        make_node("ReduceSum", ["cast"], ["total"], keepdims=0),
        make_node("Add", ["x", "total"], ["y"]),
    ]
    return model([*nodes, *tail], constants)


HUGE = {
    "ConstantOfShape": shaped(make_node("ConstantOfShape", ["s"], ["w"]), s=[10**5, 10**5]),
    "Expand": shaped(make_node("Expand", ["k", "s"], ["w"]), k=np.float32([1]), s=[10**10]),
    "Range": shaped(make_node("Range", ["a", "b", "c"], ["w"]), a=0, b=10**12, c=1),
    "OneHot": shaped(make_node("OneHot", ["i", "d", "v"], ["w"]), i=[0, 1], d=10**12, v=np.float32([0, 1])),
    "Pad": shaped(make_node("Pad", ["k", "s"], ["w"]), k=np.float32([1]), s=[0, 10**11]),
    "Tile": shaped(
        *[make_node("Tile", [f"t{i}" if i else "k", "s"], [f"t{i + 1}"]) for i in range(12)],
        k=np.float32([1]),
        s=[10],
    ),
    "Concat": shaped(
        *[make_node("Concat", [f"t{i}" if i else "k"] * 2, [f"t{i + 1}"], axis=0) for i in range(60)],
        k=np.float32([1]),
    ),
    "EyeLike": shaped(
        make_node("Expand", ["k", "s"], ["e"]),
        make_node("EyeLike", ["e"], ["w"]),
        k=np.float32([[1]]),
        s=[10**5, 10**5],
    ),
}


@pytest.mark.parametrize("op", HUGE)
def test_constants_that_grow_too_large_are_refused(op, monkeypatch):
    with pytest.raises(tinyseq.TinyseqError, match=r"too large"):
        tinyseq.load(HUGE[op]).run(X)


def test_products_that_take_long_are_left_to_run_time():
    nodes = make_node("ConstantOfShape", ["s"], ["w"]), make_node("MatMul", ["w", "w"], ["m"])
    value = from_array(np.float32([1]), "value")
    nodes[0].attribute.append(onnx.helper.make_attribute("value", value))
    session = tinyseq.load(shaped(*nodes, s=[1000, 1000]))
    assert "MatMul" in [node.op for node in session.stream_graph.nodes]
    np.testing.assert_allclose(session.run(X)["y"], X["x"] + 1000.0**3, rtol=0.02)


# Results.


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("pads", [[1, 2, 3, 4], [7, 0, 5, 11], [20, 30, 0, 1], [3, 0, 40, 0]])
def test_padding_by_many_periods(device, pads):
    session = tinyseq.load(
        model([make_node("Pad", ["x", "s"], ["y"], mode="wrap")], (), ("x", "s")), device=device
    )
    y = session.run(X | {"s": np.array(pads)})["y"]
    assert np.array_equal(y, np.pad(X["x"], [(pads[0], pads[2]), (pads[1], pads[3])], mode="wrap"))


def test_padding_takes_few_instructions():
    session = tinyseq.load(model([make_node("Pad", ["x", "s"], ["y"], mode="wrap")], (), ("x", "s")))
    assert session.run(X | {"s": np.array([2**18, 0, 0, 0])})["y"].shape == (2**18 + 2, 3)
    (plan,) = session._backend._whole._plans.values()
    assert plan.program.size < 2000


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("count", [100, 100_000])
@pytest.mark.parametrize("op", ["Unsqueeze", "Reshape", "Expand"])
def test_results_of_too_many_dimensions_are_refused(device, count, op):
    session = tinyseq.load(model([make_node(op, ["x", "s"], ["y"])], (), ("x", "s")), device=device)
    sizes = {"Unsqueeze": np.arange(count), "Reshape": np.array([2, 3] + [1] * count)}
    with pytest.raises(tinyseq.TinyseqError, match=f"{op}_0"):
        session.run(X | {"s": sizes.get(op, np.array([1] * count + [2, 3]))})


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_memory_that_is_not_there_is_not_taken(device, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2**29)
    session = tinyseq.load(
        model([make_node("Pad", ["x", "s"], ["y"], mode="edge")], (), ("x", "s")), device=device
    )
    with pytest.raises(tinyseq.TinyseqError, match="bytes"):
        session.run(X | {"s": np.array([2**26, 0, 0, 0])})


# Signals.


INTERRUPTED = """
    import numpy as np, tinyseq
    g = tinyseq.Graph()
    {build}
    session = tinyseq.load(g)
    run, stream = session.run, session.stream()
    x = np.zeros((64, 1, 8), np.float32)
    before, first = stream.fork(), run({{"x": x}})
    print("ready", flush=True)
    try:
        stream.step({{"x": np.zeros(({frames}, 1, 8), np.float32)}})
        print("ended")
    except KeyboardInterrupt:
        again = run({{"x": x}})
        assert all(np.array_equal(first[name], again[name]) for name in first)
        state = stream.step({{"x": x}}), before.step({{"x": x}})
        assert all(np.array_equal(*(one[name] for one in state)) for name in state[0])
        print("interrupted", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("count", [1, 6])
def test_a_long_run_ends_at_ctrl_c(count, heeding):
    """The native call would take far longer than the test waits."""
    build = f"""
    w = [np.ones((2048, 8), np.float32) / 9, np.ones((2048, 512), np.float32) / 512]
    y = g.input("x", ["t", 1, 8])
    for layer in range({count}):
        y = g.lstm(y, [w[1], w[1]] if layer else w, layout="torch")[0]
    g.output("y", g.apply("ReduceSum", y, np.array([2]), keepdims=0))"""
    frames = 60_000 // count
    script = INTERRUPTED.format(build=build.lstrip(), frames=frames)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - begun < 60
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


# Files.

SUFFIXES = (".onnx", ".tinyseq", ".keras", ".h5")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".pt", ".npz", ".safetensors", ".arpa"])
def test_what_is_no_file_is_refused_before_it_is_read(suffix, tmp_path):
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"device{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    reader = tinyseq.load if suffix in SUFFIXES else read_arpa if suffix == ".arpa" else weights.read
    for path in (pipe, device):
        with pytest.raises(tinyseq.ModelError, match="not a file"):
            reader(path)


def test_files_larger_than_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2**29)
    path = tmp_path / "huge.tinyseq"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(tinyseq.ModelError, match="too large"):
        tinyseq.load(path)


def test_headers_that_lie_are_refused(tmp_path):
    path = tmp_path / "lie.tinyseq"
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(tinyseq.ModelError, match="header"):
        tinyseq.load(path)


def test_language_models_that_inflate_are_refused(tmp_path):
    path = tmp_path / "bomb.arpa.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**25))
    with pytest.raises(tinyseq.ModelError, match="too long"):
        read_arpa(path)


def test_following_a_state_takes_no_memory_for_what_cannot_be_joined():
    """Tensors of different ranks, all sizes open."""
    given = [
        make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}{axis}" for axis in range(rank)])
        for name, rank in (("h", 1), ("z", 3))
    ]
    y = make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = make_graph([make_node("Concat", ["h", "z"], ["y"], axis=0)], "g", given, [y])
    data = make_model(graph, opset_imports=[make_opsetid("", 19)], ir_version=8).SerializeToString()
    tracemalloc.start()
    try:
        tinyseq.load(data).state  # noqa: B018  # worked out here
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_resizing_to_nothing_gives_nothing(device):
    nodes = [make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")]
    session = tinyseq.load(model(nodes, {"sizes": np.array([2, 0])}), device=device)
    assert session.run(X)["y"].shape == (2, 0)
