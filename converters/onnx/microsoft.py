"""Ops of onnxruntime's own domain, which its optimised files hold, as ops of the table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinyseq.converters.onnx.drafts import NodeDraft

from tinyseq.errors import ModelError, UnsupportedError

Upgrade = Callable[[NodeDraft], None]


def _renamed() -> Upgrade:
    """The same op as one of ONNX's."""

    def upgrade(draft: NodeDraft) -> None:
        draft.domain = ""

    return upgrade


def _transpose_matmul(draft: NodeDraft) -> None:
    draft.op = "FusedMatMul"


def _fast_gelu(draft: NodeDraft) -> None:
    """Gelu by tanh, of the input and a bias."""
    draft.need(0)
    draft.end()
    x = draft.before("Add", *draft.inputs[:2]) if draft.has_input(1) else draft.inputs[0]
    draft.becomes("Gelu", x, approximate="tanh")


def _bias_gelu(draft: NodeDraft) -> None:
    draft.need(0, 1)
    draft.end()
    draft.becomes("Gelu", draft.before("Add", *draft.inputs[:2]))


def _quick_gelu(draft: NodeDraft) -> None:
    draft.need(0)
    alpha = draft.take("alpha", 1.702, (int, float))
    draft.end()
    draft.becomes("Swish", draft.inputs[0], alpha=float(alpha))


def _skip_normalization(op: str) -> Upgrade:
    """A normalisation of the sum of two inputs and a bias; the sum is the fourth output."""

    def upgrade(draft: NodeDraft) -> None:
        draft.need(0, 1, 2)
        epsilon = float(draft.take("epsilon", 1e-12, (int, float)))
        draft.end()
        total = draft.before("Add", *draft.inputs[:2])
        simplified = op == "RMSNormalization"
        bias = 3 if simplified else 4
        if draft.has_input(bias):
            total = draft.before("Add", total, draft.inputs[bias])
        outputs = [*draft.outputs, "", "", "", ""]
        if outputs[3]:
            draft.also("Identity", [total], [outputs[3]])
        if simplified and any(outputs[1:3]):
            raise UnsupportedError(f"{draft.label} gives statistics, which tinyseq does not; leave them out")
        scales = [draft.inputs[2]] if simplified else [draft.inputs[2], draft.input(3)]
        draft.becomes(op, total, *scales, epsilon=epsilon)
        draft.outputs = outputs[:1] if simplified else outputs[:3]

    return upgrade


def _simplified_layer_normalization(draft: NodeDraft) -> None:
    draft.op, draft.domain = "RMSNormalization", ""
    if len(draft.outputs) > 1:
        raise UnsupportedError(f"{draft.label} gives statistics, which tinyseq does not; leave them out")


ACTIVATIONS: dict[str, tuple[tuple[str, float], ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": (("alpha", 0.01),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "Elu": (("alpha", 1.0),),
    "ThresholdedRelu": (("alpha", 1.0),),
    "Softplus": (),
    "Softsign": (),
    "HardSwish": (),
}
"""What follows a product or a convolution in one op: by name, its parameters and their defaults."""


def _activate(draft: NodeDraft, activation: str, parameters: tuple[float, ...]) -> None:
    """The activation of a fused op."""
    if activation == "Clip" and len(parameters) == 2:
        draft.after("Clip", *(draft.constant(np.float32(bound)) for bound in parameters))
        return
    if activation not in ACTIVATIONS:
        raise UnsupportedError(
            f"{draft.label}: the activation {activation!r} is not known to tinyseq; it takes "
            f"{', '.join((*ACTIVATIONS, 'Clip'))}"
        )
    named = ACTIVATIONS[activation]
    if len(parameters) > len(named):
        raise ModelError(f"{draft.label}: {len(parameters)} parameters of {activation}; the file is damaged")
    given = dict(named) | {name: float(value) for (name, _), value in zip(named, parameters)}
    draft.after(activation, **given)


def _fused_conv(draft: NodeDraft) -> None:
    """A convolution, then a sum with a fourth input, then an activation."""
    draft.need(0, 1)
    activation = draft.take("activation", "", str)
    parameters = draft.take("activation_params", (), tuple)
    # What is added behind comes first in reverse.
    if activation:
        _activate(draft, activation, parameters)
    if draft.has_input(3):
        draft.after("Add", draft.inputs[3])
    draft.op, draft.domain, draft.inputs = "Conv", "", draft.inputs[:3]


def _fused_gemm(draft: NodeDraft) -> None:
    activation = draft.take("activation", "", str)
    given = [draft.take(f"activation_{name}", None, (int, float)) for name in ("alpha", "beta", "gamma")]
    if activation:
        count = len(ACTIVATIONS.get(activation, ()))
        _activate(draft, activation, tuple(value for value in given[:count] if value is not None))
    draft.op, draft.domain = "Gemm", ""


def _matmul_integer_to_float(draft: NodeDraft) -> None:
    """A product of integers, times the scales of both, and a bias."""
    draft.need(0, 1, 2, 3)
    draft.end()
    a, b, a_scale, b_scale = draft.inputs[:4]
    product = draft.before("MatMulInteger", a, b, draft.input(4), draft.input(5))
    _scaled(draft, product, a_scale, b_scale, draft.input(6))


def _dynamic_quantize_matmul(draft: NodeDraft) -> None:
    """The same of a first factor that is quantised here."""
    draft.need(0, 1, 2)
    draft.end()
    a, scale, zero_point = draft.before_all("DynamicQuantizeLinear", [draft.inputs[0]], 3)
    product = draft.before("MatMulInteger", a, draft.inputs[1], zero_point, draft.input(3))
    _scaled(draft, product, scale, draft.inputs[2], draft.input(4))


def _scaled(draft: NodeDraft, product: str, a_scale: str, b_scale: str, bias: str) -> None:
    whole = draft.before("Cast", product, to=np.dtype(np.float32))
    scale = draft.before("Mul", a_scale, b_scale)
    if bias:
        draft.becomes("Add", draft.before("Mul", whole, scale), bias)
    else:
        draft.becomes("Mul", whole, scale)


MICROSOFT: dict[str, Upgrade] = {
    **dict.fromkeys(("Gelu", "QuantizeLinear", "DequantizeLinear", "Trilu", "GatherND", "Range"), _renamed()),
    "TransposeMatMul": _transpose_matmul,
    "BiasGelu": _bias_gelu,
    "FastGelu": _fast_gelu,
    "QuickGelu": _quick_gelu,
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "MatMulIntegerToFloat": _matmul_integer_to_float,
    "DynamicQuantizeMatMul": _dynamic_quantize_matmul,
    "SkipLayerNormalization": _skip_normalization("LayerNormalization"),
    "SkipSimplifiedLayerNormalization": _skip_normalization("RMSNormalization"),
    "SimplifiedLayerNormalization": _simplified_layer_normalization,
}
"""By op of the domain ``com.microsoft``."""
