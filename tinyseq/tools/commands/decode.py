"""``tinyseq decode``: rows of a CTC model, or what a transducer hears, as text or JSON."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from tinyseq.decode.ctc.decoder import CtcDecoder
from tinyseq.decode.ctc.options import CtcBeamSearch, CtcGreedy
from tinyseq.decode.frames.rows import SCORES
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.decode.lm.arpa import is_arpa, read_arpa
from tinyseq.decode.lm.kenlm import read_kenlm
from tinyseq.decode.lm.language_model import LanguageModel
from tinyseq.decode.transducer.decoder import TransducerDecoder
from tinyseq.decode.transducer.models import Transducer
from tinyseq.decode.transducer.options import TransducerBeamSearch, TransducerGreedy
from tinyseq.decode.transducer.requests import TransducerModel
from tinyseq.decode.vocabulary import as_strings, read_lexicon, read_vocabulary
from tinyseq.decode.words import word_times
from tinyseq.errors import FeedError, OptionError
from tinyseq.tools import inputs
from tinyseq.tools.commands.models import add_model, load_given
from tinyseq.tools.console import FINE, file_name, read_arrays, say, say_json

NUMBERS = {
    "beam_width": (int, "hypotheses that go on from frame to frame"),
    "beam_prune_logp": (
        float,
        "how far below the best a hypothesis may be (default -10; with a lexicon -25)",
    ),
    "token_min_logp": (float, "tokens below are left out of a frame (default -5; with a lexicon -12)"),
    "tokens_per_frame": (int, "the most tokens that take part in a frame"),
    "nbest": (int, "hypotheses to print"),
    "horizon": (int, "frames behind which hypotheses must agree"),
    "alpha": (float, "the language model's weight"),
    "beta": (float, "what each word or token adds"),
    "unk_score_offset": (float, "what each unknown word or token adds"),
    "hotword_weight": (float, "of hotwords without one of their own"),
    "max_symbols": (int, "of a transducer, greedy: tokens after which a frame is over"),
    "blank_penalty": (float, "of a transducer: taken off the blank's score"),
    "temperature": (float, "of a transducer: what scores are divided by"),
}
"""Options of the methods that are a number: their type and what they are."""

METHODS = {
    ("CTC", False): CtcBeamSearch,
    ("CTC", True): CtcGreedy,
    ("transducer", False): TransducerBeamSearch,
    ("transducer", True): TransducerGreedy,
}
"""By what the model is and whether the search is greedy."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(
        command,
        "an .npy or .npz file of rows, a model that gives them, or the folder of a transducer's models",
    )
    inputs.add_options(command)
    defaults = {field.name: field.default for method in METHODS.values() for field in fields(method)}
    defaults |= {field.name: field.default for field in fields(CtcBeamSearch)}
    command.add_argument(
        "--name", help="the array of the .npz file, or the model's output, that holds the rows or frames"
    )
    command.add_argument(
        "--start", type=_whole_numbers, metavar="N,N", help="tokens that a transducer's predictor begins with"
    )
    command.add_argument(
        "--scores",
        choices=SCORES,
        help="what the rows are (default logp: natural logarithms of probabilities)",
    )
    command.add_argument(
        "--time-axis", type=int, metavar="N", help="the axis of the frames (default the last but one)"
    )
    command.add_argument(
        "--lengths", type=_whole_numbers, metavar="N,N", help="frames of each sequence of a batch"
    )
    command.add_argument(
        "--frame-seconds",
        type=float,
        metavar="SECONDS",
        help="how long a frame lasts: JSON then has words with start and end (needs --vocabulary)",
    )
    command.add_argument("--blank", type=int, default=0, help="the blank's id (default 0)")
    command.add_argument(
        "--vocabulary",
        type=file_name,
        metavar="FILE",
        help="the tokens' strings: a line for each, with or without its number, or a JSON list or dict",
    )
    command.add_argument(
        "--greedy", action="store_true", help="the likeliest token each time, no beam search"
    )
    command.add_argument(
        "--no-length-norm", action="store_true", help="of a transducer: rank results by whole scores"
    )
    for name, (kind, what) in NUMBERS.items():
        shown = "" if defaults[name] is None else f" (default {defaults[name]:g})"
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, help=what + shown)
    command.add_argument(
        "--lm",
        type=file_name,
        metavar="FILE",
        help="an n-gram model: an ARPA file, plain or compressed by gzip, or a binary of KenLM's",
    )
    command.add_argument("--lm-level", choices=("token", "word"), help="what its words are (default word)")
    command.add_argument(
        "--word-separator", metavar="TEXT", help="what parts words in the vocabulary (default a blank)"
    )
    command.add_argument(
        "--lexicon",
        type=file_name,
        metavar="FILE",
        help="the only words that are allowed, a line for each, with or without the tokens that spell it",
    )
    command.add_argument(
        "--hotword", action="append", default=[], metavar="TEXT[=WEIGHT]", help="a word or phrase to prefer"
    )


def _whole_numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def run(args: argparse.Namespace) -> int:
    """Decodes, and prints what was found."""
    if args.model.is_dir():
        return _decode_transducer(args)
    if args.model.suffix == ".npy":
        arrays = {args.model.stem: read_arrays(args.model)}
    elif args.model.suffix == ".npz":
        arrays = read_arrays(args.model)
    else:
        session = load_given(args)
        with inputs.size_hint(args, session):
            arrays = session.run(inputs.feeds_of(args, session))
    _decode(args, arrays)
    return FINE


