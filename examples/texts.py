"""Texts that users give to demonstrations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tinyseq.common.files import opened
from tinyseq.errors import FeedError
from tinyseq.tools.console import file_name

from .report import shown


def add_options(parser: argparse.ArgumentParser, what: str, action: str) -> None:
    """Adds ``--sentence``, ``--text`` and ``--interactive`` to a demonstration's options, of which one may be
    given; ``what`` a line is, and the ``action`` that is done with it, are for the help."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--sentence", action="append", metavar="TEXT", help=f"a {what}; may be given again")
    given.add_argument("--text", type=file_name, metavar="FILE", help=f"a text in UTF-8, a {what} a line")
    given.add_argument("--interactive", action="store_true", help=f"{action} each line that is typed")


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
