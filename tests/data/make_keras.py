"""Makes the Keras fixtures: whole models and what Keras computes from them.

pip install torch==2.13.0 keras==3.15.1 h5py && KERAS_BACKEND=torch python tests/data/make_keras.py

Names of models make these alone: ``python tests/data/make_keras.py stacks ops``.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers as L

HERE = Path(__file__).parent
RNG = np.random.default_rng(0)


def sequence() -> keras.Model:
    return keras.Sequential(
        [
            L.Input((None, 4), name="x"),
            L.Conv1D(5, 3, padding="causal", activation="relu"),
            L.Bidirectional(L.LSTM(3, return_sequences=True)),
            L.BatchNormalization(),
            L.GRU(3, reset_after=False, return_sequences=True, name="middle"),
            L.Dropout(0.5),
            L.TimeDistributed(L.Dense(2)),
            L.LSTM(3, go_backwards=True, return_sequences=True, use_bias=False),
            L.Dense(2, activation="tanh"),
        ]
    )


def functional() -> keras.Model:
    """An encoder and a decoder that starts at its states, and ways to merge."""
    words, x = L.Input((None,), dtype="int32", name="words"), L.Input((None, 4), name="x")
    embedded = L.Embedding(7, 4)(words)
    _, h, c = L.LSTM(3, return_state=True, name="encoder")(embedded)
    y = L.LSTM(3, return_sequences=True, name="decoder")(x, initial_state=[h, c])
    other = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="ave")(x)
    merged = L.Multiply()([L.Add()([y, other]), L.Average()([y, other])])
    last = L.Bidirectional(L.SimpleRNN(2), merge_mode="concat")(merged)
    last = L.Concatenate()([last, L.Dense(2)(h), L.GRU(2, go_backwards=True)(x)])
    return keras.Model([words, x], [L.Dense(3, name="scores")(last), merged])


def attention() -> keras.Model:
    x, z = L.Input((None, 4), name="x"), L.Input((None, 4), name="z")
    one = L.Attention(use_scale=True)([x, z])
    other = L.AdditiveAttention()([x, z])
    return keras.Model([x, z], L.LayerNormalization()(L.Concatenate()([one, other])))


def pooling() -> keras.Model:
    x = L.Input((None, 4), name="x")
    y = L.Conv1D(6, 3, padding="same", activation="relu")(x)
    maxima, means = L.MaxPooling1D(2)(y), L.AveragePooling1D(2)(y)
    pooled = L.Concatenate()([L.GlobalMaxPooling1D()(maxima), L.GlobalAveragePooling1D()(means)])
    return keras.Model(x, L.Dense(3, activation="softmax")(pooled))


def image() -> keras.Model:
    x = L.Input((6, 5, 2), name="x")
    y = L.Conv2D(3, (3, 2), strides=2, padding="same", activation="relu")(x)
    y = L.Reshape((-1, 3))(y)
    return keras.Model(x, L.Dense(2)(L.Flatten()(L.Permute((2, 1))(y))))


ACTIVATIONS = (
    "linear", "relu", "sigmoid", "tanh", "exponential", "silu", "elu", "selu", "softplus", "softsign",
    "hard_sigmoid", "leaky_relu", "relu6", "gelu", "softmax", "log_softmax",
)  # fmt: skip


def activations() -> keras.Model:
    x = L.Input((4,), name="x")
    return keras.Model(x, [L.Activation(name, name=name)(x) for name in ACTIVATIONS])


def hard() -> keras.Model:
    x = L.Input((None, 4), name="x")
    settings = {"recurrent_activation": "hard_sigmoid", "return_sequences": True}
    return keras.Model(x, L.GRU(3, **settings)(L.LSTM(3, **settings)(x)))


def masked() -> keras.Model:
    """Masks of two kinds, hidden frames at the start, within and at the end, and all that heeds them."""
    words, x = L.Input((None,), dtype="int32", name="words"), L.Input((None, 4), name="x")
    y = L.Dense(4)(L.Embedding(7, 4, mask_zero=True)(words))
    z = L.Masking(0.5)(x)
    one = L.LSTM(3, return_sequences=True)(y)
    back = L.GRU(3, return_sequences=True, go_backwards=True, reset_after=False)(y)
    both = L.Bidirectional(L.LSTM(2, return_sequences=True))(z)
    split = L.Bidirectional(L.SimpleRNN(2, return_sequences=True), merge_mode="ave")(z)
    last = L.Bidirectional(L.GRU(2), merge_mode="sum")(y)
    mean = L.GlobalAveragePooling1D()(L.Concatenate()([both, split]))
    looked = L.Attention()([one, back]), L.AdditiveAttention()([y, z])
    ends = [L.GRU(3)(merged) for merged in (L.Add()([y, L.Dense(4)(y)]), *looked)]
    conv = L.Conv1D(3, 2)(y)
    each = L.TimeDistributed(L.Dense(2))(z)
    return keras.Model([words, x], [one, back, both, split, last, mean, *ends, L.GRU(2)(conv), each])


def nested() -> keras.Model:
    """Models within models, Sequential and functional, and layers and models called twice."""
    words, x = L.Input((None,), dtype="int32", name="words"), L.Input((None, 4), name="x")
    reader = keras.Sequential([L.Input((None,)), L.Embedding(7, 4, mask_zero=True), L.Dense(4)])
    inner = keras.Sequential([L.Input((None, 4)), L.Dense(4), L.BatchNormalization(), L.Dense(4)])
    given, start = L.Input((None, 4)), L.Input((3,))
    y, h = L.GRU(3, return_sequences=True, return_state=True)(inner(given), initial_state=start)
    outer = keras.Model([given, start], [y, h], name="outer")
    twice = L.GRU(3)
    a, b = outer([x, twice(reader(words))])
    c, d = outer([x, b])
    return keras.Model([words, x], [L.Add()([a, c]), d, twice(x)])


def wrapped() -> keras.Model:
    """A model that begins with a model, and layers over the frames of frames."""
    begin = keras.Sequential([L.Input((None, 6, 4)), L.TimeDistributed(L.GRU(3))], name="begin")
    end = [L.LSTM(3, return_sequences=True), L.TimeDistributed(L.RepeatVector(2)),
           L.TimeDistributed(L.Conv1D(2, 2)), L.TimeDistributed(L.Flatten()), L.LSTM(2)]  # fmt: skip
    return keras.Sequential([L.Input((None, 6, 4), name="x"), begin, *end])


def layers() -> keras.Model:
    """Layers that sequence models have less often."""
    x, z = L.Input((6, 4), name="x"), L.Input((5, 4), name="z")
    slopes = L.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2)(x)
    wide = L.DepthwiseConv1D(3, depth_multiplier=2, padding="same", activation="relu")(slopes)
    mixed = L.SeparableConv1D(4, 2, strides=2, padding="same", depth_multiplier=2)(wide)
    adapted = L.Normalization()
    adapted.adapt(RNG.normal(2, 3, (20, 6, 4)))
    normed = [adapted(x), L.UnitNormalization()(x), L.RMSNormalization()(x),
              L.Normalization(mean=0.5, variance=2.0)(x),
              L.Normalization(axis=-1, mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4])(x),
              L.Rescaling(0.5, offset=1.0)(x), L.LayerNormalization(center=False)(x)]  # fmt: skip
    padded = L.UpSampling1D(3)(L.Cropping1D((1, 0))(L.ZeroPadding1D((2, 1))(x)))
    dots = [L.Dot(axes=2)([x, z]), L.Dot(axes=(2, 1))([x, L.GRU(4)(z)])]
    dots.append(L.Dot(axes=1)([L.GRU(3)(x), L.GRU(3)(z)]))
    heads = L.MultiHeadAttention(3, 2, value_dim=5)(x, z)
    return keras.Model(
        [x, z], [mixed, *normed, padded, *dots, heads, L.PReLU()(x), L.PReLU(shared_axes=[1])(x)]
    )


def picture() -> keras.Model:
    x = L.Input((6, 5, 2), name="x")
    y = L.DepthwiseConv2D((3, 2), padding="same", depth_multiplier=2, use_bias=False)(x)
    y = L.SeparableConv2D(4, 2, activation="relu")(y)
    return keras.Model(x, L.GlobalAveragePooling2D()(L.MaxPooling2D(2)(y)))


def stacks() -> keras.Model:
    """RNN of cells, one and several, both ways, masked, and directions that differ."""
    x = L.Input((None, 4), name="x")
    cells = [L.LSTMCell(3), L.GRUCell(2, reset_after=False), L.LSTMCell(2), L.SimpleRNNCell(3)]
    y, *states = L.RNN(cells, return_sequences=True, return_state=True)(x)
    masked = L.Masking(0.5)(x)
    results = [y, *states]
    results.append(L.RNN(L.LSTMCell(3), go_backwards=True, return_sequences=True)(x))
    results.append(L.RNN([L.LSTMCell(2), L.LSTMCell(3)], return_sequences=True)(masked))
    results.append(L.RNN(L.LSTMCell(2), zero_output_for_mask=True)(masked))
    both = L.Bidirectional(L.RNN([L.GRUCell(2), L.LSTMCell(3)], return_sequences=True, return_state=True))
    results += both(masked)
    results.append(L.Bidirectional(L.RNN(L.LSTMCell(2)), merge_mode="mul")(x))
    other = L.GRU(2, return_sequences=True, go_backwards=True)
    results.append(L.Bidirectional(L.LSTM(3, return_sequences=True), backward_layer=other)(x))
    turned = L.GRU(2, return_sequences=True, go_backwards=True)
    other = L.GRU(2, return_sequences=True)
    results.append(L.Bidirectional(turned, backward_layer=other, merge_mode="sum")(masked))
    other = L.SimpleRNN(3, go_backwards=True, activation="relu")
    results.append(L.Bidirectional(L.SimpleRNN(3), backward_layer=other, merge_mode="ave")(masked))
    return keras.Model(x, results)


def gates() -> keras.Model:
    """Activations of recurrent layers beside tanh and sigmoid."""
    x = L.Input((None, 4), name="x")
    settings = {"return_sequences": True}
    return keras.Model(
        x,
        [
            L.SimpleRNN(3, activation=None, **settings)(x),
            L.LSTM(3, activation="linear", **settings)(x),
            L.GRU(3, activation="elu", **settings)(x),
            L.LSTM(3, activation="leaky_relu", recurrent_activation="hard_sigmoid", **settings)(x),
            L.LSTM(3, recurrent_activation="linear", activation="softsign", **settings)(x),
        ],
    )


def conv_lstm() -> keras.Model:
    x, z = L.Input((None, 5, 6, 2), name="x"), L.Input((4, 7, 3), name="z")
    y, h, c = L.ConvLSTM2D(2, 3, padding="same", return_sequences=True, return_state=True)(x)
    settings = {"recurrent_activation": "hard_sigmoid", "return_sequences": True}
    back = L.ConvLSTM2D(3, (2, 3), strides=2, go_backwards=True, **settings)(x)
    first = L.ConvLSTM1D(2, 2, data_format="channels_first", use_bias=False, activation="relu")(z)
    wide = L.ConvLSTM1D(2, 3, dilation_rate=2, return_sequences=True)
    return keras.Model([x, z], [y, h, c, back, first, wide(z)])


def each_frame() -> keras.Model:
    """Models within TimeDistributed."""
    x = L.Input((None, 6, 4), name="x")
    given = L.Input((6, 4))
    two = keras.Model(given, L.Add()([L.Dense(3)(L.Flatten()(given)), L.GRU(3)(given)]))
    begin = [L.Input((6, 4)), L.Conv1D(3, 2, activation="relu"), L.MaxPooling1D(2), L.Flatten()]
    alike = keras.Sequential([L.Input((6, 4)), L.Dense(5, activation="tanh"), L.Dropout(0.5), L.Dense(2)])
    y = L.TimeDistributed(keras.Sequential(begin))(x)
    return keras.Model(x, [L.LSTM(3, return_sequences=True)(y), L.TimeDistributed(two)(x),
                           L.TimeDistributed(alike)(x)])  # fmt: skip


def merges() -> keras.Model:
    """Tensors of which frames are hidden, merged with others and with some that hide nothing."""
    x, z = L.Input((None, 4), name="x"), L.Input((None, 4), name="z")
    a, b = L.Masking(0.5)(x), L.Masking(0.5)(z)
    results = [kind()(pair) for kind in (L.Multiply, L.Maximum, L.Minimum, L.Add, L.Average)
               for pair in ([a, b], [a, z], [x, b], [a, b, z])]  # fmt: skip
    last = [L.GRU(2)(L.Multiply()([a, b])), L.GRU(2)(L.Maximum()([a, b]))]
    return keras.Model([x, z], [*results, *last, L.Add()([L.GlobalMaxPooling1D()(x), x])])


def heads() -> keras.Model:
    """Attention by masks, causal, near, and with its scores. Keras' MultiHeadAttention takes the masks off
    what it is given, so each has tensors of its own."""
    x, z = L.Input((None, 4), name="x"), L.Input((None, 4), name="z")

    def masked(given: keras.KerasTensor) -> keras.KerasTensor:
        return L.Masking(0.5)(given)

    concat = L.Attention(score_mode="concat", use_scale=True)
    results = [*concat([masked(x), z], return_attention_scores=True)]
    results.append(L.Attention()([x, masked(z)], use_causal_mask=True))
    additive = L.AdditiveAttention(use_scale=False)
    results += additive([masked(x), masked(z)], return_attention_scores=True)
    results += L.MultiHeadAttention(2, 3)(masked(x), masked(z), return_attention_scores=True)
    results.append(L.MultiHeadAttention(2, 3)(z, masked(x)))
    results.append(L.MultiHeadAttention(2, 3, output_shape=5)(x, x, use_causal_mask=True))
    results.append(L.MultiHeadAttention(2, 3, sliding_window=2)(x, x))
    seen = keras.ops.matmul(x, keras.ops.transpose(z, (0, 2, 1))) > 0
    results.append(L.MultiHeadAttention(2, 3, use_bias=False)(x, z, z, attention_mask=seen))
    return keras.Model([x, z], results)


def axes() -> keras.Model:
    """Layers off the last axis, and others that pictures have."""
    x, z = L.Input((4, 6, 5), name="x"), L.Input((4, 6), name="z")
    first = {"data_format": "channels_first"}
    adapted = L.Normalization(axis=1)
    adapted.adapt(RNG.normal(2, 3, (20, 4, 6)))
    layers = [
        L.LayerNormalization(axis=1), L.LayerNormalization(axis=(1, 3)), L.LayerNormalization(axis=(2, 3)),
        L.BatchNormalization(axis=1), L.GroupNormalization(2, axis=1), L.UnitNormalization(axis=1),
        L.Flatten(**first), L.Conv2D(3, 2, padding="same", strides=2, **first),
        L.DepthwiseConv2D(2, **first), L.SeparableConv2D(3, 2, activation="relu", **first),
        L.MaxPooling2D(2, **first), L.AveragePooling2D(2, padding="same", **first),
        L.GlobalMaxPooling2D(**first), L.ZeroPadding2D(((1, 0), (2, 1)), **first), L.Cropping2D((1, 2)),
        L.UpSampling2D((2, 3), **first), L.UpSampling2D((1, 2)), L.Softmax(axis=(1, 2)),
        L.Conv2DTranspose(3, (3, 2), strides=2, padding="same"),
        L.Conv2DTranspose(2, 3, strides=(1, 2), output_padding=(0, 1), **first),
        L.EinsumDense("abcd,de->abce", (None, 6, 7), bias_axes="ce", activation="tanh"),
        L.EinsumDense("...bc,bd->...cd", (5, 3), bias_axes="d"), L.ReLU(threshold=1.0),
        L.ReLU(max_value=2.0, negative_slope=0.5, threshold=1.0),
    ]  # fmt: skip
    lines = [
        L.Conv1DTranspose(3, 3), L.Conv1DTranspose(3, 2, strides=3, activation="relu", use_bias=False),
        L.Conv1DTranspose(2, 4, strides=2, padding="same"),
        L.Conv1DTranspose(2, 3, dilation_rate=2, padding="same"),
        L.Conv1DTranspose(2, 3, strides=2, output_padding=1, padding="same", **first), adapted,
        L.Conv1D(3, 2, padding="causal", **first), L.GroupNormalization(-1),
        L.GlobalAveragePooling1D(**first), L.UpSampling1D(2), L.LayerNormalization(axis=1, rms_scaling=True),
    ]  # fmt: skip
    return keras.Model([x, z], [*(layer(x) for layer in layers), *(layer(z) for layer in lines)])


def ops() -> keras.Model:
    """Functions of keras.ops."""
    x, z, k = L.Input((6, 4), name="x"), L.Input((6, 4), name="z"), L.Input((6,), dtype="int32", name="k")
    o = keras.ops
    p = o.abs(x) + 0.1
    return keras.Model(
        [x, z, k],
        [
            x[:, -1, :], x[:, 1:, ::2], x[..., None], x[:, ::-1], x[:, :-1, 1], x[:, None, 2:4],
            x + z, 1 - x, x * 2, x / z, x**2, -x, x @ o.transpose(z, (0, 2, 1)), k + 1, k / 2,
            k * x[:, :, 0], o.maximum(x, 0), o.minimum(x, z), o.where(x > z, x, 0.0), o.where(k > 2, k, 0),
            o.cast(x > 0, "int32"), o.logical_and(x > 0, z > 0), o.logical_not(x > 0), o.equal(k, 3),
            o.not_equal(k, 3), x >= z, x <= 0, o.exp(x), o.log(p), o.sqrt(p), o.rsqrt(p), o.square(x),
            o.tanh(x), o.sin(x), o.erf(x), o.floor(x), o.round(x), o.sign(x), o.log1p(p), o.expm1(x),
            o.reciprocal(p), o.clip(x, -0.5, 0.5), o.log10(p), o.sigmoid(x), o.relu(x), o.relu6(x),
            o.silu(x), o.gelu(x), o.gelu(x, approximate=False), o.elu(x), o.leaky_relu(x), o.softplus(x),
            o.hard_sigmoid(x), o.log_sigmoid(x), o.softmax(x), o.softmax(x, axis=1),
            o.log_softmax(x, axis=1), o.mean(x, axis=1), o.sum(x, axis=(1, 2), keepdims=True),
            o.max(x, axis=-1), o.min(x, axis=1), o.var(x, axis=1), o.std(x, axis=-1), o.prod(x, axis=2),
            o.logsumexp(x, axis=1), o.any(x > 1, axis=1), o.all(x > -1, axis=-1), o.argmax(x, axis=1),
            o.argmin(x, axis=-1, keepdims=True), o.cumsum(x, axis=1), o.mean(k, axis=1), o.sum(k, axis=1),
            *o.top_k(x, 2), o.reshape(x, (-1, 24)), o.reshape(x, (-1, 3, 8)), o.transpose(x, (0, 2, 1)),
            o.swapaxes(x, 1, 2), o.moveaxis(x, 1, -1), o.expand_dims(x, 1), o.squeeze(x[:, :1], 1),
            o.concatenate([x, z], axis=1), o.stack([x, z], axis=2), *o.split(x, 2, axis=1),
            *o.split(x, [1, 3], axis=-1), o.flip(x, axis=1), o.tile(x, (1, 2, 1)), o.repeat(x, 3, axis=1),
            o.pad(x, ((0, 0), (1, 2), (0, 0))), o.roll(x, 2, axis=1),
            o.take(x, [0, 2], axis=-1),
            o.take_along_axis(x, o.argmax(x, axis=1, keepdims=True), axis=1), o.one_hot(k, 7),
            o.tril(o.matmul(x, o.transpose(z, (0, 2, 1)))), o.zeros_like(x), o.ones_like(k),
            o.einsum("btc,bsc->bts", x, z), o.matmul(x, o.ones((4, 3))), *o.unstack(x, axis=2)[:2],
            L.Add()([L.Dense(3)(k[:, :4]), L.Dense(3)(x[:, 0])]),
        ],
    )  # fmt: skip


def kinds() -> keras.Model:
    """Inputs of booleans, of whole numbers, and of floats that embeddings read."""
    x, shown = L.Input((None, 4), name="x"), L.Input((None,), dtype="bool", name="shown")
    words, marks = L.Input((None,), name="words"), L.Input((None,), dtype="int32", name="marks")
    y = L.LSTM(2, return_sequences=True)(x, mask=shown)
    e = L.GRU(2)(L.Embedding(7, 3, mask_zero=True)(words))
    shares = L.Softmax()(x[:, :, 0], mask=shown)
    one = L.Dense(2)(keras.ops.cast(shown, "float32")[..., None])
    return keras.Model(
        [x, shown, words, marks],
        [
            y,
            e,
            shares,
            one,
            marks + 1,
            L.Rescaling(0.5)(marks),
            x[0],
            keras.ops.ravel(x),
            keras.ops.take(x, keras.ops.minimum(marks, 3), axis=-1),
        ],
    )


def halves() -> keras.Model:
    """Layers that compute in float16."""
    x = L.Input((None, 4), name="x")
    y = L.LSTM(3, return_sequences=True, dtype="mixed_float16")(x)
    return keras.Model(x, [L.Dense(2, dtype="mixed_float16")(y), L.Dense(2)(y)])


def tied() -> keras.Model:
    """Embeddings whose tables score what comes out."""
    words, results = L.Input((None,), dtype="int32", name="words"), []
    for settings in ({"logit_soft_cap": 2.0}, {"tie_weights": False, "mask_zero": True}):
        table = L.ReversibleEmbedding(7, 3, **settings)
        results.append(table(L.GRU(3, return_sequences=True)(table(words)), reverse=True))
    return keras.Model(words, results)


FIRST = (
    sequence, functional, attention, pooling, image, activations, hard, masked, nested, wrapped, layers,
    picture,
)  # fmt: skip
"""Models whose weights come from one row of numbers, in this order; each of the others has its own."""
MODELS = (
    *FIRST, stacks, gates, conv_lstm, each_frame, merges, heads, axes, ops, kinds, halves, tied,
)  # fmt: skip
INPUTS = {"x": (2, 6, 4), "z": (2, 5, 4)}
WORDS = {
    "functional": [[5, 1, 3, 6, 2], [4, 6, 2, 1, 3]],
    "masked": [
        [0, 3, 0, 5, 1, 0, 0], [2, 0, 0, 0, 4, 6, 1], [0] * 7, [1, 2, 3, 4, 5, 6, 1], [4, 3, 2, 0, 0, 0, 0],
    ],
    "nested": [[1, 2, 0, 5], [0, 0, 4, 0]],
    "kinds": [[3, 1, 0, 6], [0, 5, 0, 0]],
    "tied": [[3, 1, 0, 6], [0, 5, 0, 0]],
}  # fmt: skip
HIDDEN = {
    masked: [(0, 0), (0, 3), (1, 1), (1, 2), (1, 6), (2, 5), (2, 6)] + [(3, frame) for frame in range(6)],
    **{make: [(0, 0), (0, 3), (1, 1), (1, 2), (1, 5)] for make in (stacks, heads, merges)},
}
"""Rows and frames that models with masks hide."""
OTHERS = {
    ("image", "x"): (2, 6, 5, 2), ("picture", "x"): (2, 6, 5, 2), ("activations", "x"): (3, 4),
    ("wrapped", "x"): (2, 5, 6, 4), ("masked", "x"): (5, 7, 4), ("each_frame", "x"): (2, 3, 6, 4),
    ("conv_lstm", "x"): (2, 3, 5, 6, 2), ("conv_lstm", "z"): (2, 4, 7, 3), ("axes", "x"): (2, 4, 6, 5),
    ("axes", "z"): (2, 4, 6), ("ops", "z"): (2, 6, 4),
    ("heads", "z"): (2, 6, 4), ("ops", "k"): (2, 6), ("kinds", "x"): (2, 4, 4),
    ("kinds", "shown"): (2, 4), ("kinds", "marks"): (2, 4), ("merges", "x"): (4, 6, 4),
    ("merges", "z"): (4, 6, 4), ("stacks", "x"): (4, 6, 4), ("heads", "x"): (2, 6, 4),
}  # fmt: skip


def fed(name: str, given: keras.KerasTensor) -> np.ndarray:
    """Numbers for an input."""
    if given.name == "words":
        return np.array(WORDS[name])
    shape = OTHERS.get((name, given.name)) or INPUTS[given.name]
    if given.dtype == "bool":
        return RNG.random(shape) < 0.6
    if given.dtype == "int32":
        return RNG.integers(0, 6, shape)
    return RNG.normal(0, 1, shape).astype(np.float32)


def save(make: Callable[[], keras.Model]) -> dict[str, np.ndarray]:
    """Saves a model; gives its inputs and results."""
    name, model = make.__name__, make()
    for weight in model.weights:
        if "seed" not in weight.path and not weight.path.startswith("normalization"):
            weight.assign(np.abs(RNG.normal(0.5, 0.3, weight.shape)) if "variance" in weight.path
                          else RNG.normal(0, 0.5, weight.shape))  # fmt: skip
    feeds = {given.name: fed(name, given) for given in model.inputs}
    if make in HIDDEN:
        for array in feeds.values():
            if array.ndim == 3:
                array[tuple(zip(*HIDDEN[make]))] = 0.5
    results = model(list(feeds.values()) if len(feeds) > 1 else next(iter(feeds.values())))
    results = keras.tree.flatten(results)
    model.save(HERE / f"{name}.keras")
    if make in (sequence, functional, masked, nested, layers):
        model.save(HERE / f"{name}.h5")
    given = {f"{name}.{key}": array for key, array in feeds.items()}
    return given | {f"{name}.{i}": keras.ops.convert_to_numpy(r) for i, r in enumerate(results)}


def main(names: list[str]) -> None:
    global RNG
    keras.utils.set_random_seed(0)
    path = HERE / "keras_expected.npz"
    expected = dict(np.load(path)) if names else {}
    for make in MODELS:
        name = make.__name__
        if make not in FIRST:
            RNG = np.random.default_rng(zlib.crc32(name.encode()))
        if name in names or not names:
            own = save(make)
            expected = {key: array for key, array in expected.items() if not key.startswith(f"{name}.")} | own
    np.savez_compressed(path, **expected)
    for path in names:
        if path.endswith(".keras"):
            letters, sounds = np.array([[5, 9, 1, 3, 0]]), np.array([[2, 7, 1]])
            shares = keras.saving.load_model(path, compile=False)([letters, sounds])
            np.savez_compressed(
                HERE / "khmer_expected.npz", letters=letters, sounds=sounds, shares=shares.detach()
            )


if __name__ == "__main__":
    main(sys.argv[1:])
