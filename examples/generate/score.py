"""How well the model foresees a text, as ``tinyseq demo generate --text`` and the evaluation measure it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import tinyseq

from ..subwords import UNKNOWN, Subwords
from .pieces import cut, numbers, shown

CHUNK = 4096
"""Pieces of a step."""


class Surprises(NamedTuple):
    """Of a text's pieces the bits, float64[pieces], and which are characters that the model does not know."""

    pieces: list[str]
    bits: np.ndarray
    unknown: np.ndarray

    @property
    def characters(self) -> int:
        """Of all pieces."""
        return sum(map(len, self.pieces))

    @property
    def mean(self) -> float:
        """Bits per character."""
        return float(self.bits.sum() / self.characters)


def surprises(model: tinyseq.Session, subwords: Subwords, text: str) -> Surprises:
    """How little the model foresees of a text that begins a line; several blanks count as one.

    The text is streamed: it may be of any length.
    """
    pieces = cut(subwords, text)
    tokens = numbers(subwords, pieces)
    stream, parts = model.stream(), []
    for at in range(0, len(tokens) - 1, CHUNK):
        end = min(at + CHUNK, len(tokens) - 1)
        logits = stream.step({"tokens": tokens[None, at:end]})["logits"][0].astype(np.float64)
        highest = logits.max(1, keepdims=True)
        total = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0]
        parts.append(total - logits[np.arange(end - at), tokens[at + 1 : end + 1]])
    return Surprises(shown(pieces), np.concatenate(parts) / np.log(2), tokens[1:] == UNKNOWN)
