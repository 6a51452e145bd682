"""Branches and loops on the CPU: which form they take, where they end and what is refused."""

from __future__ import annotations

import importlib
import time

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx.backend.test.case import node as node_cases

import tinyseq
from tests.models import Case, graph, model, one_node, scanned_cell, value
from tests.test_differential import agrees_with_onnxruntime, agrees_with_the_reference
from tests.test_lookup import instructions
from tinyseq.plan import turns
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner

make = helper.make_node


def run(case: Case, device: str = "cpu") -> dict[str, np.ndarray]:
    return tinyseq.load(case.model, device=device).run(case.feeds)


def loop(
    nodes,
    carried=(),
    following=(),
    stacked=(),
    *,
    trips="trips",
    condition="",
    flag="go",
    feeds=None,
    after=(),
) -> Case:
    """A model of one Loop, ``it``, that carries the inputs ``first_0``, ``first_1`` ... by the given names.

    Its body reads ``turn`` and ``go``; its outputs are ``last_0`` ..., then ``stack_0`` ...
    """
    feeds = feeds or {}
    types = [feeds[f"first_{i}"].dtype for i in range(len(carried))]
    body = graph(
        nodes,
        [value("turn", np.int64, ()), value("go", bool, ()), *map(value, carried, types)],
        [value(flag, bool, ()), *map(value, following, types), *map(value, stacked)],
        {"two": np.float32(2), "one": np.array([1]), "always": np.array(True)},
    )
    starts = [f"first_{i}" for i in range(len(carried))]
    results = [f"last_{i}" for i in range(len(carried))] + [f"stack_{i}" for i in range(len(stacked))]
    node = make("Loop", [trips, condition, *starts], results, "it", body=body)
    made = [*results, *(name for other in after for name in other.output)]
    dtypes = dict(zip(results, types)) | {"sizes": np.int64}
    return Case(
        model(
            [node, *after],
            [value(name, array.dtype, array.shape) for name, array in feeds.items()],
            [value(name, dtypes.get(name, np.float32)) for name in made],
        ),
        feeds,
    )


X = np.array([1, 2, 3], np.float32)


def trips(count: int) -> dict[str, np.ndarray]:
    return {"trips": np.array(count)}


DOUBLE = make("Mul", ["v", "two"], ["w"], "double")
ENDLESS = (
    make("ReduceSum", ["w"], ["sum"], keepdims=0),
    make("Greater", ["sum", "sum"], ["never"]),
    make("Not", ["never"], ["more"]),
)


@pytest.mark.parametrize("count", [-(2**63), -1, 0, 1, 2, 7])
def test_a_loop_makes_as_many_turns_as_it_is_told(count):
    case = loop([DOUBLE], ["v"], ["w"], ["w"], feeds={"first_0": X} | trips(count))
    results = run(case)
    np.testing.assert_array_equal(results["last_0"], X * 2 ** max(count, 0))
    assert results["stack_0"].shape == (max(count, 0), 3)


@pytest.mark.parametrize("count", [-2, 0, 1, 6])
def test_the_number_of_turns_may_be_computed(count):
    case = loop([DOUBLE], ["v"], ["w"], feeds={"first_0": X, "length": np.array(count, np.float32)})
    proto = onnx.load_from_string(case.model)
    proto.graph.node.insert(0, make("Cast", ["length"], ["trips"], to=onnx.TensorProto.INT64))
    case = Case(proto.SerializeToString(), case.feeds)
    np.testing.assert_array_equal(run(case)["last_0"], X * 2 ** max(count, 0))
    agrees_with_onnxruntime(case)


def test_values_change_places():
    swap = [make("Identity", ["b"], ["c"]), make("Identity", ["a"], ["d"])]
    for count in range(4):
        feeds = {"first_0": X, "first_1": -X} | trips(count)
        results = run(loop(swap, ["a", "b"], ["c", "d"], feeds=feeds))
        np.testing.assert_array_equal(results["last_0"], -X if count % 2 else X)
        np.testing.assert_array_equal(results["last_1"], X if count % 2 else -X)


def test_a_condition_known_after_the_first_turn_ends_the_loop():
    nodes = [DOUBLE, make("Not", ["always"], ["more"])]
    case = loop(
        nodes, ["v"], ["w"], ["w"], condition="start", flag="more",
        feeds={"first_0": X, "start": np.array(True)} | trips(5),
    )  # fmt: skip
    assert run(case)["stack_0"].shape == (1, 3)
    agrees_with_onnxruntime(case)


