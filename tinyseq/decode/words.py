"""Words and their times, from tokens whose strings say where words begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf

from tinyseq.common.given import is_number, is_whole
from tinyseq.common.text import shown
from tinyseq.decode.hypothesis import Hypothesis, Word, in_frames
from tinyseq.decode.vocabulary import as_strings
from tinyseq.errors import OptionError

GOES_ON = "##"
"""What WordPiece vocabularies put before a token that goes on with a word."""

SEPARATORS = (" ", "▁", "Ġ", "|")
"""What stands before a word in the vocabularies of characters, of SentencePiece, of byte-level pairs and of
wav2vec 2.0; the last one only as a token of its own."""


def word_mark(vocabulary: Sequence[str] | None, separator: str | int | None = None) -> str | int | None:
    """What parts the words of a vocabulary: ``separator`` if its strings hold it, or if it is a token;
    otherwise what they have of marks; None where there is none."""
    if vocabulary is None or isinstance(separator, int):
        return separator if vocabulary is not None else None
    if separator and any(separator in text for text in vocabulary):
        return separator
    if any(text.startswith(GOES_ON) and text != GOES_ON for text in vocabulary):
        return GOES_ON
    for mark in SEPARATORS:
        if any(text == mark if mark == "|" else text.startswith(mark) for text in vocabulary):
            return mark
    return None


def spelt(tokens: Iterable[int], vocabulary: Sequence[str], mark: str | int) -> list[tuple[str, int, int]]:
    """The words of tokens, each with the places of its first and its last token."""
    words: list[tuple[str, int, int]] = []
    open_word = False
    for place, token in enumerate(tokens):
        text = vocabulary[token]
        if mark == GOES_ON:
            parts = [text[len(GOES_ON) :]] if text.startswith(GOES_ON) else ["", text]
        elif isinstance(mark, int):
            parts = ["", ""] if token == mark else [text]
        else:
            parts = text.split(mark)
        for number, part in enumerate(parts):
            open_word = open_word and not number
            if part and open_word:
                word, first, _ = words[-1]
                words[-1] = word + part, first, place
            elif part:
                words.append((part, place, place))
                open_word = True
    return words


def timed(
    hypothesis: Hypothesis,
    vocabulary: Sequence[str] | None,
    mark: str | int | None,
    second: Callable[[int], float],
) -> list[Word] | None:
    """The words of a hypothesis over frames, None where nothing parts them; ``second`` says when a frame
    begins."""
    words = hypothesis.words
    if words is None:
        if vocabulary is None or mark is None:
            return None
        found = spelt(hypothesis.tokens, vocabulary, mark)
        words = in_frames(found, hypothesis.frames or [], hypothesis.confidences or [])
    return [one._replace(start=second(one.start), end=second(one.end)) for one in words]


def word_times(
    hypothesis: Hypothesis,
    vocabulary: Sequence[str],
    frame_seconds: float,
    *,
    word_separator: str | int | None = None,
) -> list[Word]:
    """The words of a hypothesis and when they were said, counted from the first frame.

    Where a lexicon gave the words, they are those. Otherwise tokens say where words begin: by a blank,
    ``"▁"`` (SentencePiece) or ``"Ġ"`` before or between them, by ``"##"`` before those that go on with a
    word (WordPiece), or by ``"|"`` between words. What else stands in tokens is of the words: punctuation,
    and the names of special tokens.

    Args:
        hypothesis: of a search over frames.
        vocabulary: the tokens' strings.
        frame_seconds: how long a frame lasts.
        word_separator: the string that parts words, or the token, where it is another one.

    Raises:
        OptionError: the hypothesis is none over frames, its tokens are not in the vocabulary, nothing in the
            vocabulary parts words, or an argument is of another kind.
    """
    if not isinstance(hypothesis, Hypothesis) or None in (hypothesis.frames, hypothesis.confidences):
        raise OptionError(f"hypothesis is one of a search over frames, not {shown(hypothesis)}")
    counts = [len(own) for own in (hypothesis.tokens, hypothesis.frames, hypothesis.confidences)]
    if len({*counts}) > 1:
        raise OptionError(
            "a hypothesis has a frame and a confidence for each of its tokens, and this one has "
            "{} tokens, {} frames and {} confidences".format(*counts)
        )
    if not is_number(frame_seconds) or not 0 < frame_seconds < inf:
        raise OptionError(f"frame_seconds is how long a frame lasts, not {shown(frame_seconds)}")
    strings = as_strings(vocabulary)
    tokens = [*hypothesis.tokens, *([word_separator] if is_whole(word_separator) else [])]
    wrong = [token for token in tokens if not is_whole(token) or not 0 <= token < len(strings)]
    if wrong:
        raise OptionError(f"token {shown(wrong[0])} is not in a vocabulary of {len(strings)}")
    if not (word_separator is None or is_whole(word_separator) or isinstance(word_separator, str)):
        raise OptionError(f"word_separator is a string, a token or None, not {shown(word_separator)}")
    if isinstance(word_separator, str) and not (word_separator and any(word_separator in t for t in strings)):
        raise OptionError(
            f"no string of the vocabulary holds word_separator={shown(word_separator)}; leave it out, or "
            "give what parts words there"
        )
    mark = word_mark(strings, int(word_separator) if is_whole(word_separator) else word_separator)
    if mark is None and hypothesis.words is None:
        raise OptionError(
            "nothing in the vocabulary says where words begin; set word_separator to what parts them"
        )
    return timed(hypothesis, strings, mark, lambda frame: frame * float(frame_seconds))
