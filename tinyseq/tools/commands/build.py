"""``tinyseq build``: its arguments, and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyseq.export.targets import DEFAULT, TARGETS
from tinyseq.tools import inputs
from tinyseq.tools.commands.models import add_model, load_given
from tinyseq.tools.console import FINE, file_name, say, say_json


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(command)
    command.add_argument("--name", required=True, help="what the library is called and its names begin with")
    command.add_argument("--size", action="append", default=[], metavar="NAME=N", help="a named dimension")
    command.add_argument(
        "--input", action="append", default=[], metavar="NAME=VALUE", help="an input that never changes"
    )
    command.add_argument(
        "--inputs", type=file_name, metavar="FILE", help="an .npz file with inputs that never change"
    )
    command.add_argument(
        "--frames", type=int, metavar="N", help="the most frames of a step, which is told how many it gets"
    )
    command.add_argument("--rows", type=int, default=1, metavar="N", help="streams that are stepped together")
    command.add_argument("--target", default=DEFAULT, help=f"{', '.join(TARGETS)} (default {DEFAULT})")
    command.add_argument(
        "--isa",
        action="append",
        metavar="NAME",
        help="an instruction set of the target; of several, the best that the processor has is taken",
    )
    command.add_argument(
        "--output",
        type=file_name,
        default=Path(),
        metavar="DIR",
        help="the folder to write to (default .)",
    )
    command.add_argument(
        "--check", action="store_true", help="run it on random chunks and compare with Python bit for bit"
    )
    command.add_argument(
        "--npm",
        metavar="NAME",
        help="for wasm32: make the folder a package of npm of this name, NAME or NAME@VERSION",
    )


def run(args: argparse.Namespace) -> int:
    """Builds a library and says what came of it."""
    # Imported here: it needs what most commands do not.
    from tinyseq.export.libraries import c_library

    session = load_given(args)
    built = c_library(
        session,
        args.output,
        name=args.name,
        sizes=inputs.sizes_of(args),
        inputs=inputs.given_of(args, session),
        frames=args.frames,
        rows=args.rows,
        target=args.target,
        isas=args.isa,
        check=args.check,
        npm=args.npm,
    )
    found = {kind: {"path": str(path), "bytes": path.stat().st_size} for kind, path in built.files.items()}
    if args.json:
        say_json({**built._asdict(), "files": found})
        return FINE
    for file in found.values():
        say(f"wrote {file['path']} ({file['bytes']:,} bytes)")
    say(f"  weights {built.weight_bytes:,} bytes")
    say(f"  a state {built.state_bytes:,} bytes, the scratch of a step {built.scratch_bytes:,}")
    if args.check:
        say(f"  checked {built.checked_steps} steps: the bits are Python's")
    return FINE
