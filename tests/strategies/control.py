"""Cases of ops that run graphs."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import Case, graph, model, value
from tests.strategies.drawing import case_of, numbers, shapes


@case_of("If")
def branches(draw, op):
    x = numbers(draw, draw(shapes()))
    condition = np.array(draw(st.booleans()))
    then, other = (
        graph([helper.make_node(function, ["x", *more], ["y"])], [], [value("y")])
        for function, more in (("Exp", []), ("Add", ["x"]))
    )
    sizes = [f"x_{axis}" for axis in range(x.ndim)]
    known = draw(st.booleans())
    return Case(
        model(
            [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
            [value("x", shape=sizes), *([] if known else [value("c", bool, [])])],
            [value("y")],
            {"c": condition} if known else {},
        ),
        {"x": x} if known else {"x": x, "c": condition},
    )


@case_of("If: computed")
def computed_branches(draw, op):
    x = numbers(draw, draw(shapes(1, 3, least=1)))
    then, other = (
        graph([helper.make_node(function, ["x"], ["z"])], [], [value("z")]) for function in ("Exp", "Neg")
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], "it", then_branch=then, else_branch=other),
    ]
    sizes = [f"x_{axis}" for axis in range(x.ndim)]
    return Case(model(nodes, [value("x", shape=sizes)], [value("y")], {"zero": np.float32(0)}), {"x": x})


@case_of("Loop")
def loop(draw, op):
    """Halves x and adds what is around the loop, as long as the sum stays below a limit."""
    x, around = numbers(draw, (2, 3)), numbers(draw, (3,))
    body = graph(
        [
            helper.make_node("Mul", ["before", "half"], ["halved"]),
            helper.make_node("Add", ["halved", "around"], ["after"]),
            helper.make_node("ReduceSum", ["after"], ["sum"], keepdims=0),
            helper.make_node("Less", ["sum", "limit"], ["small"]),
            helper.make_node("Cast", ["turn"], ["number"], to=1),
            helper.make_node("Add", ["sum", "number"], ["trace"]),
        ],
        [value("turn", np.int64, ()), value("go", bool, ()), value("before", shape=(2, 3))],
        [value("small", bool, ()), value("after", shape=(2, 3)), value("trace", shape=())],
        {"half": np.float32(0.5), "limit": np.float32(draw(st.integers(-3, 3)))},
    )
    feeds = {"x": x, "around": around, "trips": np.array(draw(st.integers(0, 5)))}
    inputs = [value("x", shape=(2, 3)), value("around", shape=(3,)), value("trips", np.int64, ())]
    feeds["condition"] = np.array(draw(st.booleans()))
    inputs.append(value("condition", bool, ()))
    outputs = ["y", "traces"][: draw(st.integers(1, 2))]
    node = helper.make_node("Loop", ["trips", "condition", "x"], ["y", "traces"], "it", body=body)
    return Case(model([node], inputs, [value(name) for name in outputs]), feeds)


@case_of("Scan")
def scan(draw, op):
    """Running sums along an axis of each of two inputs, from either end."""
    frames = draw(st.integers(1, 4))
    axes, turned = ([draw(st.integers(0, 1)) for _ in range(2)] for _ in range(2))
    out_axis, out_turned = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    body = graph(
        [
            helper.make_node("Add", ["before", "a"], ["some"]),
            helper.make_node("Sub", ["some", "b"], ["after"]),
            helper.make_node("Mul", ["after", "factor"], ["scaled"]),
        ],
        [value("before", shape=(3,)), value("a", shape=(3,)), value("b", shape=(3,))],
        [value("after", shape=(3,)), value("scaled", shape=(3,))],
    )
    feeds = {"start": numbers(draw, (3,)), "factor": numbers(draw, (3,))}
    for name, axis in zip(("a_all", "b_all"), axes):
        feeds[name] = numbers(draw, (3, frames) if axis else (frames, 3))
    node = helper.make_node(
        "Scan", ["start", "a_all", "b_all"], ["final", "all"], "it", body=body, num_scan_inputs=2,
        scan_input_axes=axes, scan_input_directions=turned,
        scan_output_axes=[out_axis], scan_output_directions=[out_turned],
    )  # fmt: skip
    inputs = [value(name, shape=[f"{name}_{axis}" for axis in range(x.ndim)]) for name, x in feeds.items()]
    return Case(model([node], inputs, [value("final"), value("all")]), feeds)
