"""``tinyseq demo denoise``."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from tinyseq.common.files import writable, writing
from tinyseq.errors import AudioError
from tinyseq.speech.segments import SAMPLE_RATE
from tinyseq.tools.console import JSON_HELP, file_name, say, say_json

from .. import audio, picture
from ..packages import package
from ..report import shown
from ..vad.run import CLIP
from .data import DECIBELS, noisy
from .denoiser import HOP, Denoiser
from .picture import draw
from .scores import si_sdr


def main(arguments: list[str]) -> int:
    """Runs the demonstration and gives the exit status, 0.

    Raises:
        TinyseqError: a sound cannot be read, a file not written, or a package is missing.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    writable(args.output, AudioError, ".wav")
    title, sound, clean = _sounds(args)
    after, times = _denoised(sound)
    _write(args.output, after)
    p50, p99 = np.percentile(times, (50, 99))
    report = {
        "sound": title,
        "seconds": len(sound) / SAMPLE_RATE,
        "frames": len(times),
        "frame_p50_us": round(float(p50), 3),
        "frame_p99_us": round(float(p99), 3),
        "times_real_time": len(sound) / SAMPLE_RATE / (times.sum() / 1e6),
        "si_sdr_before": None if clean is None else si_sdr(sound, clean),
        "si_sdr_after": None if clean is None else si_sdr(after, clean),
        "output": shown(args.output),
        "picture": shown(args.plot),
    }
    if not args.json:
        say(*_text(report))
    sounds = {f"{title}, before": sound, "after": after} | ({} if clean is None else {"clean": clean})
    picture.write(args.plot, draw(sounds))
    if args.json:
        say_json(report, indent=2)
    else:
        say("picture: {picture}".format(**report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo denoise",
        description="Takes the noise out of speech, frame by frame as it would from a microphone.",
    )
    parser.add_argument(
        "--wav",
        type=file_name,
        metavar="FILE",
        help="a sound file to hear instead of the shipped clip in pink noise",
    )
    parser.add_argument(
        "--clean",
        type=file_name,
        metavar="FILE",
        help="the same sound without noise, to say how near to it the result is",
    )
    parser.add_argument(
        "--output",
        type=file_name,
        default=Path("denoised.wav"),
        metavar="FILE",
        help="where to write the result, as WAV of one channel at 16 kHz (default: %(default)s)",
    )
    picture.add_option(parser, Path("denoise.png"), "the spectrograms before and after")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _sounds(args: argparse.Namespace) -> tuple[str, np.ndarray, np.ndarray | None]:
    """What is heard: its title, the noisy sound, and the clean one where it is known."""
    if args.wav is None:
        if args.clean is not None:
            raise AudioError("--clean is the sound of --wav without noise; give --wav too")
        clean = audio.read(CLIP).samples
        return f"{CLIP.name} in pink noise {DECIBELS:.0f} dB below it", noisy(clean), clean
    sound = audio.read(args.wav).samples
    if args.clean is None:
        return shown(args.wav.name), sound, None
    clean = audio.read(args.clean).samples
    if abs(len(sound) - len(clean)) > HOP:
        lengths = f"{len(clean) / SAMPLE_RATE:.2f} and {len(sound) / SAMPLE_RATE:.2f} s"
        raise AudioError(
            f"--clean is not the sound of --wav: they last {lengths}; give the same stretch of both"
        )
    both = min(len(sound), len(clean))
    if not clean[:both].any():
        raise AudioError(f"{shown(args.clean)} is silent, so nothing is near to it; give a file with sound")
    return shown(args.wav.name), sound[:both], clean[:both]


def _denoised(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sound without noise, and the microseconds that each frame took."""
    denoiser, parts, times = Denoiser(), [], []
    # disable=None: no bar where stderr is not a terminal.
    bar = package("tqdm").tqdm(
        range(0, len(sound), HOP), unit="frame", leave=False, file=sys.stderr, disable=None
    )
    for at in bar:
        begin = perf_counter_ns()
        parts.append(denoiser.push(sound[at : at + HOP]))
        times.append((perf_counter_ns() - begin) / 1000)
    return np.concatenate([*parts, denoiser.finish()]), np.array(times)


def _write(path: Path, sound: np.ndarray) -> None:
    made = io.BytesIO()
    package("soundfile").write(made, np.clip(sound, -1, 1), SAMPLE_RATE, format="WAV")
    with writing(path, AudioError, ".wav") as file:
        file.write(made.getvalue())


def _text(report: dict) -> list[str]:
    lines = [
        "{sound}: {seconds:.2f} s".format(**report),
        "{frames} frames of 16 ms: p50 {frame_p50_us:.0f} us, p99 {frame_p99_us:.0f} us each, "
        "{times_real_time:.0f} times real time".format(**report),
    ]
    if report["si_sdr_before"] is not None:
        lines.append("SI-SDR {si_sdr_before:.1f} dB before, {si_sdr_after:.1f} dB after".format(**report))
    return [*lines, "sound: {output}".format(**report)]
