"""``tinyseq demo actions``."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, OptionError
from tinyseq.tools.console import JSON_HELP, file_name, say, say_json

from .. import picture
from ..report import shown, table
from .classifier import MODEL, Classifier, samples
from .data import CHANNELS, MEAN_OF, RATE, read_csv, reduced
from .picture import draw

LOOKS = (1, 2, 4, 8)
"""When it is said what a movement is taken for: units of time into it."""


class Session(NamedTuple):
    """Movements one after the other, in one stream."""

    steps: np.ndarray
    """float32[steps, channels]"""
    rate: float
    """Steps in a unit of time."""
    unit: str
    """Of time: seconds, or steps where nobody says how long one is."""
    movements: list[tuple[int, str, str]]
    """Where they are known: the first step of each, what it is, and whose."""


def main(arguments: list[str]) -> int:
    """Runs the demonstration and gives the exit status, 0.

    Raises:
        TinyseqError: a file cannot be read, the picture not written, or a package is missing.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    if args.csv is None and args.model != MODEL:
        raise OptionError("--model needs a recording to watch; give --csv FILE too")
    classifier = Classifier(args.model)
    session = _own(args) if args.csv is not None else _shipped()
    probabilities, times = _streamed(classifier, session.steps)
    looks = _looks(session, probabilities, classifier.names)
    if not args.json:
        say(*_text(session, looks, times))
    known = [(first, name) for first, name, _ in session.movements]
    picture.write(
        args.plot, draw(session.steps, probabilities, classifier.names, session.rate, session.unit, known)
    )
    if args.json:
        say_json(
            {
                "steps": len(session.steps),
                "names": classifier.names,
                "movements": looks,
                "step_p50_us": float(np.percentile(times, 50)),
                "probabilities": probabilities.tolist(),
                "picture": shown(args.plot),
            }
        )
    else:
        say(f"picture: {shown(args.plot)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo actions",
        description="Tells which exercise a smartwatch's wearer does, while it is being done.",
    )
    parser.add_argument(
        "--csv",
        type=file_name,
        metavar="FILE",
        help=f"a recording of yours: a row a measurement, columns {', '.join(CHANNELS)} (g, rad/s) at "
        f"{RATE:.0f} Hz; with --model, the columns and the rate that it was trained on",
    )
    parser.add_argument(
        "--model",
        type=file_name,
        default=MODEL,
        metavar="FILE",
        help="a model of python -m examples.actions.train --folder (default: that of the exercises)",
    )
    picture.add_option(parser, Path("actions.png"), "the measurements and the probabilities")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _shipped() -> Session:
    """An exercise after the other, each of somebody whom the model was not trained on."""
    first, movements, parts = 0, [], []
    for name, steps in samples().items():
        exercise, _, person = name.partition(", ")
        movements.append((first, exercise, person))
        parts.append(steps)
        first += len(steps)
    return Session(np.concatenate(parts), RATE / MEAN_OF, "s", movements)


def _own(args: argparse.Namespace) -> Session:
    rows = read_csv(args.csv)
    if args.model != MODEL:
        return Session(rows, 1.0, "steps", [])
    if rows.shape[1] != len(CHANNELS):
        raise FeedError(
            f"{shown(args.csv)} has {rows.shape[1]} columns; the exercises' model hears {', '.join(CHANNELS)}"
        )
    if len(rows) < MEAN_OF:
        raise FeedError(f"{shown(args.csv)} has {len(rows)} rows; give {MEAN_OF} or more")
    return Session(reduced(rows), RATE / MEAN_OF, "s", [])


def _streamed(classifier: Classifier, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities after each step, and the microseconds that it took."""
    movement, made, times = classifier.stream(), [], []
    for step in steps:
        begin = perf_counter_ns()
        made.append(movement.push(step))
        times.append((perf_counter_ns() - begin) / 1000)
    return np.array(made), np.array(times)


def _looks(session: Session, probabilities: np.ndarray, names: list[str]) -> list[dict]:
    """What each movement is taken for, a while into it and over all of it."""
    movements = session.movements or [(0, "", "")]
    ends = [*(first for first, _, _ in movements[1:]), len(session.steps)]
    found = []
    for (first, name, person), end in zip(movements, ends, strict=True):
        after = {
            f"{time} {session.unit}": names[int(probabilities[first + int(time * session.rate) - 1].argmax())]
            for time in LOOKS
            if first + int(time * session.rate) <= end
        }
        mean = probabilities[first:end].mean(0)
        found.append(
            {
                "movement": name,
                "person": person,
                "after": after,
                "all": names[int(mean.argmax())],
                "share": float(mean.max()),
            }
        )
    return found


def _text(session: Session, looks: list[dict], times: np.ndarray) -> list[str]:
    heads = [f"{time} {session.unit}" for time in LOOKS]
    rows = [
        (
            look["movement"] or "the recording",
            *(_short(look["after"].get(head, "")) for head in heads),
            f"{look['all']} {look['share']:.0%}",
        )
        for look in looks
    ]
    right = sum(look["movement"] == look["all"] for look in looks)
    lines = table(("movement", *(f"after {head}" for head in heads), "all of it"), rows)
    if session.movements:
        lines.append(f"{right} of {len(looks)} right, of people whom the model was not trained on")
    lines.append(f"{len(session.steps)} steps, {np.percentile(times, 50):.0f} us each (p50)")
    return lines


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}."
