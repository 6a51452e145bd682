"""How well the model foresees a text."""

from __future__ import annotations

import numpy as np

import tinyseq

from .characters import numbers

CHUNK = 4096
"""Characters of a step."""


def surprises(model: tinyseq.Session, text: str) -> np.ndarray:
    """float64[characters], the bits of each character of a text that begins a line.

    The text is streamed: it may be of any length.
    """
    tokens = numbers("\n" + text)
    stream, parts = model.stream(), []
    for at in range(0, len(tokens) - 1, CHUNK):
        end = min(at + CHUNK, len(tokens) - 1)
        logits = stream.step({"tokens": tokens[None, at:end]})["logits"][0].astype(np.float64)
        highest = logits.max(1, keepdims=True)
        total = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0]
        parts.append(total - logits[np.arange(end - at), tokens[at + 1 : end + 1]])
    return np.concatenate(parts) / np.log(2)
