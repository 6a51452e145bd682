"""Synthetic speech with its words, kept outside the tree: ``python -m examples.speech.data``.

Phrases of the grammar are said by Kokoro-82M and by flite. What was said already is not said again, so the
command can be stopped and goes on.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .grammar import FIRST, WORDS, first_phrase, loose, phrase
from .voices import FLITE, HELD_OUT, RATE, Kokoro, flite


@dataclass
class Said:
    """One phrase, and how it is said."""

    words: list[str]
    voices: dict[str, float]
    speed: float
    pitch: float
    comma: float
    seed: int


def plan_kokoro(seed: int, voices: list[str]) -> Iterator[Said]:
    """Phrases without end for Kokoro; two of five are of the first lessons, one of six is words without order
    and with pauses, as they are said one by one. Two of five mix two voices."""
    draw = random.Random(seed)
    while True:
        kind, is_first = draw.random(), draw.random() < 0.4
        if kind < 0.17:
            words, comma = draw.choices(FIRST if is_first else WORDS, k=draw.choice([1, 2, 3, 3])), 0.8
            speed = draw.uniform(0.6, 1.05)
        else:
            words = (first_phrase if is_first else phrase)(draw)
            comma, speed = draw.choice([0, 0, 0.1, 0.4]), draw.uniform(0.7, 1.35)
        share = draw.uniform(0.3, 0.7) if draw.random() < 0.4 else 1.0
        first, second = draw.sample(voices, 2)
        mixed = {first: share} if share == 1 else {first: share, second: 1 - share}
        yield Said(words, mixed, speed, 1.0, comma, draw.randrange(2**31))


def plan_flite(seed: int) -> Iterator[Said]:
    """Phrases without end for flite."""
    draw = random.Random(seed)
    while True:
        is_first = draw.random() < 0.4
        words = loose(draw) if draw.random() < 0.15 else (first_phrase if is_first else phrase)(draw)
        comma = draw.choice([0, 0, 0.2, 0.7])
        speed, pitch = draw.uniform(0.75, 1.5), draw.uniform(0.75, 1.35)
        yield Said(words, {draw.choice(FLITE): 1.0}, speed, pitch, comma, draw.randrange(2**31))


class Corpus:
    """A folder of phrases: ``NUMBER.flac`` for each line of ``index.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = folder / "index.jsonl"

    @property
    def said(self) -> list[Said]:
        """The phrases that are there."""
        if not self._index.exists():
            return []
        return [Said(**json.loads(line)) for line in self._index.read_text(encoding="utf-8").splitlines()]

    def sound(self, number: int) -> np.ndarray:
        """The sound of a phrase, float32[samples] at 16 kHz."""
        import soundfile

        return soundfile.read(self.folder / f"{number}.flac", dtype="float32")[0]

    def fill(self, plan: Iterator[Said], say, minutes: float) -> None:
        """Says phrases of a plan until there are so many minutes of sound; goes on behind those there are."""
        import soundfile
        from tqdm import tqdm

        self.folder.mkdir(parents=True, exist_ok=True)
        there = len(self.said)
        heard = sum(soundfile.info(self.folder / f"{n}.flac").duration for n in range(there)) / 60
        with tqdm(total=round(minutes, 2), initial=round(heard, 2), unit="min", desc=self.folder.name) as bar:
            for number, each in enumerate(plan):
                if heard >= minutes:
                    return
                if number < there:
                    continue
                sound = say(each)
                sound = 0.5 * sound / max(float(np.abs(sound).max()), 1e-3)
                soundfile.write(self.folder / f"{number}.flac", sound, RATE)
                with self._index.open("a") as index:
                    index.write(json.dumps(asdict(each)) + "\n")
                heard += len(sound) / RATE / 60
                bar.update(len(sound) / RATE / 60)


def make(folder: Path, kokoro_minutes: float, flite_minutes: float) -> None:
    """Fills the three corpora of a folder: ``flite``, ``kokoro`` and, in other voices, ``held-out``."""
    kokoro = Kokoro()

    def by_kokoro(said: Said) -> np.ndarray:
        return kokoro.say(said.words, said.voices, said.speed, said.comma, random.Random(said.seed))

    def by_flite(said: Said) -> np.ndarray:
        (voice,) = said.voices
        return flite(said.words, voice, said.speed, said.pitch, said.comma, random.Random(said.seed))

    if flite_minutes:
        Corpus(folder / "flite").fill(plan_flite(1), by_flite, flite_minutes)
    if kokoro_minutes:
        Corpus(folder / "kokoro").fill(plan_kokoro(2, kokoro.voices), by_kokoro, kokoro_minutes)
        Corpus(folder / "held-out").fill(plan_kokoro(3, HELD_OUT), by_kokoro, kokoro_minutes / 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kokoro", type=float, default=10, metavar="MINUTES")
    parser.add_argument("--flite", type=float, default=40, metavar="MINUTES")
    args = parser.parse_args()
    make(args.folder, args.kokoro, args.flite)


if __name__ == "__main__":
    main()
