"""Keras' attention layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.settings import Settings, Tensor

from tinyseq.ir.graph import Graph


def attention(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Attention and AdditiveAttention: of query [N, Q, D], value [N, V, E] and key [N, V, D]."""
    settings.expect("causal", False)
    settings.expect("score_mode", "dot")
    if len(inputs) not in (2, 3) or any(tensor.rank != 3 for tensor in inputs):
        raise settings.refusal("it takes query, value and maybe key, each of 3 dimensions")
    query, value, key = (*inputs, inputs[1])[:3]
    scaled = settings.get("use_scale", settings.kind == "AdditiveAttention")
    if settings.kind == "Attention":
        scores = graph.apply("MatMul", query.name, graph.transpose(key.name, [0, 2, 1]), name=settings.name)
        scores = graph.mul(scores, variables.take()) if scaled else scores
    else:
        sums = graph.add(graph.unsqueeze(query.name, [2]), graph.unsqueeze(key.name, [1]))
        scores = graph.tanh(sums)
        scores = graph.mul(scores, variables.take(key.shape[-1])) if scaled else scores
        scores = graph.apply("ReduceSum", scores, np.array([-1]), keepdims=0)
    if value.mask is not None:
        scores = _hidden(graph, scores, graph.unsqueeze(value.mask, [1]))
    y = graph.apply("MatMul", graph.softmax(scores), value.name, name=settings.name)
    return [Tensor(y, (*query.shape[:2], value.shape[-1]))]


def _hidden(graph: Graph, scores: str, shown: str) -> str:
    """Scores less 1e9 where they are not to count, which is how Keras hides them."""
    hidden = graph.apply("Cast", graph.apply("Not", shown), to=np.dtype(np.float32))
    return graph.add(scores, graph.mul(hidden, np.float32(-1e9)))


def multi_head(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """MultiHeadAttention of query [N, Q, D], value [N, V, E] and key [N, V, F]:
    ``softmax(q k^T / sqrt(key_dim)) v`` for each head, and a mixture of the heads."""
    settings.expect("attention_axes", None, [1], (1,))
    settings.expect("use_gate", False)
    settings.expect("sliding_window", None)
    settings.expect("output_shape", None)
    for field in ("query_shape", "value_shape", "key_shape", "flash_attention"):
        settings.get(field, None)
    if len(inputs) not in (2, 3) or any(tensor.rank != 3 for tensor in inputs):
        raise settings.refusal("it takes query, value and maybe key, each of 3 dimensions")
    if any(tensor.mask is not None for tensor in inputs):
        raise settings.refusal("it hides what its inputs' masks hide, which tinyseq does not do")
    query, value, key = (*inputs, inputs[1])[:3]
    (heads,), (width,) = settings.sizes("num_heads", 1), settings.sizes("key_dim", 1)
    depth = settings.get("value_dim", None) or width
    bias = bool(settings.get("use_bias", True))

    def projected(part: str, x: Tensor, size: int, order: Sequence[int]) -> str:
        own = variables.child(f"{part}_dense")
        w = own.take(x.shape[-1], heads, size).reshape(-1, heads * size)
        b = own.take(heads, size).reshape(-1) if bias else None
        y = graph.dense(x.name, w, b, name=f"{settings.name}.{part}")
        return graph.transpose(graph.reshape(y, [0, 0, heads, size]), order)

    q = projected("query", query, width, [0, 2, 1, 3])
    k = projected("key", key, width, [0, 2, 3, 1])
    v = projected("value", value, depth, [0, 2, 1, 3])
    scores = graph.apply("MatMul", graph.mul(q, np.float32(width**-0.5)), k, name=settings.name)
    each = graph.apply("MatMul", graph.softmax(scores), v, name=settings.name)
    joined = graph.reshape(graph.transpose(each, [0, 2, 1, 3]), [0, 0, heads * depth])
    own = variables.child("output_dense")
    units = query.shape[-1]
    w = own.take(heads, depth, units).reshape(heads * depth, -1)
    y = graph.dense(joined, w, own.take(units) if bias else None, name=f"{settings.name}.output")
    return [Tensor(y, query.shape)]