# What planning must know is unrolled.


def test_slices_cut_by_the_number_of_the_turn():
    nodes = [
        make("Unsqueeze", ["turn", "axis"], ["start"]),
        make("Add", ["start", "one"], ["end"]),
        make("Slice", ["around", "start", "end"], ["cut"], "cut"),
        make("Add", ["v", "cut"], ["w"]),
        make("Constant", [], ["axis"], value_ints=[0]),
    ]
    nodes = [nodes[-1], *nodes[:-1]]
    case = loop(nodes, ["v"], ["w"], ["cut"], feeds={"first_0": X[:1], "around": X} | trips(3))
    np.testing.assert_array_equal(run(case)["last_0"], [7])
    agrees_with_onnxruntime(case)


def while_loop(frames: int) -> Case:
    """As exporters write a loop over frames: counted by a carried value, ended by a condition."""
    nodes = [
        make("Gather", ["frames", "i"], ["frame"], axis=0),
        make("Add", ["v", "frame"], ["w"]),
        make("Add", ["i", "step"], ["next"]),
        make("Less", ["next", "count"], ["more"]),
        make("Constant", [], ["step"], value_int=1),
    ]
    body = graph(
        [nodes[-1], *nodes[:-1]],
        [value("turn", np.int64, ()), value("go", bool, ()), value("i", np.int64, ()), value("v")],
        [value("more", bool, ()), value("next", np.int64, ()), *[value("w", shape=(3,))] * 2],
    )
    outer = [
        make("Shape", ["frames"], ["sizes"]),
        make("Gather", ["sizes", "zero"], ["count"]),
        make("Less", ["zero", "count"], ["start"]),
        make("Loop", ["", "start", "zero", "first"], ["n", "last", "all"], "it", body=body),
    ]
    proto = model(
        outer,
        [value("frames", shape=("t", 3)), value("first", shape=(3,))],
        [value("n", np.int64), value("last"), value("all")],
        {"zero": np.array(0)},
    )
    x = np.random.default_rng(frames).standard_normal((frames, 3)).astype(np.float32)
    return Case(proto, {"frames": x, "first": X})


@pytest.mark.parametrize("frames", [0, 1, 2, 9])
def test_a_while_loop_that_counts_has_scan_outputs(frames):
    case = while_loop(frames)
    assert run(case)["all"].shape == (frames, 3)
    agrees_with_onnxruntime(case)


def test_a_while_loop_is_planned_as_one_turn():
    short, long = (
        Planner(tinyseq.load(case.model).model, PackedWeights(()))
        .draft({name: array.shape for name, array in case.feeds.items()}, {})
        .plan()
        for case in (while_loop(2), while_loop(50))
    )
    assert short.program.size == long.program.size


def test_a_tensor_grows():
    grow = make("Concat", ["v", "v"], ["w"], axis=0)
    case = loop([grow], ["v"], ["w"], feeds={"first_0": X} | trips(3))
    np.testing.assert_array_equal(run(case)["last_0"], np.tile(X, 8))
    agrees_with_onnxruntime(case)


def test_what_is_known_may_grow_too_large():
    """Planning neither computes nor holds it."""
    grow = make("Concat", ["v", "v"], ["w"], axis=0)
    case = loop([grow], ["v"], ["w"], feeds={"first_0": X} | trips(60))
    proto = onnx.load_from_string(case.model)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(X, "first_0"))
    with pytest.raises(tinyseq.FeedError, match=r"bytes|hold"):
        run(Case(proto.SerializeToString(), trips(60)))


def test_sizes_that_a_loop_computes():
    count = [make("Add", ["v", "v"], ["w"])]
    case = loop(count, ["v"], ["w"], feeds={"first_0": np.array([1])} | trips(3))
    proto = onnx.load_from_string(case.model)
    proto.graph.node.append(make("ConstantOfShape", ["last_0"], ["y"]))
    del proto.graph.output[:]
    proto.graph.output.append(value("y"))
    assert run(Case(proto.SerializeToString(), case.feeds))["y"].shape == (8,)


