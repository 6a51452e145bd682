"""Small ONNX models as bytes, with inputs that fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, helper, load_from_string, numpy_helper, printer

from tinyseq.ir.model import ModelGraph
from tinyseq.ir.ops import OPS

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Case:
    """A model and inputs for it."""

    model: bytes
    feeds: dict[str, np.ndarray] = field(default_factory=dict)

    def _repr_pretty_(self, out, cycle) -> None:
        """What hypothesis shows of a failing case."""
        out.text(f"{printer.to_text(load_from_string(self.model))}\n{self.feeds}")


def value(name: str, dtype=np.float32, shape: Sequence[int | str | None] | None = None):
    """An input or output of a graph; a shape of None is left out."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def graph(nodes: Sequence[NodeProto], inputs, outputs, constants: Mapping[str, np.ndarray] | None = None):
    """A graph of nodes; inputs and outputs are made by ``value``."""
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    return helper.make_graph(nodes, "test", inputs, outputs, weights)


def model(nodes: Sequence[NodeProto], inputs, outputs, constants=None, opset: int = 18) -> bytes:
    """The bytes of an ONNX file."""
    domains = {node.domain for node in nodes} - {""}
    proto = helper.make_model(
        graph(nodes, inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)],
        producer_name="tests",
        ir_version=10,
    )
    return proto.SerializeToString()


def onnx_of(graph: ModelGraph) -> bytes:
    """The ONNX file of a graph without sub-graphs."""
    nodes = []
    for node in graph.nodes:
        attributes = {name: number for name, number in node.attributes.items() if number is not None}
        nodes.append(helper.make_node(node.op, node.inputs, node.outputs, node.name, **attributes))
    inputs, outputs = (
        [value(each.name, each.dtype, each.shape) for each in group]
        for group in (graph.inputs, graph.outputs)
    )
    return model(nodes, inputs, outputs, {name: np.asarray(array) for name, array in graph.constants.items()})


def one_node(
    op: str,
    inputs: Sequence[np.ndarray | None],
    *,
    fed: Sequence[int] | None = None,
    outputs: int | Sequence[str] = 1,
    dtype=np.float32,
    opset: int = 18,
    static: bool = False,
    name: str | None = None,
    **attributes,
) -> Case:
    """One node. Tensors are named as in the op table.

    Args:
        inputs: the node's inputs in order, None where absent.
        fed: positions of the inputs that are the model's own, the rest are constants; all, if None.
        outputs: their number, or their names with "" for an absent one.
        dtype: of the outputs, or those of each.
        name: the op in the file, where older opsets had another.
        static: whether the model states the sizes of its inputs.
        attributes: those of the node; None leaves one out, and ``dtype_`` is one of the name ``dtype``.
    """
    row = OPS[op]
    named = {}
    for position, array in enumerate(inputs):
        port = row.port(position)
        if array is not None:
            named[position] = f"{port.name}{position}" if port.variadic else port.name
    if isinstance(outputs, int):
        outputs = ["y"] if outputs == 1 else [f"y{i}" for i in range(outputs)]
    given = {named[p]: np.asarray(inputs[p]) for p in named if fed is None or p in fed}
    constants = {name: np.asarray(inputs[p]) for p, name in named.items() if name not in given}
    attributes = {key.strip("_"): setting for key, setting in attributes.items() if setting is not None}
    dtypes = dtype if isinstance(dtype, (list, tuple)) else [dtype] * len(outputs)
    names = [named.get(p, "") for p in range(len(inputs))]
    node = helper.make_node(name or op, names, outputs, "it", domain=row.domain, **attributes)
    sizes = {
        name: array.shape if static else [f"{name}_{axis}" for axis in range(array.ndim)]
        for name, array in given.items()
    }
    return Case(
        model(
            [node],
            [value(name, array.dtype, sizes[name]) for name, array in given.items()],
            [value(name, of) for name, of in zip(outputs, dtypes, strict=True) if name],
            constants,
            opset,
        ),
        given,
    )


def recurrent(
    op: str,
    frames: int = 7,
    rows: int = 1,
    features: int = 5,
    hidden: int = 6,
    *,
    bias: bool = True,
    lengths: Sequence[int] | None = None,
    initial: bool = False,
    fed: Sequence[int] = (0, 4, 5, 6),
    outputs: Sequence[str] | None = None,
    direction: str = "forward",
    seed: int = 0,
    static: bool = False,
    peepholes: bool = False,
    layout: int | None = None,
    **attributes,
) -> Case:
    """A lone RNN, GRU or LSTM with random weights; ``initial`` gives it initial states.

    The same seed and sizes give the same numbers, whatever the layout.
    """
    rng = np.random.default_rng(seed)
    gates = GATES[op]
    directions = 2 if direction == "bidirectional" else 1

    def weights(*shape):
        """As trained layers have them: so small that errors do not grow from frame to frame."""
        return (rng.uniform(-1, 1, shape) / np.sqrt(hidden)).astype(np.float32)

    def placed(array):
        return array.swapaxes(0, 1) if layout else array

    states = 2 if op == "LSTM" else 1
    inputs = [
        placed(rng.standard_normal((frames, rows, features)).astype(np.float32)),
        weights(directions, gates * hidden, features),
        weights(directions, gates * hidden, hidden),
        weights(directions, 2 * gates * hidden) if bias else None,
        None if lengths is None else np.array(lengths, np.int32),
        *(placed(weights(directions, rows, hidden)) if initial else None for _ in range(states)),
        *([weights(directions, 3 * hidden)] if peepholes else []),
    ]
    return one_node(
        op,
        inputs,
        fed=fed,
        outputs=["y", "y_h", "y_c"][: 1 + states] if outputs is None else outputs,
        static=static,
        opset=14,
        hidden_size=attributes.pop("hidden_size", hidden),
        direction=direction,
        layout=layout,
        **attributes,
    )


