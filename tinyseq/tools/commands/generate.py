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

HELP = {
    "decoder_start_token_id": "the token that the decoder is given first",
    "eos_token_id": "the token, or tokens with commas, that end a sequence",
    "max_new_tokens": "tokens after which a sequence is cut",
    "prefix": "tokens with commas that follow the start and are not chosen",
    "repetition_penalty": "above 1: tokens that are there already become less likely",
    "no_repeat_ngram_size": "no sequence of so many tokens occurs twice; 0: any may",
    "min_new_tokens": "tokens below which none that ends is chosen",
    "forced_bos_token_id": "the first token, whatever the model says",
    "forced_eos_token_id": "the token at which a sequence is cut by --max-new-tokens",
    "suppress_tokens": "tokens in brackets, [7,8], that are never chosen",
    "begin_suppress_tokens": "tokens in brackets that are not chosen as the first",
    "output_attentions": "true: keep the attention over the source, for --json",
    "num_return_sequences": "of beam and sampling: sequences an input",
    "temperature": "of sampling: what scores are divided by; below 1 the likely becomes likelier",
    "top_k": "of sampling: only the so many likeliest tokens; 0: all",
    "top_p": "of sampling: only the likeliest tokens that have this probability together",
    "min_p": "of sampling: only tokens of this share of the likeliest one's probability",
    "typical_p": "of sampling: only the most typical tokens that have this probability together",
    "seed": "of sampling: of the random numbers",
    "num_beams": "of beam search: sequences that go on from step to step",
    "length_penalty": "of beam search: scores are divided by length to this power; 0: sums alone",
    "early_stopping": "of beam search: true: ends once --num-beams have finished; never: searches longest",
    "patience": "of beam search: how many times as many as --num-beams must finish",
    "compete": "of beam search: true: finished sequences keep their places among the others",
    "coverage_penalty": "of beam search: prefers sequences that attend to all of the source",
    "num_beam_groups": "of beam search: groups that are searched one after the other",
    "diversity_penalty": "of beam search: taken off tokens that an earlier group chose",
}
"""Options of the methods, and what they are in a line."""


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
    options = command.add_argument_group(
        "options of the method",
        "in full: help(tinyseq.Greedy), help(tinyseq.Beam) and help(tinyseq.Sampling) in Python",
    )
    for name, field in _NAMES.items():
        flag = f"--{name.replace('_', '-')}"
        default = "" if field.default in (None, ()) else f" (default {json.dumps(field.default)})"
        options.add_argument(
            flag, type=_value, default=argparse.SUPPRESS, metavar="VALUE", help=HELP[name] + default
        )


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