@pytest.mark.parametrize(("trips", "stacked"), [(0, False), (1, True), (3, False), (3, True)])
@pytest.mark.parametrize("through", ["k", "same"])
def test_weights_that_a_body_hands_through_are_packed_before(trips, through, stacked):
    """As exporters of ``while`` loops write them: what the body reads is among what it carries."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((6, 6)).astype(np.float32)
    nodes = [
        make("MatMul", ["v", "k"], ["w"]),
        make("Identity", ["k"], ["same"]),
        make("Add", ["n", "one"], ["n1"]),
        make("Less", ["n1", "limit"], ["more"]),
    ]
    body = graph(
        nodes,
        [
            value("turn", np.int64, ()),
            value("go", bool, ()),
            value("v"),
            value("k"),
            value("n", np.int64, ()),
        ],
        [value("more", bool, ()), value("w"), value(through), value("n1", np.int64, ())]
        + [value("w")] * stacked,
        {"one": np.array(1), "limit": np.array(trips)},
    )
    results = ["y", "weights", "turns", *["all"] * stacked]
    loop_ = make("Loop", ["", "start", "x", "K", "zero"], results, "it", body=body)
    kinds = [np.float32, np.float32, np.int64, np.float32]
    case = Case(
        model(
            [loop_], [value("x", shape=(2, 6))], [*map(value, results, kinds)],
            {"K": weights, "zero": np.array(0), "start": np.array(trips > 0)},
        ),
        {"x": rng.standard_normal((2, 6)).astype(np.float32)},
    )  # fmt: skip
    agrees_with_onnxruntime(case)
    agrees_with_the_reference(case)
    found = instructions(tinyseq.load(case.model), case.feeds)
    assert found["pack"] == 0


# What ends a loop, and what is refused.


@pytest.mark.parametrize("count", [None, 2**62])
def test_a_loop_without_end_is_ended(count):
    case = loop(
        [DOUBLE, *ENDLESS], ["v"], ["w"], trips="trips" if count else "", condition="start", flag="more",
        feeds={"first_0": X, "start": np.array(True)} | (trips(count) if count else {}),
    )  # fmt: skip
    session = tinyseq.load(case.model)
    start = time.monotonic()
    with pytest.raises(tinyseq.FeedError, match=r"node 'it' \(Loop\).*1,048,576.*condition"):
        session.run(case.feeds)
    assert time.monotonic() - start < 60
    with pytest.raises(tinyseq.FeedError, match="'it'"):
        session.run(case.feeds)


def test_more_scan_outputs_than_turns_are_allowed():
    case = loop([DOUBLE], ["v"], ["w"], ["w"], feeds={"first_0": X} | trips(2**62))
    with pytest.raises(tinyseq.FeedError, match=r"node 'it' \(Loop\).*4,611,686,018,427,387,904 turns"):
        run(case)


def test_loops_in_loops_share_the_turns():
    inner = graph(
        [make("Identity", ["inner_go"], ["inner_more"]), make("Neg", ["u"], ["n"])],
        [value("inner_turn", np.int64, ()), value("inner_go", bool, ()), value("u")],
        [value("inner_more", bool, ()), value("n")],
    )
    nodes = [make("Loop", ["trips", "", "v"], ["w"], "inner", body=inner)]
    case = loop(nodes, ["v"], ["w"], feeds={"first_0": X} | trips(2**16))
    with pytest.raises(tinyseq.FeedError, match=r"1,048,576"):
        run(case)


REFUSED = {
    "scan outputs of a computed number": (
        loop(
            [DOUBLE, make("ReduceSum", ["w"], ["sum"], keepdims=0), make("Less", ["sum", "two"], ["more"])],
            ["v"], ["w"], ["w"], condition="start", flag="more",
            feeds={"first_0": X, "start": np.array(True)} | trips(3),
        ),
        ("'it' (Loop)", "scan outputs", "trip count alone", "device='reference'"),
    ),
    "growth of a computed number of turns": (
        loop(
            [
                make("Concat", ["v", "v"], ["w"], axis=0),
                make("ReduceSum", ["w"], ["sum"], keepdims=0),
                make("Less", ["sum", "two"], ["more"]),
            ],
            ["v"], ["w"], condition="start", flag="more", feeds={"first_0": X, "start": np.array(True)},
            trips="",
        ),
        ("'it' (Loop)", "carried value 0", "float32[3] before", "float32[6] after", "computed at run time"),
    ),
    "more turns than may be planned": (
        loop([make("Concat", ["v", "one"], ["w"], axis=0)], ["v"], ["w"],
             feeds={"first_0": np.array([1])} | trips(10**6)),
        ("'it' (Loop)", "more than 4096"),
    ),
    "a carried value of another type": (
        loop([make("Greater", ["v", "v"], ["w"])], ["v"], ["w"], feeds={"first_0": X[:1]} | trips(2)),
        ("'it' (Loop)", "'w' is declared float32 and is bool"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_planned_is_refused(case):
    case, words = REFUSED[case]
    with pytest.raises(tinyseq.TinyseqError) as caught:
        run(case)
    assert [word for word in words if word not in str(caught.value)] == []


def question() -> list:
    return [
        make("ReduceSum", ["x"], ["sum"], keepdims=0),
        make("Cast", ["sum"], ["c"], to=onnx.TensorProto.BOOL),
    ]


def test_branches_of_different_shapes():
    then, other = (
        graph([make("ReduceSum", ["x"], ["z"], keepdims=keep)], [], [value("z")]) for keep in (0, 1)
    )
    node = make("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other)
    case = Case(model([*question(), node], [value("x", shape=(3,))], [value("y")]), {"x": X})
    with pytest.raises(tinyseq.UnsupportedError) as caught:
        run(case)
    words = "node 'choice' (If)", "float32[]", "float32[1]", "'y'", "run time"
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(("source", "known"), [("limit", {"limit"}), ("sum", set())])
def test_planning_asks_for_inputs_only_where_they_decide(source, known):
    """A condition of a whole number is part of the plan; with a float in it, it is computed."""
    branches = [graph([make(op, ["x"], ["z"])], [], [value("z")]) for op in ("Neg", "Abs")]
    nodes = [
        make("ReduceSum", ["x"], ["total"], keepdims=0),
        make("Cast", ["total"], ["sum"], to=onnx.TensorProto.INT64),
        make("Less", ["limit", source], ["less"]),
        make("Not", ["less"], ["c"]),
        make("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    proto = model(nodes, [value("x", shape=(3,)), value("limit", np.int64, ())], [value("y")])
    planner = Planner(tinyseq.load(proto).model, PackedWeights(()))
    assert planner.known == known
    for limit in (5, 9):
        agrees_with_onnxruntime(Case(proto, {"x": X, "limit": np.array(limit)}))


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_the_number_of_the_turn_is_of_the_rank_that_the_body_says(device):
    body = graph(
        [make("Identity", ["turn"], ["number"]), make("Identity", ["go"], ["more"])],
        [value("turn", np.int64, (1,)), value("go", bool, (1,))],
        [value("more", bool, (1,)), value("number", np.int64, (1,))],
    )
    node = make("Loop", ["trips", ""], ["numbers"], "it", body=body)
    proto = model([node], [value("trips", np.int64, (1,))], [value("numbers", np.int64)])
    case = Case(proto, {"trips": np.array([3])})
    np.testing.assert_array_equal(run(case, device)["numbers"], [[0], [1], [2]])
    agrees_with_onnxruntime(case, device)


def test_what_both_branches_know_stays_known():
    """The size that both give decides a shape; the tensors that they give are of that shape."""
    branches = [
        graph([make(op, ["x"], ["z"]), make("Shape", ["z"], ["s"])], [], [value("z"), value("s", np.int64)])
        for op in ("Neg", "Abs")
    ]
    node = make("If", ["c"], ["z0", "s0"], then_branch=branches[0], else_branch=branches[1])
    nodes = [*question(), node, make("Expand", ["sum", "s0"], ["wide"]), make("Add", ["z0", "wide"], ["y"])]
    case = Case(model(nodes, [value("x", shape=(3,))], [value("y")]), {"x": -X})
    agrees_with_the_reference(case)
    agrees_with_onnxruntime(case)


def test_a_loop_that_carries_makes_no_stream():
    case = loop([DOUBLE], ["v"], ["w"], feeds={"first_0": X} | trips(1))
    with pytest.raises(tinyseq.ModelError, match=r"node 'it' \(Loop\).*chunks"):
        tinyseq.load(case.model).stream()


def test_a_saved_model_keeps_its_graphs(tmp_path):
    case = loop([DOUBLE], ["v"], ["w"], ["w"], feeds={"first_0": X} | trips(3))
    tinyseq.load(case.model).save(tmp_path / "loop.tinyseq")
    results = tinyseq.load(tmp_path / "loop.tinyseq").run(case.feeds)
    for name, array in run(case).items():
        np.testing.assert_array_equal(results[name], array)


@given(frames=st.integers(0, 9), rows=st.integers(0, 4), hidden=st.integers(1, 20))
def test_a_scan_of_a_cell_is_the_layer(isa, frames, rows, hidden):
    """Up to the order in which a layer sums its two products."""
    proto = onnx.load_from_string(scanned_cell(3, hidden))
    w, r = (onnx.numpy_helper.to_array(tensor).T[None] for tensor in proto.graph.initializer)
    x = np.random.default_rng(hidden).standard_normal((frames, rows, 3)).astype(np.float32)
    layer = one_node("RNN", [x, w, r], fed=[0], outputs=["y"], hidden_size=hidden)
    h = np.zeros((rows, hidden), np.float32)
    y = tinyseq.load(proto.SerializeToString()).run({"x": x, "h": h})["y"]
    np.testing.assert_allclose(y, run(layer)["y"][:, 0], rtol=1e-5, atol=1e-5)


def node_tests() -> list:
    """The ONNX project's own cases of these ops. Collecting those of all ops takes long."""
    for name in ("if_", "loop", "scan"):
        importlib.import_module(f"{node_cases.__name__}.{name}")
    return [
        case
        for case in node_cases._NodeTestCases
        if case.name.startswith(("test_if", "test_loop", "test_scan"))
    ]


