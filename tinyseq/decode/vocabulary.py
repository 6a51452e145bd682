"""Files that say which string each token stands for."""

from __future__ import annotations

import json
from pathlib import Path

from tinyseq.common import files
from tinyseq.common.text import shown
from tinyseq.errors import ModelError


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, as they are; a line break at the end begins no other.

    Raises:
        ModelError: it cannot be read.
    """
    lines = _text(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_vocabulary(path: Path) -> dict[int, str]:
    """The tokens' strings by the tokens.

    A text file has a token a line, a ``.json`` file a list of strings or a dict from each to its token;
    either may be the ``tokens`` of a dict.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    if path.suffix != ".json":
        return dict(enumerate(read_lines(path)))
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


def _is_token(given: object) -> bool:
    return type(given) is int and given >= 0


def _text(path: Path) -> str:
    try:
        return files.text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