def lstm_with_state(given=("h", "c"), result=("hn", "cn"), features: int = 3, hidden: int = 4) -> bytes:
    """An LSTM whose states are inputs and outputs of the model, by the given names."""
    rng = np.random.default_rng(1)
    constants = {
        "w": rng.uniform(-1, 1, (1, 4 * hidden, features)).astype(np.float32),
        "r": rng.uniform(-1, 1, (1, 4 * hidden, hidden)).astype(np.float32),
        "b": rng.uniform(-1, 1, (1, 8 * hidden)).astype(np.float32),
    }
    state = (1, "rows", hidden)
    return model(
        [helper.make_node("LSTM", ["x", "w", "r", "b", "", *given], ["y", *result], hidden_size=hidden)],
        [value("x", shape=("frames", "rows", features)), *(value(name, shape=state) for name in given)],
        [value("y", shape=("frames", 1, "rows", hidden)), *(value(name, shape=state) for name in result)],
        constants,
    )


def scanned_cell(features: int = 3, hidden: int = 4) -> bytes:
    """An RNN written out as a Scan over frames; its state is ``h`` and ``hn``."""
    rng = np.random.default_rng(3)
    body = graph(
        [
            helper.make_node("MatMul", ["frame", "w"], ["xw"]),
            helper.make_node("MatMul", ["before", "r"], ["hr"]),
            helper.make_node("Add", ["xw", "hr"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["after"]),
            helper.make_node("Identity", ["after"], ["y_t"]),
        ],
        [value("before"), value("frame")],
        [value("after"), value("y_t")],
    )
    constants = {
        name: (rng.uniform(-1, 1, (size, hidden)) / np.sqrt(size)).astype(np.float32)
        for name, size in (("w", features), ("r", hidden))
    }
    state = ("rows", hidden)
    return model(
        [helper.make_node("Scan", ["h", "x"], ["hn", "y"], "scan", body=body, num_scan_inputs=1)],
        [value("x", shape=("frames", "rows", features)), value("h", shape=state)],
        [value("y", shape=("frames", "rows", hidden)), value("hn", shape=state)],
        constants,
    )


def running_sum(given: str = "h", result: str = "hn", features: int = 3) -> bytes:
    """A model whose one state is the sum of all that it was given."""
    return model(
        [helper.make_node("Add", ["x", given], [result]), helper.make_node("Neg", [result], ["y"])],
        [value("x", shape=(1, features)), value(given, shape=(1, features))],
        [value("y", shape=(1, features)), value(result, shape=(1, features))],
    )


def recogniser(features: int = 3, hidden: int = 4, classes: int = 5) -> bytes:
    """Two GRU layers and a linear head: what a small streaming model looks like."""
    rng = np.random.default_rng(2)
    constants, nodes, source, size = {}, [], "x", features
    for layer in range(2):
        constants |= {
            f"w{layer}": rng.uniform(-1, 1, (1, 3 * hidden, size)).astype(np.float32),
            f"r{layer}": rng.uniform(-1, 1, (1, 3 * hidden, hidden)).astype(np.float32),
            f"b{layer}": rng.uniform(-1, 1, (1, 6 * hidden)).astype(np.float32),
        }
        weights = [f"{name}{layer}" for name in "wrb"]
        nodes += [
            helper.make_node(
                "GRU", [source, *weights], [f"all{layer}"], f"gru{layer}",
                hidden_size=hidden, linear_before_reset=layer,
            ),
            helper.make_node("Squeeze", [f"all{layer}", "axes"], [f"out{layer}"]),
        ]  # fmt: skip
        source, size = f"out{layer}", hidden
    constants |= {
        "axes": np.array([1]),
        "head": rng.uniform(-1, 1, (hidden, classes)).astype(np.float32),
        "offset": rng.uniform(-1, 1, classes).astype(np.float32),
    }
    nodes += [
        helper.make_node("MatMul", [source, "head"], ["scores"]),
        helper.make_node("Add", ["scores", "offset"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["y"]),
    ]
    return model(
        nodes,
        [value("x", shape=("frames", "rows", features))],
        [value("y", shape=("frames", "rows", classes))],
        constants,
    )