def _decode_transducer(args: argparse.Namespace) -> int:
    if args.state:
        raise FeedError("--state names what one model carries; a transducer's models are found without it")
    transducer = Transducer.load(args.model, start=args.start)
    if transducer.encoder is None:
        raise FeedError(f"{args.model} holds no encoder, so there is nothing to decode")
    with inputs.size_hint(args, transducer.encoder):
        frames = transducer.encode(inputs.feeds_of(args, transducer.encoder), args.name)
    _decode_frames(args, transducer, frames)
    return FINE


def _decode(args: argparse.Namespace, arrays: Mapping[str, np.ndarray]) -> None:
    """Decodes the rows that one of the arrays is, and prints what was found."""
    if args.start is not None:
        raise OptionError("--start is for the folder of a transducer")
    logp = _rows(args, _chosen(args, arrays))
    options = _options(args, "CTC")
    _print(args, CtcDecoder(options).decode(logp, args.lengths), logp.ndim == 3, options)


def _decode_frames(args: argparse.Namespace, transducer: TransducerModel, frames: np.ndarray) -> None:
    """Decodes frames [N, T, C] of a transducer's encoder, and prints what was found."""
    if args.scores is not None or args.time_axis is not None:
        raise OptionError("--scores and --time-axis are for rows of CTC models; leave them out")
    options = _options(args, "transducer")
    _print(args, TransducerDecoder(transducer, options).decode(frames, args.lengths), True, options)


def _print(args: argparse.Namespace, found: list, is_batch: bool, options: object) -> None:
    sequences = found if is_batch else [found]
    if args.json:
        say_json({"sequences": [[_described(one, args, options) for one in best] for best in sequences]})
        return
    for best in sequences:
        for hypothesis in best:
            say(_line(hypothesis, scored=len(best) > 1))
        if not best:
            say("")


def _described(hypothesis: Hypothesis, args: argparse.Namespace, options: object) -> dict[str, object]:
    """A hypothesis as plain values."""
    shown = {name: getattr(hypothesis, name) for name in ("tokens", "score", "frames", "confidences", "text")}
    if args.frame_seconds is not None:
        separator = args.word_separator
        words = word_times(hypothesis, options.vocabulary, args.frame_seconds, word_separator=separator)
        shown["words"] = [word._asdict() for word in words]
    return shown


def _line(hypothesis: Hypothesis, scored: bool) -> str:
    tokens = " ".join(map(str, hypothesis.tokens))
    text = tokens if hypothesis.text is None else hypothesis.text
    return f"{hypothesis.score:10.4f}  {text}" if scored else text


def _chosen(args: argparse.Namespace, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if args.name is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if args.name not in arrays:
        raise OptionError(f"--name says which array holds the rows: {', '.join(arrays)}")
    return arrays[args.name]


def _rows(args: argparse.Namespace, array: np.ndarray) -> np.ndarray:
    """The rows, [T, V] or [N, T, V]."""
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        raise FeedError(f"rows are numbers [T, V] or [N, T, V], not {array.dtype}{list(array.shape)}")
    if args.time_axis is not None:
        if not -array.ndim <= args.time_axis < array.ndim - 1 or args.time_axis == -1:
            raise OptionError(
                f"--time-axis {args.time_axis}: the rows are {list(array.shape)}, the last axis is V"
            )
        array = np.moveaxis(array, args.time_axis, -2)
    return array


def _options(args: argparse.Namespace, model: str) -> object:
    """The options of the method that is asked for."""
    method = METHODS[model, args.greedy]
    vocabulary = (
        None
        if args.vocabulary is None
        else as_strings(read_vocabulary(args.vocabulary), f"the vocabulary {args.vocabulary}")
    )
    if args.frame_seconds is not None and (vocabulary is None or not args.json):
        raise OptionError("--frame-seconds is for words in JSON: give --vocabulary and --json with it")
    given = {
        name: getattr(args, name)
        for name in (*NUMBERS, "scores", "lm", "lm_level", "word_separator", "lexicon")
    }
    given = {name: value for name, value in given.items() if value is not None}
    if args.hotword:
        given["hotwords"] = dict(map(_hotword, args.hotword))
    if args.no_length_norm:
        given["length_norm"] = False
    own = {field.name for field in fields(method)}
    for name in given:
        if name not in own:
            flag = {"hotwords": "hotword", "length_norm": "no-length-norm"}.get(name, name.replace("_", "-"))
            search = "greedy" if args.greedy else "beam"
            raise OptionError(f"{search} search of a {model} model takes no --{flag}; leave it out")
    if "lexicon" in given:
        given["lexicon"] = read_lexicon(given["lexicon"])
    if "lm" in given:
        given["lm"] = _language_model(given["lm"], vocabulary, given)
    if args.hotword:
        weight = given.get("hotword_weight", method.hotword_weight)
        hotwords = given["hotwords"].items()
        given["hotwords"] = {word: weight if own is None else own for word, own in hotwords}
    return method(blank=args.blank, vocabulary=vocabulary, **given)


def _language_model(path: Path, vocabulary: list[str] | None, given: dict) -> LanguageModel:
    if is_arpa(path):
        return read_arpa(path)
    words = vocabulary if given.get("lm_level") == "token" else given.get("lexicon")
    if words is None:
        raise OptionError(
            f"{path} can only be asked for known words: give --lexicon, or --vocabulary and --lm-level "
            "token; an ARPA file needs neither"
        )
    return read_kenlm(path, words)


def _hotword(text: str) -> tuple[str, float | None]:
    word, equals, weight = text.rpartition("=")
    if not equals:
        return text, None
    try:
        return word, float(weight)
    except ValueError as error:
        raise OptionError(f"--hotword {text!r}: {weight!r} is no number") from error
