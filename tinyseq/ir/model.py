"""Model: what the file says. A graph of named ops with ONNX meaning and layouts, and NumPy weights."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinyseq.common.text import nearest, printable, shown
from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir.narrow import EXACT, Narrow
from tinyseq.ir.op import (
    DTYPE,
    FLOAT,
    FLOATS,
    GRAPH,
    INT,
    INTS,
    REQUIRED,
    TENSOR,
    TEXT,
    TEXTS,
    Attribute,
    Op,
    Port,
)
from tinyseq.ir.ops import FAMILY, OPS
from tinyseq.ir.weights import Constant
from tinyseq.shapes import MOST_DIMENSIONS, Mismatch

POSITION = "stream.position"
"""The input, int64 [2], that tells a streaming graph whose steps differ where the stream is: how many frames
have gone in, as far as that matters, and whether the stream ends with this step."""

Dimension = int | str
"""A size, or the name of one that the inputs decide."""


class Value(NamedTuple):
    """A named tensor at the edge of a graph. ``shape`` is None where the file does not say it, and so is
    ``dtype`` until ``tinyseq.ir.types`` has worked it out."""

    name: str
    dtype: np.dtype
    shape: tuple[Dimension, ...] | None

    def __str__(self) -> str:
        shape = "[?]" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return printable(f"{self.name} {self.dtype}{shape}")


class Node(NamedTuple):
    """One op applied. Absent optional inputs and outputs have the name ``""``.

    ``attributes`` holds every attribute of the op's row in the table, defaults filled in.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, object]
    name: str

    @property
    def row(self) -> Op:
        """The op's row in the table."""
        return OPS[self.op]

    def graphs(self) -> "list[tuple[str, ModelGraph]]":
        """The sub-graphs among the attributes, by attribute name."""
        if FAMILY[self.op] != "control":
            return []
        return [(key, value) for key, value in self.attributes.items() if isinstance(value, ModelGraph)]

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.op})"


