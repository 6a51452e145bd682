"""Cases whose inputs come from elsewhere: the same numbers, of a table, turned round, or of a past."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from onnx import helper, load_from_string, numpy_helper

from tests.models import Case, value
from tests.strategies.cut import SLICE_TAKES_INPUTS

PAST = 2300
"""Elements of a past that is long."""

FAR = 2**40
"""Beyond any end."""


@dataclass
class Sourced:
    """A case, and the state at which its stream begins, by the names of inputs, if it has any."""

    case: Case
    state: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def pairs(self) -> dict[str, str]:
        """What carries the state."""
        return {name: f"{name}.next" for name in self.state}


class _Rewired:
    """A case while its inputs are given other sources, each by a method that says whether it can be one."""

    def __init__(self, draw, case: Case) -> None:
        self._draw = draw
        self._model = load_from_string(case.model)
        for each in self._model.opset_import:
            each.version = each.version if each.domain else max(each.version, SLICE_TAKES_INPUTS)
        self._feeds, self._state = dict(case.feeds), {}
        self._nodes, self._inputs, self._outputs, self._constants = [], [], [], []
        self._replaced: set[str] = set()

    def sourced(self) -> Sourced:
        """The case as it has become."""
        graph = self._model.graph
        kept = [each for each in graph.input if each.name not in self._replaced]
        nodes, inputs, outputs = (
            [*self._nodes, *graph.node],
            [*kept, *self._inputs],
            [*graph.output, *self._outputs],
        )
        constants = [*graph.initializer, *self._constants]
        graph.CopyFrom(helper.make_graph(nodes, graph.name, inputs, outputs, constants))
        return Sourced(Case(self._model.SerializeToString(), self._feeds), self._state)

    def row_of_table(self, name: str) -> None:
        """Rows that are picked of a table."""
        array = self._take(name)
        width = array.shape[-1]
        rows = np.concatenate([array.reshape(-1, width), np.full((2, width), 9, np.float32)])
        places = np.arange(len(rows) - 2).reshape(array.shape[:-1])
        self._node("Gather", self._constant(rows), self._input(f"{name}.places", places), output=name)

    def backwards(self, name: str) -> None:
        """What is read from its end."""
        array = self._take(name)
        axis = self._axis(array)
        source = self._input(f"{name}.backwards", np.flip(array, axis).copy())
        self._cut(source, -1, -FAR, axis, -1, output=name)

    def turned(self, name: str) -> None:
        """What lies in another order."""
        array = self._take(name)
        order = self._draw(st.permutations(range(array.ndim)))
        source = self._input(f"{name}.turned", np.ascontiguousarray(array.transpose(order)))
        self._node("Transpose", source, output=name, perm=np.argsort(order).tolist())

    def parts_of_state(self, name: str) -> None:
        """Two parts of a state, the later one first."""
        array = self._take(name)
        axis = self._axis(array)
        first, last = np.split(array, [array.shape[axis] // 2], axis)
        state, where = self._carried(name, np.concatenate([last, first], axis)), last.shape[axis]
        self._node(
            "Concat",
            self._cut(state, where, FAR, axis, 1),
            self._cut(state, 0, where, axis, 1),
            output=name,
            axis=axis,
        )

    def end_of_past(self, name: str) -> None:
        """The last of a long past and what is new behind it, forwards or backwards."""
        array, back = self._take(name), self._draw(st.booleans())
        flat = array.ravel()[::-1] if back else array.ravel()
        old = self._draw(st.integers(0, flat.size - 1))
        past = np.concatenate([np.full(PAST, 7, np.float32), flat[:old]])
        whole = self._node(
            "Concat", self._carried(name, past), self._input(f"{name}.new", flat[old:].copy()), axis=0
        )
        end = self._cut(whole, -flat.size, FAR, 0, 1)
        end = self._cut(end, -1, -FAR, 0, -1) if back else end
        self._node("Reshape", end, self._constant(np.array(array.shape, np.int64)), output=name)

    def _take(self, name: str) -> np.ndarray:
        self._replaced.add(name)
        return self._feeds.pop(name)

    def _axis(self, array: np.ndarray) -> int:
        return self._draw(st.integers(0, array.ndim - 1))

    def _fresh(self) -> str:
        return f"source.{len(self._nodes) + len(self._constants)}"

    def _node(self, op: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or self._fresh()
        self._nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def _cut(self, source: str, start: int, stop: int, axis: int, step: int, output: str = "") -> str:
        bounds = [self._constant(np.array([number])) for number in (start, stop, axis, step)]
        return self._node("Slice", source, *bounds, output=output)

    def _constant(self, array: np.ndarray) -> str:
        name = self._fresh()
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def _input(self, name: str, array: np.ndarray) -> str:
        self._inputs.append(value(name, array.dtype, array.shape))
        self._feeds[name] = array
        return name

    def _carried(self, name: str, begin: np.ndarray) -> str:
        """A state, which stays as it is."""
        name = f"{name}.state"
        self._inputs.append(value(name, begin.dtype, begin.shape))
        self._outputs.append(value(f"{name}.next", begin.dtype, begin.shape))
        self._node("Identity", name, output=f"{name}.next")
        self._state[name] = begin
        return name


SOURCES = {
    source.__name__: source
    for source in (
        _Rewired.row_of_table,
        _Rewired.backwards,
        _Rewired.turned,
        _Rewired.parts_of_state,
        _Rewired.end_of_past,
    )
}


@st.composite
def sourced(draw, case: Case, name: str) -> Sourced:
    """The case, whose inputs of float32, one of them or more, come from the source of a name."""
    rewired = _Rewired(draw, case)
    fits = [name for name, array in case.feeds.items() if array.dtype == np.float32 and array.ndim]
    fits = [name for name in fits if case.feeds[name].size]
    assume(fits)
    for each in draw(st.sets(st.sampled_from(fits), min_size=1)):
        SOURCES[name](rewired, each)
    return rewired.sourced()
