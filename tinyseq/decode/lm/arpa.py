"""N-gram language models from ARPA files.

The format is that of the CMU-Cambridge and SRILM toolkits, described in SRILM's ngram-format(5): decimal
logarithms of probabilities and of back-off weights. The probability of a word w behind a history h is that of
(h, w) where the model has it, else back-off(h) times that of w behind h without its first word (Katz, 1987).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from math import log
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinyseq.common import files
from tinyseq.common.given import as_path
from tinyseq.decode.lm.automata import START, Automaton, automaton
from tinyseq.decode.lm.language_model import BEGIN, END, UNKNOWN, LanguageModel
from tinyseq.errors import ModelError
from tinyseq.kernels.search.layout import NONE

LN10 = log(10)

LARGEST = 1e30
"""No back-off is that large."""

GZIP, KENLM, BOM = b"\x1f\x8b", b"mmap lm ", b"\xef\xbb\xbf"
"""What files compressed by gzip, KenLM's binaries and some UTF-8 files begin with."""

MOST_ORDERS, MOST_DIGITS = 64, 15
"""Orders of a model, and digits of the number of its n-grams."""
MOST_IN_A_LINE = 2**20
"""Bytes of a line."""

MOST_INFLATED, SLACK = 100, 2**24
"""A file that unpacks to more than this many times its size, and more than so many bytes, is refused."""

SPECIAL = {word.encode() for word in (UNKNOWN, BEGIN, END)}

UNKNOWN_LOG10 = -100.0
"""The logarithm of an unknown word's probability in a model that has none, as KenLM sets it."""


def read_arpa(path: str | Path) -> LanguageModel:
    """Reads an ARPA file, plain or compressed by gzip, whatever its suffix.

    ``<UNK>``, ``<S>`` and ``</S>`` are ``<unk>``, ``<s>`` and ``</s>`` where the model has these in capitals
    only, as KenLM has it.

    Raises:
        ModelError: the file cannot be read or is no language model; names the line.
    """
    path = as_path(path, "a language model")
    try:
        with files.opened(path) as raw, gzip.open(raw) if _begins(raw, GZIP) else raw as file:
            most = max(MOST_INFLATED * files.check(path), SLACK)
            return _Reader(path, file, most).model()
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot read the language model {path}: {why}") from error


