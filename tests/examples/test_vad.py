"""The demonstration vad: a voice detector over a clip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from tinyseq.demo import audio
from tinyseq.demo.vad import detection, run

from tinyseq.errors import AudioError, MissingPackageError, PictureError
from tinyseq.speech import VoiceDetector
from tinyseq.speech.segments import CHUNK, SAMPLE_RATE

UTTERANCES = json.loads(Path(__file__).parents[1].joinpath("clip_utterances.json").read_text())

Spans = list[tuple[float, float]]


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return audio.read(run.CLIP).samples


def demo(folder: Path, *options: str) -> Path:
    """Runs the command; gives the picture's path."""
    picture = folder / "picture.png"
    assert run.main(["--plot", str(picture), *options]) == 0
    return picture


def heard(capsys: pytest.CaptureFixture, folder: Path, *options: str) -> dict:
    """What the command prints with --json."""
    demo(folder, "--json", *options)
    return json.loads(capsys.readouterr().out)


def spans(report: dict) -> Spans:
    return [(segment["start"], segment["end"]) for segment in report["segments"]]


def assert_close(found: Spans, expected: Spans, seconds: float) -> None:
    assert len(found) == len(expected), found
    assert np.abs(np.subtract(found, expected)).max() < seconds, found


# the command


def test_the_clip_has_speech_where_it_was_put(capsys, tmp_path):
    expected = [(utterance["start"], utterance["end"]) for utterance in UTTERANCES]
    assert len(expected) == 5
    assert_close(spans(heard(capsys, tmp_path)), expected, 0.15)


def test_a_stereo_float_file_of_another_rate_has_the_same_speech(capsys, tmp_path, clip):
    other = soxr.resample(clip, SAMPLE_RATE, 44_100)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([1.5 * other, 0.5 * other], axis=1), 44_100, subtype="FLOAT")
    report = heard(capsys, tmp_path, "--wav", str(path))
    assert (report["sample_rate"], report["channels"]) == (44_100, 2)
    assert report["seconds"] == pytest.approx(len(clip) / SAMPLE_RATE, abs=1e-3)
    assert_close(spans(report), spans(heard(capsys, tmp_path)), 0.1)


def test_json_is_complete(capsys, tmp_path, clip):
    report = heard(capsys, tmp_path)
    assert set(report) == {
        "sound",
        "seconds",
        "sample_rate",
        "channels",
        "samples_not_finite",
        "segments",
        "chunks",
        "chunk_p50_us",
        "chunk_p99_us",
        "times_real_time",
        "picture",
    }
    assert report["chunks"] == -(-len(clip) // CHUNK)
    assert report["samples_not_finite"] == 0
    assert 0 < report["chunk_p50_us"] <= report["chunk_p99_us"]
    assert report["times_real_time"] > 0
    assert Path(report["picture"]).is_file() and Path(report["sound"]).is_file()


def test_text_tells_what_json_tells(capsys, tmp_path):
    demo(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    times = [[float(word) for word in line.split() if "." in word] for line in lines if "speech" in line]
    assert_close(times, spans(heard(capsys, tmp_path)), 0.0051)
    assert "p50" in lines[-2] and "p99" in lines[-2] and lines[-2].endswith("times real time")
    assert lines[-1] == f"picture: {tmp_path / 'picture.png'}"


def test_nothing_on_stderr_that_is_no_terminal(capsys, tmp_path):
    demo(tmp_path)
    assert capsys.readouterr().err == ""


def test_the_picture_is_a_png(tmp_path):
    png = demo(tmp_path).read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png.endswith(b"IEND\xaeB`\x82")
    assert len(png) > 20_000


def test_samples_that_are_not_finite_are_told(capsys, tmp_path, clip):
    broken = clip.copy()
    broken[100_000], broken[200_000] = np.nan, np.inf
    path = tmp_path / "nan.wav"
    soundfile.write(path, broken, SAMPLE_RATE, subtype="FLOAT")
    report = heard(capsys, tmp_path, "--wav", str(path))
    assert report["samples_not_finite"] == 2
    assert_close(spans(report), spans(heard(capsys, tmp_path)), 0.1)
    demo(tmp_path, "--wav", str(path))
    assert "2 samples are NaN or infinite" in capsys.readouterr().out


def test_silence_holds_no_speech(capsys, tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    demo(tmp_path, "--wav", str(path))
    assert "no speech" in capsys.readouterr().out


def test_names_are_free(capsys, tmp_path, clip):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(folder).mkdir()
    path = Path(folder, "$a^$_{b.wav")
    soundfile.write(os.fsencode(path), clip[:CHUNK], SAMPLE_RATE)
    assert demo(Path(folder), "--wav", str(path)).is_file()
    assert "$a^$_{b.wav" in capsys.readouterr().out


def test_needs_neither_onnx_nor_numba(tmp_path):
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'numba', 'llvmlite'): sys.modules[name] = None\n"
        "from tinyseq.demo import command\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    subprocess.run([sys.executable, "-c", code, "--json"], check=True, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "demo.png").is_file()


# refusals


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(AudioError, match=r"none\.wav: No such file or directory; check the name"):
        demo(tmp_path, "--wav", str(tmp_path / "none.wav"))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(AudioError, match="Is a directory"):
        demo(tmp_path, "--wav", str(tmp_path))


@pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.raw", "text"])
def test_what_is_not_sound_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("hello\n" * 100)
    with pytest.raises(AudioError, match=f"{name} as sound: .*; give a whole WAV"):
        demo(tmp_path, "--wav", str(path))


def test_a_damaged_file_is_refused(tmp_path):
    path, whole = tmp_path / "half.flac", run.CLIP.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=r"half\.flac as sound"):
        demo(tmp_path, "--wav", str(path))


@pytest.mark.parametrize(("frames", "rate"), [(0, SAMPLE_RATE), (1, 192_000)])
def test_empty_sound_is_refused(tmp_path, frames, rate):
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * frames)
    with pytest.raises(AudioError, match="holds no sound"):
        demo(tmp_path, "--wav", str(path))


def test_a_picture_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(PictureError, match="there is no folder"):
        demo(tmp_path, "--plot", str(tmp_path / "none" / "picture.png"))
    with pytest.raises(PictureError, match=r"is a \.png file"):
        demo(tmp_path, "--plot", str(tmp_path / "picture.jpg"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["soundfile", "matplotlib.figure", "tqdm"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=rf"needs {name}.*pip install 'tinyseq\[demo\]'"):
        demo(tmp_path)


def test_resampling_needs_soxr(tmp_path, monkeypatch):
    path = tmp_path / "other.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MissingPackageError, match=r"needs soxr.*pip install 'tinyseq\[speech\]'"):
        demo(tmp_path, "--wav", str(path))


def test_what_is_reported_is_what_the_detector_hears(clip):
    detector = VoiceDetector()
    found = detection.detect(detection.chunks(clip), detector)
    assert found.segments == detector.segments(SAMPLE_RATE, clip)
    stream = detector.stream()
    for probability, chunk in zip(found.probabilities[:40], detection.chunks(clip)):
        stream.accept_waveform(SAMPLE_RATE, chunk)
        assert stream.probability == probability
    assert len(found.probabilities) == len(found.chunk_us) == -(-len(clip) // CHUNK)
