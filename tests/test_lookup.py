"""Layers over rows of a table: their products are looked up, with the bits that a product gives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, load_from_string, numpy_helper

import tinyseq
from tests.models import Case, model, value
from tests.strategies.recurrent import LAYERS, layers_of_any_kind
from tinyseq.kernels.instructions import INSTRUCTIONS
from tinyseq.plan.lookup import is_worthwhile
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner


def instructions(session: tinyseq.Session, feeds: dict[str, np.ndarray]) -> Counter:
    """How many instructions of each name the plan for such inputs has."""
    model = session._simple
    planner = Planner(model, PackedWeights(model.graph.constants.values()))
    known = {name: feeds[name] for name in planner.known}
    program = planner.draft({name: array.shape for name, array in feeds.items()}, known).plan().program
    found, place = Counter(), 0
    while place < program.size:
        found[INSTRUCTIONS[program[place]].name] += 1
        place += program[place + 1]
    return found


def looked_up(case: Case, tokens: np.ndarray, table: np.ndarray, moved: str) -> Case:
    """The case with rows of a table for its x, picked by tokens that are then moved."""
    proto = load_from_string(case.model)
    graph = proto.graph
    given = [each for each in graph.input if each.name == "x"]
    for each in given:
        graph.input.remove(each)
    graph.input.append(value("tokens", np.int64, ["a", "b"]))
    nodes = {
        "whole": [helper.make_node("Gather", ["table", "tokens"], ["x"], "lookup")],
        "turned": [
            helper.make_node("Gather", ["table", "tokens"], ["rows"], "lookup"),
            helper.make_node("Transpose", ["rows"], ["x"], perm=[1, 0, 2]),
        ],
        "cut": [
            helper.make_node("Gather", ["table", "tokens"], ["rows"], "lookup"),
            helper.make_node("Slice", ["rows", "first", "last"], ["x"]),
        ],
    }[moved]
    constants = {"table": table}
    if moved == "cut":
        constants |= {"first": np.array([1, 1]), "last": np.array([-1, 2**40])}
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *own])
    shaped = {"whole": tokens, "turned": tokens.T, "cut": np.pad(tokens, [(1, 1), (1, 0)])}[moved]
    feeds = {name: array for name, array in case.feeds.items() if name != "x"} | {"tokens": shaped}
    return Case(proto.SerializeToString(), feeds)


@pytest.mark.parametrize("op", LAYERS)
@given(data=st.data())
@settings(max_examples=80)
def test_layers_over_tokens_are_as_over_the_rows_they_stand_for(op, data):
    case = data.draw(layers_of_any_kind(op))
    frames, rows, width = case.feeds["x"].shape
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    table = rng.standard_normal((data.draw(st.integers(1, 3 * width + 2)), width)).astype(np.float32)
    tokens = rng.integers(-len(table), len(table), (frames, rows))
    other = looked_up(case, tokens, table, data.draw(st.sampled_from(["whole", "turned", "cut"])))
    wanted = tinyseq.load(case.model).run(case.feeds | {"x": table[tokens]})
    session = tinyseq.load(other.model)
    found = session.run(other.feeds)
    for name in wanted:
        assert found[name].tobytes() == wanted[name].tobytes(), name
    constants = session._simple.graph.constants
    w = next((array for array in constants.values() if array.ndim == 3 and array.shape[2] == width), None)
    if "w" not in case.feeds and "b" not in case.feeds and tokens.size:
        spared = is_worthwhile(table, w.shape[1])
        assert ("linear" not in instructions(session, other.feeds)) == spared


def embedded(*more, vocabulary: int = 7, width: int = 6, hidden: int = 5) -> tinyseq.Graph:
    rng = np.random.default_rng(0)
    weights = [
        rng.standard_normal(shape).astype(np.float32) for shape in ((15, width), (15, hidden), (15,), (15,))
    ]
    g = tinyseq.Graph()
    tokens = g.input("tokens", ["frames", "rows"], np.int64)
    x = g.embedding(tokens, rng.standard_normal((vocabulary, width)).astype(np.float32))
    y, _ = g.gru(x, weights, layout="torch")
    g.output("y", y)
    if "rows are wanted too" in more:
        g.output("x", x)
    if "twice the rows" in more:
        g.output("double", g.add(x, x))
    if "another layer" in more:
        g.output("again", g.gru(g.relu(x), weights, layout="torch")[0])
    return g


def test_rows_that_nothing_reads_are_not_gathered():
    tokens = {"tokens": np.array([[0, 6], [3, 1]])}
    (found, more) = (
        instructions(tinyseq.load(embedded(*what)), tokens) for what in ((), ("rows are wanted too",))
    )
    assert found["gather"] == 1 and not found["linear"]
    assert more["gather"] == 2 and not more["linear"]
    assert more["elementwise"] == found["elementwise"]


@pytest.mark.parametrize("more", ["rows are wanted too", "twice the rows", "another layer"])
def test_rows_that_are_read_elsewhere_too(more):
    tokens = {"tokens": np.array([[0, 6], [3, -1], [2, 2]])}
    found, right = (
        tinyseq.load(embedded(more), device=device).run(tokens) for device in ("cpu", "reference")
    )
    for name in right:
        np.testing.assert_allclose(found[name], right[name], atol=1e-5)


def test_a_token_outside_the_table_is_refused():
    session = tinyseq.load(embedded())
    for token in (7, -8):
        with pytest.raises(tinyseq.FeedError, match=r"Gather.* met an index"):
            session.run({"tokens": np.array([[token]])})


def test_rows_that_both_branches_read():
    """What is postponed is emitted before anything that may not run, or runs again."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((5, 4)).astype(np.float32)

    def branch(name: str, factor: float):
        node = helper.make_node("Mul", ["rows", f"{name}_factor"], [name])
        constant = numpy_helper.from_array(np.float32(factor), f"{name}_factor")
        return helper.make_graph([node], name, [], [value(name, np.float32, None)], [constant])

    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"], "lookup"),
        helper.make_node(
            "If", ["flag"], ["chosen"], then_branch=branch("double", 2), else_branch=branch("half", 0.5)
        ),
        helper.make_node("Add", ["chosen", "rows"], ["y"]),
    ]
    inputs = [value("tokens", np.int64, ["n"]), value("levels", np.float32, ["m"])]
    nodes[1:1] = [
        helper.make_node("ReduceMax", ["levels"], ["level"], keepdims=0),
        helper.make_node("Greater", ["level", "zero"], ["flag"]),
    ]
    constants = {"table": table, "zero": np.float32(0)}
    session = tinyseq.load(model(nodes, inputs, [value("y", np.float32, ["n", 4])], constants))
    tokens = np.array([4, 0, 2])
    for level, factor in ((1, 3), (-1, 1.5)):
        found = session.run({"tokens": tokens, "levels": np.array([level, -3], np.float32)})["y"]
        np.testing.assert_array_equal(found, table[tokens] * np.float32(factor))