def is_arpa(path: Path) -> bool:
    """Whether a file is no binary of KenLM's.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with files.opened(path) as raw:
            return not _begins(raw, KENLM)
    except OSError as error:
        raise ModelError(f"cannot read the language model {path}: {error.strerror or error}") from error


def _begins(file: BinaryIO, start: bytes) -> bool:
    found = file.read(len(start))
    file.seek(0)
    return found == start


class _Reader:
    """Reads one file. A state is an n-gram, in the order of the file behind the empty history."""

    def __init__(self, path: Path, file, most: int) -> None:
        self._path, self._left = path, most
        self._lines = self._numbered(file)
        self._number, self._line = 0, b""
        self._words: dict[bytes, int] = {}
        self._keys, self._targets = np.empty(0, np.int64), np.empty(0, np.int64)
        self._logps, self._backs, self._falls = np.zeros(1), np.zeros(1), np.full(1, NONE)

    def model(self) -> LanguageModel:
        counts = self._counts()
        for order, count in enumerate(counts, start=1):
            self._enter(*self._section(order, count))
        if self._line != b"\\end\\":
            raise self._error("expected \\end\\")
        self._words = {_usual(name, self._words): label for name, label in self._words.items()}
        unknown = UNKNOWN.encode()
        if unknown not in self._words:
            self._words[unknown] = len(self._words)
            self._enter(np.array([[self._words[unknown]]]), np.array([UNKNOWN_LOG10]), np.zeros(1))
        try:
            words = {word.decode("utf-8"): label for word, label in self._words.items()}
        except UnicodeDecodeError as error:
            raise ModelError(f"{self._path}: a word is not UTF-8: {error}; convert the file") from error
        begin = START
        if BEGIN in words:
            begin = int(self._found(np.array([START]), np.array([words[BEGIN]]))[0])
        return LanguageModel(words, len(counts), self._automaton(len(counts)), begin)

    def _numbered(self, file) -> Iterator[bytes]:
        for number, line in enumerate(iter(partial(file.readline, MOST_IN_A_LINE), b""), start=1):
            self._left -= len(line)
            line = line.removeprefix(BOM) if number == 1 else line
            if len(line) == MOST_IN_A_LINE or self._left < 0:
                self._number, self._line = number, line
                raise self._error("a line, or the file once unpacked, is too long")
            if line := line.strip():
                self._number, self._line = number, line
                yield line
        self._line = b""

    def _error(self, what: str) -> ModelError:
        found = self._line[:60].decode("utf-8", "replace")
        return ModelError(f"{self._path} is no ARPA language model: line {self._number} {found!r}: {what}")

    def _counts(self) -> list[int]:
        if b"\\data\\" not in self._lines:
            raise self._error("no \\data\\ section")
        counts: list[int] = []
        for line in self._lines:
            if line.startswith(b"\\"):
                break
            name, _, number = line.partition(b"=")
            number = number.strip()
            if name.split() != [b"ngram", b"%d" % (len(counts) + 1)] or not number.isdigit():
                raise self._error(f"expected ngram {len(counts) + 1}=COUNT")
            if len(number) > MOST_DIGITS or len(counts) == MOST_ORDERS:
                raise self._error(f"more than {MOST_ORDERS} orders or 10**{MOST_DIGITS} n-grams")
            counts.append(int(number))
        if not counts or not counts[0]:
            raise self._error("it counts no words")
        return counts

    def _section(self, order: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The labels [count, order] of a section's n-grams, their logarithms and back-offs."""
        if self._line != b"\\%d-grams:" % order:
            raise self._error(f"expected \\{order}-grams:")
        labels: list[int] = []
        logps: list[float] = []
        backs: list[float] = []
        for line in self._lines:
            if line.startswith(b"\\") and line.endswith((b"-grams:", b"\\end\\")) and b"\t" not in line:
                break
            # Bytes are parted by ASCII's blanks alone; other blanks may belong to words.
            fields = line.split()
            if not order < len(fields) <= order + 2:
                raise self._error(f"expected a logarithm, {order} words and perhaps a back-off")
            try:
                logps.append(float(fields[0]))
                backs.append(float(fields[order + 1]) if len(fields) > order + 1 else 0.0)
            except ValueError as error:
                raise self._error(str(error)) from error
            if not logps[-1] <= 0 or not backs[-1] < LARGEST:
                raise self._error(f"a logarithm is at most 0, a back-off's below {LARGEST:g}")
            labels += self._labels(fields[1 : order + 1])
        if len(logps) != count:
            raise self._error(f"{count} {order}-grams were announced, {len(logps)} are there")
        return np.array(labels, np.int64).reshape(count, order), np.array(logps), np.array(backs)

    def _labels(self, names: list[bytes]) -> list[int]:
        words = self._words
        if not self._keys.size:
            if names[0] in words:
                raise self._error("this word stands twice")
            words[names[0]] = len(words)
        try:
            return [words[name] for name in names]
        except KeyError as error:
            raise self._error(f"the word {error} is not among the 1-grams") from error

    def _enter(self, labels: np.ndarray, logps: np.ndarray, backs: np.ndarray) -> None:
        """Adds n-grams of one order as states."""
        histories = np.zeros(len(labels), np.int64)
        for column in labels.T[:-1]:
            histories = self._found(histories, column)
            if (histories == NONE).any():
                gram = labels[np.argmax(histories == NONE)]
                raise self._broken(gram, "its history is not among the shorter n-grams")
        words = labels[:, -1]
        keys = histories << 32 | words
        first = len(self._logps)
        falls = self._falls[histories]
        climbing = np.flatnonzero(falls != NONE)
        while climbing.size:
            found = self._found(falls[climbing], words[climbing])
            done = found != NONE
            shorter = self._falls[falls[climbing]]
            falls[climbing] = np.where(done, found, shorter)
            climbing = climbing[~done & (shorter != NONE)]
        self._falls = np.concatenate([self._falls, np.where(falls == NONE, START, falls)])
        with np.errstate(over="ignore"):
            self._logps = np.concatenate([self._logps, logps * LN10])
            self._backs = np.concatenate([self._backs, backs * LN10])
        keys = np.concatenate([self._keys, keys])
        targets = np.concatenate([self._targets, first + np.arange(len(labels))])
        order = np.argsort(keys, kind="stable")
        self._keys, self._targets = keys[order], targets[order]
        twice = np.flatnonzero(self._keys[1:] == self._keys[:-1])
        if twice.size:
            raise self._broken(labels[self._targets[twice[0] + 1] - first], "it stands twice")

    def _broken(self, gram: np.ndarray, what: str) -> ModelError:
        names = list(self._words)
        words = b" ".join(names[label] for label in gram).decode("utf-8", "replace")
        return ModelError(f"{self._path} is no ARPA language model: the n-gram {words!r}: {what}")

    def _found(self, states: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The states that words lead to, or -1."""
        if not self._keys.size:
            return np.full(len(states), NONE)
        keys = states << 32 | labels
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where((self._keys[places] == keys) & (states != NONE), self._targets[places], NONE)

    def _automaton(self, order: int) -> Automaton:
        most = float(self._logps[1:].max() + (order - 1) * max(0.0, self._backs.max()))
        sources, labels = self._keys >> 32, self._keys & 0xFFFFFFFF
        columns = (sources, labels, self._targets, self._logps[self._targets])
        return automaton(columns, self._falls, self._backs, most=most)


def _usual(name: bytes, words: dict[bytes, int]) -> bytes:
    """A special word in small letters, unless the model has both."""
    small = name.lower()
    return small if small in SPECIAL and small not in words else name
