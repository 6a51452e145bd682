"""``tinyseq demo generate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

import tinyseq
from tinyseq.common.text import printable
from tinyseq.tools.console import file_name, say

from .. import picture
from ..report import shown
from ..subwords import UNKNOWN, Subwords
from ..texts import read
from .picture import draw
from .pieces import LINE, VOCABULARY, cut, named, numbers
from .pieces import shown as spelt
from .score import Surprises, surprises

MODEL = Path(__file__).with_name("generate.tinyseq")
METHODS = ("sampling", "greedy", "beam")
PROMPT = "And it came to pass"
REPEATED = 8
"""Pieces that beam search does not write twice in the same order."""


def main(arguments: list[str]) -> int:
    """Writes on from a prompt, or scores a text; gives the exit status, 0.

    Raises:
        TinyseqError: an option is out of its range, or the text cannot be read.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    model, subwords = tinyseq.load(MODEL), Subwords.read(VOCABULARY)
    if args.text is not None:
        found = surprises(model, subwords, read(args.text))
        say(*_score(shown(args.text), found))
    else:
        decoder = tinyseq.Decoder(model)
        methods = METHODS if args.method == "all" else (args.method,)
        written = [_write(decoder, subwords, method, args) for method in methods]
        found = surprises(model, subwords, args.prompt + written[0])
    if args.plot is not None:
        picture.write(args.plot, draw(found.pieces, found.bits))
        say(f"picture: {shown(args.plot)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo generate",
        description="Writes on from a prompt like the King James Bible, a piece of a word at a time, by two "
        "LSTM layers. Or says how well it foresees a text.",
    )
    parser.add_argument("--prompt", default=PROMPT, help="what it writes on from (default: %(default)r)")
    parser.add_argument(
        "--method",
        choices=("all", *METHODS),
        default="all",
        help="how the next piece is chosen: drawn by its probability, the likeliest one, or by a search "
        "for the likeliest text (default: each in turn)",
    )
    parser.add_argument(
        "--length", type=int, default=100, metavar="N", help="pieces to write (default: %(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="X",
        help="of sampling: below 1 the likely becomes likelier (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=0.95,
        metavar="P",
        help="of sampling: only the likeliest pieces that have this probability together "
        "(default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of sampling (default: %(default)s)")
    parser.add_argument(
        "--beams", type=int, default=8, metavar="N", help="of beam search (default: %(default)s)"
    )
    parser.add_argument(
        "--text", type=file_name, metavar="FILE", help="a text to score, in UTF-8, instead of writing one"
    )
    picture.add_option(parser, None, "how well the model foresaw each piece of the text")
    return parser


def _options(
    method: str, prefix: list[int], args: argparse.Namespace
) -> tinyseq.Greedy | tinyseq.Sampling | tinyseq.Beam:
    shared = {"prefix": prefix, "max_new_tokens": args.length, "suppress_tokens": [UNKNOWN]}
    if method == "greedy":
        return tinyseq.Greedy(**shared)
    if method == "beam":
        return tinyseq.Beam(num_beams=args.beams, no_repeat_ngram_size=REPEATED, **shared)
    return tinyseq.Sampling(temperature=args.temperature, top_p=args.top_p, seed=args.seed, **shared)


def _title(method: str, args: argparse.Namespace) -> str:
    settings = {
        "sampling": f"temperature {args.temperature}, top-p {args.top_p}, seed {args.seed}",
        "greedy": "the likeliest piece each time",
        "beam": f"{args.beams} beams, no {REPEATED} pieces twice",
    }
    return f"--- {method}: {settings[method]}"


def _write(decoder: tinyseq.Decoder, subwords: Subwords, method: str, args: argparse.Namespace) -> str:
    """Prints what the model writes, each piece as it is chosen where the search knows it; gives it."""
    prompt = cut(subwords, args.prompt)
    last = prompt[-1] if prompt else LINE

    def typed(_input: int, _sequence: int, token: int) -> None:
        nonlocal last
        (part,) = named(subwords, [token])
        print(*spelt([part], last), end="", flush=True)
        last = part

    options = _options(method, numbers(subwords, prompt).tolist(), args)
    say(_title(method, args))
    print(printable(args.prompt), end="", flush=True)
    begin = perf_counter()
    ((best,),) = tinyseq.generate(decoder, {}, options, streamer=None if method == "beam" else typed)
    seconds = perf_counter() - begin
    written = "".join(spelt(named(subwords, best.tokens), prompt[-1] if prompt else LINE))
    print(written if method == "beam" else "")
    say(f"({len(best.tokens) / seconds:,.0f} pieces a second)", "")
    return written


def _score(name: str, found: Surprises) -> list[str]:
    """What is said of a text."""
    lines = [
        f"{name}: {found.characters:,} characters in {len(found.pieces):,} pieces, {found.mean:.3f} bits "
        f"per character, perplexity {2**found.mean:.2f}"
    ]
    unknown = int(np.count_nonzero(found.unknown))
    if unknown:
        lines.append(f"{unknown:,} of them are none that the model knows; they count as one character")
    lines.append("hardest to foresee:")
    for at in np.argsort(-found.bits, kind="stable")[:5]:
        before = "".join(found.pieces[:at])[-30:].replace("\n", " / ")
        lines.append(f"  {found.bits[at]:5.1f} bits  ...{before}[{found.pieces[at]!r}]")
    return lines
