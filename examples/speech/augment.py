"""Endless training sound: phrases joined, in rooms, with noise, over bad lines."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from .data import Corpus
from .grammar import DIGITS, WORDS
from .network import BANDS, RATE, mel_bands
from .recordings import training


class Phrases:
    """What is said in training: phrases of corpora, and words that people said one by one.

    Args:
        corpora: folders, each with its share.
        recordings: a folder of Speech Commands, with its share.
    """

    def __init__(self, corpora: dict[Path, float], recordings: Path, share: float) -> None:
        self._sources = []
        for corpus in map(Corpus, corpora):
            sounds = [_trimmed(corpus.sound(number)) for number in range(len(corpus.said))]
            self._sources.append(list(zip(sounds, (said.words for said in corpus.said))))
        self._recorded = training(recordings, WORDS)
        self._shares = np.array([*corpora.values(), share]) / (sum(corpora.values()) + share)

    def of(self, words: Collection[str]) -> Phrases:
        """Those that have no other words."""
        own = copy(self)
        own._sources = [[each for each in source if set(each[1]) <= set(words)] for source in self._sources]
        own._recorded = {word: sounds for word, sounds in self._recorded.items() if word in words}
        return own

    @cached_property
    def _words(self) -> list[str]:
        # Of digits there are fewer clips, and they matter more.
        return [word for word in self._recorded for _ in range(1 + (word in DIGITS))]

    def __repr__(self) -> str:
        minutes = [round(sum(len(sound) for sound, _ in each) / RATE / 60, 1) for each in self._sources]
        clips = sum(map(len, self._recorded.values()))
        return f"Phrases({minutes} minutes, {clips} clips of {len(self._recorded)} words)"

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, str]:
        """A phrase, float32[samples], and its text."""
        source = random.choice(len(self._shares), p=self._shares)
        if source == len(self._sources):
            word = self._words[random.integers(len(self._words))]
            recorded = self._recorded[word][random.integers(len(self._recorded[word]))]
            return recorded.whole if random.random() < 0.35 else recorded.word, word
        sound, words = self._sources[source][random.integers(len(self._sources[source]))]
        return sound, " ".join(words)


def _trimmed(sound: np.ndarray) -> np.ndarray:
    """Without the silence around it, but for 30 ms."""
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[max(0, loud[0] - 480) : loud[-1] + 480]


class Augmenter:
    """Makes stretches of sound of phrases, so many of them disturbed."""

    def __init__(self, phrases: Phrases, random: np.random.Generator, disturbed: float) -> None:
        self._phrases, self._random, self._disturbed = phrases, random, disturbed
        self._noises = [_coloured(random, 20 * RATE, slope) for slope in np.linspace(0, 1.6, 12)]

    def stretch(self, seconds: float) -> tuple[np.ndarray, str, np.ndarray]:
        """Phrases with pauses, as a microphone or a telephone would give them: float32[samples]; their text;
        and what the line does to the power of each band, float32[BANDS, 1]."""
        random, size = self._random, int(seconds * RATE)
        sound, texts, at = np.zeros(size, np.float32), [], int(random.uniform(0, 0.4) * RATE)
        while at < size:
            said, text = self._phrases.draw(random)
            said = _resampled(said, random.uniform(0.87, 1.15))
            if at + len(said) > size:
                if texts or len(said) > 1.5 * size:
                    break
                at, size = 0, max(size, len(said))
                sound = np.zeros(size, np.float32)
            sound[at : at + len(said)] = said * 10 ** (random.uniform(-4, 4) / 20)
            texts.append(text)
            at += len(said) + int(random.choice([0.03, 0.1, 0.25, 0.7]) * random.uniform(0.5, 1.5) * RATE)
        is_disturbed = random.random() < self._disturbed
        sound = self._disturb(sound) if is_disturbed else sound
        sound = sound * (10 ** (random.uniform(-28, -1) / 20) / max(float(np.abs(sound).max()), 1e-4))
        if is_disturbed and random.random() < 0.2:
            sound = _mu_law(sound)
        return sound, " ".join(texts), self._line(is_disturbed)

    def _disturb(self, sound: np.ndarray) -> np.ndarray:
        random = self._random
        if random.random() < 0.4:
            sound = _in_room(random, sound)
        sound = sound / max(float(np.abs(sound).max()), 1e-4)
        loudness = float(np.sqrt(np.mean(sound**2)))
        if random.random() < 0.12:
            babble = sum(np.resize(self._phrases.draw(random)[0], len(sound)) for _ in range(4))
            sound = sound + babble * _share(babble, loudness, random.uniform(6, 22))
        kind = random.random()
        if kind < 0.8:
            noise = self._noises[random.integers(len(self._noises))]
            at = random.integers(len(noise) - len(sound))
            noise = noise[at : at + len(sound)]
            decibels = random.uniform(4, 25) if kind < 0.35 else random.uniform(25, 60)
            noise = noise * _share(noise, loudness, decibels)
            if random.random() < 0.35:
                noise *= _gate(random, len(noise))
            sound = sound + noise
        return sound

    def bands(self) -> np.ndarray:
        """The front end's bands for one batch: as of a longer or shorter throat."""
        return mel_bands(self._random.uniform(0.87, 1.14))

    def _line(self, is_disturbed: bool) -> np.ndarray:
        random = self._random
        gains = np.interp(np.linspace(0, 1, BANDS), np.linspace(0, 1, 6), random.normal(0, 4, 6))
        if is_disturbed and random.random() < 0.5:  # a telephone's upper end, at 3.3 to 3.9 kHz
            gains[random.integers(29, 32) :] -= random.uniform(25, 80)
        if is_disturbed and random.random() < 0.4:
            low = random.integers(1, 6)
            gains[:low] -= np.linspace(random.uniform(8, 35), 3, low)
        return (10 ** (gains / 10)).astype(np.float32)[:, None]

    def hop(self) -> int:
        """Samples from frame to frame: speech is quicker the more there are."""
        return int(self._random.integers(100, 196))

    def masks(self, batch: int, frames: int) -> np.ndarray:
        """Power that is left out, [batch, BANDS, frames]: bands, or moments."""
        random, masks = self._random, np.ones((batch, BANDS, frames), np.float32)
        for mask in masks:
            if random.random() < 0.4:
                low = random.integers(0, BANDS - 4)
                mask[low : low + random.integers(1, 5)] = 1e-4
            if random.random() < 0.3:
                start = random.integers(0, max(1, frames - 6))
                mask[:, start : start + random.integers(1, 6)] = 1e-4
        return masks


