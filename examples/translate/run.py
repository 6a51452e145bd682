"""``tinyseq demo translate``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinyseq
from tinyseq.errors import OptionError
from tinyseq.tools.console import say, say_json

from .. import picture
from ..report import shown
from ..subwords import END, UNKNOWN, Subwords
from ..texts import add_options, sentences, typed
from .forms import Source
from .languages import LANGUAGES, START
from .picture import draw

FOLDER = Path(__file__).parent
ENCODER, DECODER, *VOCABULARIES = (
    FOLDER / name for name in ("encoder.tinyseq", "decoder.tinyseq", "source.txt", "target.txt")
)
SENTENCES = (
    "The battery of the door sensor is low.",
    "Turn on the light in the kitchen.",
    "Unable to connect to the device, please check the password.",
)
LIMITS = "What it has read are 20,012 short texts of a home's controls: other sentences it often gets wrong."
LONGEST = 100
"""Tokens of a translation."""


class Translator:
    """The models and the vocabularies."""

    def __init__(self) -> None:
        models = tinyseq.load(DECODER), tinyseq.load(ENCODER)
        self._decoder = tinyseq.Decoder(*models, tokens="tokens", scores="logits", attention="attention")
        self.source, self.target = map(Subwords.read, VOCABULARIES)

    def __call__(
        self, texts: list[str], language: str, beams: int = 5, best: int = 1
    ) -> list[list[tinyseq.Hypothesis]]:
        """For each text its ``best`` translations, the best first; by greedy search with one beam.

        Raises:
            OptionError: a text has nothing in it, or the numbers of beams do not fit.
        """
        feeds = [{"source": self._tokens(given)[None]} for given in texts]
        shared = {
            "decoder_start_token_id": START[language],
            "eos_token_id": END,
            "max_new_tokens": LONGEST,
            "suppress_tokens": [UNKNOWN, *START.values()],
            "output_attentions": True,
        }
        if beams == best == 1:
            return tinyseq.generate(self._decoder, feeds, tinyseq.Greedy(**shared))
        options = tinyseq.Beam(num_beams=beams, num_return_sequences=best, **shared)
        return tinyseq.generate(self._decoder, feeds, options)

    def text(self, given: str, hypothesis: tinyseq.Hypothesis) -> str:
        """What a hypothesis of the translation of a text says."""
        return Source.of(given).translation(self.target.decode(hypothesis.tokens))

    def pieces(self, hypothesis: tinyseq.Hypothesis) -> list[str]:
        """A hypothesis's pieces."""
        return [self.target.pieces[token] for token in hypothesis.tokens]

    def source_pieces(self, given: str) -> list[str]:
        """A text's pieces, as they are looked at."""
        return self.source.cut(Source.of(given).text)

    def _tokens(self, given: str) -> np.ndarray:
        tokens = self.source.numbers(self.source_pieces(given))
        if not tokens:
            raise OptionError("there is nothing to translate; give a sentence")
        return np.array(tokens, np.int64)


def main(arguments: list[str]) -> int:
    """Translates sentences; gives the exit status, 0.

    Raises:
        TinyseqError: an option is out of its range, a file cannot be read or the picture not written.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    translator = Translator()
    if args.interactive:
        for line in typed():
            _say(translator, [line], args)
        return 0
    _say(translator, args.sentence or (sentences(args.text) if args.text else list(SENTENCES)), args)
    if not args.json:
        say(LIMITS)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo translate",
        description="Translates what the controls of a home say, English to Spanish and German: an "
        "encoder and a decoder of GRUs, attention and beam search.",
    )
    add_options(parser, "sentence", "translate")
    parser.add_argument("--to", choices=LANGUAGES, action="append", help="a language (default: each)")
    parser.add_argument(
        "--beams", type=int, default=5, metavar="N", help="of the search; 1: greedy (default: %(default)s)"
    )
    parser.add_argument(
        "--best", type=int, default=1, metavar="N", help="translations to show (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with tokens and scores")
    picture.add_option(parser, None, "what the first translation looks at")
    return parser


def _say(translator: Translator, texts: list[str], args: argparse.Namespace) -> None:
    found = {
        language: translator(texts, language, args.beams, args.best) for language in args.to or LANGUAGES
    }
    if args.json:
        say_json(_report(translator, texts, found), indent=2)
    else:
        for at, given in enumerate(texts):
            say(*_lines(translator, given, {language: each[at] for language, each in found.items()}))
    if args.plot is not None:
        (best, *_) = next(iter(found.values()))[0]
        target = [*translator.pieces(best), "end"][: len(best.attention)]
        picture.write(args.plot, draw(translator.source_pieces(texts[0]), target, best.attention))
        if not args.json:
            say(f"picture: {shown(args.plot)}")


def _lines(translator: Translator, given: str, found: dict[str, list[tinyseq.Hypothesis]]) -> list[str]:
    lines = [given]
    for language, hypotheses in found.items():
        for hypothesis in hypotheses:
            score = f"  ({hypothesis.score:.2f})" if len(hypotheses) > 1 else ""
            lines.append(f"  {language}  {translator.text(given, hypothesis)}{score}")
    return lines


def _report(
    translator: Translator, texts: list[str], found: dict[str, list[list[tinyseq.Hypothesis]]]
) -> list[dict]:
    return [
        {
            "source": given,
            "language": language,
            "translations": [
                {"text": translator.text(given, each), "score": each.score, "pieces": translator.pieces(each)}
                for each in hypotheses
            ],
        }
        for language, all_found in found.items()
        for given, hypotheses in zip(texts, all_found, strict=True)
    ]
