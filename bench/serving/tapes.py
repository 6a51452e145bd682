"""Tapes: chunks of a live stream, ready to be sent, and what a lone stream gives for each."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.serving.websocket import frame
from tinyseq.runtime.loading import load
from tinyseq.speech.voice_detector import MODEL

NAME = "silero_vad"
WINDOW = 576
"""Samples of a chunk as the model takes it: 512 new ones behind 64 of the chunk before."""

SECONDS = 0.032
"""Of a chunk."""

PATH = f"/v2/models/{NAME}/stream"
SAME = b"\0\0\0\0"
"""The length of a header that is as before."""

HEADER = json.dumps(
    {
        "inputs": [
            {"name": "input", "datatype": "FP32", "shape": [1, WINDOW]},
            {"name": "sr", "datatype": "INT64", "shape": [], "data": [16000]},
        ]
    }
).encode()


class Tape:
    """Chunks of noise that swells and ebbs, a number of them, told by a seed."""

    def __init__(self, seed: int, count: int, model: Path = MODEL) -> None:
        self._model = model
        generator = np.random.default_rng(seed)
        level = 0.3 * np.abs(np.sin(np.arange(count) / 7 + seed))[:, None]
        self._windows = (generator.uniform(-1, 1, (count, WINDOW)) * level).astype(np.float32)

    def __len__(self) -> int:
        return len(self._windows)

    def start(self, count: int) -> Tape:
        """A tape of the first chunks of this one."""
        part = Tape(0, 0, self._model)
        part._windows = self._windows[:count]
        return part

    def payload(self, place: int, header: bool = False) -> bytes:
        """A chunk as a message."""
        numbers = self._windows[place].tobytes()
        return len(HEADER).to_bytes(4, "little") + HEADER + numbers if header else SAME + numbers

    @cached_property
    def frames(self) -> list[bytes]:
        """The messages of the chunks as frames; the first one has the header."""
        return [frame(self.payload(place, not place)) for place in range(len(self))]

    @cached_property
    def outputs(self) -> list[bytes]:
        """The bytes of what a lone stream gives."""
        stream = load(self._model).stream()
        rate = np.array(16000)
        return [
            b"".join(array.tobytes() for array in stream.step({"input": window[None], "sr": rate}).values())
            for window in self._windows
        ]


def numbers_of(message: bytes) -> bytes:
    """What a binary message holds behind its header."""
    return message[4 + int.from_bytes(message[:4], "little") :]
