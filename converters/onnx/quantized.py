"""Ops on quantised tensors with a scale and a zero point of each, as ops of the table.

Products and convolutions are sums of integers, which are exact; all else is computed between dequantising and
quantising.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinyseq.converters.onnx.drafts import NodeDraft

from tinyseq.errors import ModelError, UnsupportedError

Upgrade = Callable[[NodeDraft], None]


def _zero_point(draft: NodeDraft, position: int, like: str) -> str:
    """A zero point, or 0 of the type of ``like``."""
    name = draft.input(position)
    return name or draft.before("CastLike", draft.constant(np.int64(0)), like)


def _dequantized(draft: NodeDraft, first: int, axis: int = 1) -> str:
    """The numbers of a tensor, a scale and maybe a zero point, which stand one behind the other; several
    scales are along an axis."""
    draft.need(first, first + 1)
    given = filter(None, map(draft.input, range(first, first + 3)))
    return draft.before("DequantizeLinear", *given, axis=axis)


def _requantize(draft: NodeDraft, op: str, inputs: list[str], scale: int, like: str, **attributes) -> None:
    """An op on numbers and the quantising of its result, by the scale at a position."""
    draft.need(scale)
    to = [draft.inputs[scale], _zero_point(draft, scale + 1, like)]
    y = draft.before(op, *inputs, **attributes)
    draft.becomes("QuantizeLinear", y, *to)


def _product(draft: NodeDraft, sums: str, scales: str) -> str:
    """Sums of integers as numbers."""
    return draft.before("Mul", draft.before("Cast", sums, to=np.dtype(np.float32)), scales)


def _is_vector(draft: NodeDraft, name: str) -> bool:
    array = draft.constants.get(name)
    return array is not None and array.ndim == 1 and array.size > 1


def _matmul(draft: NodeDraft) -> None:
    """One scale of a factor, or one for each row of the first or column of the second."""
    draft.need(*range(8))
    draft.end()
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = draft.inputs[:8]
    sums = draft.before("MatMulInteger", a, b, a_zero, b_zero)
    if _is_vector(draft, a_scale):
        a_scale = draft.before("Unsqueeze", a_scale, draft.constant(np.array([1])))
    y = _product(draft, sums, draft.before("Mul", a_scale, b_scale))
    rows = {"axis": -2} if _is_vector(draft, y_scale) else {}
    draft.becomes("QuantizeLinear", y, y_scale, y_zero, **rows)


def _conv(draft: NodeDraft) -> None:
    """One scale of the weights, or one for each kernel."""
    draft.need(*range(8))
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = draft.inputs[:8]
    bias, attributes = draft.input(8), draft.attributes
    kernel = attributes.get("kernel_shape")
    rank = draft.rank(w) if kernel is None else len(kernel) + 2
    if rank is None:
        raise UnsupportedError(
            f"{draft.label}: its weights are computed and nothing tells their dimensions; export the model "
            "with weights that are constants"
        )
    channels = draft.constant(np.array([-1, *[1] * (rank - 2)]))
    sums = draft.before("ConvInteger", x, w, x_zero, w_zero, **attributes)
    if bias:
        sums = draft.before("Add", sums, draft.before("Reshape", bias, channels))
    scale = draft.before("Reshape", draft.before("Mul", x_scale, w_scale), channels)
    draft.becomes("QuantizeLinear", _product(draft, sums, scale), y_scale, y_zero)


def _conv_of_microsoft(draft: NodeDraft) -> None:
    """Channels come last where that is said, but for those of the weights."""
    last = draft.take("channels_last", 0)
    rank = draft.rank(draft.input(3))
    draft.domain = ""
    if last:
        if rank is None:
            raise UnsupportedError(
                f"{draft.label}: its weights are computed; export the model with constants"
            )
        draft.inputs[0] = draft.before("Transpose", draft.inputs[0], perm=(0, rank - 1, *range(1, rank - 1)))
        draft.after("Transpose", perm=(0, *range(2, rank), 1))
    _conv(draft)


def _gemm(draft: NodeDraft) -> None:
    """A, B and their scales, C as integers of both scales; a result without a scale is of numbers."""
    draft.need(0, 1, 3, 4)
    alpha = float(draft.take("alpha", 1.0, (int, float)))
    flips = {name: draft.take(name, 0) for name in ("transA", "transB")}
    draft.end()
    a, b = _dequantized(draft, 0), _dequantized(draft, 3, 0 if flips["transB"] else 1)
    c = draft.input(6)
    if c:
        scale = draft.before("Mul", draft.inputs[1], draft.inputs[4])
        c = _product(draft, c, scale)
    inputs = [a, b, c] if c else [a, b]
    # C counts as it is, whatever alpha.
    if draft.has_input(7):
        _requantize(draft, "Gemm", inputs, 7, draft.inputs[0], alpha=alpha, **flips)
    else:
        draft.becomes("Gemm", *inputs, alpha=alpha, **flips)


def _of_two(op: str) -> Upgrade:
    """An op of two tensors: each with scale and zero point, then those of the result."""

    def upgrade(draft: NodeDraft) -> None:
        draft.end()
        _requantize(draft, op, [_dequantized(draft, 0), _dequantized(draft, 3)], 6, draft.inputs[0])

    return upgrade


def _of_one(op: str, **known: object) -> Upgrade:
    """An op of one tensor; ``known`` attributes must have these values and go."""

    def upgrade(draft: NodeDraft) -> None:
        for name, value in known.items():
            if draft.attributes.pop(name, value) != value:
                raise UnsupportedError(f"{draft.label}: {name} is not {value}, which alone tinyseq takes")
        attributes = dict(draft.attributes)
        _requantize(draft, op, [_dequantized(draft, 0)], 3, draft.inputs[0], **attributes)

    return upgrade


def _softmax(draft: NodeDraft) -> None:
    """``opset`` tells whether what follows the axis is one with it."""
    if draft.attributes.pop("opset", 13) < 13 and draft.attributes.get("axis", -1) != -1:
        raise UnsupportedError(
            f"{draft.label} is of an opset before 13, along an axis that is not the last; export it anew"
        )
    _requantize(draft, "Softmax", [_dequantized(draft, 0)], 3, draft.inputs[0], **draft.attributes)


def _concat(draft: NodeDraft) -> None:
    """The scale and zero point of the result, then three inputs for each part."""
    if len(draft.inputs) < 5 or (len(draft.inputs) - 2) % 3:
        raise ModelError(f"{draft.label} has {len(draft.inputs)} inputs; the file is damaged")
    parts = [_dequantized(draft, first) for first in range(2, len(draft.inputs), 3)]
    _requantize(draft, "Concat", parts, 0, draft.inputs[2], **draft.attributes)


def _where(draft: NodeDraft) -> None:
    draft.need(0)
    draft.end()
    parts = [draft.inputs[0], _dequantized(draft, 1), _dequantized(draft, 4)]
    _requantize(draft, "Where", parts, 7, draft.inputs[1])


def _reduce_mean(draft: NodeDraft) -> None:
    axes = draft.take("axes", None, tuple)
    inputs = [_dequantized(draft, 0)]
    if axes is not None:
        inputs.append(draft.constant(np.array(axes, np.int64)))
    _requantize(draft, "ReduceMean", inputs, 3, draft.inputs[0], **draft.attributes)


QUANTIZED: dict[str, Upgrade] = {"QLinearMatMul": _matmul, "QLinearConv": _conv}
"""By op of ONNX's own domain."""

QUANTIZED_OF_MICROSOFT: dict[str, Upgrade] = {
    "QLinearConv": _conv_of_microsoft,
    "QGemm": _gemm,
    "QLinearAdd": _of_two("Add"),
    "QLinearMul": _of_two("Mul"),
    "QLinearSigmoid": _of_one("Sigmoid"),
    "QLinearLeakyRelu": _of_one("LeakyRelu"),
    "QLinearSoftmax": _softmax,
    "QLinearAveragePool": _of_one("AveragePool", channels_last=0),
    "QLinearGlobalAveragePool": _of_one("GlobalAveragePool", channels_last=0),
    "QLinearReduceMean": _reduce_mean,
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
}
"""By op of the domain ``com.microsoft``."""
