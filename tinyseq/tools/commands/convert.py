"""``tinyseq convert``: a model in tinyseq's own format, and what precisions make of it."""

from __future__ import annotations

import argparse

from tinyseq.backends import ALL_PRECISIONS, PRECISIONS
from tinyseq.common.files import same
from tinyseq.errors import FeedError, OptionError
from tinyseq.runtime.session import Session
from tinyseq.tools import inputs, narrowing
from tinyseq.tools.commands.models import add_model, frame_sizes_not_given, load_as, load_given
from tinyseq.tools.console import FINE, file_name, say, say_json
from tinyseq.tools.stream_check import FRAMES


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(command)
    inputs.add_options(command)
    command.add_argument("output", type=file_name, nargs="?", help="the .tinyseq file to write")
    command.add_argument(
        "--compare", action="store_true", help="tell of each precision its bytes and what the outputs lose"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the model, and prints what its precision, or all of them, make of it."""
    output = args.output
    if output is None and not args.compare:
        raise OptionError("convert takes the .tinyseq file to write, or --compare, which needs none")
    if output is not None and same(args.model, output):
        raise OptionError(f"{output} is the model itself, which is not overwritten; give another name")
    session = load_given(args)
    found, why = _roundings(args, session)
    if output is not None:
        session.save(output)
    if args.json:
        written = {} if output is None else {"output": str(output), "bytes": output.stat().st_size}
        say_json(written | ({"precisions": [row.as_json() for row in found]} if found else {}))
        return FINE
    if output is not None:
        say(f"wrote {output} ({output.stat().st_size:,} bytes)")
    if found:
        say(*narrowing.table(found))
        say(*([f"outputs were not compared: {why}"] if why else []))
    return FINE


def _roundings(args: argparse.Namespace, session: Session) -> tuple[list[narrowing.Rounding], str]:
    """What precisions make of the model: all, to compare, or the one at hand beside float32; and why their
    outputs are not compared, where they are not."""
    if not args.compare and session.computed.precision == ALL_PRECISIONS[0]:
        return [], ""
    asked = PRECISIONS["cpu"] if args.compare else (ALL_PRECISIONS[0], session.precision)
    args.device = "cpu"
    feeds, why = None, ""
    try:
        if session.streams:
            args.size += [f"{name}={FRAMES}" for name in frame_sizes_not_given(args, session)]
        with inputs.size_hint(args, session):
            feeds = inputs.feeds_of(args, session)
            session.run(feeds)
    except FeedError as error:
        if args.input or args.inputs:
            raise
        feeds, why = None, str(error)
    exact = load_as(args, ALL_PRECISIONS[0])
    made = (exact if name == exact.precision else load_as(args, name) for name in asked)
    return [narrowing.rounding(one, exact, feeds) for one in made], why
