"""Makes the fixture of Keras 2: a functional model with functions of TensorFlow, and what Keras computes.

pip install tensorflow-cpu==2.15.1 h5py && python tests/data/make_keras2.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers as L

HERE = Path(__file__).parent
RNG = np.random.default_rng(2)


def tensorflow() -> keras.Model:
    x, z = L.Input((6, 4), name="x"), L.Input((None, 4), name="z")
    a, b = L.Masking(0.5)(x), L.Masking(0.5)(z)
    y = L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True)(x)
    spread, shown = tf.reshape(x, (-1, 6, 4, 1)), tf.reduce_any(x > 1, axis=-1)
    conv = L.ConvLSTM1D(2, 3, padding="same", return_sequences=True, return_state=True)
    two = L.Bidirectional(L.LSTM(2), backward_layer=L.LSTM(2, go_backwards=True, activation="relu"))
    return keras.Model(
        [x, z],
        [
            y, y[:, -1, :], y[:, 1:, ::2], y[..., None], y[:, :, 0] * 2, tf.reduce_mean(y, axis=1),
            y + 1.0, y * y[:, :1], tf.concat([x, y], -1), tf.reshape(y, (-1, 12)), tf.nn.softmax(y),
            1.0 - y, y / 2, -y, tf.cast(y > 0, "int32"), y**2, tf.expand_dims(y, 1),
            tf.squeeze(y[:, :1], 1), tf.nn.relu(y), tf.transpose(y, [0, 2, 1]), tf.stack([y, y], axis=1),
            keras.backend.sum(y, axis=1), tf.tanh(y), tf.math.l2_normalize(x, axis=-1),
            tf.matmul(y, y, transpose_b=True), tf.tile(y, [1, 2, 1]), tf.maximum(y, 0.1),
            tf.where(y > 0, y, x[:, :, :2]), tf.clip_by_value(x, -0.5, 0.5), tf.abs(y),
            tf.argmax(y, axis=1), L.Multiply()([a, b]), L.Maximum()([a, b]), L.GRU(2)(L.Add()([a, b])),
            two(a), L.Conv1DTranspose(2, 3, strides=2, padding="same")(x), L.UnitNormalization()(x),
            L.MultiHeadAttention(2, 3)(a, b), L.ReLU(threshold=0.5)(x), L.TimeDistributed(L.Dense(2))(b),
            *conv(spread, mask=shown),
        ],
    )  # fmt: skip


def main() -> None:
    keras.utils.set_random_seed(0)
    model = tensorflow()
    for weight in model.weights:
        weight.assign(RNG.normal(0, 0.5, weight.shape))
    feeds = {name: RNG.normal(0, 1, (2, 6, 4)).astype(np.float32) for name in ("x", "z")}
    for frame in (1, 5):
        feeds["x"][0, frame] = feeds["z"][1, frame - 1] = 0.5
    expected = {f"tensorflow.{name}": array for name, array in feeds.items()}
    expected |= {f"tensorflow.{i}": result.numpy() for i, result in enumerate(model(list(feeds.values())))}
    model.save(HERE / "tensorflow.h5")
    path = HERE / "keras_expected.npz"
    before = {name: array for name, array in np.load(path).items() if not name.startswith("tensorflow.")}
    np.savez_compressed(path, **before, **expected)


if __name__ == "__main__":
    main()
