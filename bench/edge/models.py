"""What is measured: layers of which a step takes one frame, with their weights, and the voice detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import tinyseq

SILERO = Path(tinyseq.__file__).parent / "speech" / "data" / "silero_vad_16k.tinyseq"
GATES = {"LSTM": 4, "GRU": 3}
SIZES = 32, 64, 128


class Case(NamedTuple):
    """A model: ``name`` is one of C's, ``layer`` the operator of ``units`` in and out and its ``weights`` in
    ONNX's layout, if it is one layer. ``model`` is a file's path, or what is in one of ONNX. ``floats`` are
    the sizes of a step's input and output, ``sizes`` and ``inputs`` those of the command ``build``."""

    name: str
    model: bytes | Path
    floats: tuple[int, int]
    layer: str = ""
    units: int = 0
    weights: tuple[np.ndarray, ...] = ()
    sizes: Mapping[str, int] = MappingProxyType({})
    inputs: Mapping[str, object] = MappingProxyType({})


def cases() -> list[Case]:
    """All of them, small ones first."""
    layers = [_layer(kind, units) for units in SIZES for kind in GATES]
    return [*layers, Case("silero", SILERO, (576, 1), sizes={"sequence": 576}, inputs={"sr": 16000})]


def _layer(kind: str, units: int) -> Case:
    rng, gates = np.random.default_rng(units), GATES[kind]
    shapes = (1, gates * units, units), (1, gates * units, units), (1, 2 * gates * units)
    weights = tuple((rng.standard_normal(shape) / np.sqrt(units)).astype(np.float32) for shape in shapes)
    given = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(kind, ["x", "w", "r", "b"], ["y"], hidden_size=units, **given)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, units])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, units])],
        [numpy_helper.from_array(array, name) for array, name in zip(weights, "wrb")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    name = f"{kind.lower()}_{units}"
    return Case(name, model.SerializeToString(), (units, units), kind, units, weights)
