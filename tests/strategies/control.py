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


class Program:
    """Random nodes on tensors [2, 3] of magnitude 1, with loops and branches in each other."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def block(self, names: list[str], depth: int) -> tuple[list, list[str]]:
        """A few nodes that read the named tensors; gives them and their results."""
        nodes, made = [], []
        for _ in range(self.draw(st.integers(1, 3))):
            kinds = [self.plain, self.branch, self.loop, self.scan][: 4 if depth else 1]
            more, result = self.draw(st.sampled_from(kinds))([*names, *made], depth - 1)
            nodes += more
            made.append(result)
        return nodes, made

    def pick(self, names: list[str]) -> str:
        return self.draw(st.sampled_from(names))

    def plain(self, names, depth):
        result = self.name()
        op = self.draw(st.sampled_from(["Mean", "Tanh", "Neg", "Max", "Min", "Abs"]))
        inputs = [self.pick(names) for _ in range(1 if op in ("Tanh", "Neg", "Abs") else 2)]
        return [helper.make_node(op, inputs, [result])], result

    def question(self, names) -> tuple[list, str]:
        """A boolean that planning cannot know."""
        total, flag = self.name(), self.name()
        nodes = [
            helper.make_node("ReduceSum", [self.pick(names)], [total], keepdims=0),
            helper.make_node("Greater", [total, "threshold"], [flag]),
        ]
        return nodes, flag

    def branch(self, names, depth):
        nodes, flag = self.question(names)
        graphs = []
        for _ in range(2):
            inner, made = self.block(names, depth)
            graphs.append(graph(inner, [], [value(self.pick([*made, made[-1]]))]))
        result = self.name()
        nodes.append(helper.make_node("If", [flag], [result], then_branch=graphs[0], else_branch=graphs[1]))
        return nodes, result

    def loop(self, names, depth):
        """Carries one or two tensors, perhaps in changing places; ends by count, condition or both."""
        carried = [self.name() for _ in range(self.draw(st.integers(1, 2)))]
        turn, go = self.name(), self.name()
        inner, made = self.block([*names, *carried], depth)
        conditional = self.draw(st.booleans())
        flag = self.name()
        asked = [helper.make_node("Identity", [go], [flag])]
        if conditional:
            asked, flag = self.question([*names, *carried, *made])
        following = [self.pick([*made, *carried]) for _ in carried]
        outputs = [value(flag, bool, ()), *map(value, following)]
        stacked = not conditional and self.draw(st.booleans())
        inner += asked
        if stacked:
            outputs.append(value(self.pick([*made, *carried])))
        # Two outputs may be one tensor, but not under one name in onnxruntime.
        for place, output in enumerate(outputs[1:], start=1):
            fresh = self.name()
            inner.append(helper.make_node("Identity", [output.name], [fresh]))
            outputs[place] = value(fresh)
        formal = [value(turn, np.int64, ()), value(go, bool, ()), *(value(n, shape=(2, 3)) for n in carried)]
        body = graph(inner, formal, outputs)
        nodes, initially = self.question(names) if conditional else ([], "")
        trips = f"trips_{self.draw(st.integers(1 if stacked else 0, 3))}"
        starts = [self.pick(names) for _ in carried]
        results = [self.name() for _ in outputs[1:]]
        nodes.append(helper.make_node("Loop", [trips, initially, *starts], results, body=body))
        if not stacked:
            return nodes, self.pick(results)
        mean = self.name()
        nodes.append(helper.make_node("ReduceMean", [results[-1], "first"], [mean], keepdims=0))
        return nodes, self.pick([mean, results[0]])

    def scan(self, names, depth):
        """Over the two rows of a tensor, which the body sees along with those outside."""
        before, element, wide, after, row = (self.name() for _ in range(5))
        inner, made = self.block([*names, before], depth)
        inner += [
            helper.make_node("Mean", [made[-1], element], [wide]),
            helper.make_node("Tanh", [wide], [after]),
            helper.make_node("ReduceMax", [wide, "first"], [row], keepdims=0),
        ]
        body = graph(
            inner,
            [value(before, shape=(2, 3)), value(element, shape=(3,))],
            [value(after, shape=(2, 3)), value(row, shape=(3,))],
        )
        final, all_ = self.name(), self.name()
        turned = [self.draw(st.integers(0, 1))]
        node = helper.make_node(
            "Scan", [self.pick(names), self.pick(names)], [final, all_], body=body, num_scan_inputs=1,
            scan_input_directions=turned, scan_output_directions=turned,
        )  # fmt: skip
        return [node], self.pick([final, all_])


@case_of("Loop: nested", "Scan: nested", "If: nested")
def nested(draw, op):
    program = Program(draw)
    kind = {"Loop": program.loop, "Scan": program.scan, "If": program.branch}[op]
    nodes, result = kind(["a", "b"], 2)
    more, other = program.plain(["a", "b", result], 0)
    constants = {f"trips_{count}": np.array(count) for count in range(4)}
    constants |= {"threshold": np.float32(0.1234), "first": np.array([0])}
    feeds = {name: numbers(draw, (2, 3)) for name in "ab"}
    return Case(
        model(
            [*nodes, *more],
            [value(name, shape=["rows", "columns"]) for name in feeds],
            [value(result), value(other)],
            constants,
        ),
        feeds,
    )


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
