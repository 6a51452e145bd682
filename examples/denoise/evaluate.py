"""How much noise the denoiser takes away, of each kind and at each level.

python -m examples.denoise.evaluate
"""

from __future__ import annotations

import numpy as np

from .. import audio
from ..report import table
from ..vad.run import CLIP
from .data import NOISES, noisy
from .denoiser import Denoiser
from .scores import si_sdr


def main() -> None:
    """The command."""
    clean = audio.read(CLIP).samples
    rows = []
    for kind in NOISES:
        for decibels in (0, 5, 10, 20):
            sound = noisy(clean, kind, decibels)
            denoiser = Denoiser()
            made = np.concatenate([denoiser.push(sound), denoiser.finish()])
            rows.append((kind, f"{si_sdr(sound, clean):.1f} dB", f"{si_sdr(made, clean):.1f} dB"))
    print(*table(("noise", "SI-SDR before", "after"), rows), sep="\n")


if __name__ == "__main__":
    main()
