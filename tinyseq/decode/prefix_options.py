"""The options that prefix searches share: what is added to scores, and what is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from types import NoneType

import numpy as np

from tinyseq.decode.language_model import LanguageModel
from tinyseq.errors import FeedError

LARGEST = 1e30
"""Far above any sensible weight; what is computed from it stays finite."""


@dataclass(frozen=True, kw_only=True)
class PrefixSearchOptions:
    """What is added to the score of tokens y, beside what the model says of them::

        alpha * ln p_lm(y) + beta * units(y) + unk_score_offset * unknown(y) + bonus(y)

    - p_lm(y): the n-gram model's probability of all tokens of y (``lm_level="token"``) or of all its words
      (``"word"``), behind the beginning of a sentence and, in final results, with its end. ``units`` counts
      those tokens or words, the end not among them; without a model, the lexicon's words. These are
      pyctcdecode's alpha and beta, flashlight's ``lm_weight`` and ``word_score``.
    - unknown(y): how many of them the model does not know; they have its probability of ``<unk>`` as well.
    - bonus(y): the sum of the weights of all occurrences of hotwords in y. While a hotword has begun, a
      share of its weight, as large as what has been read of it, is granted, and taken back if it goes on
      otherwise.

    Attributes:
        nbest: how many hypotheses to give.
        horizon: every 64 frames, hypotheses that differ from the best one in what it has before the last so
            many frames are given up, so that endless streams settle; None keeps them, and memory may grow.
        vocabulary: the tokens' strings; needed for words and for hotwords that are strings.
        lm: an n-gram model, from ``read_arpa`` or ``read_kenlm``. At token level, its words are the
            vocabulary's strings or, without a vocabulary, the decimal ids; a token that it does not have is
            unknown.
        lm_level: ``"token"`` or ``"word"``.
        alpha: the language model's weight, at least 0.
        beta: what each unit adds.
        unk_score_offset: what each unknown unit adds.
        word_separator: the string, within the tokens' strings, that parts words, such as ``" "``, ``"|"`` or
            ``"▁"``; of a lexicon of token sequences the token that does.
        lexicon: the only words that are allowed, as strings, or from each to the tokens that spell it. Words
            may be spelt alike unless a model of words tells them apart.
            A hypothesis that ends within a word is no result; there may be none at all.
        hotwords: words or phrases, strings or sequences of tokens, or from each to its weight. If tokens hold
            the word separator, they are whole words; otherwise they are found everywhere.
        hotword_weight: of those without a weight of their own.
    """

    nbest: int = 1
    horizon: int | None = 1000
    vocabulary: Sequence[str] | None = None
    lm: LanguageModel | None = None
    lm_level: str = "word"
    alpha: float = 0.5
    beta: float = 1.5
    unk_score_offset: float = -10.0
    word_separator: str | int | None = " "
    lexicon: Collection[str] | Mapping[str, Sequence[int]] | None = None
    hotwords: Collection[str | Sequence[int]] | Mapping[str | tuple[int, ...], float] = ()
    hotword_weight: float = 10.0

    def __post_init__(self) -> None:
        for name, least in (("beam_width", 1), ("nbest", 1), ("blank", 0)):
            whole(self, name, least)
        if self.horizon is not None:
            whole(self, "horizon", 1)
        real(self, "beam_prune_logp", -inf, 0.0)
        for name in ("beta", "unk_score_offset", "hotword_weight"):
            real(self, name, -LARGEST, LARGEST)
        real(self, "alpha", 0.0, LARGEST)
        if not isinstance(self.lm_level, str) or self.lm_level not in ("token", "word"):
            raise FeedError(f"lm_level is 'token' or 'word', not {self.lm_level!r}")
        if self.lm is not None and not isinstance(self.lm, LanguageModel):
            raise FeedError(f"lm is what read_arpa or read_kenlm gives, not {type(self.lm).__name__}")
        if not isinstance(self.word_separator, (str, int, NoneType)) or self.word_separator == "":
            raise FeedError(f"word_separator is a string, a token or None, not {self.word_separator!r}")
        strings(self, "vocabulary")
        _frozen(self, "lexicon")
        _frozen(self, "hotwords")

    @property
    def fewest_tokens(self) -> int:
        """A size of rows that these options can be used with."""
        if self.vocabulary is not None:
            return len(self.vocabulary)
        spelt = list(self.lexicon.values()) if isinstance(self.lexicon, Mapping) else []
        spelt += [hotword for hotword in self.hotwords if not isinstance(hotword, str)]
        separator = self.word_separator if isinstance(self.word_separator, int) else 0
        return 1 + max(self.blank, separator, *(max(tokens, default=0) for tokens in spelt))


def check_tokens(options, tokens: int) -> None:
    """Refuses a blank or a vocabulary that does not fit rows of so many scores."""
    if not 0 <= options.blank < tokens:
        raise FeedError(f"blank={options.blank} is no token of rows of {tokens} numbers")
    if options.vocabulary is not None and len(options.vocabulary) != tokens:
        raise FeedError(
            f"the vocabulary has {len(options.vocabulary)} tokens, a row has {tokens} numbers: give a string "
            "for each number of a row, the blank's too"
        )


def whole(options, name: str, least: int) -> None:
    value = getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value < 2**31:
        raise FeedError(f"{name} is a whole number from {least} on, not {value!r}")
    object.__setattr__(options, name, int(value))


def real(options, name: str, least: float, most: float) -> None:
    value = getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most:
        raise FeedError(f"{name} is a number from {least:g} to {most:g}, not {value!r}")
    object.__setattr__(options, name, float(value))


def strings(options, name: str) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if not _is_collection(value) or not all(isinstance(text, str) for text in value):
        raise FeedError(f"{name} is a sequence of strings, one for each token, not {value!r}")
    object.__setattr__(options, name, tuple(value))


def _is_collection(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Collection) and not isinstance(value, (str, bytes))


def _frozen(options, name: str) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if not _is_collection(value):
        raise FeedError(f"{name} is a collection of words, or a dict of them, not {value!r}")
    object.__setattr__(options, name, dict(value) if isinstance(value, Mapping) else tuple(value))
