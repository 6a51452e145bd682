"""What a search knows of a language model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from tinyseq.decode.lm.automata import Automaton

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


class LanguageModel:
    """An n-gram language model over whatever its words are: words, or the tokens of a recogniser.

    Attributes:
        words: its words, from each to its label.
        order: the length of its longest n-grams.
        automaton: its histories as states; the weight of a word is the natural logarithm of its probability.
        begin: the state behind the beginning of a sentence.
        lock: held while a search walks the automaton.
    """

    def __init__(self, words: dict[str, int], order: int, automaton: Automaton, begin: int) -> None:
        self.words = words
        self.order = order
        self.automaton = automaton
        self.begin = begin
        self.lock: AbstractContextManager[object] = nullcontext()

    def label(self, word: str) -> int:
        """A word's label, or that of unknown words."""
        return self.words.get(word, self.words[UNKNOWN])

    def answer(self) -> bool:
        """Makes the arcs that a search asked for; whether it did."""
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, {len(self.words)} words)"
