"""Texts that users give to demonstrations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tinyseq.common import files
from tinyseq.errors import ModelError, OptionError
from tinyseq.tools.console import file_name

from .report import shown


def add_options(parser: argparse.ArgumentParser, what: str, action: str) -> None:
    """Adds ``--sentence``, ``--text`` and ``--interactive`` to a demonstration's options, of which one may be
    given; ``what`` a line is, and the ``action`` that is done with it, are for the help."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--sentence", action="append", metavar="TEXT", help=f"a {what}; may be given again")
    given.add_argument("--text", type=file_name, metavar="FILE", help=f"a text in UTF-8, a {what} a line")
    given.add_argument("--interactive", action="store_true", help=f"{action} each line that is typed")


def read(path: Path, what: str = "text") -> str:
    """All that a file in UTF-8 holds, without the line end at its end; ``what`` it should be is for messages.

    Raises:
        ModelError: it cannot be read, or there is nothing in it.
    """
    try:
        text = files.text(path).removeprefix("\ufeff").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelError(f"cannot read {shown(path)}: {why}; give a {what} file in UTF-8") from error
    if not text.strip():
        raise ModelError(f"{shown(path)} is empty; give a {what} file with something in it")
    return text


def checked(given: list[str]) -> list[str]:
    """The texts of ``--sentence``.

    Raises:
        OptionError: there is nothing in one of them.
    """
    if not all(map(str.strip, given)):
        raise OptionError("--sentence is empty; give a text")
    return given


def sentences(path: Path) -> list[str]:
    """The lines of a file that have something in them.

    Raises:
        ModelError: it cannot be read, or there is none.
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
