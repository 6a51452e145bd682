"""``tinyseq demo frames``."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from tinyseq.tools.console import JSON_HELP, say, say_json

from .. import picture
from ..report import shown, table
from .data import films
from .foresight import Foresight
from .picture import draw
from .scores import errors

SEEN, AHEAD = 6, 6
FILMS = 3
"""Films that are drawn."""
TESTED = 100
TEST_SEED = 1_000_000
"""Far from all seeds of the training's films."""


def main(arguments: list[str]) -> int:
    """Runs the demonstration and gives the exit status, 0.

    Raises:
        TinyseqError: the picture is not written, or a package is missing.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    shots = films(FILMS, SEEN + AHEAD, args.seed)
    drawn, times = _drawn(shots)
    found = errors(TESTED, SEEN, AHEAD, TEST_SEED)
    if not args.json:
        say(*_text(found, times))
    picture.write(args.plot, draw(shots, drawn, SEEN))
    if args.json:
        say_json(
            {
                "seen": SEEN,
                "ahead": AHEAD,
                "films": TESTED,
                "errors": {name: made.tolist() for name, made in found.items()},
                "frame_p50_us": float(np.percentile(times, 50)),
                "picture": shown(args.plot),
            },
            indent=2,
        )
    else:
        say(f"picture: {shown(args.plot)}")
    return 0


def _text(found: dict[str, np.ndarray], times: np.ndarray) -> list[str]:
    steps = range(1, AHEAD + 1)
    rows = [(name, *(f"{made[step - 1]:.4f}" for step in steps)) for name, made in found.items()]
    return [
        f"{TESTED} films of which {SEEN} frames are seen and {AHEAD} drawn, each from the one drawn before",
        *table(("squared error", *(f"frame +{step}" for step in steps)), rows),
        f"a frame took {np.percentile(times, 50):.0f} us (p50)",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo frames",
        description="Sees two shapes move and bounce for some frames, and goes on drawing what comes next.",
    )
    parser.add_argument(
        "--seed", type=_seed, default=TEST_SEED, metavar="NUMBER", help="which films are drawn"
    )
    picture.add_option(parser, Path("frames.png"), "what came and what was drawn")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _seed(text: str) -> int:
    """A whole number from 0 on, for argparse."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _drawn(shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of films as the model draws them, and the microseconds that each frame took that it saw."""
    made, times = [], []
    for shot in shots:
        foresight = Foresight()
        for frame in shot[:SEEN]:
            begin = perf_counter_ns()
            foresight.push(frame)
            times.append((perf_counter_ns() - begin) / 1000)
        made.append(foresight.ahead(AHEAD))
    return np.stack(made), np.array(times)
