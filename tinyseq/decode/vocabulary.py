"""Which string each token stands for: what users give and files hold, and the text that tokens make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tinyseq.common import files
from tinyseq.common.given import as_path, is_whole
from tinyseq.common.text import shown
from tinyseq.decode.option_checks import MAX_INT, is_listed
from tinyseq.errors import ModelError, OptionError

BEGINS_WORD = "▁"
"""What SentencePiece puts in the place of a blank before a word."""

NUMBERED = re.compile(r"(.*?)[ \t]+([0-9]{1,10})[ \t]*")
"""A line with a token's string and the token."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, as they are; a line break at the end begins no other.

    Raises:
        ModelError: it cannot be read.
    """
    lines = _text(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_vocabulary(path: str | Path) -> dict[int, str]:
    """The tokens' strings by the tokens, as ``vocabulary`` of a search's options takes them.

    A text file has a token's string a line, or a string and the token (``tokens.txt`` of sherpa-onnx, icefall
    and ESPnet), a string of a blank being left out or not; a ``.json`` file a list of strings or a dict from
    each to its token; either may be the ``tokens`` of a dict.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    path = as_path(path, "a vocabulary")
    if path.suffix != ".json":
        lines = read_lines(path)
        return _numbered(lines) or dict(enumerate(lines))
    try:
        given = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"cannot read the vocabulary {path}: {error}") from error
    listed = given.get("tokens", given) if isinstance(given, dict) else given
    pairs = [(None, None)]
    if isinstance(listed, dict):
        pairs = list(listed.items())
    elif isinstance(listed, list):
        pairs = [(text, token) for token, text in enumerate(listed)]
    if not all(isinstance(text, str) and _is_token(token) for text, token in pairs):
        raise ModelError(
            f"cannot read the vocabulary {path}: it holds {shown(given)}; it must be a list of strings, or a "
            "dict from each string to its token"
        )
    return {token: text for text, token in pairs}


def read_lexicon(path: str | Path) -> list[str] | dict[str, list[list[str]]]:
    """The words of a file, a line for each; or, where words are spelt, from each to its spellings, as
    ``lexicon`` of a search's options takes them.

    A line that spells a word has tokens behind it, blanks or tabs between: ``hello h e l l o |``, as
    flashlight and torchaudio have it. A word with several such lines has several spellings.

    Raises:
        ModelError: it cannot be read, or only some of its words are spelt.
    """
    path = as_path(path, "a lexicon")
    lines = [line for line in read_lines(path) if line.strip()]
    fields = [line.split() for line in lines]
    if not any("\t" in line for line in lines) and any(len(own) == 1 for own in fields):
        return lines
    spelt: dict[str, list[list[str]]] = {}
    for line, (word, *tokens) in zip(lines, fields):
        if not tokens:
            raise ModelError(f"the lexicon {path} spells words, but not that of the line {shown(line)}")
        spelt.setdefault(word, []).append(tokens)
    return spelt


def _numbered(lines: list[str]) -> dict[int, str] | None:
    """The tokens of lines that all name theirs, or None."""
    found: dict[int, str] = {}
    for line in lines:
        parts = NUMBERED.fullmatch(line)
        if parts is None:
            return None
        found[int(parts[2])] = parts[1] or " "
    return found if len(found) == len(lines) and max(found, default=0) < 2 * len(lines) else None


def strings(options: object, name: str) -> None:
    """An option that is a string for each token, or None.

    Raises:
        OptionError: it is something else.
    """
    value = getattr(options, name)
    if value is not None:
        object.__setattr__(options, name, as_strings(value, name))


def as_strings(given: object, name: str = "vocabulary") -> tuple[str, ...]:
    """The string of each token, from a sequence of them or a dict between strings and tokens.

    Raises:
        OptionError: it is something else, or a token has no string, or two.
    """
    if isinstance(given, Mapping):
        return _by_token(given, name)
    if not is_listed(given) or not all(isinstance(text, str) for text in given):
        raise OptionError(
            f"{name} is a sequence of strings, one for each token, or a dict between strings and tokens, not "
            f"{shown(given)}"
        )
    return tuple(map(str, given))


def _by_token(given: Mapping, name: str) -> tuple[str, ...]:
    pairs = [(one, other) if is_whole(one) else (other, one) for one, other in given.items()]
    for token, text in pairs:
        if not _is_token(token) or not isinstance(text, str):
            raise OptionError(
                f"{name} is a dict between strings and tokens, and holds {shown(token)}: {shown(text)}"
            )
    strings = {int(token): text for token, text in pairs}
    if len(strings) < len(pairs):
        twice = next(token for token in strings if sum(own == token for own, _ in pairs) > 1)
        raise OptionError(f"{name} has two strings for token {twice}; each needs one")
    for token in range(len(strings)):
        if token not in strings:
            raise OptionError(
                f"{name} has no string for token {token}, and {len(strings)} strings; each token needs one"
            )
    return tuple(strings[token] for token in range(len(strings)))


def text_of(strings: Iterable[str], begins: bool = True, separator: str = "") -> str:
    """The text that tokens' strings make: joined, with blanks where SentencePiece marks the beginning of a
    word. Text that ``begins`` has none before its first word."""
    text = separator.join(strings)
    if BEGINS_WORD not in text:
        return text
    return (text.removeprefix(BEGINS_WORD) if begins else text).replace(BEGINS_WORD, " ")


def _is_token(given: object) -> bool:
    return is_whole(given) and 0 <= given <= MAX_INT


def _text(path: Path) -> str:
    try:
        return files.text(path).removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
