"""Makes the model of the demonstration of the published one, and says what narrow weights would lose.

python -m examples.denoise.export
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tinyseq

from .. import audio
from ..report import table
from ..vad.run import CLIP
from .data import noisy, original
from .denoiser import MODEL, Denoiser
from .scores import si_sdr

PRECISION = "float16"


def main() -> None:
    """The command."""
    clean = audio.read(CLIP).samples
    sound = noisy(clean)
    rows, exact = [], None
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "float16", "int16", "int8"):
            model = tinyseq.load(original(), precision=precision)
            path = Path(folder, f"{precision}.tinyseq")
            model.save(path)
            denoiser = Denoiser(model)
            made = np.concatenate([denoiser.push(sound), denoiser.finish()])
            exact = made if exact is None else exact
            error = "" if made is exact else f"{si_sdr(made, exact):.1f} dB"
            rows.append((precision, f"{path.stat().st_size:,}", f"{si_sdr(made, clean):.2f} dB", error))
            if precision == PRECISION:
                model.save(MODEL)
    print(*table(("weights", "bytes", "SI-SDR", "of float32's sound"), rows), sep="\n")


if __name__ == "__main__":
    main()
