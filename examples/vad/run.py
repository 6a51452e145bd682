"""``tinyseq demo vad``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from tinyseq.speech.voice_detector import VoiceDetector
from tinyseq.tools.console import JSON_HELP, file_name, say, say_json

from .. import audio, picture
from ..packages import package
from ..report import shown
from . import detection
from .picture import draw

CLIP = Path(__file__).with_name("clip.flac")


def main(arguments: list[str]) -> int:
    """Runs the demonstration and gives the exit status, 0.

    Raises:
        TinyseqError: the sound cannot be read, the picture not written, or a package is missing.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    sound = audio.read(args.wav)
    progress = package("tqdm").tqdm
    # disable=None: no bar where stderr is not a terminal.
    bar = progress(detection.chunks(sound.samples), unit="chunk", leave=False, file=sys.stderr, disable=None)
    found = detection.detect(bar, VoiceDetector())
    picture.write(args.plot, draw(shown(args.wav.name), sound, found))
    report = _report(args, sound, found)
    if args.json:
        say_json(report, indent=2)
    else:
        say(*_text(report).split("\n"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo vad",
        description="Finds speech in a sound file, streaming a voice detector over it in 32 ms chunks.",
    )
    parser.add_argument(
        "--wav",
        type=file_name,
        default=CLIP,
        metavar="FILE",
        help="a sound file to hear instead of the shipped clip",
    )
    picture.add_option(parser, Path("demo.png"), "waveform, probability and speech")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _report(args: argparse.Namespace, sound: audio.Audio, found: detection.Detection) -> dict:
    p50, p99 = np.percentile(found.chunk_us, (50, 99))
    return {
        "sound": shown(args.wav),
        "seconds": sound.seconds,
        "sample_rate": sound.rate,
        "channels": sound.channels,
        "samples_not_finite": sound.not_finite,
        "segments": [segment._asdict() for segment in found.segments],
        "chunks": len(found.probabilities),
        "chunk_p50_us": round(float(p50), 3),
        "chunk_p99_us": round(float(p99), 3),
        "times_real_time": sound.seconds / (found.chunk_us.sum() / 1e6),
        "picture": shown(args.plot),
    }


def _text(report: dict) -> str:
    lines = ["{sound}: {seconds:.2f} s, {sample_rate} Hz, channels: {channels}".format(**report)]
    if report["samples_not_finite"]:
        lines.append(
            "{samples_not_finite} samples are NaN or infinite; silence is heard in their place".format(
                **report
            )
        )
    lines += [
        "speech from {start:7.2f} s to {end:7.2f} s".format(**segment) for segment in report["segments"]
    ]
    if not report["segments"]:
        lines.append("no speech")
    lines.append(
        "{chunks} chunks of 32 ms: p50 {chunk_p50_us:.0f} us, p99 {chunk_p99_us:.0f} us each, "
        "{times_real_time:.0f} times real time".format(**report)
    )
    lines.append("picture: {picture}".format(**report))
    return "\n".join(lines)