def test_biases_that_depend_on_the_shape_are_each_their_own():
    """Planning computes such a bias anew for each shape; nothing made of one may serve another."""
    rng = np.random.default_rng(0)
    arrays = {
        "table": rng.standard_normal((5, 4)).astype(np.float32),
        "w": rng.standard_normal((1, 9, 4)).astype(np.float32),
        "r": rng.standard_normal((1, 9, 3)).astype(np.float32),
        "start": rng.standard_normal((1, 18)).astype(np.float32),
        "first": np.array(0),
    }
    nodes = [
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["frames"]),
        helper.make_node("Cast", ["frames"], ["factor"], to=1),
        helper.make_node("Mul", ["start", "factor"], ["b"]),
        helper.make_node("Gather", ["table", "tokens"], ["x"]),
        helper.make_node("GRU", ["x", "w", "r", "b"], ["", "y"], hidden_size=3),
    ]
    file = model(nodes, [value("tokens", np.int64, ["t", "n"])], [value("y")], arrays)
    session, reference = tinyseq.load(file), tinyseq.load(file, device="reference")
    for turn in range(150):
        tokens = {"tokens": rng.integers(0, 5, (1 + turn * 7 % 11, 1 + turn % 5))}
        np.testing.assert_allclose(session.run(tokens)["y"], reference.run(tokens)["y"], atol=1e-5)


def test_tokens_that_no_layer_reads_are_looked_at_too():
    """Rows that are cut away before the layer."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((15, 6), (15, 5), (15,), (15,))]
    g = tinyseq.Graph()
    x = g.embedding(g.input("tokens", ["frames", "rows"], np.int64), rng.standard_normal((7, 6)))
    g.output("y", g.gru(g.slice(x, 0, 1, 2**40), weights, layout="torch")[0])
    session = tinyseq.load(g)
    assert session.run({"tokens": np.array([[6], [1], [2]])})["y"].shape == (2, 1, 5)
    with pytest.raises(tinyseq.FeedError, match="met an index"):
        session.run({"tokens": np.array([[99], [1], [2]])})
