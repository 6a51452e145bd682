"""Threads that share a call: the same bits for any number of them, whoever else calls, forks or fails."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.models import recurrent
from tests.strategies import CASES
from tests.strategies.recurrent import LAYERS, layers_of_any_kind
from tests.strategies.streams import in_chunks, layered, signal
from tinyseq import backends
from tinyseq.errors import DeviceError, FeedError, ModelError
from tinyseq.ir.narrow import PRECISIONS
from tinyseq.kernels import team
from tinyseq.kernels.compute.sharing import COUNT, LEAST, LEAST_ASLEEP

pytestmark = pytest.mark.filterwarnings(
    "ignore::tinyseq.BroadcastWarning", "ignore::tinyseq.ConversionWarning"
)

COUNTS = (2, 3)

EVERY = [None, *PRECISIONS]


@pytest.fixture(scope="module", autouse=True)
def _any_number() -> Iterator[None]:
    """More threads than there may be processors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "_processors", lambda: 8)
        yield


@pytest.fixture(scope="module")
def eager() -> Iterator[None]:
    """Lets teams share what is not worth it."""
    tables = [(ctypes.c_int64 * 3).from_address(team.seats(count)) for count in COUNTS]
    former = [list(table) for table in tables]
    for count, table in zip(COUNTS, tables):
        assert table[COUNT] == count
        table[LEAST], table[LEAST_ASLEEP] = 1, 1
    yield
    for table, words in zip(tables, former):
        table[:] = words


