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


MODELS = (sequence, functional, attention, pooling, image, activations, hard)
INPUTS = {"x": (2, 6, 4), "z": (2, 5, 4)}
OTHERS = {"image": (2, 6, 5, 2), "activations": (3, 4)}


def main() -> None:
    keras.utils.set_random_seed(0)
    expected = {}
    for make in MODELS:
        name, model = make.__name__, make()
        for weight in model.weights:
            if "seed" not in weight.path:
                weight.assign(np.abs(RNG.normal(0.5, 0.3, weight.shape)) if "variance" in weight.path
                              else RNG.normal(0, 0.5, weight.shape))  # fmt: skip
        feeds = {
            given.name: RNG.integers(0, 7, (2, 5)) if given.name == "words"
            else RNG.normal(0, 1, OTHERS.get(name, INPUTS[given.name])).astype(np.float32)
            for given in model.inputs
        }  # fmt: skip
        results = model(list(feeds.values()) if len(feeds) > 1 else next(iter(feeds.values())))
        results = results if isinstance(results, list) else [results]
        expected |= {f"{name}.{key}": array for key, array in feeds.items()}
        expected |= {f"{name}.{index}": np.asarray(r.detach()) for index, r in enumerate(results)}
        model.save(HERE / f"{name}.keras")
        if make in (sequence, functional):
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
