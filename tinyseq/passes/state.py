"""The state that a graph hides in its recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model, ModelGraph, Node, StatePair, Value, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.passes.prune import prune, trimmed
from tinyseq.passes.reach import Begin, unpaired

if TYPE_CHECKING:
    from tinyseq.passes.probe import Probe


def expose_state(model: Model, apart: frozenset[int] = frozenset()) -> Model:
    """The model as a stream runs it: what it must carry from step to step is among its state pairs.

    A model that has state pairs says itself what a stream carries. Otherwise every recurrent layer,
    whose state would start anew with each chunk, gets an input, an output and a pair: it starts a
    stream at its own initial state and goes on where the last step ended. A layer that begins at an
    input whose next value no output holds gets an output for it, in either case. Layers whose ids are in
    ``apart`` begin anew with every frame, and stay as they are.

    Raises:
        ModelError: a layer runs backward, or its state cannot be led out of the graph; names the node.
    """
    graph = model.graph
    begun = unpaired(graph, {pair.input for pair in model.state})
    if model.state and not begun:
        return model
    exposure = _Exposure(model, begun, apart)
    nodes = tuple(exposure.node(node) for node in graph.nodes)
    graph = graph._replace(
        inputs=graph.inputs + tuple(exposure.inputs),
        outputs=graph.outputs + tuple(exposure.outputs),
        nodes=(*nodes, *exposure.nodes),
    )
    model = model._replace(graph=prune(graph), state=(*model.state, *exposure.pairs))
    for begin in unpaired(model.graph, {pair.input for pair in model.state}):
        raise ModelError(
            f"{begin.node} begins at the input {begin.input!r}, and which output holds what follows is not "
            "known: a stream would forget its state from step to step. Name the two with load(..., "
            "state={input: output}), or export the model with the layer's final state as an output"
        )
    return model


class _Exposure:
    """Leads the state of a graph's recurrent layers in and out, node by node."""

    def __init__(self, model: Model, begun: Sequence[Begin], apart: frozenset[int]) -> None:
        """``begun`` are the inputs where layers begin that are in no pair."""
        self.graph = model.graph
        self._told = bool(model.state)
        self._begun = {begin.input for begin in begun}
        self._begins = {begin.node.name for begin in begun}
        self._apart = apart
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.nodes: list[Node] = []
        self.pairs: list[StatePair] = []
        self._makers = {name: node for node in self.graph.nodes for name in node.outputs if name}
        names = {value.name for value in self.graph.inputs} | self.graph.constants.keys()
        self._taken = names | self._makers.keys()
        self._given_out = {value.name for value in self.graph.outputs}

    def node(self, node: Node) -> Node:
        """The node, its state led out if it has one."""
        if self._told:
            if self._begun.isdisjoint(node.inputs) or not node.row.state:
                return node
        else:
            for _, sub_graph in node.graphs():
                _refuse_recurrent(sub_graph)
            if node.op == "Scan" and id(node) not in self._apart:
                return self._scan(node)
            if id(node) not in self._apart:
                _refuse_carrying(node)
        if not node.row.state or id(node) in self._apart or self._goes_on(node):
            return node
        if node.attributes["direction"] != "forward":
            raise ModelError(
                f"{node} runs {node.attributes['direction']}: its first output needs the last input, so the "
                "model cannot be streamed; give whole sequences to model.run"
            )
        ports_in = [port.name for port in node.row.inputs]
        ports_out = [port.name for port in node.row.outputs]
        sources = list(node.inputs) + [""] * (len(ports_in) - len(node.inputs))
        results = list(node.outputs) + [""] * (len(ports_out) - len(node.outputs))
        for port_in, port_out in node.row.state:
            place_in, place_out = ports_in.index(port_in), ports_out.index(port_out)
            name = sources[place_in]
            if name in self._begun:
                results[place_out] = self._led_out(node, port_in, results[place_out], name)
            elif not self._told:
                initial, constant = self._initial(node, name)
                if constant:
                    name, output = self._pair(node, port_in, results[place_out], initial)
                    sources[place_in], results[place_out] = name, output
        return node._replace(inputs=trimmed(sources), outputs=trimmed(results))

    def _pair(self, node: Node, port: str, output: str, initial: np.ndarray | None) -> tuple[str, str]:
        """Adds an input, an output and their pair; gives the two names."""
        name = self._fresh(f"{node.name}.{port.removeprefix('initial_')}")
        given = {port.name: tensor for port, tensor in zip(node.row.inputs, node.inputs)}
        projection = given.get("projection") if port == "initial_h" else None
        units = self.graph.constants[projection].shape[1] if projection else node.attributes["hidden_size"]
        shape = (1, f"{name}.rows", units)
        if node.attributes["layout"]:
            shape = (shape[1], shape[0], shape[2])
        value = Value(name, np.dtype(np.float32), shape)
        output, following = self._following(output, value)
        self.inputs.append(value)
        pair = StatePair(name, following, initial)
        if not pair.begins(value):
            raise ModelError(
                f"{node} starts at {port} of {list(initial.shape)} where {value} is needed; export the model "
                "again"
            )
        self.pairs.append(pair)
        return name, output

    def _scan(self, node: Node) -> Node:
        """A Scan over frames, which carries its values on as a recurrent layer does."""
        sources, results = list(node.inputs), list(node.outputs)
        carried = len(sources) - node.attributes["num_scan_inputs"]
        results += [""] * (carried - len(results))
        for place in range(carried):
            name = sources[place]
            shape = self._shape_in_rows(name)
            initial = self.graph.constants.get(name)
            if initial is None and name in self._decided_by_sizes:
                initial = self._uniform(name)
                initial = self._of_one_row.values.get(name) if initial is None else initial
            if initial is None or shape is None:
                raise ModelError(
                    f"{node} begins at tensor {name!r}, which is not known before the first frame, so the "
                    "model cannot be streamed; make what it carries inputs and outputs of the model, or give "
                    "whole sequences to model.run"
                )
            if initial.dtype.kind != "f":
                raise ModelError(
                    f"{node} carries {initial.dtype} from frame to frame, which a stream does not, so the "
                    "model cannot be streamed; export it with floating-point numbers in its place"
                )
            own = self._fresh(f"{node.name}.{place}")
            rows = [f"{own}.rows" if size is None else size for size in shape]
            value = Value(own, np.dtype(np.float32), tuple(rows))
            results[place], following = self._following(results[place], value)
            self.inputs.append(value)
            self.pairs.append(StatePair(own, following, np.asarray(initial, np.float32)))
            sources[place] = own
        return node._replace(inputs=tuple(sources), outputs=tuple(results))

    def _shape_in_rows(self, name: str) -> list[int | None] | None:
        """The sizes of a tensor, None where they are those of rows."""
        if name in self.graph.constants:
            return list(self.graph.constants[name].shape)
        one, other = (probe.shapes.get(name) for probe in (self._of_one_row, self._of_two_rows))
        if one is None or other is None:
            return None
        return [size if size == twin else None for size, twin in zip(one, other)]

    def _led_out(self, node: Node, port: str, output: str, name: str) -> str:
        """Adds the pair of an input where a layer begins; gives the name of what follows it."""
        value = next(value for value in self.graph.inputs if value.name == name)
        if any(pair.input == name for pair in self.pairs):
            raise ModelError(
                f"{node} begins at the input {name!r} as another layer does, so a stream cannot go on from "
                "it; export the model with an input for the state of each layer"
            )
        output, following = self._following(output, value._replace(name=f"{node.name}.{port[-1]}"))
        self.pairs.append(StatePair(name, following))
        return output

    def _following(self, output: str, state: Value) -> tuple[str, str]:
        """The name of a layer's final state, and that of the output which hands it on: an output that the
        model has already is for whoever reads it."""
        given_out = output in self._given_out
        following = self._fresh(f"{state.name}.next") if given_out or not output else output
        self.outputs.append(state._replace(name=following))
        if given_out:
            attributes = filled_attributes(OPS["Identity"], {}, following)
            self.nodes.append(Node("Identity", (output,), (following,), attributes, following))
        return output or following, following

    def _fresh(self, stem: str) -> str:
        """The stem, or the stem with a number where it is taken."""
        name, number = stem, len(self.inputs)
        while name in self._taken:
            name, number = f"{stem}.{number}", number + 1
        self._taken.add(name)
        return name

    def _initial(self, node: Node, name: str) -> tuple[np.ndarray | None, bool]:
        """An initial state's value for one row (None: zeros), and whether no value of an input decides it.

        Exporters make it from the batch size: ConstantOfShape or Expand, then a slice for each layer.
        """
        if not name:
            return None, True
        if name in self.graph.constants:
            return _one_row(node, self.graph.constants[name]), True
        if name not in self._decided_by_sizes:
            if node.name not in self._begins and not self._continues(node, name):
                raise ModelError(
                    f"{node} begins at tensor {name!r}, which the inputs decide anew in every step, so the "
                    "model cannot be streamed; give whole sequences to model.run"
                )
            return None, False
        value = self._uniform(name)
        if value is None:
            value = self._of_two_rows.values.get(name, self._of_one_row.values.get(name))
        if value is None:
            raise ModelError(
                f"{node} starts at tensor {name!r}, which is made from the sizes of the inputs in a way that "
                "tinyseq cannot work out for one stream; name the inputs and outputs that carry state with "
                "load(..., state={...})"
            )
        return _one_row(node, value), True

    @cached_property
    def _decided_by_sizes(self) -> set[str]:
        """The tensors in which no value of an input takes part."""
        found = {"", *self.graph.constants}
        for node in self.graph.nodes:
            if node.row.sizes_only or (not node.graphs() and found.issuperset(node.inputs)):
                found.update(node.outputs)
        return found

    def _uniform(self, name: str) -> np.ndarray | None:
        """The one number that a tensor holds everywhere, whatever its shape."""
        while name not in self.graph.constants:
            node = self._makers[name]
            if node.op == "ConstantOfShape":
                return np.zeros((), np.float32) if (value := node.attributes["value"]) is None else value
            if not node.row.keeps_values:
                return None
            name = node.inputs[0]
        array = self.graph.constants[name]
        return array.ravel()[0] if array.size and (array == array.ravel()[0]).all() else None

    @cached_property
    def _of_one_row(self) -> Probe:
        """What follows where every open size is 1."""
        # Imported here: few models make their states in so many steps.
        from tinyseq.passes.probe import Probe

        return Probe(self.graph, repeat(1))

    @cached_property
    def _of_two_rows(self) -> Probe:
        from tinyseq.passes.probe import Probe

        return Probe(self.graph, repeat(2))

    def _goes_on(self, node: Node) -> bool:
        """Whether another node with the same weights goes on from this one's last state: one layer, frame by
        frame, that starts anew in every call."""
        return _layer(node, id(node)) in self._gone_on

    def _continues(self, node: Node, name: str) -> bool:
        """Whether a node that begins at a tensor goes on from another one with the same weights."""
        maker = self._sources.get(name)
        return maker is not None and _layer(node) == _layer(maker)

    @cached_property
    def _gone_on(self) -> set[tuple]:
        """The layers from whose last state one of the same weights goes on."""
        found = set()
        for node in self.graph.nodes:
            maker = self._sources.get(node.inputs[5]) if len(node.inputs) > 5 and node.row.state else None
            if maker is not None:
                found.add(_layer(node, id(maker)))
        return found

    @cached_property
    def _sources(self) -> dict[str, Node]:
        """The node that computed the elements of each tensor."""
        sources: dict[str, Node] = {}
        for node in self.graph.nodes:
            source = sources.get(node.inputs[0]) if node.row.keeps_values else node
            if source is not None:
                sources |= dict.fromkeys(filter(None, node.outputs), source)
        return sources


