"""``tinyseq run``: a model once, on given or random inputs."""

from __future__ import annotations

import argparse

from tinyseq.tools import inputs
from tinyseq.tools.commands.models import add_model, load_given
from tinyseq.tools.console import FINE, file_name, say, say_json, write_arrays


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(command)
    inputs.add_options(command)
    command.add_argument("--output", type=file_name, metavar="FILE", help="write the outputs to an .npz file")


def run(args: argparse.Namespace) -> int:
    """Runs the model, and prints or writes its outputs."""
    session = load_given(args)
    feeds = inputs.feeds_of(args, session)
    with inputs.size_hint(args, session):
        results = session.run(feeds)
    if args.output is not None:
        write_arrays(args.output, results)
    if args.json:
        say_json({name: array.tolist() for name, array in results.items()})
    else:
        for name, array in results.items():
            say(f"{name} {array.dtype}{list(array.shape)}", *str(array).split("\n"))
    return FINE