NO_TENSORS = {
    "test_if_seq": "sequence_type",
    "test_if_opt": "Optional",
    "test_loop13_seq": "sequence_type",
    "test_loop16_seq_none": "optional_type",
    "test_scan_sum": "opset 8",
}
"""Those that are refused, and a word of the reason."""


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("case", node_tests(), ids=lambda case: case.name)
def test_node_tests_of_onnx_pass(case, device):
    if case.name in NO_TENSORS:
        with pytest.raises(tinyseq.UnsupportedError, match=NO_TENSORS[case.name]):
            tinyseq.load(case.model.SerializeToString(), device=device)
        return
    session = tinyseq.load(case.model.SerializeToString(), device=device)
    for inputs, outputs in case.data_sets:
        feeds = {entry.name: np.asarray(array) for entry, array in zip(session.inputs, inputs, strict=True)}
        for result, expected in zip(session.run(feeds).values(), outputs, strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["Loop", "Scan", "If"])
def test_deep_nests_are_planned_in_bounded_time(monkeypatch, op):
    """Around a node that none can plan; were each tried twice, time would double 25 times."""
    monkeypatch.setattr(turns, "MOST_UNROLLED", 256)
    inner = [
        make("Cast", ["x"], ["sizes"], to=onnx.TensorProto.INT64),
        make("Reshape", ["x", "sizes"], ["n0"], "cut"),
    ]
    for depth in range(25):
        results = [value(f"n{depth}", shape=(3,))]
        turn = [
            value(f"t{depth}", np.int64, ()),
            value(f"g{depth}", bool, ()),
            value(f"c{depth}", shape=(3,)),
        ]
        if op == "Loop":
            flag = make("Less", [f"t{depth}", "two"], [f"f{depth}"])
            body = graph([*inner, flag], turn, [value(f"f{depth}", bool, ()), *results])
            node = make("Loop", ["two", "yes", "x"], [f"n{depth + 1}"], body=body)
        elif op == "Scan":
            names = {
                "num_scan_inputs": 1,
                "body": graph(inner, [*turn[2:], value(f"e{depth}", shape=())], results),
            }
            node = make("Scan", ["x", "x"], [f"n{depth + 1}"], **names)
        else:
            other = graph([make("Neg", ["x"], [f"m{depth}"])], [], [value(f"m{depth}", shape=(3,))])
            both = {"then_branch": graph(inner, [], results), "else_branch": other}
            node = make("If", ["c"], [f"n{depth + 1}"], **both)
        inner = [node]
    proto = model(
        [
            make("Cast", ["x"], ["all"], to=onnx.TensorProto.BOOL),
            make("Gather", ["all", "zero"], ["c"]),
            *inner,
        ],
        [value("x", shape=(3,))],
        [value("n25", shape=(3,))],
        {"two": np.array(2), "yes": np.array(True), "zero": np.array(0)},
    )
    start = time.monotonic()
    with pytest.raises(tinyseq.TinyseqError, match="'cut'") as caught:
        tinyseq.load(proto).run({"x": X})
    assert len(str(caught.value)) < 20_000
    assert time.monotonic() - start < 20
