"""Nodes of every op on inputs of any types, ranks and sizes, run beside guard pages and by the reference."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from random import Random

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import tinyseq
from tests.fuzz import guards
from tinyseq.errors import TinyseqError
from tinyseq.ir.op import DTYPE, FLOAT, FLOATS, GRAPH, INT, INTS, REQUIRED, TENSOR, TEXT, TEXTS, Attribute, Op
from tinyseq.ir.ops import FAMILY, OPS  # fmt: skip
from tinyseq.ir.types import CLASSES, NUMBERS
from tinyseq.runtime.loading import read

TYPES = sorted({np.dtype(t.name) for t in NUMBERS}, key=str)
COMMON = [np.dtype(t) for t in ("f4", "f4", "f4", "i8", "i8", "?", "i4", "u1", "i1")]
FITTING = 0.85
"""How likely it is that a type, a shape or an attribute is one that the op may take."""

LOOSE = {
    "QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "Mod", "Pow", "Cast", "CastLike", "Div",
    "ReduceProd", "Dropout",
}  # fmt: skip
"""Ops whose results are not compared: rounding at ties, overflow and division by zero differ by right."""


def node(rng: Random) -> bytes:
    """A model of one node, or of one in a Loop, a Scan or a branch."""
    op = OPS[rng.choice([name for name in OPS if FAMILY[name] != "control"])]
    if rng.random() < 0.05:
        return _control(rng)
    arrays = _inputs(rng, op)
    names, inputs, constants = [], [], []
    for position, array in enumerate(arrays):
        name = f"i{position}"
        names.append("" if array is None else name)
        if array is None:
            continue
        code = helper.np_dtype_to_tensor_dtype(array.dtype)
        if rng.random() < (0.9 if op.port(position).known else 0.2):
            constants.append(numpy_helper.from_array(array, name))
        else:
            shape = [n if rng.random() < 0.3 else f"{name}.{a}" for a, n in enumerate(array.shape)]
            inputs.append(helper.make_tensor_value_info(name, code, shape))
            inputs[-1].doc_string = " ".join(map(str, array.shape))
    outputs = [f"o{i}" for i, port in enumerate(op.outputs) if port.supported]
    if op.outputs[-1].variadic:
        outputs = [f"o{i}" for i in range(rng.randrange(1, 4))]
    elif rng.random() < 0.5:
        required = sum(not port.optional for port in op.outputs)
        outputs = outputs[: max(required, 1)]
    attributes = {a.name: value for a in op.attributes if (value := _attribute(rng, a, op)) is not None}
    made = helper.make_node(op.name, names, outputs, "it", domain=op.domain, **attributes)
    return _model([made], inputs, outputs, constants)


def whole() -> bytes:
    """A model that runs."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    x.doc_string = "3"
    return _model([helper.make_node("Relu", ["x"], ["o0"], "it")], [x], ["o0"], [])


def _model(nodes, inputs, outputs, constants) -> bytes:
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, results, constants)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def _control(rng: Random) -> bytes:
    """A Loop, Scan or If in which a value changes its type, or not."""
    before, after = rng.choice(COMMON), rng.choice(COMMON)
    after = before if rng.random() < 0.5 else after
    types = [helper.np_dtype_to_tensor_dtype(dtype) for dtype in (before, after)]
    empty, info = helper.make_empty_tensor_value_info, helper.make_tensor_value_info
    cast = helper.make_node("Cast", ["v"], ["w"], to=types[1])
    same = helper.make_node("Identity", ["v" if rng.random() < 0.5 else "w"], ["z"])
    x = info("x", types[0], ["a", "b"])
    x.doc_string = f"{rng.randrange(4)} {rng.randrange(4)}"
    said = info("w", rng.choice(types), None) if rng.random() < 0.5 else empty("w")
    kind = rng.choice(["Loop", "Scan", "If"])
    if kind == "Loop":
        turn = helper.make_node("Identity", ["c"], ["more"])
        body = helper.make_graph(
            [turn, cast, same], "b", [*map(empty, "tcv")], [empty("more"), said, empty("z")]
        )
        made = helper.make_node("Loop", ["n", "", "x"], ["o0", "o1"], "it", body=body)
    elif kind == "Scan":
        body = helper.make_graph([cast, same], "b", [*map(empty, "ve")], [said, empty("z")])
        made = helper.make_node("Scan", ["x", "x"], ["o0", "o1"], "it", body=body, num_scan_inputs=1)
    else:
        cast, same = (helper.make_node(op, ["x"], ["w"], **more) for op, more in
                      (("Cast", {"to": types[1]}), ("Identity", {})))  # fmt: skip
        graphs = [helper.make_graph([inner], "b", [], [said]) for inner in (cast, same)]
        question = helper.make_node("Cast", ["q"], ["c"], to=TensorProto.BOOL)
        made = helper.make_node("If", ["c"], ["o0"], "it", then_branch=graphs[0], else_branch=graphs[1])
        q = info("q", TensorProto.FLOAT, [])
        q.doc_string = ""
        return _model([question, made], [x, q], ["o0"], [])
    count = numpy_helper.from_array(np.array(rng.randrange(4)), "n")
    return _model([made], [x], ["o0", "o1"], [count])


