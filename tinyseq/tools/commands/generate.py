"""``tinyseq generate``: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields

from tinyseq.common.text import printable
from tinyseq.decode.generation.decoder import Decoder
from tinyseq.decode.generation.generate import generate
from tinyseq.decode.generation.options import Beam, Generation, Greedy, Sampling
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.decode.vocabulary import read_vocabulary, text_of
from tinyseq.errors import OptionError
from tinyseq.runtime.loading import load
from tinyseq.tools import inputs
from tinyseq.tools.commands.models import add_model, load_given
from tinyseq.tools.console import FINE, file_name, say_json

METHODS = {"greedy": Greedy, "beam": Beam, "sampling": Sampling}
_NAMES = {field.name: field for method in METHODS.values() for field in fields(method)}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(command)
    command.add_argument("--encoder", type=file_name, metavar="FILE", help="the model that is run first")
    command.add_argument("--inputs", type=file_name, metavar="FILE", help="an .npz file with inputs by name")
    command.add_argument("--method", choices=METHODS, default="beam", help="(default beam)")
    for name in ("tokens", "scores", "attention"):
        command.add_argument(
            f"--{name}", metavar="NAME", help=f"the decoder's {name}, if not found by itself"
        )
    command.add_argument("--kind", metavar="KIND", help="logits, log_probabilities or probabilities")
    command.add_argument("--rows", metavar="NAME", help="the dimension of rows, if not found by itself")
    command.add_argument(
        "--connect",
        action="append",
        default=[],
        metavar="INPUT=OUTPUT",
        help="what of the encoder goes where",
    )
    command.add_argument(
        "--vocabulary",
        type=file_name,
        metavar="FILE",
        help="tokens, one a line, with or without their numbers, or a JSON list or {token: number}",
    )
    command.add_argument("--separator", default="", help="between the tokens of a text (default nothing)")
    options = command.add_argument_group("options of the method", "see tinyseq.Greedy, Beam and Sampling")
    for name in _NAMES:
        flag = f"--{name.replace('_', '-')}"
        options.add_argument(flag, type=_value, default=argparse.SUPPRESS, metavar="VALUE")


def _value(text: str) -> object:
    """A number, a list in brackets or with commas, true, false, or a word."""
    for form in (text, f"[{text}]") if "," in text else (text,):
        try:
            return json.loads(form)
        except (ValueError, RecursionError):
            continue
    return text


def run(args: argparse.Namespace) -> int:
    """Generates, and prints what came of it."""
    asked = _options(args)
    known = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    decoder = Decoder(
        load_given(args),
        None
        if args.encoder is None
        else load(args.encoder, device=args.device, precision=args.precision, threads=args.threads),
        tokens=args.tokens,
        scores=args.scores,
        kind=args.kind,
        attention=args.attention,
        rows=args.rows,
        connect=inputs.pairs(args.connect, "--connect"),
    )
    found = [
        [_described(hypothesis, known, args.separator) for hypothesis in hypotheses]
        for hypotheses in generate(decoder, inputs.arrays_of(args), asked)
    ]
    if args.json:
        say_json(found)
    else:
        print(*_lines(found), sep="\n")
    return FINE


def _options(args: argparse.Namespace) -> Generation:
    """The options that the arguments ask for."""
    method = METHODS[args.method]
    own = {field.name for field in fields(method)}
    given = {name: getattr(args, name) for name in _NAMES if hasattr(args, name)}
    for name in given:
        if name not in own:
            raise OptionError(f"--{name.replace('_', '-')} is no option of --method {args.method}")
    return method(**given)


def _described(hypothesis: Hypothesis, known: dict[int, str] | None, separator: str) -> dict[str, object]:
    """A hypothesis as plain values, its text among them if there is a vocabulary."""
    shown: dict[str, object] = {
        "tokens": hypothesis.tokens,
        "score": hypothesis.score,
        "token_scores": hypothesis.token_scores,
        "finished": hypothesis.finished,
    }
    if known is not None:
        shown["text"] = text_of(
            (known.get(token, f"<{token}>") for token in hypothesis.tokens), separator=separator
        )
    if hypothesis.attention is not None:
        shown["attention"] = hypothesis.attention.tolist()
    return shown


def _lines(found: list[list[dict[str, object]]]) -> list[str]:
    """A line a hypothesis: the input's number, the score, the text or the tokens, with tabs between."""
    return [
        f"{number}\t{shown['score']:.4f}\t{printable(shown.get('text', ' '.join(map(str, shown['tokens']))))}"
        for number, hypotheses in enumerate(found)
        for shown in hypotheses
    ]
