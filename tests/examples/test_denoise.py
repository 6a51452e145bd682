"""The demonstration denoise: less noise, the same sound however it is cut, and what is wrong with files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tinyseq.demo import audio
from tinyseq.demo.denoise import run
from tinyseq.demo.denoise.data import NOISES, noisy
from tinyseq.demo.denoise.denoiser import FRAME, HOP, Denoiser
from tinyseq.demo.denoise.scores import si_sdr
from tinyseq.demo.vad.run import CLIP

import tinyseq
from tinyseq.errors import AudioError

RATE = 16_000


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """The first of the clip's sentences."""
    return audio.read(CLIP).samples[: 4 * RATE]


def denoised(sound: np.ndarray, cut: int) -> np.ndarray:
    denoiser = Denoiser()
    parts = [denoiser.push(sound[at : at + cut]) for at in range(0, len(sound), cut)]
    return np.concatenate([*parts, denoiser.finish()])


def heard(capsys, folder: Path, *options: str) -> dict:
    """What the command prints with --json."""
    named = [f"--plot={folder / 'own.png'}", f"--output={folder / 'own.wav'}", "--json"]
    assert run.main([*named, *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("kind", "least"), list(zip(NOISES, (6.5, 8.5, 5))))
def test_noise_is_taken_away(clean, kind, least):
    sound = noisy(clean, kind, 5)
    assert si_sdr(sound, clean) == pytest.approx(5, abs=0.2)
    assert si_sdr(denoised(sound, HOP), clean) > 5 + least


def test_the_sound_is_the_same_however_it_is_cut(clean):
    sound = noisy(clean)[: 2 * RATE + 77]
    once = denoised(sound, len(sound))
    assert len(once) == len(sound)
    for cut in (1000, 160, 37):
        assert denoised(sound, cut).tobytes() == once.tobytes()


@pytest.mark.parametrize("samples", [0, 1, HOP, FRAME, FRAME + 1])
def test_short_sounds_keep_their_length(samples):
    assert denoised(np.zeros(samples, np.float32), HOP).shape == (samples,)


def test_the_clip_comes_with_how_near_it_is_to_the_clean_one(capsys, tmp_path):
    report = heard(capsys, tmp_path)
    assert report["si_sdr_before"] == pytest.approx(5, abs=0.1)
    assert report["si_sdr_after"] > 12
    assert report["frames"] == -(-len(audio.read(CLIP).samples) // HOP)
    sound, rate = soundfile.read(tmp_path / "own.wav")
    assert rate == RATE and len(sound) == len(audio.read(CLIP).samples)
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_of_ones_own_with_and_without_the_clean_one(capsys, tmp_path, clean):
    soundfile.write(tmp_path / "clean.wav", clean, RATE)
    soundfile.write(tmp_path / "noisy.wav", noisy(clean, "white", 5), RATE)
    wav = f"--wav={tmp_path / 'noisy.wav'}"
    report = heard(capsys, tmp_path, wav)
    assert report["si_sdr_before"] is None and report["si_sdr_after"] is None
    report = heard(capsys, tmp_path, wav, f"--clean={tmp_path / 'clean.wav'}")
    assert report["si_sdr_after"] - report["si_sdr_before"] > 8


def test_text_tells_what_json_tells(capsys, tmp_path, clean):
    soundfile.write(tmp_path / "sound.wav", clean[:RATE], RATE)
    named = [f"--plot={tmp_path / 'own.png'}", f"--output={tmp_path / 'own.wav'}"]
    assert run.main([*named, f"--wav={tmp_path / 'sound.wav'}"]) == 0
    captured = capsys.readouterr()
    assert "sound.wav: 1.00 s" in captured.out and "times real time" in captured.out
    assert "SI-SDR" not in captured.out and captured.err == ""


@pytest.mark.parametrize(
    ("samples", "why"), [(np.ones(3 * RATE), "they last 3.00 and 1.00 s"), (np.zeros(RATE), "is silent")]
)
def test_another_clean_sound_is_refused(tmp_path, clean, samples, why):
    soundfile.write(tmp_path / "noisy.wav", clean[RATE : 2 * RATE], RATE)
    soundfile.write(tmp_path / "clean.wav", samples, RATE)
    with pytest.raises(AudioError, match=why):
        run.main([f"--wav={tmp_path / 'noisy.wav'}", f"--clean={tmp_path / 'clean.wav'}"])


def test_clean_without_wav_and_a_name_that_no_sound_takes_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match="give --wav too"):
        run.main(["--clean=clean.wav"])
    with pytest.raises(AudioError, match=r"is a \.wav file"):
        run.main(["--output=sound.mp3"])
    assert list(tmp_path.iterdir()) == []


def test_the_model_that_ships_is_the_published_one(asset, clean):
    sound = noisy(clean)[:RATE]
    published = Denoiser(tinyseq.load(asset("gtcrn")))
    exact = np.concatenate([published.push(sound), published.finish()])
    assert si_sdr(denoised(sound, HOP), exact) > 55
