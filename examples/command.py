"""The command ``tinyseq demo``: which demonstrations there are, and the door to each."""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules

from tinyseq.errors import OptionError
from tinyseq.tools.console import say

DEFAULT = "vad"
"""What runs where no name is given."""


def names() -> list[str]:
    """The demonstrations' names."""
    return [module.name for module in iter_modules(import_module(__package__).__path__) if module.ispkg]


def line(name: str) -> str:
    """What a demonstration does, in a line."""
    return import_module(f".{name}", __package__).__doc__.partition("\n")[0]


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds ``tinyseq demo`` to the commands; what follows the name is the demonstration's own."""
    # No argument begins with a NUL, so none is taken for an option.
    parser = commands.add_parser(
        "demo", help="run a demonstration: tinyseq demo --help lists them", add_help=False, prefix_chars="\0"
    )
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(command=lambda args: main(args.arguments))


def main(arguments: list[str]) -> int:
    """Runs the demonstration that the first argument names, with the others; gives the exit status.

    Raises:
        OptionError: there is none of that name.
        TinyseqError: as the demonstration says.
    """
    if arguments[:1] in (["--help"], ["-h"]):
        say(*_help())
        return 0
    named = bool(arguments) and not arguments[0].startswith("-")
    name, options = (arguments[0], arguments[1:]) if named else (DEFAULT, arguments)
    if name not in names():
        raise OptionError(f"there is no demonstration {name!r}; there are {', '.join(names())}")
    status = import_module(f".{name}.run", __package__).main(options)
    if not named and "--json" not in options:
        say(f"this was {DEFAULT}; tinyseq demo --help lists all demonstrations")
    return status


def _help() -> list[str]:
    width = max(map(len, names()))
    return [
        "usage: tinyseq demo [NAME] [options]",
        "",
        f"Runs a demonstration on the model that it brings along; {DEFAULT} where no name is given.",
        "",
        *(f"  {name:{width}}  {line(name)}" for name in names()),
        "",
        "tinyseq demo NAME --help lists the options of one.",
    ]
