"""Cases whose tensors are cut to, or computed from, an open size of another input."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import helper, load_from_string, numpy_helper

from tests.models import Case, value

PROBE = "probe"
"""An input [n] of which only the size is read."""

BEYOND = 4
"""How many more elements than the case needs a table has along its axis."""

SLICE_TAKES_INPUTS = 10
"""The opset from which on Slice can cut by a computed size."""


@st.composite
def cut(draw, case: Case, base: int) -> Case:
    """The case, some of whose inputs are constant tables cut to the size n of ``PROBE``, or integers that it
    shifts. At n = ``base`` they are what the case has; tables of floats hold infinities and not-a-numbers
    now and then."""
    model = load_from_string(case.model)
    for each in model.opset_import:
        each.version = each.version if each.domain else max(each.version, SLICE_TAKES_INPUTS)
    graph = model.graph
    held = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    arrays = case.feeds | held
    chosen = draw(st.sets(st.sampled_from(sorted(arrays)), min_size=1)) if arrays else set()
    nodes, tables = [helper.make_node("Shape", [PROBE], ["cut.n"])], {}
    for name in sorted(chosen):
        array = arrays[name]
        shift = array.dtype in (np.int64, np.int32) and (array.ndim == 0 or draw(st.booleans()))
        if array.ndim == 0 and not shift:
            continue
        if shift:
            nodes += _shifted(name, array, base, tables)
        else:
            nodes += _table(name, _special(draw, array), draw(st.integers(0, array.ndim - 1)), base, tables)
        held.pop(name, None)
    made = {name for node in nodes for name in node.output}
    inputs = [value(PROBE, shape=["n"]), *(each for each in graph.input if each.name not in made)]
    constants = [numpy_helper.from_array(array, name) for name, array in (held | tables).items()]
    nodes += graph.node
    graph.CopyFrom(helper.make_graph(nodes, graph.name, inputs, graph.output, constants))
    feeds = {name: array for name, array in case.feeds.items() if name not in made}
    return Case(model.SerializeToString(), {PROBE: np.zeros(base, np.float32)} | feeds)


def at(case: Case, size: int) -> dict[str, np.ndarray]:
    """The case's feeds with another size of the probe."""
    return case.feeds | {PROBE: np.zeros(size, np.float32)}


def _special(draw, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" or not array.size or draw(st.booleans()):
        return array
    array = array.copy()
    array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([-np.inf, np.inf, np.nan, -0.0]))
    return array


def _table(name: str, array: np.ndarray, axis: int, base: int, tables: dict) -> list:
    """``name`` as the first n elements of a longer table, along an axis."""
    size = array.shape[axis]
    if size:
        longer = np.take(array, np.arange(size + BEYOND) % size, axis=axis)
    else:
        longer = np.ones([BEYOND if a == axis else n for a, n in enumerate(array.shape)], array.dtype)
    tables |= {
        f"{name}.table": longer,
        f"{name}.start": np.array([0]),
        f"{name}.more": np.array([size - base]),
        f"{name}.axis": np.array([axis]),
    }
    return [
        helper.make_node("Add", ["cut.n", f"{name}.more"], [f"{name}.end"]),
        helper.make_node("Slice", [f"{name}.{part}" for part in ("table", "start", "end", "axis")], [name]),
    ]


def _shifted(name: str, array: np.ndarray, base: int, tables: dict) -> list:
    """``name`` as integers to which n - base is added."""
    tables |= {f"{name}.table": array.astype(np.int64), f"{name}.base": np.array(base)}
    narrow = array.dtype != np.int64
    nodes = [
        helper.make_node("Squeeze", ["cut.n"], [f"{name}.n"]),
        helper.make_node("Sub", [f"{name}.n", f"{name}.base"], [f"{name}.by"]),
        helper.make_node("Add", [f"{name}.table", f"{name}.by"], [f"{name}.wide" if narrow else name]),
    ]
    if narrow:
        to = helper.np_dtype_to_tensor_dtype(array.dtype)
        nodes.append(helper.make_node("Cast", [f"{name}.wide"], [name], to=to))
    return nodes
