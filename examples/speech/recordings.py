"""Words that people said: Warden's Speech Commands, CC BY 4.0, of which any part will do.

A clip lies at ``WORD/SPEAKER_nohash_N.wav`` or, where its folder is ``_unknown_``, at
``WORD_SPEAKER_nohash_N.wav``. Every fifth speaker is left out of training, by the name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

CLIP = re.compile(r"(?:([a-z]+)_)?([0-9a-f]{8})_nohash_\d+\.wav")
MOST = 400
"""Clips of a word that are read for training."""
BLOCK = 320


class Clip(NamedTuple):
    """A word that somebody said."""

    word: str
    speaker: str
    path: Path

    @property
    def is_held_out(self) -> bool:
        return int(self.speaker, 16) % 5 == 0

    def sound(self) -> np.ndarray:
        """float32[samples] at 16 kHz, as it was recorded."""
        import soundfile

        return soundfile.read(self.path, dtype="float32")[0]


def clips(folder: Path) -> Iterator[Clip]:
    """All clips of a folder and those within, in order of their names."""
    for path in sorted(folder.rglob("*_nohash_*")):
        if match := CLIP.match(path.name):
            yield Clip(match[1] or path.parent.name, match[2], path)


def training(folder: Path, words: Collection[str]) -> dict[str, list[Recorded]]:
    """From each of these words to its recordings."""
    found: dict[str, list[Recorded]] = {}
    for clip in clips(folder):
        kept = found.setdefault(clip.word, []) if clip.word in words else None
        if kept is not None and not clip.is_held_out and len(kept) < MOST:
            sound = clip.sound()
            said = spoken(sound)
            if said is not None:
                kept.append(Recorded((0.5 / np.abs(sound).max() * sound).astype(np.float16), *said))
    return {word: kept for word, kept in found.items() if kept}


class Recorded(NamedTuple):
    """A recording at full scale, and from where to where in it a word is spoken."""

    samples: np.ndarray
    """float16[samples]."""
    start: int
    end: int

    @property
    def word(self) -> np.ndarray:
        """float32[samples] of the word."""
        return self.samples[self.start : self.end].astype(np.float32)

    @property
    def whole(self) -> np.ndarray:
        """float32[samples] with what is around it."""
        return self.samples.astype(np.float32)


def spoken(sound: np.ndarray) -> tuple[int, int] | None:
    """The part that is louder than what is around it, from sample to sample; None if nothing is."""
    blocks = sound[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK)
    loud = np.sqrt(np.mean(blocks**2, axis=1))
    if len(loud) < 10:
        return None
    places = np.flatnonzero(loud > max(0.06 * loud.max(), 2.5 * np.percentile(loud, 10)))
    if len(places) < 5 or loud.max() < 0.003:
        return None
    return max(0, int(places[0]) - 4) * BLOCK, min(len(sound), int(places[-1] + 5) * BLOCK)
