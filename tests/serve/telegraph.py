"""A recogniser for tests: letters are tones, and so its model needs no training and bears resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinyseq

RATE = 16_000
FRAME = 320
"""Samples of a row of scores: 20 ms, in which tones of different letters are orthogonal."""

VOCABULARY = ["_", " ", *"abcdefgh"]
TONES = {text: 400 + 250 * number for number, text in enumerate(VOCABULARY[1:])}

TABLE = f"""
[speech.telegraph]
model = "telegraph.tinyseq"
chunk = {FRAME}
shape = [1, -1, {FRAME}]
frame_seconds = {FRAME / RATE}
language = "en"
aliases = ["gpt-4o-transcribe"]
[speech.telegraph.decoder]
vocabulary = "tokens.txt"
[speech.telegraph.endpointing]
rule1_min_trailing_silence = 3.0
rule2_min_trailing_silence = 0.5
"""

VOICE = """
[speech.vad]
kind = "voice"
"""


def write(folder: Path) -> None:
    """The files that ``TABLE`` names."""
    angles = 2 * np.pi * np.outer(np.arange(FRAME) / RATE, list(TONES.values()))
    g = tinyseq.Graph()
    x = g.input("x", ["rows", "frames", FRAME])
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    parts = g.apply("MatMul", x, g.constant(waves))
    scale, size = 12 / (FRAME / 4) ** 2, len(TONES)
    both = np.zeros((2 * size, size + 1), np.float32)
    both[np.arange(2 * size), 1 + np.arange(2 * size) % size] = scale
    scores = g.apply("MatMul", g.apply("Mul", parts, parts), g.constant(both))
    blank = np.zeros(size + 1, np.float32)
    blank[0] = 4.0
    g.output("logp", g.apply("LogSoftmax", g.apply("Add", scores, g.constant(blank)), axis=-1))
    tinyseq.load(g).save(folder / "telegraph.tinyseq")
    lines = [f"{text} {token}" for token, text in enumerate(VOCABULARY)]
    (folder / "tokens.txt").write_text("\n".join(lines))


def sound(text: str, rate: int = RATE, silence: float = 0.0) -> np.ndarray:
    """What says a text: a tone of 60 ms for each letter, and 40 ms of silence; float32[samples]."""
    parts = []
    for letter in text:
        seconds = np.arange(round(0.06 * rate)) / rate
        parts += [0.5 * np.sin(2 * np.pi * TONES[letter] * seconds), np.zeros(round(0.04 * rate))]
    return np.concatenate([*parts, np.zeros(round(silence * rate))]).astype(np.float32)


def pcm(samples: np.ndarray) -> bytes:
    """The same as int16."""
    return (samples * 32767).round().astype("<i2").tobytes()
