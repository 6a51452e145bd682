"""Sound as it comes, in any usual format, and as models hear it: one channel, -1 to 1, at one sample rate."""

from __future__ import annotations

import numpy as np

from tinyseq.errors import FeedError, StateError
from tinyseq.given import as_array, is_number
from tinyseq.packages import package
from tinyseq.text import shown

FULL_SCALE = {"int16": (0, 2**15), "int32": (0, 2**31), "uint8": (2**7, 2**7)}
"""Of samples that are whole numbers: the one that stands for 0, and how far from it 1 is."""

MOST_CHANNELS = 64
RESAMPLED = 1_000, 1_000_000
"""The least and the greatest rate, in Hz, of sound that is resampled."""


def mono(samples: object) -> np.ndarray:
    """One channel of sound: float32[samples], where 1 is full scale.

    Args:
        samples: [samples], or [samples, channels], which are averaged; floats are taken as they are, NaN and
            infinity too, int16, int32 and uint8 are scaled to -1 to 1.

    Raises:
        FeedError: it is nothing of the kind.
    """
    try:
        array = as_array(samples)
    except ValueError as error:
        raise FeedError(f"sound is numbers [samples] or [samples, channels]: {error}") from error
    kind = array.dtype.name
    if array.dtype.kind != "f" and kind not in FULL_SCALE:
        raise FeedError(
            f"sound is floats from -1 to 1, int16, int32 or uint8, which say what is loudest, not {kind}"
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= MOST_CHANNELS):
        raise FeedError(
            f"sound is numbers [samples] or, with up to {MOST_CHANNELS} channels, [samples, channels], not "
            f"{list(array.shape)}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        sound = array.astype(np.float32)
        if kind in FULL_SCALE:
            zero, one = FULL_SCALE[kind]
            sound -= np.float32(zero)
            sound /= np.float32(one)
        return sound if sound.ndim == 1 else sound.mean(axis=1)


class Sound:
    """The sound of one stream: comes in any format, at any sample rate, and goes on at ``rate`` Hz.

    What goes on does not depend, in any bit, on how the sound was cut when it came.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.taken = 0
        """Samples that went on."""
        self._resampler = None
        self._given: float | None = None

    def checked(self, sample_rate: object, samples: object) -> np.ndarray:
        """The next samples as one channel, before they are resampled; nothing is taken yet.

        Raises:
            FeedError: they, or their rate, cannot be used.
            MissingPackageError: they must be resampled, and soxr is not installed.
        """
        if not is_number(sample_rate):
            raise FeedError(f"sample_rate is a number of Hz, not {shown(sample_rate)}")
        if sample_rate != self.rate:
            self._check_resampled(sample_rate)
        if self._given not in (None, sample_rate):
            raise FeedError(
                f"the sound of this stream came at {self._given} Hz, this at {shown(sample_rate)} Hz; give "
                "sound of another rate to another stream"
            )
        sound = mono(samples)
        if not np.isfinite(sound).all():
            raise FeedError(
                "a waveform holds NaN or infinity, which the model would remember; nothing was taken"
            )
        return sound

    def _check_resampled(self, sample_rate: float) -> None:
        least, most = RESAMPLED
        if not all(least <= rate <= most for rate in (sample_rate, self.rate)):
            raise FeedError(
                f"sound of {shown(sample_rate)} Hz is not resampled to {self.rate} Hz: both lie from {least} "
                f"to {most} Hz, where they differ"
            )
        _soxr()

    def push(self, sample_rate: float, sound: np.ndarray) -> np.ndarray:
        """Takes what ``checked`` gave; the samples that go on, float32[n]."""
        if self._given is None:
            self._given = sample_rate
            if sample_rate != self.rate:
                self._resampler = _soxr().ResampleStream(sample_rate, self.rate, 1, dtype="float32")
        if self._resampler is not None:
            sound = self._resampler.resample_chunk(sound)
        self.taken += len(sound)
        return sound

    def finish(self) -> np.ndarray:
        """The samples that the resampler holds back, float32[n]."""
        if self._resampler is None:
            return np.empty(0, np.float32)
        sound = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
        self._resampler = None
        self.taken += len(sound)
        return sound

    def fields(self) -> np.ndarray:
        """The state, float64[2].

        Raises:
            StateError: it is being resampled.
        """
        if self._resampler is not None:
            raise StateError(
                "a stream whose sound is being resampled cannot be saved or forked, for soxr keeps the state "
                f"of its filter to itself; resample the sound before, and give the stream {self.rate} Hz"
            )
        return np.array([self.taken, self._given or 0], np.float64)

    @classmethod
    def restored(cls, rate: float, fields: np.ndarray) -> Sound:
        """The sound whose state ``fields`` gave."""
        sound = cls(rate)
        taken, given = fields.tolist()
        if not (taken >= 0 and taken.is_integer() and given in (0, rate)):
            raise StateError("the saved stream is damaged, or takes sound of another rate")
        sound.taken, sound._given = int(taken), given or None
        return sound


def _soxr():
    return package("soxr", "resampling", "speech")