def _layer(node: Node, *place: int) -> tuple:
    """What nodes of one layer have in common: their op and weights."""
    return (*place, node.op, node.inputs[1:3])


def _one_row(node: Node, array: np.ndarray) -> np.ndarray:
    """The row of a layer's initial state at which all begin; what has fewer dimensions is the same for all.

    Raises:
        ModelError: rows begin at others.
    """
    if array.ndim < 3:
        return array
    row = array[:1] if node.attributes["layout"] else array[:, :1]
    if (array != row).any():
        raise ModelError(
            f"{node} starts the rows of a batch at different states, and a stream is any one of them, so the "
            "model cannot be streamed; make the state an input and an output of the model, or give whole "
            "sequences to model.run"
        )
    return row


def _refuse_carrying(node: Node) -> None:
    """Whether a loop goes over frames of a stream or over anything else, its node does not say."""
    carried = {
        "Loop": len(node.inputs) - 2,
        "Scan": len(node.inputs) - node.attributes.get("num_scan_inputs", 0),
    }
    if carried.get(node.op, 0) > 0:
        raise ModelError(
            f"{node} begins its carried values anew in every run and the model has no state inputs, so a "
            "stream would forget them between chunks; make them inputs and outputs of the model, or give "
            "whole sequences to model.run"
        )


def _refuse_recurrent(graph: ModelGraph) -> None:
    for node in graph.nodes:
        if node.row.state:
            raise ModelError(
                f"{node} is inside a branch or loop and the model has no state inputs, so a stream cannot "
                "carry its state; name the inputs and outputs that do with load(..., state={...})"
            )
        _refuse_carrying(node)
        for _, sub_graph in node.graphs():
            _refuse_recurrent(sub_graph)
