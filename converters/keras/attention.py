"""Keras' attention layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.settings import BOOL, Settings, Tensor, cast

from tinyseq.common.given import is_whole
from tinyseq.ir.graph import Graph

HIDDEN = np.float32(-1e9)
"""What the score of something hidden becomes."""


def attention(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Attention and AdditiveAttention: of query [N, Q, D], value [N, V, E] and key [N, V, D]."""
    settings.expect("score_mode", "dot", "concat")
    if len(inputs) not in (2, 3) or any(tensor.rank != 3 for tensor in inputs):
        raise settings.refusal("it takes query, value and maybe key, each of 3 dimensions")
    query, value, key = (*inputs, inputs[1])[:3]
    scores = _scores(graph, settings, variables, query, key)
    shown = None if value.mask is None else graph.unsqueeze(value.mask, [1])
    if settings.get("causal", False) | bool(settings.called("use_causal_mask")):
        shown = _both(graph, shown, _causal(graph, scores))
    if shown is not None:
        scores = graph.apply("Where", shown, scores, HIDDEN)
    shares = graph.softmax(scores)
    y = graph.apply("MatMul", shares, value.name, name=settings.name)
    if query.mask is not None:
        y = graph.apply("Where", graph.unsqueeze(query.mask, [2]), y, np.float32(0))
    result = Tensor(y, (*query.shape[:2], value.shape[-1]))
    given = settings.called("return_attention_scores", False)
    return [result, Tensor(shares, (*query.shape[:2], key.shape[1]))] if given else [result]


def _scores(graph: Graph, settings: Settings, variables: Variables, query: Tensor, key: Tensor) -> str:
    additive = settings.kind == "AdditiveAttention"
    scaled = settings.get("use_scale", additive)
    if not additive and settings.config.get("score_mode", "dot") == "dot":
        scores = graph.apply("MatMul", query.name, graph.transpose(key.name, [0, 2, 1]), name=settings.name)
        return graph.mul(scores, variables.take()) if scaled else scores
    scale = variables.take(*(key.shape[-1:] if additive else ())) if scaled else None
    sums = graph.add(graph.unsqueeze(query.name, [2]), graph.unsqueeze(key.name, [1]))
    if not additive:
        scores = graph.tanh(sums if scale is None else graph.mul(sums, scale))
        return graph.mul(_summed(graph, scores), variables.take())
    scores = graph.tanh(sums)
    return _summed(graph, scores if scale is None else graph.mul(scores, scale))


def _summed(graph: Graph, scores: str) -> str:
    return graph.apply("ReduceSum", scores, np.array([-1]), keepdims=0)


def _places(graph: Graph, scores: str) -> tuple[str, str]:
    """The numbers of queries [Q, 1] and of keys [1, V], by scores [..., Q, V]."""
    sizes = graph.apply("Shape", scores)
    ends = np.iinfo(np.int64).max
    found = []
    for axis, end in ((-2, -1), (-1, ends)):
        count = graph.squeeze(graph.slice(sizes, 0, axis, end), [0])
        places = graph.apply("Range", np.array(0, np.int64), count, np.array(1, np.int64))
        found.append(graph.unsqueeze(places, [1 if axis == -2 else 0]))
    return found[0], found[1]


def _causal(graph: Graph, scores: str) -> str:
    """What queries see that see nothing later: [Q, V]."""
    return graph.apply("GreaterOrEqual", *_places(graph, scores))


def _near(graph: Graph, scores: str, window: int) -> str:
    """What queries see that see less than so far: [Q, V]."""
    apart = graph.apply("Abs", graph.apply("Sub", *_places(graph, scores)))
    return graph.apply("Less", apart, np.array(window, np.int64))


def _both(graph: Graph, one: str | None, other: str) -> str:
    return other if one is None else graph.apply("And", one, other)


def multi_head(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """MultiHeadAttention of query [N, Q, D], value [N, V, E] and key [N, V, F]:
    ``softmax(q k^T / sqrt(key_dim)) v`` for each head, and a mixture of the heads."""
    settings.expect("attention_axes", None, [1], (1,))
    settings.expect("use_gate", False)
    for field in ("query_shape", "value_shape", "key_shape", "flash_attention"):
        settings.get(field, None)
    if len(inputs) not in (2, 3) or any(tensor.rank != 3 for tensor in inputs):
        raise settings.refusal("it takes query, value and maybe key, each of 3 dimensions")
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
    shown = _shown(graph, settings, scores, inputs)
    scores = scores if shown is None else graph.apply("Where", shown, scores, HIDDEN)
    shares = graph.softmax(scores)
    given_out = bool(settings.called("return_attention_scores", False))
    if shown is not None and settings.version >= (3, 14) and (given_out or settings.get("dropout", 0)):
        # What sees nothing has no shares; where they are not given out, all are alike.
        shares = graph.apply("Where", shown, shares, np.float32(0))
    each = graph.apply("MatMul", shares, v, name=settings.name)
    joined = graph.reshape(graph.transpose(each, [0, 2, 1, 3]), [0, 0, heads * depth])
    given = settings.get("output_shape", None)
    shape = list(query.shape[-1:] if given is None else [given] if is_whole(given) else given)
    own = variables.child("output_dense")
    w = own.take(heads, depth, *shape)
    shape = list(w.shape[2:])
    y = graph.dense(
        joined, w.reshape(heads * depth, -1), own.take(*shape).reshape(-1) if bias else None,
        name=f"{settings.name}.output",
    )  # fmt: skip
    y = graph.reshape(y, [0, 0, *shape]) if len(shape) > 1 else y
    result = Tensor(y, (*query.shape[:2], *shape))
    if not given_out:
        return [result]
    return [result, Tensor(shares, (query.shape[0], heads, query.shape[1], key.shape[1]))]


def _shown(graph: Graph, settings: Settings, scores: str, inputs: Sequence[Tensor]) -> str | None:
    """What each query sees, broadcast to scores [N, heads, Q, V]."""
    if settings.keras2 and settings.version < (2, 10) and any(x.mask is not None for x in inputs):
        raise settings.refusal("its inputs have masks, which Keras heeds from 2.10 on")
    shown: str | None = None
    for name, x, axes in zip(("query", "value", "key"), inputs, ([1, 3], [1, 2], [1, 2])):
        mask = settings.called(f"{name}_mask")
        if mask is not None and mask.rank != 2:
            raise settings.refusal(f"its {name}_mask has {mask.rank} dimensions, not [rows, frames]")
        own = x.mask if mask is None else cast(graph, mask, BOOL).name
        if own is not None:
            shown = _both(graph, shown, graph.unsqueeze(own, axes))
    if settings.called("use_causal_mask"):
        shown = _both(graph, shown, _causal(graph, scores))
    if (window := settings.get("sliding_window", None)) is not None:
        shown = _both(graph, shown, _near(graph, scores, window))
    if (mask := settings.called("attention_mask")) is not None:
        if mask.rank not in (3, 4):
            raise settings.refusal(f"its attention_mask has {mask.rank} dimensions, not 3 or 4")
        own = cast(graph, mask, BOOL).name
        shown = _both(graph, shown, own if mask.rank == 4 else graph.unsqueeze(own, [1]))
    return shown