def _coloured(random: np.random.Generator, size: int, slope: float) -> np.ndarray:
    spectrum = np.fft.rfft(random.standard_normal(size))
    spectrum *= np.maximum(np.arange(len(spectrum)), size / 200) ** -slope
    noise = np.fft.irfft(spectrum, size)
    return (noise / noise.std()).astype(np.float32)


def _gate(random: np.random.Generator, size: int) -> np.ndarray:
    """1 and 0 by turns, float32[size]: noise that comes and goes, with digital silence between."""
    ends = np.cumsum(random.uniform(0.15, 1.5, 2 + size // (RATE // 8)) * RATE).astype(int)
    turns = np.searchsorted(ends, np.arange(size), "right") + random.integers(2)
    return (turns % 2).astype(np.float32)


def _resampled(sound: np.ndarray, factor: float) -> np.ndarray:
    return np.interp(np.arange(0, len(sound) - 1, factor), np.arange(len(sound)), sound).astype(np.float32)


def _share(noise: np.ndarray, loudness: float, decibels: float) -> float:
    return loudness * 10 ** (-decibels / 20) / max(float(np.sqrt(np.mean(noise**2))), 1e-6)


def _in_room(random: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    seconds = random.uniform(0.08, 0.5)
    times = np.arange(int(seconds * RATE)) / RATE
    echo = random.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    echo[: int(random.uniform(0.001, 0.01) * RATE)] = 0
    echo *= 10 ** (-random.uniform(0, 14) / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1
    size = 1 << int(np.ceil(np.log2(len(sound) + len(echo))))
    both = torch.fft.rfft(torch.from_numpy(sound), size) * torch.fft.rfft(
        torch.from_numpy(echo).float(), size
    )
    return torch.fft.irfft(both, size)[: len(sound)].numpy()


def _mu_law(sound: np.ndarray) -> np.ndarray:
    coded = np.round(127 * np.sign(sound) * np.log1p(255 * np.minimum(np.abs(sound), 1)) / np.log(256)) / 127
    return (np.sign(coded) * (256 ** np.abs(coded) - 1) / 255).astype(np.float32)
