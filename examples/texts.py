"""Texts that users give to demonstrations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tinyseq.common.files import opened
from tinyseq.errors import FeedError

from .report import shown


def read(path: Path) -> str:
    """The text of a file in UTF-8, without the line end at its end.

    Raises:
        FeedError: it cannot be read, or there is none in it.
    """
    try:
        with opened(path) as file:
            text = file.read().decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FeedError(f"cannot read {shown(path)}: {error}; give a text file in UTF-8") from error
    if not text.strip():
        raise FeedError(f"{shown(path)} is empty; give a file with text in it")
    return text


def sentences(path: Path) -> list[str]:
    """The lines of a file that have something in them.

    Raises:
        FeedError: it cannot be read, or there is none.
    """
    return [line.strip() for line in read(path).split("\n") if line.strip()]


def typed() -> Iterator[str]:
    """The lines of standard input that have something in them, with a prompt for each at a terminal."""
    mark = "> " if sys.stdin.isatty() else ""
    print(mark, end="", flush=True)
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
        print(mark, end="", flush=True)
    if mark:
        print()
