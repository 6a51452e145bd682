"""Sound as it comes, in any usual format, and as models hear it: one channel, -1 to 1, at one sample rate."""

from __future__ import annotations

from math import gcd, isfinite

import numpy as np

from tinyseq.common.given import as_array, is_number
from tinyseq.common.packages import package
from tinyseq.common.text import shown
from tinyseq.decode.frames.snapshots import field
from tinyseq.errors import FeedError, StateError
from tinyseq.runtime.state import State

FULL_SCALE = {("i", 2): (0, 2**15), ("i", 4): (0, 2**31), ("u", 1): (2**7, 2**7)}
"""Of whole numbers, by kind and bytes: the one that stands for 0, and how far from it 1 is."""

MOST_CHANNELS = 64
RESAMPLED = 1_000, 1_000_000
"""The least and the greatest rate, in Hz, of sound that is resampled."""


def mono(samples: object) -> np.ndarray:
    """One channel of sound: float32[samples], where 1 is full scale, in an array of its own.

    Args:
        samples: [samples], or [samples, channels], which are averaged; floats are taken as they are, NaN and
            infinity too, int16, int32 and uint8 are scaled to -1 to 1.

    Raises:
        FeedError: it is nothing of the kind.
    """
    if type(samples) is np.ndarray and samples.ndim == 1 and samples.dtype == np.float32:
        return samples.copy()
    try:
        array = as_array(samples)
    except ValueError as error:
        raise FeedError(f"sound is numbers [samples] or [samples, channels]: {error}") from error
    kind = array.dtype.kind, array.dtype.itemsize
    if array.dtype.kind != "f" and kind not in FULL_SCALE:
        raise FeedError(
            "sound is floats from -1 to 1, int16, int32 or uint8, which say what is loudest, not "
            f"{array.dtype}"
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


def _is_finite(sound: np.ndarray) -> bool:
    # A product is a call less, and finite where no sample is above 1e18.
    return isfinite(np.dot(sound, sound)) or bool(np.isfinite(sound).all())


class Sound:
    """The sound of one stream: comes in any format, at any sample rate, and goes on at ``rate`` Hz.

    What goes on does not depend, in any bit, on how the sound was cut when it came.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.taken = 0
        """Samples that went on."""
        self._given: float | None = None
        self._resampler: Resampler | None = None

    def checked(self, sample_rate: object, samples: object) -> np.ndarray:
        """The next samples as one channel, before they are resampled; nothing is taken yet.

        Raises:
            FeedError: they, or their rate, cannot be used.
            MissingPackageError: they must be resampled, and soxr is not installed.
        """
        if type(sample_rate) is not int or sample_rate != self._given:
            self._check_rate(sample_rate)
        sound = mono(samples)
        if not _is_finite(sound):
            raise FeedError(
                "a waveform holds NaN or infinity, which the model would remember; nothing was taken"
            )
        return sound

    def _check_rate(self, sample_rate: object) -> None:
        if not is_number(sample_rate):
            raise FeedError(f"sample_rate is a number of Hz, not {shown(sample_rate)}")
        if sample_rate != self.rate:
            check_rates(sample_rate, self.rate)
        if self._given not in (None, sample_rate):
            raise FeedError(
                f"the sound of this stream came at {self._given:g} Hz, this at {shown(sample_rate)} Hz; give "
                "sound of another rate to another stream"
            )

    def push(self, sample_rate: float, sound: np.ndarray) -> np.ndarray:
        """Takes what ``checked`` gave; the samples that go on, float32[n]."""
        if self._given is None:
            self._given = sample_rate
            if sample_rate != self.rate:
                self._resampler = Resampler(int(sample_rate), int(self.rate))
        if self._resampler is not None:
            sound = self._resampler.push(sound)
        self.taken += len(sound)
        return sound

    def finish(self) -> np.ndarray:
        """The samples that the resampler holds back, float32[n]."""
        if self._resampler is None:
            return np.empty(0, np.float32)
        sound, self._resampler = self._resampler.finish(), None
        self.taken += len(sound)
        return sound

    def snapshot(self) -> State:
        """The state."""
        fields = {"counts": np.array([self.taken, self._given or 0], np.float64)}
        return State(fields if self._resampler is None else fields | self._resampler.fields())

    def restore(self, saved: State) -> None:
        """Takes over a state, from the start of a stream on.

        Raises:
            StateError: it is damaged.
        """
        taken, given = field(saved, "counts", np.float64, (2,)).tolist()
        if not (0 <= taken < 2**53 and taken.is_integer()):
            raise StateError("it is damaged: no stream has taken so many samples")
        if given not in (0, self.rate):
            try:
                check_rates(given, self.rate)
            except FeedError as error:
                raise StateError(f"it is damaged: {error}") from error
        if "heard" in saved:
            if given in (0, self.rate):
                raise StateError("it is damaged: sound of this rate is not resampled")
            self._resampler = Resampler(int(given), int(self.rate))
            self._resampler.restore(saved, int(taken))
        self.taken, self._given = int(taken), given or None


class Resampler:
    """Resamples one channel of sound, by soxr.

    soxr does not give away the state of its filter, which depends on the latest sound only: a copy of it is
    made by resampling that once more. A copy goes on within the rounding of float32.
    """

    def __init__(self, given: int, rate: int) -> None:
        self._given, self._rate = given, rate
        self._stream = _soxr().ResampleStream(given, rate, 1, dtype="float32")
        self._period = given // gcd(given, rate)
        """Samples after which a sample that comes and one that goes are at the same time."""
        # What soxr holds back, at most, and then a multiple of what its filter spans.
        self._enough = given // 2 + 1024 * given // min(given, rate) + self._period
        self._latest, self._count = np.empty(2 * self._enough, np.float32), 0
        self._heard = 0
        self._surplus, self._missing = np.empty(0, np.float32), 0

    def push(self, sound: np.ndarray) -> np.ndarray:
        """Takes sound, float32[n]; gives what is complete with it."""
        self._keep(sound)
        return self._going(self._stream.resample_chunk(sound))

    def finish(self) -> np.ndarray:
        """The rest."""
        return self._going(self._stream.resample_chunk(np.empty(0, np.float32), last=True))

    def _keep(self, sound: np.ndarray) -> None:
        self._heard += len(sound)
        sound = sound[-self._enough :]
        if self._count + len(sound) > len(self._latest):
            stays = self._enough - len(sound)
            self._latest[:stays] = self._latest[self._count - stays : self._count]
            self._count = stays
        self._latest[self._count : self._count + len(sound)] = sound
        self._count += len(sound)

    def _going(self, sound: np.ndarray) -> np.ndarray:
        """What goes on, of what soxr gives."""
        if self._missing or len(self._surplus):
            sound = np.concatenate([self._surplus, sound])
            skipped = min(self._missing, len(sound))
            self._missing -= skipped
            self._surplus, sound = self._surplus[:0], sound[skipped:]
        return sound

    def fields(self) -> dict[str, np.ndarray]:
        """The state: how much was heard, and the latest of it, from a whole period on."""
        start = self._heard - self._count
        return {"heard": np.array(self._heard), "latest": self._latest[-start % self._period : self._count]}

    def restore(self, saved: State, went: int) -> None:
        """Takes over a state, of which so many samples went on.

        Raises:
            StateError: it is damaged.
        """
        heard = int(field(saved, "heard", np.int64, ()))
        latest = field(saved, "latest", np.float32, (None,))
        start = heard - len(latest)
        first, wrong = divmod(start * self._rate, self._given)
        most = heard * self._rate // self._given
        is_sound = len(latest) <= len(self._latest) and np.isfinite(latest).all()
        if not is_sound or start < 0 or wrong or not first <= went <= most + 1 or heard >= 2**53:
            raise StateError("it is damaged: sound that is resampled cannot have been so")
        self._missing = went - first
        self._surplus = self.push(latest)
        self._heard = heard


def check_rates(given: float, rate: float) -> None:
    """Refuses rates between which no sound is resampled.

    Raises:
        FeedError: they are such.
        MissingPackageError: soxr is not installed.
    """
    least, most = RESAMPLED
    if not all(least <= hertz <= most and float(hertz).is_integer() for hertz in (given, rate)):
        raise FeedError(
            f"sound of {shown(given)} Hz is not resampled to {rate:g} Hz: where they differ, both are whole "
            f"numbers from {least} to {most}"
        )
    _soxr()


def _soxr():
    return package("soxr", "resampling", "speech")
