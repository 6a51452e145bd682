"""One stream that listens: results while they come, and what they are told to."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import numpy as np

from tinyseq.speech.recognizer import Recognizer
from tinyseq.speech.result import RecognizerResult
from tinyseq.tools.console import say

from .recognizer import RATE

STABLE, TENTATIVE, PLAIN, ANEW = "\x1b[1m", "\x1b[2m", "\x1b[0m", "\r\x1b[K"
"""Escape sequences of terminals: bold, faint, neither; and the line once more, from its start."""


class Silent:
    """Tells nobody."""

    def partial(self, seconds: float, stable: str, tentative: str) -> None:
        """What an utterance is so far."""

    def final(self, result: RecognizerResult) -> None:
        """What it was."""


class _Lines(Silent):
    """Writes a line for each change."""

    def __init__(self) -> None:
        self._last = ("", "")

    def partial(self, seconds: float, stable: str, tentative: str) -> None:
        if (stable, tentative) not in (self._last, ("", "")):
            say(f"{seconds:6.2f} s  {stable}" + (f"[{tentative}]" if tentative else ""))
        self._last = (stable, tentative)

    def final(self, result: RecognizerResult) -> None:
        say(*_sentence(result))


class _Terminal(Silent):
    """Writes one line over and over, while it grows."""

    def partial(self, seconds: float, stable: str, tentative: str) -> None:
        sys.stdout.write(f"{ANEW}{seconds:6.2f} s  {STABLE}{stable}{PLAIN}{TENTATIVE}{tentative}{PLAIN}")
        sys.stdout.flush()

    def final(self, result: RecognizerResult) -> None:
        sys.stdout.write(ANEW)
        say(*_sentence(result))


def printer() -> Silent:
    return _Terminal() if sys.stdout.isatty() else _Lines()


def _sentence(result: RecognizerResult) -> list[str]:
    words = "  ".join(f"{word.word} {word.start:.2f}-{word.end:.2f}" for word in result.words)
    return [f"{result.end:6.2f} s  > {result.text}", f"            {words}"]


class Listener:
    """One stream: hears sound, tells of results as they come, and keeps those of whole utterances."""

    def __init__(self, recogniser: Recognizer, tells: Silent) -> None:
        self._recogniser, self._tells = recogniser, tells
        self._stream = recogniser.create_stream()
        self._heard: list[np.ndarray] = []
        self.utterances: list[RecognizerResult] = []
        self.step_ms: list[float] = []
        """What each chunk took: front end, network and search."""
        self.partials: list[tuple[float, int, int]] = []
        """After each chunk: seconds, letters of the utterance that are certain, and all of them."""

    @property
    def seconds(self) -> float:
        """How much sound was heard."""
        return sum(map(len, self._heard)) / RATE

    @property
    def sound(self) -> np.ndarray:
        """What was heard, float32[samples]."""
        return np.concatenate([*self._heard, np.empty(0, np.float32)])

    @property
    def words(self) -> list[tuple[str, float, float]]:
        """All words with their starts and ends, in seconds."""
        return [(word.word, word.start, word.end) for each in self.utterances for word in each.words]

    def hear(self, chunks: Iterable[np.ndarray]) -> None:
        """Hears chunks of sound at 16 kHz to their end, or to Ctrl-C."""
        try:
            for chunk in chunks:
                self._take(chunk)
        except KeyboardInterrupt:
            pass
        self._stream.input_finished()
        self._decode()
        self._end()

    def _take(self, chunk: np.ndarray) -> None:
        begin = time.perf_counter()
        self._stream.accept_waveform(RATE, chunk)
        self._decode()
        result = self._recogniser.get_result(self._stream)
        is_over = self._recogniser.is_endpoint(self._stream)
        self.step_ms.append((time.perf_counter() - begin) * 1000)
        self._heard.append(chunk)
        self.partials.append((self.seconds, len(result.stable_text), len(result.text)))
        self._tells.partial(self.seconds, result.stable_text, result.tentative_text)
        if is_over:
            self._end()

    def _decode(self) -> None:
        while self._recogniser.is_ready(self._stream):
            self._recogniser.decode(self._stream)

    def _end(self) -> None:
        final = self._recogniser.end_utterance(self._stream)
        if final.words:
            self.utterances.append(final)
            self._tells.final(final)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of sound."""
        return sum(self.step_ms) / 1000 / max(self.seconds, 1e-9)

    def report(self) -> dict:
        """All of it, for programs."""
        p50, p99 = np.percentile(self.step_ms or [0.0], (50, 99))
        return {
            "seconds": self.seconds,
            "utterances": [
                {"text": each.text, "words": [word._asdict() for word in each.words]}
                for each in self.utterances
            ],
            "step_p50_ms": round(float(p50), 4),
            "step_p99_ms": round(float(p99), 4),
            "real_time_factor": self.real_time_factor,
        }