def _type(rng: Random, text: str, groups: dict[str, np.dtype]) -> np.dtype:
    """A type for a port, most often one that it takes."""
    if rng.random() > FITTING**0.5:
        return rng.choice(COMMON)
    if text in groups:
        return groups[text]
    letter = text[:1].lower() or "a"
    fitting = CLASSES[letter][1] if text[1:] in ("", "1", "2") else {np.dtype(text)}
    common = [dtype for dtype in COMMON if dtype in fitting]
    found = rng.choice(common if common and rng.random() < 0.8 else sorted(fitting, key=str))
    return groups.setdefault(text, np.dtype(found.name))


def _inputs(rng: Random, op: Op) -> list[np.ndarray | None]:
    groups: dict[str, np.dtype] = {}
    count = rng.randrange(1, 4) if op.inputs[-1].variadic else len(op.inputs)
    shapes = _shapes(rng, op.name)
    base = [rng.choice([0, 1, 1, 2, 2, 3, 3, 5, 17]) for _ in range(rng.choice([0, 1, 2, 2, 3, 3, 4, 5]))]
    arrays: list[np.ndarray | None] = []
    for position in range(count):
        port = op.port(position)
        if port.own or (port.optional and rng.random() < 0.4):
            arrays.append(None)
            continue
        dtype = _type(rng, port.type, groups)
        if port.name in shapes and rng.random() < 0.97:
            shape = shapes[port.name]
        elif port.known and port.type == "i":
            shape = rng.choice([[], [1], [len(base)], [rng.randrange(4)], [2 * len(base)]])
        elif rng.random() < 0.75:
            shape = [n if rng.random() < 0.93 else 1 for n in base]
        else:
            shape = base[rng.randrange(len(base) + 1) :] or [rng.randrange(4)]
        if rng.random() < 0.03:
            shape = [rng.choice([0, 1, 2, 3]) for _ in range(rng.randrange(6))]
        arrays.append(_array(rng, shape, dtype, port.type))
    return arrays


def _array(rng: Random, shape, dtype: np.dtype, text: str) -> np.ndarray:
    own = np.random.default_rng(rng.getrandbits(32))
    if dtype.kind == "f":
        return own.uniform(-3, 3, shape).astype(np.float32).astype(dtype)
    if dtype.kind == "b":
        return own.integers(0, 2, shape).astype(dtype)
    low, high = (0, 2) if text == "i" and rng.random() < 0.6 else (-3, 6)
    if rng.random() < 0.02:
        low, high = -(2**62), 2**62
    return own.integers(max(low, 0) if dtype.kind == "u" else low, high, shape).astype(dtype)


