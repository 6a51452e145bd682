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
from ..texts import read
from .characters import OTHER, numbers, text
from .picture import draw
from .score import surprises

MODEL = Path(__file__).with_name("generate.tinyseq")
METHODS = ("sampling", "greedy", "beam")
PROMPT = "And it came to pass"


def main(arguments: list[str]) -> int:
    """Writes on from a prompt, or scores a text; gives the exit status, 0.

    Raises:
        TinyseqError: an option is out of its range, or the text cannot be read.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    model = tinyseq.load(MODEL)
    if args.text is not None:
        given = read(args.text)
        bits = surprises(model, given)
        say(*_score(shown(args.text), given, bits))
    else:
        decoder = tinyseq.Decoder(model)
        written = [
            _write(decoder, method, args) for method in (METHODS if args.method == "all" else (args.method,))
        ]
        given = args.prompt + written[0]
        bits = surprises(model, given)
    if args.plot is not None:
        picture.write(args.plot, draw(given, bits))
        say(f"picture: {shown(args.plot)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo generate",
        description="Writes on from a prompt like the King James Bible, one character at a time, by two LSTM "
        "layers. Or says how well it foresees a text.",
    )
    parser.add_argument("--prompt", default=PROMPT, help="what it writes on from (default: %(default)r)")
    parser.add_argument(
        "--method",
        choices=("all", *METHODS),
        default="all",
        help="how the next character is chosen: drawn by its probability, the likeliest one, or by a search "
        "for the likeliest text (default: each in turn)",
    )
    parser.add_argument(
        "--length", type=int, default=300, metavar="N", help="characters to write (default: %(default)s)"
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
        help="of sampling: only the likeliest characters that have this probability together "
        "(default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of sampling (default: %(default)s)")
    parser.add_argument(
        "--beams", type=int, default=8, metavar="N", help="of beam search (default: %(default)s)"
    )
    parser.add_argument(
        "--text", type=file_name, metavar="FILE", help="a text to score, in UTF-8, instead of writing one"
    )
    picture.add_option(parser, None, "how well the model foresaw each character of the text")
    return parser


def _options(method: str, args: argparse.Namespace) -> tinyseq.Greedy | tinyseq.Sampling | tinyseq.Beam:
    shared = {
        "prefix": numbers("\n" + args.prompt).tolist(),
        "max_new_tokens": args.length,
        "suppress_tokens": [OTHER],
    }
    if method == "greedy":
        return tinyseq.Greedy(**shared)
    if method == "beam":
        return tinyseq.Beam(num_beams=args.beams, no_repeat_ngram_size=24, **shared)
    return tinyseq.Sampling(temperature=args.temperature, top_p=args.top_p, seed=args.seed, **shared)


def _title(method: str, args: argparse.Namespace) -> str:
    settings = {
        "sampling": f"temperature {args.temperature}, top-p {args.top_p}, seed {args.seed}",
        "greedy": "the likeliest character each time",
        "beam": f"{args.beams} beams, no 24 characters twice",
    }
    return f"--- {method}: {settings[method]}"


def _write(decoder: tinyseq.Decoder, method: str, args: argparse.Namespace) -> str:
    """Prints what the model writes, each character as it is chosen where the search knows it; gives it."""

    def typed(_input: int, _sequence: int, token: int) -> None:
        print(text([token]), end="", flush=True)

    options = _options(method, args)
    say(_title(method, args))
    print(printable(args.prompt), end="", flush=True)
    begin = perf_counter()
    live = None if method == "beam" else typed
    ((best,),) = tinyseq.generate(decoder, {}, options, streamer=live)
    seconds = perf_counter() - begin
    written = text(best.tokens)
    print(written if live is None else "")
    say(f"({len(best.tokens) / seconds:,.0f} characters a second)", "")
    return written


def _score(name: str, given: str, bits: np.ndarray) -> list[str]:
    """What is said of a text, given the bits of its characters."""
    mean = bits.mean()
    lines = [f"{name}: {len(bits):,} characters, {mean:.3f} bits each, perplexity {2**mean:.2f}"]
    unknown = int(np.count_nonzero(numbers(given) == OTHER))
    if unknown:
        lines.append(f"{unknown:,} of them are none that the model knows; they count as one character")
    lines.append("hardest to foresee:")
    for at in np.argsort(-bits, kind="stable")[:5]:
        before = given[max(at - 30, 0) : at].replace("\n", " / ")
        lines.append(f"  {bits[at]:5.1f} bits  ...{before}[{given[at]!r}]")
    return lines
