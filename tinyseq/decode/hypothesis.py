"""What a search gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinyseq.decode.vocabulary import text_of

if TYPE_CHECKING:
    from tinyseq.decode.lm.spelling import WordReader


class Word(NamedTuple):
    """A word and when it was said, in seconds: from the start of the frame of its first token to the end of
    that of its last; in ``Hypothesis.words`` in frames. ``confidence`` is the least of its tokens'."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One result of a search. What a search does not know is None.

    Attributes:
        tokens: their ids, without blanks and without the end token.
        score: what the search ranked by; the docstring of the options says of what it is the logarithm.
        frames: of searches over frames, for each token the row it stands for, counted from the start of the
            stream: within the most probable single alignment that the search has kept, the row of the token's
            run that gives it the highest probability (the first of several).
        confidences: of searches over frames, for each token its probability in that row.
        text: the words, with blanks between, where there are some; else the tokens' strings, joined, with a
            blank for each ``"▁"`` but the first; None without a vocabulary.
        words: of searches with a lexicon, its words, from the first frame of each to behind its last.
        token_scores: of ``generate``, the score of each token, and one more for the end token if
            ``finished``.
        finished: of ``generate``, whether an end token has ended it.
        attention: of ``generate``, float32 [tokens and end token, positions], if it was asked for.
    """

    tokens: list[int]
    score: float
    frames: list[int] | None = None
    confidences: list[float] | None = None
    text: str | None = None
    words: list[Word] | None = None
    token_scores: list[float] | None = None
    finished: bool | None = None
    attention: np.ndarray | None = None


class Emitted:
    """Tokens, each with its frame and the logarithm of its probability there.

    ``words[3, ..., n]`` is one int32 array: tokens, frames, and the logarithms as float32.
    """

    __slots__ = ("words",)

    def __init__(self, words: np.ndarray) -> None:
        self.words = words

    @classmethod
    def room(cls, *shape: int) -> Emitted:
        """An array to be filled."""
        return cls(np.empty((3, *shape), np.int32))

    def __len__(self) -> int:
        return self.words.shape[1]

    def first(self, count: int) -> Emitted:
        """The first of them."""
        return Emitted(self.words[:, :count])

    def hypothesis(
        self,
        score: float,
        vocabulary: Sequence[str] | None,
        begins: bool = True,
        reader: WordReader | None = None,
        is_over: bool = True,
    ) -> Hypothesis:
        """The same for users; ``begins`` unless they stand behind other tokens, ``is_over`` unless others
        follow; ``reader`` of a lexicon."""
        tokens, frames = self.words[:2].tolist()
        confidences = np.exp(self.words[2].view(np.float32), dtype=np.float64).tolist()
        if reader is not None:
            words = in_frames(reader.of(tokens, is_over), frames, confidences)
            text = " ".join(one.word for one in words)
            return Hypothesis(tokens, float(score), frames, confidences, text, words)
        said = None if vocabulary is None else text_of([vocabulary[token] for token in tokens], begins)
        return Hypothesis(tokens, float(score), frames, confidences, said)


def in_frames(
    found: Iterable[tuple[str, int, int]], frames: Sequence[int], confidences: Sequence[float]
) -> list[Word]:
    """Words, each given with the places of its first and its last token, with times in frames."""
    return [
        Word(word, frames[first], frames[last] + 1, min(confidences[first : last + 1]))
        for word, first, last in found
    ]


class TokenLog:
    """Tokens that are settled, to which others are added, at a cost that does not grow with their number.

    A copy shares the array of the original. The latest copy goes on writing there; what it was copied from
    moves to an array of its own before it does.
    """

    __slots__ = ("_count", "_is_writer", "_words")

    def __init__(self, emitted: Emitted | None = None) -> None:
        self._words = (NO_TOKENS if emitted is None else emitted).words
        self._count = self._words.shape[1]
        self._is_writer = True

    def __len__(self) -> int:
        return self._count

    @property
    def emitted(self) -> Emitted:
        """All of them so far; nothing that is added later changes what this gives."""
        return Emitted(self._words[:, : self._count])

    def append(self, emitted: Emitted) -> None:
        """Adds tokens behind those that there are."""
        end = self._count + len(emitted)
        if not self._is_writer or end > self._words.shape[1]:
            grown = np.empty((3, max(2 * end, 64)), np.int32)
            grown[:, : self._count] = self.emitted.words
            self._words, self._is_writer = grown, True
        self._words[:, self._count : end] = emitted.words
        self._count = end

    def copy(self) -> TokenLog:
        """The same tokens, to go its own way."""
        twin = TokenLog()
        twin._words, twin._count = self._words, self._count
        twin._is_writer, self._is_writer = self._is_writer, False
        return twin


class Partial(NamedTuple):
    """The best hypothesis of a stream that goes on."""

    settled: Emitted
    """The tokens that all living hypotheses begin with."""
    tentative: Emitted
    """The best one's tokens behind them."""
    score: float


def joined(parts: Sequence[Emitted]) -> Emitted:
    """Several runs of tokens as one."""
    return parts[0] if len(parts) == 1 else Emitted(np.concatenate([part.words for part in parts], axis=1))


NO_TOKENS = Emitted.room(0)
"""No tokens."""