def same(found: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert found.keys() == right.keys()
    for name, array in right.items():
        assert found[name].dtype == array.dtype and found[name].tobytes() == array.tobytes(), name


def layer(op: str, hidden: int, features: int = 5, **settings) -> bytes:
    return recurrent(op, hidden=hidden, features=features, outputs=["y"], **settings).model


def large(hidden: int = 512) -> tinyseq.Graph:
    """A layer that is worth a team."""
    rng = np.random.default_rng(0)
    w, r = (rng.uniform(-0.1, 0.1, (1, 4 * hidden, hidden)).astype(np.float32) for _ in range(2))
    g = tinyseq.Graph()
    x = g.input("x", ["frames", "rows", hidden])
    g.output("y", g.apply("LSTM", x, w, r, hidden_size=hidden))
    return g


def fed(frames: int, rows: int, features: int, seed: int = 0) -> dict[str, np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((frames, rows, features)).astype(np.float32)
    return {"x": x}


# The same bits.


@pytest.mark.parametrize(
    "op", [*LAYERS, "Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "DynamicQuantizeLSTM"]
)
@given(data=st.data())
@settings(max_examples=40)
def test_any_op_gives_the_same_bits(eager, op, data):
    case = data.draw(layers_of_any_kind(op) if op in LAYERS else CASES[op])
    precision = data.draw(st.sampled_from(EVERY)) if op != "DynamicQuantizeLSTM" else None
    right = tinyseq.load(case.model, precision=precision).run(case.feeds)
    for count in COUNTS:
        same(tinyseq.load(case.model, precision=precision, threads=count).run(case.feeds), right)


SHAPES = {
    "rnn": layer("RNN", 150),
    "gru": layer("GRU", 70),
    "gru, reset after": layer("GRU", 90, linear_before_reset=1),
    "gru, both directions": layer("GRU", 65, direction="bidirectional"),
    "lstm": layer("LSTM", 80),
    "lstm, peepholes": layer("LSTM", 33, peepholes=True),
}


@pytest.mark.parametrize("name", SHAPES)
@given(
    rows=st.integers(1, 9) | st.sampled_from([13, 30, 48, 49, 100]),
    frames=st.integers(1, 5),
    precision=st.sampled_from(EVERY),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_layers_of_several_groups_of_columns_give_the_same_bits(eager, name, rows, frames, precision, seed):
    feeds = fed(frames, rows, 5, seed)
    before, right = team.shares(), tinyseq.load(SHAPES[name], precision=precision).run(feeds)
    assert team.shares() == before
    for count in COUNTS:
        same(tinyseq.load(SHAPES[name], precision=precision, threads=count).run(feeds), right)
        assert team.shares() > before


@given(layers=layered(), cuts=st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=25)
def test_streams_of_any_layers_give_the_same_bits(eager, layers, cuts):
    model, x = layers.model().model, signal()
    try:
        right = in_chunks(tinyseq.Session(model), x, sorted(cuts))
    except ModelError:
        return
    for count in COUNTS:
        found = in_chunks(tinyseq.Session(model, threads=count), x, sorted(cuts))
        assert found.tobytes() == right.tobytes()


def test_rows_of_a_pool_give_the_same_bits(eager):
    results = []
    for count in (1, *COUNTS):
        pool = tinyseq.load(SHAPES["lstm"], threads=count, precision="int16").pool(20)
        members = [pool.open() for _ in range(20)]
        results.append([pool.step(members, fed(2, 20, 5, seed)) for seed in range(3)])
    for found in results[1:]:
        for one, right in zip(found, results[0]):
            same(one, right)


# One team, of whom one call at a time makes use.


def test_it_starts_with_the_first_call_that_is_worth_it():
    code = """
import numpy as np, tinyseq
from tests.test_threads import large, fed
from tinyseq import backends
from tinyseq.kernels import team
backends._processors = lambda: 8
model = tinyseq.load(large(), threads=3)
small = tinyseq.load(large(8), threads=2)
assert "on cpu, 3 threads" in str(model), model
small.run(fed(1, 1, 8))
assert team.threads() == 0
model.run(fed(1, 1, 512))
assert team.threads() == 2 and team.shares() > 0
small.run(fed(1, 1, 8))
assert team.threads() == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_calls_at_the_same_time_share_or_run_alone():
    feeds = fed(20, 2, 512)
    right = tinyseq.load(large()).run(feeds)
    models = [tinyseq.load(large(), threads=count) for count in (1, 2, 2, 3)]
    wrong = []

    def call(model: tinyseq.Session) -> None:
        for _ in range(10):
            if model.run(feeds)["y"].tobytes() != right["y"].tobytes():
                wrong.append(model)

    workers = [threading.Thread(target=call, args=(model,)) for model in models]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert not wrong


def test_members_sleep_between_calls():
    stream = tinyseq.load(large(), threads=3).stream()
    for _ in range(5):
        stream.step(fed(1, 1, 512))
    time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def test_a_call_that_fails_leaves_the_team():
    g = tinyseq.Graph()
    x, i = g.input("x", ["rows", 600]), g.input("i", ["count"], np.int64)
    w = np.ones((600, 600), np.float32)
    y = g.apply("MatMul", x, w)
    g.output("y", g.apply("Gather", y, g.apply("Add", i, i)))
    model = tinyseq.load(g, threads=2)
    x = np.ones((2, 600), np.float32)
    with pytest.raises(FeedError, match="index"):
        model.run({"x": x, "i": np.array([70])})
    before = team.shares()
    model.run({"x": x, "i": np.array([0])})
    assert team.shares() > before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_has_a_team_of_its_own():
    model, feeds = tinyseq.load(large(), threads=3), fed(3, 1, 512)
    stream = model.stream()
    right = stream.step(feeds)["y"]
    stream.reset()
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            model.run(feeds)

    other = threading.Thread(target=busy)
    other.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                alone = team.threads() == 0
                found = stream.step(feeds)["y"]
                os._exit(0 if alone and team.threads() == 2 and found.tobytes() == right.tobytes() else 1)
            deadline = time.monotonic() + 30
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.01)
            if ended == (0, 0):
                os.kill(child, 9)
                os.waitpid(child, 0)
            assert ended[0] and os.waitstatus_to_exitcode(ended[1]) == 0
    finally:
        stop.set()
        other.join()
    assert model.run(feeds)["y"].tobytes() == right.tobytes()


# What is refused.


@pytest.mark.parametrize("threads", [0, -1, 9, 1000, 1.5, True, "2", None])
def test_numbers_of_threads_that_are_none_are_refused(threads):
    with pytest.raises(DeviceError, match=r"threads=.* 1 to 8"):
        tinyseq.load(SHAPES["lstm"], threads=threads)


@pytest.mark.parametrize("device", ["reference", "cuda"])
def test_other_devices_have_no_threads(device):
    with pytest.raises(DeviceError, match="does not share"):
        tinyseq.load(SHAPES["lstm"], device=device, threads=2)
