"""``tinyseq demo sentiment``."""

from __future__ import annotations

import argparse
from pathlib import Path

import tinyseq
from tinyseq.tools.console import say, say_json

from .. import picture
from ..report import shown
from ..texts import add_options, checked, sentences, typed
from .picture import draw
from .words import UNKNOWN, Vocabulary, words

FOLDER = Path(__file__).parent
WHOLE, FORWARD, VOCABULARY = (
    FOLDER / name for name in ("sentiment.tinyseq", "forward.tinyseq", "vocabulary.txt")
)
SENTENCES = (
    "A gorgeous, witty and seductive film.",
    "The plot is dull and the jokes are awful.",
    "It starts as a boring and predictable mess, but the ending is surprisingly moving and beautiful.",
    "A good cast and a great director, wasted on a tedious script.",
)
BAR = 20
"""Blocks of a probability of 1."""


class Judge:
    """The models and the vocabulary."""

    def __init__(self) -> None:
        self._whole, self._forward = tinyseq.load(WHOLE), tinyseq.load(FORWARD)
        self.vocabulary = Vocabulary.read(VOCABULARY)

    def __call__(self, text: str) -> float:
        """The probability that a review is favourable, from all of it, read in both directions."""
        return float(self._whole.run({"words": self.vocabulary.numbers(text)[None]})["favourable"][0])

    def live(self, text: str) -> list[float]:
        """The same behind each word, from what was read until then: a stream, stepped word by word."""
        stream = self._forward.stream()
        steps = self.vocabulary.numbers(text)[:, None, None]
        return [float(stream.step({"words": word})["favourable"][0, 0]) for word in steps]


def main(arguments: list[str]) -> int:
    """Judges sentences; gives the exit status, 0.

    Raises:
        TinyseqError: a file cannot be read or the picture not written.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    judge = Judge()
    if args.interactive:
        for line in typed():
            say(*_lines(judge, line, live=True))
        return 0
    given = checked(args.sentence or []) or (sentences(args.text) if args.text else list(SENTENCES))
    if args.json:
        say_json([_report(judge, text) for text in given], indent=2)
    else:
        say(*(line for text in given for line in _lines(judge, text, live=not args.text)))
    if args.plot is not None:
        shown_ones = given[-4:]
        picture.write(args.plot, draw([(_read(text), judge.live(text), judge(text)) for text in shown_ones]))
        if not args.json:
            say(f"picture: {shown(args.plot)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo sentiment",
        description="Says whether a film review in English is favourable, by a GRU that reads it in both "
        "directions; and word by word, by the one that reads forward, how the mind changes.",
    )
    add_options(parser, "review", "judge")
    parser.add_argument("--json", action="store_true", help="print JSON, with a probability behind each word")
    picture.add_option(parser, None, "how the mind changes over the last four reviews")
    return parser


def _read(text: str) -> list[str]:
    """The words that the model reads."""
    return words(text) or [text]


def _lines(judge: Judge, text: str, live: bool) -> list[str]:
    probability = judge(text)
    verdict = "favourable" if probability > 0.5 else "unfavourable"
    head = f"{probability:4.0%} {verdict:12}  {text}"
    if not live:
        return [head]
    bars = [
        f"  {word[:24]:24} {one:4.0%} {'#' * round(one * BAR)}"
        for word, one in zip(_read(text), judge.live(text), strict=True)
    ]
    return [head, *bars, ""]


def _report(judge: Judge, text: str) -> dict:
    live = [round(one, 4) for one in judge.live(text)]
    return {
        "text": text,
        "favourable": round(judge(text), 4),
        "words": _read(text),
        "behind_each_word": live,
        "known": (judge.vocabulary.numbers(text) != UNKNOWN).tolist(),
    }
