"""``tinyseq demo speech``: what is said, while it is said."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from tinyseq.tools.console import JSON_HELP, file_name, say, say_json

from .. import audio, picture
from ..report import shown
from .grammar import WORDS
from .listener import Listener, Silent, printer
from .microphone import microphone
from .picture import draw
from .recognizer import CHUNK, CLIP, RATE, SEARCHES, recognizer


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    """The options of ``tinyseq demo speech``."""
    parser = argparse.ArgumentParser("tinyseq demo speech", description=_description())
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--wav",
        type=file_name,
        default=CLIP,
        metavar="FILE",
        help="a sound file to hear instead of the shipped clip: WAV, FLAC, Ogg or MP3, any sample rate",
    )
    source.add_argument(
        "--microphone", action="store_true", help="hear the microphone until Ctrl-C (pip install sounddevice)"
    )
    parser.add_argument(
        "--search",
        choices=SEARCHES,
        default=SEARCHES[-1],
        help="the strongest letters, the known words, or these in likely order (default: %(default)s)",
    )
    parser.add_argument("--live", action="store_true", help="hear a file at the speed at which it was said")
    parser.add_argument("--words", action="store_true", help="list the words that are known, and end")
    picture.add_option(parser, None, "the sound, its words, and what was certain when")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser.parse_args(arguments)


def _description() -> str:
    return (
        f"Recognises digits, numbers, cards and commands in English, {len(WORDS)} words, while they are said "
        "(30 ms of sound at a time). What is certain is bold on a terminal, or stands before the bracket; "
        "what may change is faint, or within it. Whatever else is said is heard as some of the known words."
    )


def main(arguments: list[str]) -> int:
    """Runs the demonstration with these arguments; gives the exit status, 0.

    Raises:
        TinyseqError: the sound cannot be read or heard, or a package is missing.
    """
    args = arguments_of(arguments)
    if args.words:
        say(*WORDS)
        return 0
    picture.check(args.plot)
    chunks = microphone(RATE, CHUNK) if args.microphone else _chunks(args)
    listener = Listener(recognizer(args.search), Silent() if args.json else printer())
    listener.hear(chunks)
    if args.plot is not None:
        title = "microphone" if args.microphone else shown(args.wav.name)
        picture.write(args.plot, draw(title, listener.sound, listener.words, listener.partials))
    if args.json:
        say_json(listener.report(), indent=2)
    else:
        say(*_summary(listener))
    return 0


def _chunks(args: argparse.Namespace) -> Iterator[np.ndarray]:
    """A file's sound, 30 ms at a time."""
    sound = audio.read(args.wav)
    if not args.json:
        say(f"{shown(args.wav)}: {sound.seconds:.2f} s, {sound.rate} Hz")
    begin = time.perf_counter()
    for at in range(0, len(sound.samples), CHUNK):
        if args.live:
            time.sleep(max(0.0, at / RATE - (time.perf_counter() - begin)))
        yield sound.samples[at : at + CHUNK]


def _summary(listener: Listener) -> list[str]:
    report = listener.report()
    return [
        "{seconds:.2f} s of sound: a step of 30 ms takes {step_p50_ms:.2f} ms (p50), {step_p99_ms:.2f} ms "
        "(p99), real-time factor {real_time_factor:.4f}".format(**report),
        f"{len(WORDS)} words are known (--words): whatever else is said is heard as some of these.",
    ]