class ModelGraph(NamedTuple):
    """Nodes in an order in which they can be computed, with the constants they use.

    A sub-graph sees the names of the graphs around it.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Constant]

    def __repr__(self) -> str:
        given = ", ".join(map(str, self.inputs)) or "none"
        made = printable(", ".join(value.name for value in self.outputs)) or "none"
        return f"ModelGraph({len(self.nodes)} nodes, inputs {given}, outputs {made})"


class StatePair(NamedTuple):
    """An input that carries state and the output that holds its next value.

    ``initial`` is the value a fresh stream starts with; None means zeros.
    """

    input: str
    output: str
    initial: np.ndarray | None = None

    @property
    def finite(self) -> bool:
        """Whether it begins at finite numbers, so that others in it come of an error; what a maximum has seen
        begins at -inf."""
        return self.initial is None or bool(np.isfinite(self.initial).all())

    def begins(self, given: Value) -> bool:
        """Whether ``initial`` can be one row of its input."""
        if self.initial is None:
            return True
        sizes = [1 if isinstance(size, str) else size for size in given.shape or ()]
        own = self.initial.shape
        return len(own) <= len(sizes) and all(a in (1, b) for a, b in zip(own[::-1], sizes[::-1]))


class Model(NamedTuple):
    """A graph, its state and where it came from.

    ``metadata`` are the keys and values that a file's author wrote; ``header`` is what a file says of
    itself in fields of its format, by their names. ``defaults`` are the constants that may be fed instead.
    """

    graph: ModelGraph
    state: tuple[StatePair, ...] = ()
    origin: str = ""
    metadata: Mapping[str, str] = MappingProxyType({})
    header: Mapping[str, str | int] = MappingProxyType({})
    defaults: tuple[Value, ...] = ()

    def __repr__(self) -> str:
        origin = f", {printable(self.origin)}" if self.origin else ""
        return f"Model({self.graph}, {len(self.state)} states{origin})"

    @property
    def precision(self) -> str:
        """To what its weights have been rounded."""
        rounded = (each.precision.name for each in constants_of(self.graph) if isinstance(each, Narrow))
        return next(rounded, EXACT)

    def with_inputs(self, names: Collection[str]) -> "Model":
        """The same model with some of its ``defaults`` as inputs."""
        graph = self.graph
        fed = tuple([value for value in self.defaults if value.name in names])
        constants = {name: array for name, array in graph.constants.items() if name not in names}
        rest = tuple([value for value in self.defaults if value.name not in names])
        return self._replace(
            graph=graph._replace(inputs=graph.inputs + fed, constants=constants), defaults=rest
        )

    def with_state(self, state: Iterable[StatePair]) -> "Model":
        """The same model with other state pairs."""
        return self._replace(state=tuple(state))


def constants_of(graph: ModelGraph) -> Iterator[Constant]:
    """The constants of a graph and of those within it."""
    yield from graph.constants.values()
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from constants_of(sub_graph)


Layers = frozenset[tuple[str, str]]
"""The ops and the names of nodes that have state."""


def layers(graph: ModelGraph) -> Layers:
    """Those of a graph and of those within it."""
    own = {(node.op, node.name) for node in graph.nodes if node.row.state}
    return frozenset(own.union(*(layers(inner) for node in graph.nodes for _, inner in node.graphs())))


def captured(graph: ModelGraph) -> Iterator[str]:
    """The names that a graph and its sub-graphs read."""
    for node in graph.nodes:
        yield from node.inputs
        for _, sub_graph in node.graphs():
            yield from captured(sub_graph)
    for output in graph.outputs:
        yield output.name


def given_out(graph: ModelGraph, carried: Collection[str]) -> tuple[Value, ...]:
    """The outputs that a step gives, ``carried`` being those that carry state: the others; all, where there
    are no others, as these are then what is wanted of the model too."""
    return tuple(value for value in graph.outputs if value.name not in carried) or graph.outputs


def rows_meet(graph: ModelGraph) -> bool:
    """Whether rows of a batch decide how each other's numbers are rounded: dynamic quantisation by definition
    has one range for all of a tensor."""
    return any(
        node.row.rows_meet or any(rows_meet(sub_graph) for _, sub_graph in node.graphs())
        for node in graph.nodes
    )


def needed_values(graph: ModelGraph) -> set[str]:
    """The tensors whose values planning must know: they decide shapes or branches, here or in sub-graphs."""
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        for _, sub_graph in node.graphs():
            needed |= needed_values(sub_graph)
        decides = not needed.isdisjoint(node.outputs) and not node.row.sizes_only
        for index, name in enumerate(node.inputs):
            if name and (decides or node.row.port(index).known):
                needed.add(name)
    return needed


def unknown_op(op: object, domain: str = "", others: Collection[tuple[str, str]] = ()) -> str:
    """What is said of an op that there is not: what is near it, and what to do. ``others`` are further ones
    that are known, by domain and name."""
    known = {row.name: row.name for row in OPS.values()}
    known |= {name: f"{other}:{name}".lstrip(":") for other, name in others}
    near = [known[name] for name in nearest(op, known)]
    named = f"{domain}:{op}".lstrip(":") if domain else shown(op).strip("'")
    return (
        f"tinyseq has no op {named}"
        + (f"; near it are {', '.join(near)}" if near else "")
        + ". docs/ops.md lists what there is: build or export the model with these"
    )


KINDS = {
    INT: int,
    INTS: int,
    FLOAT: (int, float),
    FLOATS: (int, float),
    TEXT: str,
    TEXTS: str,
    TENSOR: np.ndarray,
    DTYPE: np.dtype,
    GRAPH: ModelGraph,
}
"""What an attribute of each kind, or each element of one, is in Python."""


def filled_attributes(row: Op, given: dict[str, Any], label: str) -> dict[str, Any]:
    """Attributes with the defaults of the table's row filled in; ``check`` looks at their values.

    Raises:
        ModelError: one lacks.
        UnsupportedError: one is not in the table.
    """
    known = {attribute.name for attribute in row.attributes}
    for name in given:
        if name not in known:
            raise UnsupportedError(f"{label}: the attribute {name!r} is not in tinyseq's op table")
    return {attribute.name: _filled(attribute, given, label) for attribute in row.attributes}


def _filled(attribute: Attribute, given: dict[str, Any], label: str) -> Any:
    value = given.get(attribute.name, attribute.default)
    if value is REQUIRED:
        raise ModelError(f"{label} lacks its attribute {attribute.name!r}; the file is damaged")
    return value


def _is_of_kind(value: object, kind: str) -> bool:
    if kind in (INTS, FLOATS, TEXTS):
        return isinstance(value, tuple) and all(isinstance(element, KINDS[kind]) for element in value)
    return isinstance(value, KINDS[kind])


def _check_attributes(node: Node) -> None:
    for attribute in node.row.attributes:
        value = node.attributes[attribute.name]
        absent = value is attribute.default and value is not REQUIRED
        if not absent and not _is_of_kind(value, attribute.kind):
            raise ModelError(
                f"{node}: the attribute {attribute.name!r} must be {attribute.kind}, not {shown(value)}; "
                "the file is damaged"
            )
        if attribute.allowed is not None and value not in attribute.allowed:
            choices = " or ".join(map(repr, attribute.allowed))
            raise UnsupportedError(
                f"{node}: {attribute.name}={shown(value)} is not supported; tinyseq takes {choices}: "
                "export the model with one of these"
            )
    if node.row.check is not None:
        try:
            node.row.check(node.attributes)
        except Mismatch as error:
            raise ModelError(f"{node}: {error}; export the model again with attributes that fit") from error


def _check_ports(node: Node, ports: tuple[Port, ...], names: tuple[str, ...], what: str) -> None:
    for name in names:
        if not isinstance(name, str):
            raise ModelError(f"{node} has {what}s {names!r}, which are no names; the file is damaged")
    count = len(names)
    if count > len(ports) and not (ports and ports[-1].variadic):
        raise ModelError(f"{node} has {len(names)} {what}s; the op takes {len(ports)} at most")
    for index, port in enumerate(ports):
        if index < count and names[index]:
            if not port.supported:
                raise UnsupportedError(f"{node}: the {what} {port.name!r} is not supported by tinyseq")
        elif not port.optional and not port.variadic:
            raise ModelError(f"{node} lacks its {what} {port.name!r}; the file is damaged")
        if port.variadic and what == "input" and not all(names[index:]):
            raise ModelError(f"{node} lacks one of its inputs {port.name!r}; the file is damaged")


def refuse_doubled(what: str, names: list[str]) -> None:
    """Raises ModelError where a name is there twice."""
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"two {what} have the name {name!r}; names must be unique: export the model again")


def _check_value(value: Value) -> None:
    sizes = value.shape or ()
    if len(sizes) > MOST_DIMENSIONS:
        raise ModelError(
            f"{value.name!r} has {len(sizes)} dimensions; {MOST_DIMENSIONS} are the most that NumPy has"
        )
    if not isinstance(value.name, str) or not all(
        isinstance(size, str) or (type(size) is int and size >= 0) for size in sizes
    ):
        raise ModelError(f"{value.name!r} is no name or {value.shape!r} no shape; the file is damaged")


def check(graph: ModelGraph) -> None:
    """Refuses a graph whose names are undefined, doubled or used before they are computed, and nodes whose
    inputs, outputs or attributes are not those of their op.

    Raises:
        ModelError: names the node or output and the tensor, input or attribute.
    """
    _check_within(graph, set())


def _check_within(graph: ModelGraph, known: set[str]) -> None:
    """``known`` are the names around the graph, which are left as they were."""
    for value in graph.inputs + graph.outputs:
        _check_value(value)
    names = [*graph.constants, *[value.name for value in graph.inputs]]
    refuse_doubled("inputs or constants", names)
    own = set(names) - known
    known |= own
    for node in graph.nodes:
        if not isinstance(node.name, str):
            raise ModelError(
                f"a node ({node.op}) has the name {node.name!r}, which is none; the file is damaged"
            )
        _check_ports(node, node.row.inputs, node.inputs, "input")
        _check_ports(node, node.row.outputs, node.outputs, "output")
        _check_attributes(node)
        for name in node.inputs:
            if name and name not in known:
                raise ModelError(
                    f"{node} reads tensor {name!r}, which no input, constant or earlier node provides; "
                    "the file is damaged or its nodes are out of order"
                )
        for _, sub_graph in node.graphs():
            _check_within(sub_graph, known)
        for name in node.outputs:
            if name and name in known:
                raise ModelError(f"{node} writes tensor {name!r}, which exists already; names must be unique")
            if name:
                known.add(name)
                own.add(name)
    for value in graph.outputs:
        if value.name not in known:
            raise ModelError(f"output {value.name!r} is computed by no node; the file is damaged")
    known -= own
