"""How ops of files become those of the op table: older forms, and ops that are others in a row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinyseq.converters.onnx.attention_lstm import attention_lstm
from tinyseq.converters.onnx.drafts import NodeDraft
from tinyseq.converters.onnx.microsoft import MICROSOFT
from tinyseq.converters.onnx.quantized import QUANTIZED, QUANTIZED_OF_MICROSOFT
from tinyseq.converters.onnx.sequences import SEQUENCES
from tinyseq.converters.onnx.signal import SIGNAL

from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.kernels.activations import ACTIVATIONS

Upgrade = Callable[[NodeDraft], None]


def _to_inputs(*names: str, first: int = 1) -> Upgrade:
    """Attributes that newer opsets take as inputs, from input position ``first``."""

    def upgrade(draft: NodeDraft) -> None:
        for position, name in enumerate(names, start=first):
            draft.to_input(name, position)

    return upgrade


def _pad(draft: NodeDraft) -> None:
    if draft.opset < 11:
        draft.attributes.setdefault("value", 0.0)
        draft.to_input("pads", 1)
        draft.to_input("value", 2, np.float32)


def _split(draft: NodeDraft) -> None:
    """Without sizes, older opsets split into as many equal parts as there are outputs."""
    draft.to_input("split", 1)
    if not draft.has_input(1):
        count = draft.attributes.setdefault("num_outputs", len(draft.outputs))
        if count != len(draft.outputs):
            raise ModelError(f"{draft.label}: num_outputs={count!r} for {len(draft.outputs)} outputs")


def _clip(draft: NodeDraft) -> None:
    if draft.opset < 11:
        draft.to_input("min", 1, np.float32)
        draft.to_input("max", 2, np.float32)


def _dropout(draft: NodeDraft) -> None:
    """What a mask holds when a model is not trained, opset 12 was the first to say."""
    if draft.opset < 12 and len(draft.outputs) > 1 and draft.outputs[1]:
        raise UnsupportedError(
            f"{draft.label}: the mask of a Dropout is undefined in opset {draft.opset}; convert the model to "
            "opset 12"
        )
    draft.to_input("ratio", 1, np.float32)


def _top_k(draft: NodeDraft) -> None:
    if draft.opset < 10 and "k" in draft.attributes:
        draft.attributes["k"] = [draft.attributes["k"]]
        draft.to_input("k", 1)


def _softmax(draft: NodeDraft) -> None:
    """Before opset 13 all dimensions from ``axis`` on, by default 1, are one."""
    if draft.opset < 13:
        axis = draft.attributes.pop("axis", 1)
        if axis != -1:
            shape = draft.before("Shape", draft.inputs[0])
            draft.inputs[0] = draft.before("Flatten", draft.inputs[0], axis=axis)
            draft.after("Reshape", shape, allowzero=1)


def _batch_normalization(draft: NodeDraft) -> None:
    """Before opset 14 the number of outputs told training; ``spatial`` went with opset 9."""
    if draft.attributes.pop("spatial", 1) != 1:
        raise UnsupportedError(
            f"{draft.label}: spatial=0 is not supported; export the model with opset 9 or newer"
        )


def _group_normalization(draft: NodeDraft) -> None:
    """Before opset 21 scale and bias are of each group, not of each channel."""
    if draft.opset < 21 and len(draft.inputs) == 3:
        groups = draft.attributes.pop("num_groups", 1)
        draft.attributes.pop("stash_type", None)
        shape = draft.before("Shape", draft.inputs[0])
        numbers = draft.constant(np.array([0, groups, -1]))
        draft.inputs[0] = draft.before("Reshape", draft.inputs[0], numbers)
        draft.op = "InstanceNormalization"
        draft.after("Reshape", shape, allowzero=1)


def _scatter(draft: NodeDraft) -> None:
    draft.op = "ScatterElements"


def _scan(draft: NodeDraft) -> None:
    if draft.opset < 9:
        raise UnsupportedError(
            f"{draft.label}: a Scan of opset {draft.opset} works on batches; convert the model to opset 9"
        )


def _recurrent(axis: int) -> Upgrade:
    """``hidden_size`` may be left out, as an axis of the recurrent weights tells it; activations are called
    by their names in any case."""

    def upgrade(draft: NodeDraft) -> None:
        names = draft.attributes.get("activations")
        if isinstance(names, tuple):
            draft.attributes["activations"] = tuple(
                [SPELLINGS.get(str(name).lower(), name) for name in names]
            )
        if "hidden_size" not in draft.attributes and draft.has_input(2):
            weights = draft.constants.get(draft.inputs[2])
            if weights is not None and weights.ndim == 3:
                draft.attributes["hidden_size"] = weights.shape[axis]

    return upgrade


def _attention_lstm(draft: NodeDraft) -> None:
    _recurrent(2)(draft)
    attention_lstm(draft)


SPELLINGS = {name.lower(): name for name in ACTIVATIONS}

_REDUCTIONS = ["Sum", "Mean", "Prod", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]

_UPGRADES: dict[str, Upgrade] = {
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Dropout": _dropout,
    "GroupNormalization": _group_normalization,
    "Pad": _pad,
    "Scan": _scan,
    "Scatter": _scatter,
    "Slice": _to_inputs("starts", "ends", "axes"),
    "Split": _split,
    "Squeeze": _to_inputs("axes"),
    "TopK": _top_k,
    "Unsqueeze": _to_inputs("axes"),
    **{f"Reduce{name}": _to_inputs("axes") for name in _REDUCTIONS},
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent(2)),
}

UPGRADES = {
    **{("", op): upgrade for op, upgrade in (_UPGRADES | QUANTIZED | SIGNAL | SEQUENCES).items()},
    **{("com.microsoft", op): upgrade for op, upgrade in (MICROSOFT | QUANTIZED_OF_MICROSOFT).items()},
    ("com.microsoft", "DynamicQuantizeLSTM"): _recurrent(1),
    ("com.microsoft", "AttnLSTM"): _attention_lstm,
    # Optimised files name these without a domain.
    ("", "SimplifiedLayerNormalization"): MICROSOFT["SimplifiedLayerNormalization"],
}
"""By domain and op."""
