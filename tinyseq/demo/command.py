"""The command ``tinyseq demo``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from tinyseq.demo import audio, picture, vad
from tinyseq.demo.packages import package
from tinyseq.speech.voice_detector import VoiceDetector
from tinyseq.tools.console import JSON_HELP, file_name, say, say_json

CLIP = Path(__file__).with_name("data") / "clip.flac"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``tinyseq demo``."""
    parser.description = "Finds speech in a sound file, streaming a voice detector over it in 32 ms chunks."
    parser.add_argument(
        "--wav",
        type=file_name,
        default=CLIP,
        metavar="FILE",
        help="a sound file to hear instead of the shipped clip",
    )
    parser.add_argument(
        "--picture",
        type=file_name,
        default=Path("demo.png"),
        metavar="FILE",
        help="where to draw waveform, probability and speech, as PNG (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help=JSON_HELP)


def run(args: argparse.Namespace) -> int:
    """Runs the demo and gives the exit code, 0.

    Raises:
        TinyseqError: the sound cannot be read, the picture not written, or a package is missing.
    """
    picture.check(args.picture)
    sound = audio.read(args.wav)
    progress = package("tqdm").tqdm
    # disable=None: no bar where stderr is not a terminal.
    bar = progress(vad.chunks(sound.samples), unit="chunk", leave=False, file=sys.stderr, disable=None)
    detection = vad.detect(bar, VoiceDetector())
    picture.write(args.picture, _printable(args.wav.name), sound, detection)
    report = _report(args, sound, detection)
    if args.json:
        say_json(report, indent=2)
    else:
        say(*_text(report).split("\n"))
    return 0


def _report(args: argparse.Namespace, sound: audio.Audio, detection: vad.Detection) -> dict:
    p50, p99 = np.percentile(detection.chunk_us, (50, 99))
    return {
        "sound": _printable(args.wav),
        "seconds": sound.seconds,
        "sample_rate": sound.rate,
        "channels": sound.channels,
        "samples_not_finite": sound.not_finite,
        "segments": [segment._asdict() for segment in detection.segments],
        "chunks": len(detection.probabilities),
        "chunk_p50_us": round(float(p50), 3),
        "chunk_p99_us": round(float(p99), 3),
        "times_real_time": sound.seconds / (detection.chunk_us.sum() / 1e6),
        "picture": _printable(args.picture),
    }


def _printable(path: str | Path) -> str:
    """The name of a file, for people; names that are not UTF-8 are possible and cannot be printed."""
    return os.fsencode(path).decode(errors="replace")


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
