"""The options that prefix searches share: what is added to scores by shallow fusion, and what is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tinyseq.common.given import is_number, is_whole
from tinyseq.common.text import shown
from tinyseq.decode.lm.language_model import LanguageModel
from tinyseq.decode.option_checks import MAX_BEAMS, is_collection, is_listed, one_of, real, whole
from tinyseq.decode.vocabulary import strings
from tinyseq.errors import OptionError

MOST_TOKENS = 2**22
"""Tokens that there may be."""

LARGEST = 1e30
"""Far above any sensible weight; what is computed from it stays finite."""


@dataclass(frozen=True, kw_only=True)
class PrefixSearchOptions:
    """What is added to the score of tokens y, beside what the model says of them:

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
        horizon: hypotheses that differ from the best one in what it has before the last so many frames are
            given up, so that endless streams settle and live text gets stable: every quarter of the horizon,
            and at least every 64 frames. None keeps them, and memory may grow.
        vocabulary: the tokens' strings, in order or a dict between them and the tokens; needed for words and
            for hotwords that are strings.
        lm: an n-gram model, from ``read_arpa`` or ``read_kenlm``. At token level, its words are the
            vocabulary's strings or, without a vocabulary, the decimal ids; a token that it does not have is
            unknown.
        lm_level: ``"token"`` or ``"word"``.
        alpha: the language model's weight, at least 0.
        beta: what each unit adds.
        unk_score_offset: what each unknown unit adds.
        word_separator: the string, within the tokens' strings, that parts words, such as ``" "``, ``"|"`` or
            ``"▁"``, or the token that does; where no string holds a blank, that is what else they have of
            these. With a lexicon of token sequences, strings of tokens begin, or end, with it.
        lexicon: the only words that are allowed, as strings, or from each to the tokens that spell it, or to
            several such sequences; ``read_lexicon`` reads files. Results have its ``words``: of words that
            are spelt alike the first, which a model of words must not tell apart. Where all hypotheses end
            within a word, the best one is given, whose text and words leave that word out.
        hotwords: words or phrases, whose words blanks may part; strings or sequences of tokens, or from each
            to its weight. If tokens hold the word separator, they are whole words; otherwise they are found
            everywhere.
        hotword_weight: of those without a weight of their own.
    """

    nbest: int = 1
    horizon: int | None = 1000
    vocabulary: Sequence[str] | Mapping[str, int] | None = None
    lm: LanguageModel | None = None
    lm_level: str = "word"
    alpha: float = 0.5
    beta: float = 1.5
    unk_score_offset: float = -10.0
    word_separator: str | int | None = " "
    lexicon: Collection[str] | Mapping[str, Sequence[int | str] | Sequence[Sequence[int | str]]] | None = None
    hotwords: Collection[str | Sequence[int]] | Mapping[str | tuple[int, ...], float] = ()
    hotword_weight: float = 10.0

    def __post_init__(self) -> None:
        whole(self, "beam_width", 1, MAX_BEAMS)
        whole(self, "nbest", 1, MAX_BEAMS)
        whole(self, "blank", 0)
        if self.horizon is not None:
            whole(self, "horizon", 1)
        for name in ("beta", "unk_score_offset", "hotword_weight"):
            real(self, name, -LARGEST, LARGEST)
        real(self, "alpha", 0.0, LARGEST)
        one_of(self, "lm_level", "token", "word")
        if self.lm is not None and not isinstance(self.lm, LanguageModel):
            raise OptionError(f"lm is what read_arpa or read_kenlm gives, not {type(self.lm).__name__}")
        separator = self.word_separator
        if separator is not None and not _is_token(separator) and not (_is_text(separator) and separator):
            raise OptionError(f"word_separator is a string, a token or None, not {shown(separator)}")
        if is_whole(separator):
            object.__setattr__(self, "word_separator", int(separator))
        strings(self, "vocabulary")
        if self.lexicon is not None:
            frozen = _frozen("lexicon", self.lexicon)
            object.__setattr__(self, "lexicon", _spelt_out(frozen, self.vocabulary))
        object.__setattr__(self, "hotwords", checked_hotwords(self.hotwords))

    @property
    def named_tokens(self) -> int:
        """One more than the largest token that these options name."""
        spelt = sum(self.lexicon.values(), ()) if isinstance(self.lexicon, Mapping) else ()
        spelt = list(spelt)
        spelt += [hotword for hotword in self.hotwords if not isinstance(hotword, str)]
        spelt.append([self.word_separator] if isinstance(self.word_separator, int) else [])
        return 1 + max((max(tokens, default=-1) for tokens in spelt), default=-1)

    @property
    def fewest_tokens(self) -> int:
        """A size of rows that these options can be used with."""
        if self.vocabulary is not None:
            return len(self.vocabulary)
        return max(1 + self.blank, self.named_tokens)  # type: ignore[attr-defined]  # all searches have it


Hotwords = dict[str | tuple[int, ...], float]
"""Words and phrases, as strings or as tokens, each with its weight."""


def checked_hotwords(given: Any) -> dict[Any, float] | tuple[Any, ...]:
    """Hotwords as options keep them.

    Raises:
        OptionError: they are none.
    """
    frozen = _frozen("hotwords", given)
    for hotword in frozen:
        if not _is_text(hotword) and not _are_tokens(hotword):
            raise OptionError(f"a hotword is a string or a sequence of tokens, not {shown(hotword)}")
    for hotword, weight in frozen.items() if isinstance(frozen, dict) else ():
        if not is_number(weight) or not abs(weight) <= LARGEST:
            raise OptionError(
                f"the weight of the hotword {shown(hotword)} is a number from {-LARGEST:g} to "
                f"{LARGEST:g}, not {shown(weight)}"
            )
    return frozen


def weighed(hotwords: dict[Any, float] | tuple[Any, ...], weight: float) -> Hotwords:
    """Checked hotwords with the weight of each: ``weight`` where none has its own."""
    pairs = hotwords.items() if isinstance(hotwords, dict) else ((word, weight) for word in hotwords)
    return {word if isinstance(word, str) else tuple(map(int, word)): float(own) for word, own in pairs}


def own_hotwords(options: Any, given: Any, weight: float | None) -> Hotwords:
    """The hotwords of a stream, beside those of its options.

    Raises:
        OptionError: they are none, or the search knows none.
    """
    checked = checked_hotwords(given)
    if weight is not None and (not is_number(weight) or not abs(weight) <= LARGEST):
        raise OptionError(f"hotword_weight is a number from {-LARGEST:g} to {LARGEST:g}, not {shown(weight)}")
    if not checked:
        return {}
    if not isinstance(options, PrefixSearchOptions):
        raise OptionError(
            f"{type(options).__name__} knows no hotwords, which searches with a beam find; give the decoder "
            "such options, or leave them out"
        )
    if options.vocabulary is None and any(isinstance(word, str) for word in checked):
        raise OptionError("hotwords that are strings need a vocabulary; give them as sequences of tokens")
    return weighed(checked, options.hotword_weight if weight is None else weight)


def limited_to(options: Any, words: Collection[str]) -> Any:
    """Options like others, by which no words are allowed but some of those that were.

    Raises:
        OptionError: the search knows no lexicon, or the one that there is has not all of the words.
    """
    if not is_collection(words) or len(words) == 0 or not all(_is_text(word) and word for word in words):
        raise OptionError(f"words are strings, one at least, not {shown(words)}")
    if not isinstance(options, PrefixSearchOptions):
        raise OptionError(
            f"{type(options).__name__} cannot be limited to words, as searches with a beam can; give the "
            "decoder such options"
        )
    lexicon = options.lexicon
    for word in words:
        if lexicon is not None and word not in lexicon:
            raise OptionError(f"the lexicon has no word {shown(word)}")
    chosen = set(words)
    if isinstance(lexicon, Mapping):
        return replace(options, lexicon={word: lexicon[word] for word in lexicon if word in chosen})
    return replace(options, lexicon=sorted(chosen))


def check_tokens(options: Any, tokens: int) -> None:
    """Refuses a blank, a vocabulary or a token that does not fit rows of so many scores."""
    named = getattr(options, "named_tokens", 0)
    if named > tokens:
        raise OptionError(
            f"a hotword, lexicon or separator names token {named - 1}, a row has {tokens} numbers"
        )
    if not 0 <= options.blank < tokens:
        raise OptionError(f"blank={options.blank} is no token of rows of {tokens} numbers")
    if options.vocabulary is not None and len(options.vocabulary) != tokens:
        raise OptionError(
            f"the vocabulary has {len(options.vocabulary)} tokens, a row has {tokens} numbers: give a string "
            "for each number of a row, the blank's too"
        )


def settings(options: Any) -> Iterator[bytes]:
    """What decides results of options: their fields, a language model by what is in it."""
    for name in sorted(own.name for own in fields(options)):
        value = getattr(options, name)
        yield name.encode()
        if isinstance(value, LanguageModel):
            yield value.automaton.buffer.array.tobytes()
            yield repr((value.begin, list(value.words.items()))).encode()
        else:
            yield repr(value).encode()


Spellings = dict[str, tuple[tuple[int, ...], ...]]
"""Of each word: sequences of tokens, any of which spells it."""


def _spelt_out(lexicon: Collection[str] | Mapping[str, Any], vocabulary: Any) -> tuple[str, ...] | Spellings:
    """A lexicon as searches have it: words, or all spellings of each as tokens."""
    for word in lexicon:
        if not _is_text(word):
            raise OptionError(f"a word of the lexicon is a string, not {shown(word)}")
        if "\t" in word:
            raise OptionError(
                f"the word {word!r} of the lexicon holds a tab: read_lexicon reads files that spell words"
            )
    if not isinstance(lexicon, Mapping):
        return tuple(lexicon)
    known = {text: token for token, text in enumerate(vocabulary or ())}
    return {word: _spellings(word, how, known) for word, how in lexicon.items()}


def _spellings(word: str, how: Any, known: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    """The one or the several ways to spell a word."""
    several = is_listed(how) and len(how) > 0 and all(map(is_listed, how))
    spellings = []
    for spelling in how if several else [how]:
        if not is_listed(spelling):
            raise OptionError(
                f"the lexicon spells {word!r} as a sequence of tokens, not as {shown(spelling)}"
            )
        tokens = [known.get(token, token) if _is_text(token) else token for token in spelling]
        strange = [token for token in tokens if not _is_token(token)]
        if strange:
            raise OptionError(
                f"the lexicon spells {word!r} as {shown(spelling)}, and {shown(strange[0])} is no token"
                + (" of the vocabulary" if _is_text(strange[0]) else "")
            )
        spellings.append(tuple(map(int, tokens)))
    return tuple(spellings)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_token(value: object) -> bool:
    return is_whole(value) and 0 <= value < MOST_TOKENS


def _are_tokens(value: Any) -> bool:
    return is_collection(value) and all(map(_is_token, value))


def _frozen(name: str, value: Any) -> dict[Any, Any] | tuple[Any, ...]:
    if not is_collection(value):
        raise OptionError(f"{name} is a collection of words, or a dict of them, not {shown(value)}")
    return dict(value) if isinstance(value, Mapping) else tuple(value)
