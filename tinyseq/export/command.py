"""``tinyseq build``: its arguments, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinyseq.export.targets import DEFAULT, TARGETS
from tinyseq.runtime.session import Session
from tinyseq.tools.console import file_name, say, say_json


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
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


def build(
    args: argparse.Namespace, session: Session, sizes: Mapping[str, int], inputs: Mapping[str, np.ndarray]
) -> None:
    """Builds a library and says what came of it."""
    # Imported here: it needs what most commands do not.
    from tinyseq.export.libraries import c_library

    built = c_library(
        session,
        args.output,
        name=args.name,
        sizes=sizes,
        inputs=inputs,
        frames=args.frames,
        rows=args.rows,
        target=args.target,
        check=args.check,
        npm=args.npm,
    )
    found = {kind: {"path": str(path), "bytes": path.stat().st_size} for kind, path in built.files.items()}
    if args.json:
        say_json({**built._asdict(), "files": found})
        return
    for file in found.values():
        say(f"wrote {file['path']} ({file['bytes']:,} bytes)")
    say(f"  weights {built.weight_bytes:,} bytes")
    say(f"  a state {built.state_bytes:,} bytes, the scratch of a step {built.scratch_bytes:,}")
    if args.check:
        say(f"  checked {built.checked_steps} steps: the bits are Python's")
