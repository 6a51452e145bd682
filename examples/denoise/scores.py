"""How much of a sound is what was said."""

from __future__ import annotations

import numpy as np


def si_sdr(sound: np.ndarray, clean: np.ndarray) -> float:
    """The scale-invariant ratio of signal to distortion of a sound [samples] to the clean one, in dB."""
    sound, clean = sound.astype(np.float64), clean.astype(np.float64)
    kept = (sound @ clean) / (clean @ clean) * clean
    lost = sound - kept
    return float(10 * np.log10((kept @ kept) / max(lost @ lost, 1e-30)))
