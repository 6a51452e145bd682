"""The ONNX project's own tests of nodes, run on tinyseq's backends; what is refused, and why."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.runner import Runner
from tinyseq.converters.onnx.upgrades import UPGRADES

from tinyseq import onnx_backend
from tinyseq.errors import TinyseqError
from tinyseq.ir.ops import OPS

BACKENDS = {"cpu": onnx_backend.Backend, "reference": onnx_backend.ReferenceBackend}

REFUSED = {
    "types that NumPy lacks, and strings": ("tinyseq takes NumPy's numbers only",),
    "sequences and optional values": (
        "takes and gives tensors only", "the sequence", "follows a sequence", "no op Optional",
        "sizes of a split",
    ),
    "training": ("training_mode", "'running_mean' is not supported"),
    "random numbers": ("no op RandomUniformLike",),
    "functions that the onnx package does not write out": ("nor the onnx package can write out",),
    "opsets before 7": ("reads opset 7 and newer",),
    "Scan of opset 8": ("a Scan of opset 8",),
}  # fmt: skip
"""By reason: what the error then says, one of these."""

DIFFERENT = {
    "test_dynamicquantizelinear": "a tie in float32 is none in float64",
    "test_dynamicquantizelinear_expanded": "a tie in float32 is none in float64",
    "test_attention_4d_causal_fp16_expanded": "float16 loses what float64 keeps",
    "test_attention_4d_causal_fp16": "float16 loses what float64 keeps",
    "test_dft_inverse": "zeros are wanted as 2e-7",
    "test_dft_inverse_opset19": "zeros are wanted as 2e-7",
    "test_resize_downsample_scales_cubic_align_corners": "the specification's text counts whole sizes",
    "test_resize_downsample_scales_linear_align_corners": "the specification's text counts whole sizes",
}
"""Tests whose results are other than ours, by name."""


def _is_function(name: str) -> bool:
    """Whether ONNX defines an op by others."""
    schema = onnx.defs.get_schema(name)
    return schema.has_function or schema.has_context_dependent_function


OTHERS = sorted(
    {op for domain, op in UPGRADES if not domain and op not in OPS and onnx.defs.has(op)}
    | {
        s.name
        for s in onnx.defs.get_all_schemas()
        if not s.domain and s.name not in OPS and _is_function(s.name)
    }
)
"""ONNX's ops that become others of the table when a file is read."""


class Case(NamedTuple):
    """One of ONNX's tests; ``op`` is empty where the model is of several, as expanded functions are."""

    name: str
    op: str
    model: onnx.ModelProto
    data: list
    rtol: float
    atol: float


class Outcome(NamedTuple):
    """What came of a case on a backend: ``passed``, ``refused`` with a reason of the table, ``different``,
    or ``failed`` with what went wrong."""

    verdict: str
    why: str = ""


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every test of a node whose ops are all in the op table, or become others of it when a file is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    result = []
    for case in found:
        ops = {node.op_type for node in case.model.graph.node} - {"Constant"}
        if all(name in OPS or name in OTHERS for name in ops):
            op = ops.pop() if len(case.model.graph.node) == 1 and ops else ""
            result.append(Case(case.name, op, case.model, case.data_sets, case.rtol, case.atol))
    return tuple(result)


@functools.cache
def outcomes(device: str) -> dict[str, Outcome]:
    """What came of every case, by its name."""
    return {case.name: _outcome(case, device) for case in cases()}


def _outcome(case: Case, device: str) -> Outcome:
    try:
        prepared = BACKENDS[device].prepare(case.model)
        for inputs, expected in case.data:
            results = prepared.run(_arrays(inputs))
            Runner.assert_similar_outputs(_arrays(expected), results, case.rtol, case.atol)
    except TinyseqError as error:
        message = str(error)
        why = next((why for why, said in REFUSED.items() if any(words in message for words in said)), "")
        return Outcome("refused", why) if why else Outcome("failed", message)
    except AssertionError as error:
        if case.name in DIFFERENT:
            return Outcome("different", DIFFERENT[case.name])
        return Outcome("failed", str(error))
    except Exception as error:
        return Outcome("failed", repr(error))
    return Outcome("passed")


def _arrays(given: list) -> list[np.ndarray]:
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in given]
