"""The command line: ``tinyseq inspect | run | verify | convert | build | generate | decode | demo |
serve``.

Exit status: 0 fine, 1 a check failed, 2 wrong usage, 3 a model or file cannot be read or used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tinyseq import __version__
from tinyseq.common.text import printable
from tinyseq.demo import command as demo
from tinyseq.errors import FeedError, OptionError, TinyseqError
from tinyseq.serve import command as serve
from tinyseq.tools import console
from tinyseq.tools.commands import build, convert, decode, generate, inspect, run, verify
from tinyseq.tools.console import FINE, UNREADABLE, USAGE

COMMANDS = {
    "inspect": (inspect, "what a model, or a file of weights, is made of, and what a step of it costs"),
    "run": (run, "run a model once on given or random inputs"),
    "verify": (verify, "compare with the float64 reference and onnxruntime"),
    "convert": (convert, "write a model in tinyseq's own format"),
    "build": (build, "make a model a C library, weights and kernels inside"),
    "generate": (generate, "what an encoder and a decoder generate for inputs"),
    "decode": (decode, "turn rows of a CTC model, or what a transducer hears, into tokens or text"),
    "serve": (serve, "serve models to live streams and requests"),
}
"""Modules with ``add_arguments`` and ``run``, and what they are for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    console.prepare()
    try:
        try:
            args = _parser().parse_args(arguments)
            return args.command(args)
        finally:
            console.flush()
    except TinyseqError as error:
        print(f"tinyseq: {error}", file=sys.stderr)
        return USAGE if isinstance(error, (FeedError, OptionError)) else UNREADABLE
    except BrokenPipeError:
        console.abandon()
        return FINE
    except OSError as error:
        console.abandon()
        print(f"tinyseq: {printable(str(error))}", file=sys.stderr)
        return UNREADABLE
    except MemoryError as error:
        print(f"tinyseq: there is not enough memory: {printable(str(error))}", file=sys.stderr)
        return UNREADABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinyseq", description="Runs recurrent sequence models.")
    parser.add_argument("--version", action="version", version=f"tinyseq {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        module.add_arguments(command)
        command.set_defaults(command=module.run)
    demo.add_parser(commands)
    return parser
