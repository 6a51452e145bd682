"""The example in C: made by its Makefile and by CMake, and run on the demo's clip."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo import audio
from tinyseq.demo.vad.detection import chunks, detect
from tinyseq.demo.vad.run import CLIP

from tinyseq.kernels import library
from tinyseq.runtime.loading import load
from tinyseq.speech.segments import CHUNK
from tinyseq.speech.voice_detector import MODEL, VoiceDetector

EXAMPLE = Path(__file__).parents[2] / "examples" / "c"
MISSING = [tool for tool in ("make", "cc", "c++") if shutil.which(tool) is None]

FUSED = [isa for isa in library.available() if isa != "baseline"]
"""Those with the bits of a library: fused multiply and add."""

pytestmark = [
    pytest.mark.skipif(
        find_spec("ziglang") is None, reason="ziglang, which links libraries, is not installed"
    ),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)}: not installed"),
    pytest.mark.skipif(
        platform.machine() != "x86_64" or not FUSED, reason="the library is for x86-64 processors with AVX2"
    ),
]


def run(folder: Path, *command: str, given: bytes = b"") -> list[str]:
    done = subprocess.run(command, cwd=folder, input=given, check=True, capture_output=True)
    return done.stdout.decode().splitlines()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The example, made."""
    folder = tmp_path_factory.mktemp("example") / "c"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("vad", "detect", "board", "build"))
    flags = "CFLAGS=-O1 -Wall -Wextra -Werror -pedantic"
    run(folder, "make", f"MODEL={MODEL}", f"PYTHON={sys.executable}", flags)
    return folder


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return (audio.read(CLIP).samples * 32768).astype("<i2")


def assert_python_hears(lines: list[str], clip: np.ndarray) -> None:
    with library.using(FUSED[0]):
        heard = detect(chunks(clip.astype(np.float32) / 32768), VoiceDetector(load(MODEL))).probabilities
    found = np.array([line.split() for line in lines], np.float64)
    whole = len(clip) // CHUNK
    assert np.array_equal(found[:, 1].astype(np.float32), heard[:whole])
    assert np.allclose(found[:, 0], 0.032 * np.arange(1, whole + 1))


def test_probabilities_are_those_of_python(made, clip):
    assert_python_hears(run(made, "./detect", given=clip.tobytes()), clip)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_makes_the_same(made, clip):
    run(made, "cmake", "-B", "build")
    run(made, "cmake", "--build", "build")
    assert_python_hears(run(made, "build/detect", given=clip.tobytes()), clip)


def test_the_sketch_switches_its_lamp(made, clip):
    lines = [line.split() for line in run(made, "./board", given=clip.tobytes())]
    assert [state for _, state in lines] == ["off", *["on", "off"] * 6]
    seconds = [float(seconds) for seconds, _ in lines]
    assert seconds == sorted(seconds) and seconds[1] == pytest.approx(1, abs=0.1)
