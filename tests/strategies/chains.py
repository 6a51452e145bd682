"""Random chains of nodes."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import Case, model, value
from tests.strategies.drawing import (
    ints,
    numbers,
    shapes,
)


@st.composite
def chains(draw) -> Case:
    """A few nodes, each reading any earlier tensor, and several of their results as outputs."""
    x = numbers(draw, draw(shapes(3, 3, least=1, most=4)))
    constants: dict[str, np.ndarray] = {}
    nodes, tensors = [], {"x": x.shape}

    def constant(array) -> str:
        name = f"c{len(constants)}"
        constants[name] = np.asarray(array)
        return name

    for position in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(sorted(tensors)))
        shape = tensors[source]
        rank, size = len(shape), math.prod(shape)
        step = draw(st.sampled_from(sorted(STEPS)))
        if not STEPS[step](shape):
            continue
        axis = draw(st.integers(0, rank - 1))
        op, more, attributes = step, [], {}
        if step == "Transpose":
            perm = draw(st.permutations(range(rank)))
            attributes, shape = {"perm": perm}, [shape[a] for a in perm]
        elif step == "Reshape":
            shape = draw(st.sampled_from([(size,), (1, size), (size, 1, 1), shape[::-1]]))
            more = [constant(ints(shape))]
        elif step == "Slice":
            start, pace = draw(st.integers(0, shape[axis] - 1)), draw(st.sampled_from([1, 2, -1]))
            more = [constant(ints([v])) for v in (start, -99 if pace < 0 else 99, axis, pace)]
            count = len(range(shape[axis])[start::pace])
            shape = [count if a == axis else n for a, n in enumerate(shape)]
        elif step == "Unsqueeze":
            more, shape = [constant(ints([axis]))], [*shape[:axis], 1, *shape[axis:]]
        elif step == "Concat":
            more, attributes = [source], {"axis": axis}
            shape = [2 * n if a == axis else n for a, n in enumerate(shape)]
        elif step == "Pad":
            more = [constant(ints([1] * 2 * rank))]
            attributes, shape = {"mode": draw(st.sampled_from(["constant", "edge"]))}, [n + 2 for n in shape]
        elif step == "Gather":
            picks = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=3))
            more, attributes = [constant(ints(picks))], {"axis": axis}
            shape = [len(picks) if a == axis else n for a, n in enumerate(shape)]
        elif step == "Expand":
            shape = (2, *shape)
            more = [constant(ints(shape))]
        elif step == "MatMul":
            columns = draw(st.integers(1, 20))
            more, shape = [constant(numbers(draw, (shape[-1], columns)))], [*shape[:-1], columns]
        elif step == "Conv":
            filters = draw(st.integers(1, 5))
            more, shape = [constant(numbers(draw, (filters, shape[1], 1)))], [shape[0], filters, shape[2]]
        elif step == "ReduceMean":
            more, shape = [constant(ints([axis]))], [1 if a == axis else n for a, n in enumerate(shape)]
        elif step == "Add":
            alike = sorted(name for name, other in tensors.items() if tuple(other) == tuple(shape))
            more = [draw(st.sampled_from(alike))]
        if math.prod(shape) > 5000:
            continue
        name = f"t{position}"
        nodes.append(helper.make_node(op, [source, *more], [name], **attributes))
        tensors[name] = tuple(shape)
    results = draw(st.lists(st.sampled_from(sorted(tensors)), unique=True, min_size=1))
    outputs = [f"out_{name}" for name in results]
    nodes += [helper.make_node("Identity", [name], [out]) for name, out in zip(results, outputs)]
    return Case(
        model(nodes, [value("x", shape=["a", "b", "c"])], [value(out) for out in outputs], constants),
        {"x": x},
    )


def _always(shape) -> bool:
    return True


STEPS = {
    **dict.fromkeys(("Reshape", "Relu", "Tanh", "Sigmoid", "Neg", "Add", "Expand"), _always),
    **dict.fromkeys(
        ("Transpose", "Slice", "Unsqueeze", "Concat", "Pad", "Gather", "MatMul", "ReduceMean"),
        lambda shape: len(shape) > 0,
    ),
    "Conv": lambda shape: len(shape) == 3,
}


"""The ops of a chain and the shapes that each can follow."""
