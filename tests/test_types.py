"""Types: what a model's tensors are of, and what is refused when it is loaded."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tinyseq
from tests.models import graph, model, one_node, value
from tests.strategies import CASES
from tinyseq import reference
from tinyseq.errors import ModelError
from tinyseq.ir import types
from tinyseq.ir.model import Model, ModelGraph, Node, StatePair, Value
from tinyseq.ir.ops import FAMILY, OPS
from tinyseq.plan.builder import Builder
from tinyseq.plan.packing import PackedWeights
from tinyseq.runtime.loading import read

make = helper.make_node
F = np.arange(1, 5, dtype=np.float32).reshape(2, 2)
WHOLE = np.arange(10, 14).reshape(2, 2)
B = F > 2
WORD = WHOLE.astype(np.int32)
BYTE = WHOLE.astype(np.uint8)
PLACE = np.array([[1]])


MIXED = {
    **{f"{op}: {a.dtype} and {b.dtype}": (op, [a, b], {}) for op in
       ("Add", "Sub", "Mul", "Div", "Mod", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
        "MatMul", "Max", "Min", "Sum", "Mean", "PRelu", "Gemm")
       for a, b in ((F, WHOLE), (WHOLE, F), (WHOLE, WORD), (WORD, BYTE))},
    **{f"Concat: {a.dtype} and {b.dtype}": ("Concat", [a, b], {"axis": 0})
       for a, b in ((F, WHOLE), (WHOLE, F), (B, WHOLE), (WHOLE, BYTE), (F, B))},
    **{f"Where: {a.dtype} and {b.dtype}": ("Where", [B, a, b], {})
       for a, b in ((F, WHOLE), (WHOLE, F), (WHOLE, B), (WORD, WHOLE))},
    **{f"{op}: {a.dtype}": (op, [a, a], {}) for op in ("And", "Or", "Xor") for a in (F, WHOLE, BYTE)},
    **{f"Not: {a.dtype}": ("Not", [a], {}) for a in (F, WHOLE)},
    "Where: a condition of numbers": ("Where", [WHOLE, F, F], {}),
    "Pad: a value of integers": ("Pad", [F, np.array([0, 1, 0, 0]), np.array(7)], {}),
    "Pad: a value of floats": ("Pad", [WHOLE, np.array([0, 1, 0, 0]), np.float32(7)], {}),
    "ScatterND: updates of integers": ("ScatterND", [F, PLACE, WHOLE[:1]], {}),
    "ScatterND: updates of floats": ("ScatterND", [WHOLE, PLACE, F[:1]], {}),
    "ScatterElements: updates of floats": ("ScatterElements", [WHOLE, PLACE, F[:1, :1]], {"axis": 0}),
    "Gather: indices of floats": ("Gather", [F, F], {}),
    "GatherND: indices of booleans": ("GatherND", [F, B], {}),
    "Clip: a bound of integers": ("Clip", [F, np.array(1)], {}),
    "OneHot: a depth of booleans": ("OneHot", [WHOLE, np.array(True), F[0]], {}),
    "Range: of two types": ("Range", [np.float32(0), np.array(3), np.array(1)], {}),
    "TopK: a count of floats": ("TopK", [F, F[0, :1]], {"outputs": 2}),
    "CumSum: of booleans": ("CumSum", [B, np.array(0)], {}),
    "Softmax: of integers": ("Softmax", [WHOLE], {}),
    "LSTM: weights of integers": ("LSTM", [F[:, None], np.zeros((1, 8, 2), int), np.zeros((1, 8, 2), "f4")],
                                  {"hidden_size": 2}),
    "Conv: kernels of integers": ("Conv", [F[None], np.zeros((1, 2, 1), int)], {}),
    "MatMulInteger: of words": ("MatMulInteger", [WORD, WORD], {}),
    "DequantizeLinear: a zero point of another type":
        ("DequantizeLinear", [BYTE, np.float32(1), np.int8(0)], {}),
}  # fmt: skip
"""Inputs that the specification does not let an op take."""


@pytest.mark.parametrize("case", MIXED)
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_an_op_is_given_no_types_that_it_does_not_take(case, device):
    op, inputs, attributes = MIXED[case]
    case = one_node(op, inputs, **attributes)
    with pytest.raises(ModelError, match=r"(?s)node 'it' \(\w+\): its input '\w+' \(tensor .*Cast"):
        tinyseq.load(case.model, device=device)


def test_both_tensors_and_both_types_are_named():
    case = one_node("Concat", [F, WHOLE], axis=0)
    with pytest.raises(ModelError) as caught:
        tinyseq.load(case.model)
    words = "'it' (Concat)", "'x0'", "'x1'", "float32", "int64", "one type", "Cast"
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("half", [np.float16, np.float64])
def test_floats_of_any_precision_go_together(half):
    """All are computed in one."""
    case = one_node("Concat", [F, F.astype(half)], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = tinyseq.load(case.model).run(case.feeds)
    np.testing.assert_array_equal(next(iter(y.values())), np.concatenate([F, F]))


# Outputs.


def declared(nodes, dtype, given=np.float32, inputs=(), **constants) -> bytes:
    """A model of an input ``x`` whose output ``y`` is said to be of a type."""
    inputs = [value("x", given, ("a", "b")), *inputs]
    return model(nodes, inputs, [value("y", dtype)], constants)


@pytest.mark.parametrize(
    ("node", "said", "is_"),
    [
        (make("ArgMax", ["x"], ["y"]), np.float32, "int64"),
        (make("Shape", ["x"], ["y"]), np.int32, "int64"),
        (make("Cast", ["x"], ["y"], to=TensorProto.INT64), np.float32, "int64"),
        (make("IsNaN", ["x"], ["y"]), np.float32, "bool"),
        (make("Relu", ["x"], ["y"]), np.int64, "float32"),
    ],
)
def test_an_output_is_of_the_type_that_it_is_declared(node, said, is_):
    with pytest.raises(ModelError, match=f"'y' is declared {np.dtype(said)} and is {is_}"):
        tinyseq.load(declared([node], said))


def test_a_wrong_shape_of_an_output_is_tolerated():
    node = make("ArgMax", ["x"], ["y"], axis=1)
    proto = model([node], [value("x", shape=("a", "b"))], [value("y", np.int64, (7, 7))])
    assert tinyseq.load(proto).run({"x": F})["y"].tolist() == [[1], [1]]


def test_an_output_without_a_type_has_the_one_that_is_computed():
    proto = onnx.load_from_string(declared([make("ArgMax", ["x"], ["y"])], np.int64))
    proto.graph.output[0].ClearField("type")
    assert tinyseq.load(proto.SerializeToString()).outputs[0].dtype == np.int64


def test_an_output_of_a_built_graph_has_the_type_that_is_computed():
    built = tinyseq.Graph()
    built.output("y", built.apply("ArgMax", built.input("x", ["n"])))
    assert tinyseq.load(built).outputs[0].dtype == np.int64
    built.output("z", "y" if "y" in built._names else built.relu("x"), dtype=bool)
    with pytest.raises(ModelError, match="'z' is declared bool"):
        tinyseq.load(built)


# Graphs in graphs.


def loop(nodes, before, after, x):
    body = graph(
        [make("Identity", ["c"], ["more"]), *nodes],
        [value("i", np.int64, ()), value("c", bool, ()), value("v", before)],
        [value("more", bool, ()), value("w", after)],
    )
    node = make("Loop", ["trips", "", "x"], ["y"], "it", body=body)
    return model([node], [value("x", x, ("a", "b"))], [value("y", x)], {"trips": np.array(2)})


def cast(source, target, to):
    return make("Cast", [source], [target], to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))


def scan(to, said):
    body = graph(
        [cast("s", "s2", to), make("Identity", ["e"], ["o"])],
        [value("s"), value("e")],
        [value("s2", said), value("o")],
    )
    node = make("Scan", ["h", "x"], ["hn", "y"], "it", body=body, num_scan_inputs=1)
    return model([node], [value("x", shape=("a", "b")), value("h", shape=("b",))], [value("hn"), value("y")])


def branches(then, other):
    graphs = [graph([cast("x", name, to)], [], [value(name, to)]) for name, to in (("p", then), ("q", other))]
    nodes = [
        make("ReduceSum", ["x"], ["s"], keepdims=0),
        make("Greater", ["s", "zero"], ["c"]),
        make("If", ["c"], ["y"], "it", then_branch=graphs[0], else_branch=graphs[1]),
    ]
    return declared(nodes, then, zero=np.float32(0))


LIES = {
    "carried float, then integer": loop([cast("v", "w", "i8")], "f4", "f4", "f4"),
    "carried float, said integer": loop([cast("v", "w", "i8")], "f4", "i8", "f4"),
    "carried integer, then float": loop([cast("v", "w", "f4")], "i8", "i8", "i8"),
    "carried integer, begun as float": loop([make("Neg", ["v"], ["w"])], "i8", "i8", "f4"),
    "a state of Scan": scan(np.int64, np.float32),
    "a state of Scan, said so": scan(np.int64, np.int64),
    "branches": branches("f4", "i8"),
    "branches of booleans and integers": branches("?", "i8"),
}


@pytest.mark.parametrize("case", LIES)
def test_graphs_in_graphs_are_of_the_types_that_go_in_and_out(case):
    with pytest.raises(ModelError, match=r"node 'it' \("):
        tinyseq.load(LIES[case])


@pytest.mark.parametrize("dtype", ["f4", "i8", "i4"])
def test_types_that_a_body_leaves_out_are_worked_out(tmp_path, dtype):
    proto = onnx.load_from_string(loop([make("Neg", ["v"], ["w"])], dtype, dtype, dtype))
    body = proto.graph.node[0].attribute[0].g
    for entry in (*body.input, *body.output):
        entry.ClearField("type")
    session = tinyseq.load(proto.SerializeToString())
    body = session.model.graph.nodes[0].attributes["body"]
    assert [v.dtype for v in body.inputs] == [np.int64, bool, np.dtype(dtype)]
    assert [v.dtype for v in body.outputs] == [bool, np.dtype(dtype)]
    session.save(tmp_path / "loop.tinyseq")
    x = WHOLE.astype(dtype)
    np.testing.assert_array_equal(tinyseq.load(tmp_path / "loop.tinyseq").run({"x": x})["y"], x)


# State.


def carrying(to) -> bytes:
    nodes = [make("Add", ["x", "h"], ["s"]), cast("s", "hn", to), make("Relu", ["s"], ["y"])]
    edge = [value(name, shape=("b", 64)) for name in ("x", "h", "hn", "y")]
    return model(nodes, edge[:2], edge[2:])


@pytest.mark.parametrize("state", [None, {"h": "hn"}])
def test_state_that_is_computed_of_another_type_is_refused(state):
    with pytest.raises(ModelError, match="'hn' is declared float32 and is int64"):
        tinyseq.load(carrying(np.int64), state=state)
    pool = tinyseq.load(carrying(np.float32), state=state).pool(2)
    rows = [pool.open(), pool.open()]
    pool.step(rows[:1], {"x": np.ones((1, 64), np.float32)})
    assert not pool.snapshot(rows[1])["h"].any()


@pytest.mark.parametrize(
    ("output", "initial"), [("n", None), ("hn", np.zeros(3, int)), ("hn", np.zeros(3, bool))]
)
def test_state_is_of_one_type_with_its_input(output, initial):
    edge = [Value(name, np.dtype(np.float32), ("b", 3)) for name in ("h", "hn")]
    nodes = (Node("Neg", ("h",), ("hn",), {}, "neg"), Node("Cast", ("h",), ("n",), CAST, "cast"))
    made = ModelGraph((edge[0],), (edge[1], Value("n", None, None)), nodes, {})
    with pytest.raises(ModelError, match="'h' is float32"):
        types.checked_model(Model(made, (StatePair("h", output, initial),)))


CAST = {"to": np.dtype(np.int64), "saturate": 1, "round_mode": "up"}


# Names.


def twice(field: str, name: str, **changes) -> bytes:
    proto = onnx.load_from_string(
        model([make("Add", ["x", "w"], ["y"])], [value("x", shape=("a",))], [value("y")], {"w": F[0]})
    )
    entries = getattr(proto.graph, field)
    entries.append(next(entry for entry in entries if entry.name == name))
    return proto.SerializeToString()


@pytest.mark.parametrize(("field", "name"), [("input", "x"), ("output", "y"), ("initializer", "w")])
def test_no_name_stands_for_two_tensors(field, name):
    with pytest.raises(ModelError, match=f"'{name}'; names must be unique"):
        tinyseq.load(twice(field, name))


def test_two_constants_of_one_name_are_refused():
    node = make("Constant", [], ["w"], value=numpy_helper.from_array(F))
    proto = declared([node, make("Add", ["x", "w"], ["y"])], np.float32, w=F)
    with pytest.raises(ModelError, match="'w'; names must be unique"):
        tinyseq.load(proto)


def test_an_input_with_a_constant_of_another_type_is_refused():
    proto = onnx.load_from_string(declared([make("Add", ["x", "w"], ["y"])], np.float32, w=F))
    proto.graph.input.append(value("w", np.int64, (2, 2)))
    with pytest.raises(ModelError, match="'w' is declared int64 and its constant is float32"):
        tinyseq.load(proto.SerializeToString())


# The rule.


@pytest.mark.parametrize("form", CASES)
@given(data=st.data())
def test_the_rule_says_what_the_reference_gives(form, data):
    case = data.draw(CASES[form])
    graph = read(case.model).graph
    names = graph.constants | case.feeds
    for node in graph.nodes:
        if FAMILY[node.op] == "control":
            return
        inputs = [names[name] if name else None for name in node.inputs]
        given = [None if array is None else array.dtype for array in inputs]
        made = reference.apply(node, inputs)
        for rule, array in zip(types.results(node, given), made):
            assert types.alike(rule, array.dtype), (node.op, rule, array.dtype)
        names |= dict(zip(node.outputs, made))


@pytest.mark.parametrize("op", [op for op in OPS if not OPS[op].domain])
def test_the_table_takes_what_the_specification_takes(op):
    """Of the types that both know; the ports of a letter are those of one type there."""
    schema, row = onnx.defs.get_schema(op), OPS[op]
    takes = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    wants = types._signature(op)[0]
    if FAMILY[op] == "control":
        return
    own = [port for port in row.inputs if not port.own]
    wants = wants[: len(own)]
    for port, want, formal in zip(own, wants, schema.inputs, strict=True):
        allowed = {_type(text) for text in takes.get(formal.type_str, [formal.type_str])} - {None}
        assert allowed <= want[0], port.name
    groups = {}
    for (_, group, _), formal in zip(wants, schema.inputs):
        if group:
            assert groups.setdefault(group, formal.type_str) == formal.type_str or group == "F"
    names = [formal.type_str for formal in schema.inputs]
    for port, want, name in zip(own, wants, names):
        if names.count(name) > 1 and "float" in str(takes[name]):
            assert want[1] or port.type == "i", port.name


def _type(text: str) -> np.dtype | None:
    try:
        dtype = np.dtype({"float": "float32", "double": "float64"}.get(text[7:-1], text[7:-1]))
    except TypeError:
        return None
    return dtype if dtype in types.NUMBERS else None


# The second wall.


def plain(kind: str, narrow: bool = False):
    plan = Builder(PackedWeights(()))
    return plan, plan.allocate((4,), dtype=np.dtype(kind), narrow=narrow)


@pytest.mark.parametrize(("source", "target"), [("f4", "i8"), ("i8", "f4"), ("?", "f4"), ("f4", "?")])
def test_no_plan_writes_elements_of_another_kind(source, target):
    plan, x = plain(source)
    y = plan.allocate((4,), dtype=np.dtype(target))
    indices = plan.allocate((4,), dtype=np.dtype(np.int64))
    for write in (
        lambda: plan.copy(x, y),
        lambda: plan.move([(x, y)]),
        lambda: plan.elementwise("add", y, x, x),
        lambda: plan.emit_checked("it", "gather", x, indices, y, 1, 4, 4, 1, 4, -1, [4, 4, 0]),
        lambda: plan.emit_checked("it", "gather_elements", x, indices, y, 1, 4, 4, 1, 4, -1),
    ):
        with pytest.raises(tinyseq.errors.PlanError, match="fault in tinyseq"):
            write()
    assert not plan.words


def test_no_plan_takes_numbers_for_places():
    plan, x = plain("f4")
    with pytest.raises(tinyseq.errors.PlanError, match="gather"):
        plan.emit("gather", x, x, x, 1, 4, 4, 1, 4, -1, [4, 4, 0])
    plan, x = plain("u1", narrow=True)
    with pytest.raises(tinyseq.errors.PlanError, match="filled"):
        plan.fill(x)


def test_a_node_is_blamed_for_a_plan_that_would_mix_kinds(monkeypatch):
    """As where a lowering is wrong: here one that takes what types refuse."""
    monkeypatch.setattr(types, "results", lambda node, inputs: (np.dtype(np.float32),))
    case = one_node("Concat", [F, WHOLE], axis=0)
    with pytest.raises(tinyseq.errors.PlanError, match=r"node 'it' \(Concat\)"):
        tinyseq.load(case.model).run(case.feeds)


@pytest.mark.parametrize("rows", [False, True])
def test_state_is_never_written_in_another_kind(monkeypatch, rows):
    monkeypatch.setattr(types, "results", lambda node, inputs: (np.dtype(np.float32),) * len(node.outputs))
    session = tinyseq.load(carrying(np.int64), state={"h": "hn"})
    feeds = {"x": np.ones((1, 64), np.float32)}
    with pytest.raises(tinyseq.errors.PlanError, match="'hn'"):
        if rows:
            pool = session.pool(2)
            pool.step([pool.open()], feeds)
        else:
            session.stream().step(feeds)
