"""``tinyseq verify``: a model beside the float64 reference and onnxruntime, or streams beside runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from tinyseq.errors import OptionError
from tinyseq.reference import Watch
from tinyseq.tools import inputs
from tinyseq.tools.commands.models import add_model, frame_sizes_not_given, load_given
from tinyseq.tools.console import FAILED, FINE, say, say_json
from tinyseq.tools.stream_check import FRAMES, check_stream
from tinyseq.tools.verify import table, verify


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(command)
    inputs.add_options(command)
    command.add_argument("--stream", action="store_true", help="see if streams give the same bits as a run")
    command.add_argument(
        "--tolerance",
        type=_share,
        metavar="SHARE",
        help="the most that results may differ, as a share of max(1, largest |value|); without it, what the "
        "rounding of float32, or the steps of a quantised model, leaves open",
    )


def _share(text: str) -> float:
    """A finite number from 0 on, for argparse."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def run(args: argparse.Namespace) -> int:
    """Compares, and prints what was found."""
    session = load_given(args)
    if args.stream and args.tolerance is not None:
        raise OptionError(
            "--stream compares bits, of which --tolerance allows none to differ; give one of them"
        )
    if args.stream:
        args.size += [f"{name}={FRAMES}" for name in frame_sizes_not_given(args, session)]
        with inputs.size_hint(args, session):
            report = check_stream(session, inputs.feeds_of(args, session), seed=args.seed)
        say(*([report.as_json()] if args.json else map(str, report.findings)))
        return FINE if report.passed else FAILED
    feeds = inputs.feeds_of(args, session)
    with inputs.size_hint(args, session), _progress() as watching:
        rows = verify(session, args.model, feeds, watching, args.tolerance)
    passed = all(row.within for row in rows)
    if args.json:
        say_json({"passed": passed, "comparisons": [asdict(row) for row in rows]})
    else:
        say(*table(rows, args.tolerance))
    return FINE if passed else FAILED


@contextmanager
def _progress() -> Iterator[Callable[[int], Watch] | None]:
    """A bar over the nodes that the reference computes, on a terminal and where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    with tqdm(unit="op", leave=False, file=sys.stderr, disable=None) as bar:

        def watching(count: int) -> Watch:
            bar.reset(count)
            return lambda node, inputs, outputs: bar.update()

        yield watching
