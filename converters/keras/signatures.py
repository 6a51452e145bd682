"""What Keras 3's layers are called with, by place."""

from __future__ import annotations

from tinyseq.converters.keras.recurrent import KINDS

INITIAL_STATE = ("initial_state",)
"""Tensors that follow the others."""

_RECURRENT = ("sequences", "initial_state", "mask", "training")
_ATTENTION = ("inputs", "mask", "training", "return_attention_scores", "use_causal_mask")
_HEADS = (
    "query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask",
    "return_attention_scores", "training", "use_causal_mask",
)  # fmt: skip
_SIGNATURES = {
    **dict.fromkeys((*KINDS, "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _RECURRENT),
    **dict.fromkeys(("Attention", "AdditiveAttention"), _ATTENTION),
    "MultiHeadAttention": _HEADS,
    "ReversibleEmbedding": ("inputs", "reverse"),
    **dict.fromkeys(("Softmax", "GlobalAveragePooling1D"), ("inputs", "mask")),
}

KEEPS_TYPES = {
    "Cropping1D", "Cropping2D", "Cropping3D", "Embedding", "Flatten", "Identity", "Masking", "Permute",
    "RepeatVector", "Reshape", "ReversibleEmbedding", "Softmax", "UpSampling1D", "UpSampling2D",
    "UpSampling3D",
}  # fmt: skip
"""Layers that take whole numbers and booleans as they are; to others they become float32."""


def signature(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of what a layer is called with, and of those that are the tensors it works on."""
    names = _SIGNATURES.get(kind, ("inputs", "training", "mask"))
    return names, names[:3] if names is _HEADS else names[:1]
