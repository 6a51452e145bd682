"""Makes the Keras fixtures: whole models and what Keras computes from them.

pip install torch==2.13.0 keras==3.15.1 h5py && KERAS_BACKEND=torch python tests/data/make_keras.py
"""

from __future__ import annotations

import sys
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


MODELS = (
    sequence, functional, attention, pooling, image, activations, hard, masked, nested, wrapped, layers,
    picture,
)  # fmt: skip
INPUTS = {"x": (2, 6, 4), "z": (2, 5, 4)}
WORDS = {
    "functional": [[5, 1, 3, 6, 2], [4, 6, 2, 1, 3]],
    "masked": [
        [0, 3, 0, 5, 1, 0, 0], [2, 0, 0, 0, 4, 6, 1], [0] * 7, [1, 2, 3, 4, 5, 6, 1], [4, 3, 2, 0, 0, 0, 0],
    ],
    "nested": [[1, 2, 0, 5], [0, 0, 4, 0]],
}  # fmt: skip
HIDDEN = [(0, 0), (0, 3), (1, 1), (1, 2), (1, 6), (2, 5), (2, 6)] + [(3, frame) for frame in range(6)]
"""Rows and frames that the model with masks hides."""
OTHERS = {
    ("image", "x"): (2, 6, 5, 2), ("picture", "x"): (2, 6, 5, 2), ("activations", "x"): (3, 4),
    ("wrapped", "x"): (2, 5, 6, 4), ("masked", "x"): (5, 7, 4),
}  # fmt: skip


def main() -> None:
    keras.utils.set_random_seed(0)
    expected = {}
    for make in MODELS:
        name, model = make.__name__, make()
        for weight in model.weights:
            if "seed" not in weight.path and not weight.path.startswith("normalization"):
                weight.assign(np.abs(RNG.normal(0.5, 0.3, weight.shape)) if "variance" in weight.path
                              else RNG.normal(0, 0.5, weight.shape))  # fmt: skip
        names = [given.name for given in model.inputs]
        feeds = {
            given: np.array(WORDS[name]) if given == "words"
            else RNG.normal(0, 1, OTHERS.get((name, given)) or INPUTS[given]).astype(np.float32)
            for given in names
        }  # fmt: skip
        if make is masked:
            feeds["x"][tuple(zip(*HIDDEN))] = 0.5
        results = model(list(feeds.values()) if len(feeds) > 1 else next(iter(feeds.values())))
        results = results if isinstance(results, list) else [results]
        expected |= {f"{name}.{key}": array for key, array in feeds.items()}
        expected |= {f"{name}.{index}": np.asarray(r.detach()) for index, r in enumerate(results)}
        model.save(HERE / f"{name}.keras")
        if make in (sequence, functional, masked, nested, layers):
            model.save(HERE / f"{name}.h5")
    np.savez_compressed(HERE / "keras_expected.npz", **expected)
    if len(sys.argv) > 1:
        letters, sounds = np.array([[5, 9, 1, 3, 0]]), np.array([[2, 7, 1]])
        shares = keras.saving.load_model(sys.argv[1], compile=False)([letters, sounds])
        np.savez_compressed(
            HERE / "khmer_expected.npz", letters=letters, sounds=sounds, shares=shares.detach()
        )


if __name__ == "__main__":
    main()
