"""Which inputs and outputs carry state: by dataflow first, by names where that leaves it open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain

from tinyseq.errors import ModelError
from tinyseq.ir.model import Layers, Model, ModelGraph, Node, StatePair, Value, layers
from tinyseq.passes import names
from tinyseq.passes.flow import Carry, Flow, Way, probed
from tinyseq.passes.probe import Probe
from tinyseq.passes.reach import SHIFTED, begins, begins_at, everything, moves, reached, unpaired

SIZES = (1009, 2)
"""For the open sizes of a graph: of those that are one input's alone, as frames are, and of the others."""

STATE = 5
"""Where a layer's initial hidden state stands among its inputs."""


def find_state(model: Model, file: ModelGraph) -> Model:
    """A model as ``simplify`` leaves it with its state pairs, ``file`` being its graph as it was given.

    An input that is where a recurrent layer begins, or frames of the past before new ones, is paired with the
    output that holds what follows, whatever their names, and through all that only moves elements. Failing
    that, floating-point inputs and outputs of like names and fitting shapes are pairs where the names speak
    of state, the input decides the output and is no data of a layer.
    """
    pairing = _Pairing(model.graph, layers(file))
    return pairing.oriented(model.with_state(StatePair(*claim) for claim in pairing.pairs))


def doubts(model: Model, file: Layers) -> tuple[str, ...]:
    """What is not known of the state of a model, a sentence each, with the line that would say it; ``file``
    are the layers of the graph as it was given."""
    return tuple(_Pairing(model.graph, file).doubts([Carry(*pair[:2]) for pair in model.state]))


