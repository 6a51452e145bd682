"""Recordings with what was said in them, by condition; none of them was trained with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..fetch import fetch
from .data import Corpus
from .grammar import DIGITS, WORDS
from .recordings import clips
from .voices import ASSETS

RATE = 16_000
MOST = 20
"""Clips of a word of Speech Commands."""


class Spoken(NamedTuple):
    """A recording, and what was said in it."""

    name: str
    words: list[str]
    samples: np.ndarray
    """float32[samples], at ``rate``."""
    rate: int = RATE


def sets(recordings: Path | None, fsdd: Path | None, corpus: Path | None) -> dict[str, list[Spoken]]:
    """The sets by name; those that are not there are empty.

    Args:
        recordings: a folder of Speech Commands.
        fsdd: the folder ``recordings`` of the Free Spoken Digit Dataset.
        corpus: what ``examples.speech.data`` has made.
    """
    found = {
        "Speech Commands, other speakers: digits": _commands(recordings, DIGITS),
        "Speech Commands, other speakers: commands": _commands(
            recordings, [w for w in WORDS if w not in DIGITS]
        ),
        "pocketsphinx, 16 kHz: phrases": _pocketsphinx(
            fetch(ASSETS["pocketsphinx-recordings"]) / "usr/share/pocketsphinx/test/data"
        ),
    }
    sounds = fetch(ASSETS["asterisk-sounds"]) / "usr/share/asterisk/sounds/en_US_f_Allison"
    found["Asterisk, 8 kHz: digit strings"] = _strings(_asterisk(sounds), 40, 5)
    found["Asterisk, 8 kHz: single digits"] = [
        Spoken(word, [word], _padded(samples, 8000), 8000) for word, (samples,) in _asterisk(sounds).items()
    ]
    speakers = sorted({path.name.split("_")[1] for path in fsdd.glob("?_*_?.wav")}) if fsdd else ["FSDD"]
    for speaker in speakers:
        found[f"FSDD, 8 kHz: {speaker}, digit strings"] = (
            _strings(_fsdd(fsdd, speaker), 20, 5) if fsdd else []
        )
    found["synthetic: Kokoro's voices that were left out"] = _synthetic(corpus)
    return {
        name: [each for each in spoken if set(each.words) <= set(WORDS)] for name, spoken in found.items()
    }


def unknown(recordings: Path | None) -> list[Spoken]:
    """Words that are not known, of speakers that were left out of training."""
    if recordings is None:
        return []
    found = (clip for clip in clips(recordings) if clip.is_held_out and clip.word not in WORDS)
    return [Spoken(clip.path.name, [], _padded(clip.sound(), RATE)) for clip in found if clip.word.isalpha()]


def _padded(samples: np.ndarray, rate: int) -> np.ndarray:
    """With a third of a second of silence before and two thirds behind."""
    return np.concatenate([np.zeros(rate // 3), samples, np.zeros(2 * rate // 3)]).astype(np.float32)


def _commands(folder: Path | None, words: list[str]) -> list[Spoken]:
    """Words of speakers that were left out of training, as they were recorded; of a word the first MOST."""
    found: dict[str, list[Spoken]] = {word: [] for word in words}
    for clip in clips(folder) if folder is not None else ():
        own = found.get(clip.word)
        if own is not None and clip.is_held_out and len(own) < MOST:
            own.append(Spoken(clip.path.name, [clip.word], _padded(clip.sound(), RATE)))
    return [spoken for own in found.values() for spoken in own]


def _pocketsphinx(folder: Path) -> list[Spoken]:
    said = {}
    for line in (folder / "cards/cards.transcription").read_text(encoding="utf-8").splitlines():
        _, *words, _, name = line.split()
        said[f"cards/{name.strip('()')}.wav"] = words
    found = [Spoken(name, words, _read(folder / name)) for name, words in said.items()]
    raw = {"goforward.raw": "go forward ten meters", "tidigits/dhd.2934z.raw": "two nine three four zero"}
    for name, text in raw.items():
        samples = np.fromfile(folder / name, "<i2").astype(np.float32) / 2**15
        found.append(Spoken(name, text.split(), samples))
    return [each._replace(samples=_padded(each.samples, RATE)) for each in found]


def _asterisk(folder: Path) -> dict[str, list[np.ndarray]]:
    """From digits to their sounds."""
    files = {**dict(enumerate(DIGITS)), "oh": "oh"}
    return {word: [_read(folder / f"digits/{name}.wav")] for name, word in files.items()}


def _fsdd(folder: Path, speaker: str) -> dict[str, list[np.ndarray]]:
    return {
        word: [_read(path) for path in sorted(folder.glob(f"{digit}_{speaker}_?.wav"))]
        for digit, word in enumerate(DIGITS)
    }


def _read(path: Path) -> np.ndarray:
    import soundfile

    return soundfile.read(path, dtype="float32")[0]


def _strings(sounds: dict[str, list[np.ndarray]], count: int, length: int, rate: int = 8000) -> list[Spoken]:
    """Strings of words with pauses of 0.1 to 0.4 s, always the same."""
    draw, found = random.Random(0), []
    if not all(sounds.values()) or not sounds:
        return found
    for number in range(count):
        words = draw.choices(sorted(sounds), k=length)
        parts = [
            part for word in words for part in (draw.choice(sounds[word]), np.zeros(draw.randint(800, 3200)))
        ]
        found.append(Spoken(f"string {number}", words, _padded(np.concatenate(parts), rate), rate))
    return found


def _synthetic(corpus: Path | None) -> list[Spoken]:
    if corpus is None or not (corpus / "held-out").exists():
        return []
    held_out = Corpus(corpus / "held-out")
    return [
        Spoken(f"held-out/{n}", said.words, _padded(held_out.sound(n), RATE))
        for n, said in enumerate(held_out.said)
    ]
