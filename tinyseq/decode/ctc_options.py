"""The options of CTC searches, and what their scores are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from types import NoneType

from tinyseq.decode.language_model import LanguageModel
from tinyseq.errors import FeedError

LARGEST = 1e30
"""Far above any sensible weight; what is computed from it stays finite."""


@dataclass(frozen=True)
class CtcGreedy:
    """The most probable single alignment: the strongest token of each frame, repetitions and blanks left out.

    The score is the sum of those tokens' log-probabilities (Graves et al., 2006, "best path decoding").

    Attributes:
        blank: the blank's id.
        vocabulary: the tokens' strings, for ``Hypothesis.text``.
    """

    blank: int = 0
    vocabulary: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _whole(self, "blank", 0)
        _strings(self, "vocabulary")

    @property
    def fewest_tokens(self) -> int:
        """A size of rows that these options can be used with."""
        return self.blank + 1 if self.vocabulary is None else len(self.vocabulary)


@dataclass(frozen=True)
class CtcBeamSearch:
    """Prefix beam search: all alignments of the same tokens count as one hypothesis.

    The algorithm is that of Hannun et al., 2014, "First-pass large vocabulary continuous speech recognition
    using bi-directional recurrent DNNs". With natural logarithms, tokens y for rows x have the score::

        ln p(y | x) + alpha * ln p_lm(y) + beta * units(y) + unk_score_offset * unknown(y) + bonus(y)

    - p(y | x): the sum over the alignments of y, as far as their prefixes stayed in the beam, of the
      product of the rows' probabilities. Rows that are not normalised are taken as they are.
    - p_lm(y): the n-gram model's probability of all tokens of y (``lm_level="token"``) or of all its words
      (``"word"``), behind the beginning of a sentence and, in final results, with its end. ``units`` counts
      those tokens or words, the end not among them; without a model, the lexicon's words. These are
      pyctcdecode's alpha and beta, flashlight's ``lm_weight`` and ``word_score``.
    - unknown(y): how many of them the model does not know; they have its probability of ``<unk>`` as well.
    - bonus(y): the sum of the weights of all occurrences of hotwords in y. While a hotword has begun, a
      share of its weight, as large as what has been read of it, is granted, and taken back if it goes on
      otherwise.

    After each frame, the ``beam_width`` hypotheses with the highest scores go on. Of equal ones those without
    a new token come first, then those that come from a better hypothesis, then those with the stronger
    token, then with the smaller id: no result depends on chance, on other streams or on chunks.

    Attributes:
        beam_width: how many hypotheses go on.
        blank: the blank's id.
        beam_prune_logp: hypotheses whose score is lower than the best one's by more than this do not
            go on; ``-inf`` keeps all.
        token_min_logp: tokens, the blank too, below this log-probability are left out of a frame, but
            never the strongest; ``-inf`` keeps all.
        tokens_per_frame: at most so many tokens, the strongest, take part in a frame; None is no limit.
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
        lexicon: the only words that are allowed, as strings, or from each to the tokens that spell it.
            A hypothesis that ends within a word is no result; there may be none at all.
        hotwords: words or phrases, strings or sequences of tokens, or from each to its weight. If tokens hold
            the word separator, they are whole words; otherwise they are found everywhere.
        hotword_weight: of those without a weight of their own.
    """

    beam_width: int = 10
    blank: int = 0
    beam_prune_logp: float = -10.0
    token_min_logp: float = -5.0
    tokens_per_frame: int | None = None
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
            _whole(self, name, least)
        for name in ("tokens_per_frame", "horizon"):
            if getattr(self, name) is not None:
                _whole(self, name, 1)
        for name in ("beam_prune_logp", "token_min_logp"):
            _real(self, name, -inf, 0.0)
        for name in ("beta", "unk_score_offset", "hotword_weight"):
            _real(self, name, -LARGEST, LARGEST)
        _real(self, "alpha", 0.0, LARGEST)
        if self.lm_level not in ("token", "word"):
            raise FeedError(f"lm_level is 'token' or 'word', not {self.lm_level!r}")
        if self.lm is not None and not isinstance(self.lm, LanguageModel):
            raise FeedError(f"lm is what read_arpa or read_kenlm gives, not {type(self.lm).__name__}")
        if not isinstance(self.word_separator, (str, int, NoneType)) or self.word_separator == "":
            raise FeedError(f"word_separator is a string, a token or None, not {self.word_separator!r}")
        _strings(self, "vocabulary")
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


def _whole(options, name: str, least: int) -> None:
    value = getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value < 2**31:
        raise FeedError(f"{name} is a whole number from {least} on, not {value!r}")
    object.__setattr__(options, name, int(value))


def _real(options, name: str, least: float, most: float) -> None:
    value = getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most:
        raise FeedError(f"{name} is a number from {least:g} to {most:g}, not {value!r}")
    object.__setattr__(options, name, float(value))


def _strings(options, name: str) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, str) or not all(isinstance(text, str) for text in value):
        raise FeedError(f"{name} is a sequence of strings, one for each token")
    object.__setattr__(options, name, tuple(value))


def _frozen(options, name: str) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if not isinstance(value, Collection) or isinstance(value, str):
        raise FeedError(f"{name} is a collection of words, or a dict of them, not {value!r}")
    object.__setattr__(options, name, dict(value) if isinstance(value, Mapping) else tuple(value))
