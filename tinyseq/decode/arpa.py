"""N-gram language models from ARPA files.

The format is that of the CMU-Cambridge and SRILM toolkits, described in SRILM's ngram-format(5): decimal
logarithms of probabilities and of back-off weights. The probability of a word w behind a history h is that of
(h, w) where the model has it, else back-off(h) times that of w behind h without its first word (Katz, 1987).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from math import log
from pathlib import Path

import numpy as np

from tinyseq.decode.automata import NOWHERE, START, Automaton, automaton
from tinyseq.decode.language_model import BEGIN, UNKNOWN, LanguageModel
from tinyseq.errors import ModelError

LN10 = log(10)
UNKNOWN_LOG10 = -100.0
"""The logarithm of an unknown word's probability in a model that has none, as KenLM sets it."""


def read_arpa(path: str | Path) -> LanguageModel:
    """Reads an ARPA file, plain or ``.gz``.

    Raises:
        ModelError: the file cannot be read or is no language model; names the line.
    """
    path = Path(path)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            reader = _Reader(path, file)
            return reader.model()
    except (OSError, EOFError) as error:
        raise ModelError(f"cannot read the language model {path}: {error}") from error


class _Reader:
    """Reads one file. A state is an n-gram; the first one is the empty history."""

    def __init__(self, path: Path, file) -> None:
        self._path = path
        self._lines = self._numbered(file)
        self._number, self._line = 0, b""
        self._words: dict[str, int] = {}
        self._states: dict[tuple[int, int], int] = {}
        self._logps, self._backs, self._falls = [0.0], [0.0], [NOWHERE]

    def model(self) -> LanguageModel:
        counts = self._counts()
        for order, count in enumerate(counts, start=1):
            self._section(order, count)
        if self._line != b"\\end\\":
            raise self._error("expected \\end\\")
        if UNKNOWN not in self._words:
            self._add((self._label(UNKNOWN),), UNKNOWN_LOG10, 0.0)
        begin = self._states.get((START, self._words.get(BEGIN, -1)), START)
        return LanguageModel(self._words, len(counts), self._automaton(len(counts)), begin)

    def _numbered(self, file) -> Iterator[bytes]:
        for number, line in enumerate(file, start=1):
            # Only these part fields; other blanks may belong to words.
            if line := line.strip(b" \t\r\n"):
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
            if name.split() != [b"ngram", b"%d" % (len(counts) + 1)] or not number.strip().isdigit():
                raise self._error(f"expected ngram {len(counts) + 1}=COUNT")
            counts.append(int(number))
        if not counts or not counts[0]:
            raise self._error("it counts no words")
        return counts

    def _section(self, order: int, count: int) -> None:
        if self._line != b"\\%d-grams:" % order:
            raise self._error(f"expected \\{order}-grams:")
        read = 0
        for line in self._lines:
            if line.startswith(b"\\") and line.endswith((b"-grams:", b"\\end\\")) and b"\t" not in line:
                break
            read += 1
            self._entry(line, order)
        if read != count:
            raise self._error(f"{count} {order}-grams were announced, {read} are there")

    def _entry(self, line: bytes, order: int) -> None:
        fields = line.replace(b"\t", b" ").split(b" ")
        if b"" in fields:
            fields = [field for field in fields if field]
        if not order < len(fields) <= order + 2:
            raise self._error(f"expected a logarithm, {order} words and perhaps a back-off")
        try:
            logp = float(fields[0])
            back = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
            names = [field.decode("utf-8") for field in fields[1 : order + 1]]
        except ValueError as error:
            raise self._error(str(error)) from error
        if not logp <= 0 or back != back or back == float("inf"):
            raise self._error("a logarithm of a probability is at most 0, and none is NaN or infinite")
        if order == 1:
            if names[0] in self._words:
                raise self._error("this word stands twice")
            self._label(names[0])
        try:
            labels = tuple([self._words[name] for name in names])
        except KeyError as error:
            raise self._error(f"the word {error} is not among the 1-grams") from error
        self._add(labels, logp, back)

    def _label(self, word: str) -> int:
        return self._words.setdefault(word, len(self._words))

    def _add(self, labels: tuple[int, ...], logp: float, back: float) -> None:
        history = START
        for label in labels[:-1]:
            state = self._states.get((history, label))
            # A history that no n-gram of the file is: it scores as the file says it does.
            history = self._new(history, label, self._score(history, label), 0.0) if state is None else state
        if (history, labels[-1]) in self._states:
            raise self._error("this n-gram stands twice")
        self._new(history, labels[-1], logp * LN10, back * LN10)

    def _new(self, history: int, label: int, logp: float, back: float) -> int:
        state = self._states[history, label] = len(self._logps)
        self._logps.append(logp)
        self._backs.append(back)
        shorter = self._falls[history]
        while shorter != NOWHERE and (shorter, label) not in self._states:
            shorter = self._falls[shorter]
        self._falls.append(START if shorter == NOWHERE else self._states[shorter, label])
        return state

    def _score(self, history: int, label: int) -> float:
        total = 0.0
        while (history, label) not in self._states:
            total += self._backs[history]
            history = self._falls[history]
        return total + self._logps[self._states[history, label]]

    def _automaton(self, order: int) -> Automaton:
        arcs = np.array(list(self._states), np.int64).reshape(-1, 2)
        targets = np.fromiter(self._states.values(), np.int64, len(self._states))
        logps, backs = np.array(self._logps), np.array(self._backs)
        most = float(logps[1:].max() + (order - 1) * max(0.0, backs.max()))
        columns = (arcs[:, 0], arcs[:, 1], targets, logps[targets])
        return automaton(columns, np.array(self._falls), backs, most=most)