def name_state(model: Model, file: ModelGraph, pairs: dict[str, str]) -> Model:
    """As ``find_state``, with the state pairs that the user names, input to output.

    Raises:
        ModelError: a name is no input or output of the model, or the two do not fit.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    outputs = {value.name: value for value in model.graph.outputs}
    for given, result in pairs.items():
        if given not in inputs or result not in outputs:
            raise ModelError(
                f"state={{{given!r}: {result!r}}}: the model's inputs are {', '.join(inputs)}, "
                f"its outputs {', '.join(outputs)}; name an input and an output"
            )
        if not _fits(inputs[given], outputs[result]):
            raise ModelError(
                f"state={{{given!r}: {result!r}}}: {inputs[given]} cannot carry {outputs[result]} "
                "to the next step"
            )
    named = model.with_state(StatePair(given, result) for given, result in pairs.items())
    return _Pairing(model.graph, layers(file)).oriented(named)


class _Pairing:
    """The pairs of a graph and what is open."""

    def __init__(self, graph: ModelGraph, file: Layers) -> None:
        self._graph = graph
        self._file = file
        self._inputs = {value.name: value for value in graph.inputs if value.dtype.kind == "f"}
        self._outputs = {value.name: value for value in graph.outputs if value.dtype.kind == "f"}

    @cached_property
    def pairs(self) -> list[Carry]:
        """Input and output of each pair, in the order of the inputs."""
        claims = [claim for claim in self._by_flow if claim.output not in self._either]
        taken = {name for claim in claims for name in claim}
        for output, either in self._either.items():
            chosen = self._chosen([name for name in either if name not in taken], output)
            claims += [Carry(chosen, output)] if chosen else []
        taken = {name for claim in claims for name in claim} | self._either.keys()
        claims += self._by_name(taken)
        places = list(self._inputs)
        return sorted(claims, key=lambda claim: places.index(claim.input))

    def doubts(self, pairs: list[Carry]) -> Iterator[str]:
        """What ``pairs`` leave open."""
        taken = {name for claim in pairs for name in claim}
        told = set(taken)
        for output, either in self._either.items():
            if output not in taken:
                told.update(either)
                which = " or ".join(map(repr, either))
                lines = " or ".join(_line(name, output) for name in either)
                yield f"{output!r} is the next value of {which}: say which with {lines}"
        for begin in unpaired(self._graph, taken):
            name = begin.input
            if name not in told:
                told.add(name)
                fitting = self._fitting(name, taken)[:1]
                yield f"{begin.node} begins at {name!r}, and no output " + (
                    f"is known to hold its next value; if {fitting[0]!r} does, {_line(name, fitting[0])}"
                    if fitting
                    else "holds its next value; make the layer's final state an output of the model"
                )
        for given, result in self._namesakes(taken):
            alone = len(self._graph.inputs) == 1
            if given not in told and not alone and not self._is_data(given, result):
                line = _line(given, result)
                yield f"{given!r} and {result!r} are taken for data; if they carry state, {line}"

    def oriented(self, model: Model) -> Model:
        """The model, its cells that take input and state alike having for their state what is carried."""
        if not self._alike:
            return model
        carried = {pair.input for pair in model.state}
        held = {(b.node.name, b.place) for b in begins(model.graph, self._alike) if b.input in carried}
        turned = {name for name in self._alike if (name, 0) in held and (name, STATE) not in held}
        if not turned:
            return model
        nodes = tuple(
            _turned(node) if node.row.state and node.name in turned else node for node in model.graph.nodes
        )
        return model._replace(graph=model.graph._replace(nodes=nodes))

    @cached_property
    def _alike(self) -> frozenset[str]:
        """The cells of one frame, put together from smaller ops, whose input and state are multiplied alike:
        which is which, only the rest of the graph or names can tell."""
        return frozenset(
            node.name
            for node in self._graph.nodes
            if node.op in ("RNN", "LSTM") and (node.op, node.name) not in self._file and self._square(node)
        )

    def _square(self, node: Node) -> bool:
        w, r = (self._graph.constants.get(name) for name in node.inputs[1:3])
        return w is not None and r is not None and w.shape == r.shape

    @cached_property
    def _hopeful(self) -> list[str]:
        """The inputs that may come to where a layer begins, or before new frames, and fit an output."""
        numbers = {name: 1 << number for number, name in enumerate(self._inputs)}
        met = 0

        def through(node: Node, marks: Sequence[int]) -> int:
            nonlocal met
            if node.row.state or node.op in ("Concat", "Scan"):
                for place, mark in enumerate(marks[:-1]):
                    if node.op == "Concat" or begins_at(node, place):
                        met |= mark
            return everything(node, marks) if node.op in SHIFTED else moves(node, marks)

        reached(self._graph, numbers, through)
        data = {begin.input for begin in begins(self._graph, self._alike)} if self._alike else ()
        return [
            name
            for name, number in numbers.items()
            if (met & number or name in data) and self._fitting(name, ())
        ]

    @cached_property
    def _by_flow(self) -> list[Carry]:
        claims: dict[str, Carry] = {}
        for probe in self._probes:
            for way in (Way(), Way(frames=True)):
                left = [name for name in self._hopeful if name not in claims]
                if left:
                    taken = {claim.output for claim in claims.values()}
                    found = Flow(self._graph, left, probe, way).claims
                    # Of several outputs that hold the same, the last one: those before it are for reading.
                    claims |= {claim.input: claim for claim in found if claim.output not in taken}
        return list(claims.values())

    @cached_property
    def _either(self) -> dict[str, list[str]]:
        """The outputs that may be the next value of one input as well as of another."""
        found: dict[str, list[str]] = {}
        if self._alike:
            claimed = {claim.output: claim.input for claim in self._by_flow}
            for probe in self._probes:
                flow = Flow(self._graph, list(self._inputs), probe, Way(turned=True), self._alike)
                for claim in flow.claims:
                    other = claimed.get(claim.output, claim.input)
                    if other != claim.input:
                        found.setdefault(
                            claim.output, sorted({other, claim.input}, key=list(self._inputs).index)
                        )
        return found

    @cached_property
    def _probes(self) -> list[Probe]:
        """Choices of the open sizes, the likelier ones first."""
        own = [{size for size in value.shape or () if isinstance(size, str)} for value in self._graph.inputs]
        every = list(dict.fromkeys(chain(*own)))
        frames, others = SIZES
        mixed = {name: frames if sum(name in sizes for sizes in own) < 2 else others for name in every}
        ways = [mixed, dict.fromkeys(every, 1), dict.fromkeys(every, others)] if every else [{}]
        return [probed(self._graph, sizes) for sizes in ways]

    def _fitting(self, name: str, taken: Iterable[str]) -> list[str]:
        """The outputs that an input may carry, those of a like name first."""
        given = self._inputs[name]
        fitting = [each for each, value in self._outputs.items() if each not in taken and _fits(given, value)]
        return sorted(fitting, key=lambda each: self._unlikeness(name, each))

    def _unlikeness(self, name: str, output: str) -> tuple[bool, bool]:
        return not names.alike(name, output), self._inputs[name].shape != self._outputs[output].shape

    def _chosen(self, either: list[str], output: str) -> str | None:
        """The one of several inputs whose name says that an output is its next value."""
        alike = [name for name in either if names.alike(name, output)]
        states = [name for name in either if names.says_state(name, output)]
        return alike[0] if len(alike) == 1 else states[0] if len(states) == 1 and not alike else None

    def _namesakes(self, taken: Iterable[str]) -> list[Carry]:
        """Inputs and outputs of like names and fitting shapes, of which neither is taken or fits another."""
        found = [
            Carry(given, result)
            for given in self._inputs
            for result in self._outputs
            if given not in taken and result not in taken
            if names.alike(given, result) and _fits(self._inputs[given], self._outputs[result])
        ]
        lefts, rights = [claim.input for claim in found], [claim.output for claim in found]
        return [c for c in found if lefts.count(c.input) == 1 and rights.count(c.output) == 1]

    def _by_name(self, taken: Iterable[str]) -> list[Carry]:
        return [
            claim
            for claim in self._namesakes(taken)
            if names.says_state(*claim)
            and claim.output in reached(self._graph, {claim.input: 1}, everything)
            and not self._is_data(*claim)
        ]

    def _is_data(self, given: str, result: str) -> bool:
        """Whether a layer takes an input for its data, but for what goes by way of an output."""
        data: list[Node] = []

        def through(node: Node, marks: Sequence[int]) -> int:
            layer = node.row.state or node.op == "Scan"
            if layer and not any(mark and begins_at(node, place) for place, mark in enumerate(marks[:-1])):
                data.append(node)
            return everything(node, marks)

        reached(self._graph, {given: 1}, through, self._same(result))
        return bool(data)

    def _same(self, name: str) -> set[str]:
        """The tensors of which an output is a copy, in whatever layout."""
        makers = {made: node for node in self._graph.nodes for made in node.outputs if made}
        found = {name}
        while (node := makers.get(name)) is not None and node.row.keeps_values:
            name = node.inputs[0]
            found.add(name)
        return found


def _turned(node: Node) -> Node:
    """A layer of one frame with its input and its state changing places."""
    x, w, r, *others = node.inputs
    others[STATE - 3], x = x, others[STATE - 3]
    return node._replace(inputs=(x, r, w, *others))


def _line(given: str, result: str) -> str:
    return f"load(..., state={{{given!r}: {result!r}}})"


def _fits(given: Value, result: Value) -> bool:
    """Whether an output may be an input's next value; of one without a shape, its numbers will tell."""
    if given.dtype != result.dtype or given.shape is None:
        return False
    return result.shape is None or (
        len(given.shape) == len(result.shape)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(given.shape, result.shape))
    )