def _shapes(rng: Random, op: str) -> dict[str, list[int]]:
    """Shapes that go together, for ops that need them."""
    t, n, i, h, d = (rng.choice([0, 1, 2, 3, 5]) for _ in range(5))
    h, d = rng.choice([1, 2, 3]), 1 if rng.random() < 0.8 else 2
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}.get(op)
    state = {"lengths": [n], "initial_h": [d, n, h], "initial_c": [d, n, h], "p": [d, 3 * h], "x": [t, n, i]}
    if gates:
        return state | {"w": [d, gates * h, i], "r": [d, gates * h, h], "b": [d, 2 * gates * h]}
    if op == "DynamicQuantizeLSTM":
        one = {f"{name}_{what}": [d] for name in "wr" for what in ("scale", "zero_point")}
        return state | one | {"w": [d, i, 4 * h], "r": [d, h, 4 * h], "b": [d, 8 * h]}
    channels, filters, rank = rng.choice([1, 2, 3]), rng.choice([1, 2, 4]), rng.choice([1, 1, 2])
    image = [rng.choice([1, 2]), channels, *[rng.choice([1, 3, 6])] * rank]
    if op in ("Conv", "ConvInteger"):
        return {"x": image, "w": [filters, channels, *[rng.choice([1, 2, 3])] * rank], "b": [filters],
                "x_zero_point": [], "w_zero_point": rng.choice([[], [filters]])}  # fmt: skip
    if op == "ConvTranspose":
        return {"x": image, "w": [channels, filters, *[rng.choice([1, 2, 3])] * rank], "b": [filters]}
    if "Pool" in op or op in ("BatchNormalization", "InstanceNormalization"):
        return {"x": image} | {name: [channels] for name in ("scale", "bias", "mean", "variance")}
    if op in ("DepthToSpace", "SpaceToDepth"):
        return {"x": [n, 4 * i, 2 * t, 2 * h]}
    if op in ("MatMul", "Gemm", "MatMulInteger"):
        return {"a": [t, i], "b": [i, h], "c": rng.choice([[h], [t, h], [1]]),
                "a_zero_point": [], "b_zero_point": rng.choice([[], [h]])}  # fmt: skip
    if op == "ScatterND":
        return {"x": [t, n], "indices": [i, 1], "updates": [i, n]}
    if op in ("QuantizeLinear", "DequantizeLinear"):
        return {"scale": [], "zero_point": []}
    if op in ("Gather", "GatherND", "ReverseSequence"):
        return {"x": [t, n, h], "indices": [i, 1], "row_lengths": [n]}
    if op == "OneHot":
        return {"depth": [], "values": [2]}
    if op == "LayerNormalization":
        return {"x": [t, n, h], "scale": [h], "bias": [h]}
    return {"k": [1]} if op == "TopK" else {}


def _attribute(rng: Random, attribute: Attribute, op: Op):
    """A value for an attribute, None to leave it out."""
    if attribute.default is not REQUIRED and rng.random() < 0.6:
        return None
    if attribute.allowed is not None and rng.random() < 0.95:
        return rng.choice(attribute.allowed)
    size = rng.randrange(1, 4)
    values = {
        INT: rng.choice([-2, -1, 0, 0, 1, 1, 2, 3]), INTS: [rng.choice([0, 1, 1, 2]) for _ in range(size)],
        FLOAT: rng.choice([0.0, 0.5, 1.0, -1.0]), FLOATS: [0.5] * size, TEXT: "none", TEXTS: ["Tanh"] * size,
        DTYPE: helper.np_dtype_to_tensor_dtype(rng.choice(COMMON)), GRAPH: None,
        TENSOR: numpy_helper.from_array(_array(rng, [1], rng.choice(TYPES), "")),
    }  # fmt: skip
    return values[attribute.kind]


def run(path: Path) -> None:
    """Runs a model beside guard pages on either side of its memory, and by the reference.

    Raises:
        TinyseqError: it is refused.
        AssertionError: the results are not the reference's.
    """
    import onnx

    data = path.read_bytes()
    proto = onnx.load_from_string(data)
    rng = Random(zlib.crc32(data))
    feeds = {}
    for entry in proto.graph.input:
        shape = [int(size) for size in entry.doc_string.split()]
        dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        feeds[entry.name] = _array(rng, shape, dtype, "i")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"):
            for side in (guards.AFTER, guards.BEFORE):
                with guards.Guarded(side):
                    session = tinyseq.load(data)
                    results = session.run(feeds)
            if nodes := read(data).graph.nodes:
                _compare(session, results, data, feeds, {node.op for node in nodes})


def _compare(session, results, data: bytes, feeds, ops: set[str]) -> None:
    for value in session.outputs:
        assert results[value.name].dtype == value.dtype, f"{results[value.name].dtype} for {value}"
    try:
        expected = tinyseq.load(data, device="reference").run(feeds)
    except TinyseqError as error:
        raise AssertionError(f"the reference refuses it: {error}") from error
    for name, array in results.items():
        # Of what no turn gives, the reference does not know the shape.
        wanted = expected[name].shape
        empty = array.size == expected[name].size == 0 and ops & {"Loop", "Scan"}
        assert empty or array.shape == wanted, f"{name}: {array.shape} and {wanted}"
        means = ops & {"ReduceMean"} and array.dtype.kind in "iu"
        if not (empty or means or ops & LOOSE or array.dtype == np.uint64):
            np.testing.assert_allclose(array, expected[name], rtol=2e-3, atol=2e-3, err_msg=str(ops))
