"""Freezes a small model in the format that ``model.save`` writes today, with results beside it.

    python -m tests.data.make_frozen

Once for each version of the format, when it is new: a file that is there is never written again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

import tinyseq
from tests.models import graph, model, value
from tinyseq.ir.format import VERSION

FOLDER = Path(__file__).with_name("frozen")


def onnx_model() -> bytes:
    """A GRU with an initial state, and what else a file may hold: graphs, tensors and types as attributes."""
    draw = np.random.default_rng(0)
    constants = {
        "w": draw.uniform(-1, 1, (1, 12, 3)).astype(np.float32),
        "r": draw.uniform(-1, 1, (1, 12, 4)).astype(np.float32),
        "b": draw.uniform(-1, 1, (1, 24)).astype(np.float32),
        "h": draw.uniform(-1, 1, (1, 1, 4)).astype(np.float32),
        "axes": np.array([1]),
        "two": np.array([2], np.float32),
    }
    branches = {
        name: graph([helper.make_node(op, ["two"], [name])], [], [value(name)])
        for name, op in (("then_branch", "Neg"), ("else_branch", "Sqrt"))
    }
    half = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "b", "", "h"], ["all"], "gru", hidden_size=4),
        helper.make_node("Squeeze", ["all", "axes"], ["last"]),
        helper.make_node("If", ["flag"], ["gain"], "choice", **branches),
        helper.make_node("Shape", ["last"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["half"], value=half),
        helper.make_node("Add", ["last", "half"], ["y"]),
        helper.make_node("Cast", ["y"], ["whole"], to=7),
    ]
    shape = ("frames", "rows", 4)
    return model(
        nodes,
        [value("x", shape=("frames", "rows", 3)), value("flag", np.bool_, ())],
        [value("y", shape=shape), value("whole", np.int64, shape), value("gain", shape=(1,))],
        constants,
    )


if __name__ == "__main__":
    target = FOLDER / f"version_{VERSION}.tinyseq"
    if target.exists():
        raise SystemExit(f"{target} is frozen")
    FOLDER.mkdir(exist_ok=True)
    # In whole numbers, whose scales and kept weights are what version 2 has beside version 1.
    session = tinyseq.load(onnx_model(), device="reference", precision="int8", keep=["r"])
    session.save(target)
    x = np.random.default_rng(1).standard_normal((5, 1, 3)).astype(np.float32)
    results = session.run({"x": x, "flag": np.array(True)})
    floats = {name: np.float32(results.pop(name)) for name in ("y", "gain")}
    np.savez(target.with_suffix(".npz"), x=x, **results, **floats)
