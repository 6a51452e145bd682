"""Language models that the kenlm package reads, binary files above all.

Such a model cannot be listed, only asked. So its automaton is made as searches need it: an arc that is not
there yet is asked for, the search waits where it is, and goes on when the package has answered.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from threading import RLock

import numpy as np

from tinyseq.common import files
from tinyseq.common.given import as_path
from tinyseq.common.text import shown
from tinyseq.decode.lm.arpa import LN10
from tinyseq.decode.lm.automata import Automaton, automaton, insert, questions
from tinyseq.decode.lm.language_model import BEGIN, END, UNKNOWN, LanguageModel
from tinyseq.errors import MissingPackageError, ModelError, OptionError
from tinyseq.kernels.search.layout import MASK, NONE

QUESTIONS = 4096
"""Asked at most before they are answered."""

ROUNDING = 1e-6
"""A logarithm to base 10 up to this is that of probability 1."""


def read_kenlm(path: str | Path, words: Collection[str]) -> LanguageModel:
    """A language model in KenLM's binary format, or whatever else the kenlm package reads.

    Args:
        words: all that searches may ask for: of a model over tokens the vocabulary's strings, of one over
            words those that count as known. What the model does not have is left out.

    Raises:
        MissingPackageError: the kenlm package is not installed.
        ModelError: the file cannot be read.
    """
    path = as_path(path, "a language model")
    try:
        import kenlm
    except ImportError as error:
        raise MissingPackageError(
            f"reading {path} needs the kenlm package: pip install kenlm; ARPA files are read without it"
        ) from error
    if not isinstance(words, Collection) or isinstance(words, (str, bytes)) or np.ndim(words) == 0:
        raise OptionError(f"words is a collection of words, not {shown(words)}")
    if not all(isinstance(word, str) for word in words):
        raise OptionError("words is a collection of strings")
    try:
        files.check(path)
        return KenlmModel(kenlm.Model(str(path)), kenlm.State, words)
    except (OSError, RuntimeError) as error:
        raise ModelError(f"cannot read the language model {path}: {error}") from error


class KenlmModel(LanguageModel):
    """A model whose automaton grows with what is asked."""

    def __init__(self, model, state: type, words: Collection[str]) -> None:
        self._model, self._new_state = model, state
        self._names = [UNKNOWN, END, *(word for word in dict.fromkeys(words) if word in model)]
        self._names = list(dict.fromkeys(self._names))
        begin = state()
        model.BeginSentenceWrite(begin)
        self._states, self._numbers = [begin], {begin: 0}
        self._arcs: list[tuple[int, int, int, float]] = []
        labels = {name: label for label, name in enumerate(self._names) if name != BEGIN}
        super().__init__(labels, model.order, self._made(), 0)
        self.lock = RLock()

    def answer(self) -> bool:
        asked = questions(self.automaton)
        new = [(*question, *self._ask(*question)) for question in sorted(asked)]
        self._arcs += new
        block = self.automaton.buffer.array
        if len(self._states) > self._room or 2 * len(self._arcs) > block[MASK]:
            # Where the block is does not matter to a search that waits, but the buffer's place does.
            self.automaton.buffer.move(self._made().buffer.array)
        elif new:
            insert(self.automaton, _columns(new))
        return bool(asked)

    def _ask(self, state: int, label: int) -> tuple[int, float]:
        following = self._new_state()
        logp = self._model.BaseScore(self._states[state], self._names[label], following)
        # Searches leave out what cannot win because nothing that is still to come adds to a score.
        if logp > ROUNDING:
            raise ModelError(
                f"the language model gives {self._names[label]!r} the probability {10**logp:g}, above 1; "
                "estimate it again with back-off weights that normalise it"
            )
        number = self._numbers.setdefault(following, len(self._states))
        if number == len(self._states):
            self._states.append(following)
        return number, min(logp, 0.0) * LN10

    def _made(self) -> Automaton:
        self._room = 2 * len(self._states) + 64
        made = automaton(
            _columns([]), np.full(self._room, NONE), room=QUESTIONS, slots=4 * len(self._arcs) + 64
        )
        insert(made, _columns(self._arcs))
        return made


def _columns(arcs: list[tuple[int, int, int, float]]):
    rows = np.array(arcs, np.float64).reshape(-1, 4)
    return rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2].astype(np.int64), rows[:, 3]
