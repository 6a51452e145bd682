"""Sound on its way to a model: resampled as it comes, saved at any place."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tinyseq.speech.sound import Sound, mono

RATES = [(48_000, 16_000), (44_100, 16_000), (8000, 16_000), (1000, 16_000), (16_000, 8000), (96_000, 22_050)]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def passed(sound: Sound, rate: float, parts) -> list[np.ndarray]:
    return [sound.push(rate, sound.checked(rate, part)) for part in parts]


@pytest.mark.parametrize(("given_rate", "rate"), RATES)
@given(data=st.data())
def test_sound_in_any_pieces_is_the_whole_resampled(given_rate, rate, data):
    samples = noise(data.draw(st.integers(0, 3 * given_rate)))
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=9).map(sorted))
    sound = Sound(rate)
    found = np.concatenate([*passed(sound, given_rate, np.split(samples, cuts)), sound.finish()])
    expected = soxr.resample(samples, given_rate, rate)
    np.testing.assert_array_equal(found[: len(expected)], expected[: len(found)])
    assert abs(len(found) - len(expected)) <= 1 and sound.taken == len(found)


@pytest.mark.parametrize(("given_rate", "rate"), RATES)
@given(data=st.data())
def test_saved_sound_goes_on_within_rounding(given_rate, rate, data):
    """However long ago it began, and however often it is saved."""
    samples = noise(4 * given_rate)
    sound, parts = Sound(rate), []
    for cut in np.split(samples, data.draw(st.lists(st.integers(0, len(samples)), max_size=4).map(sorted))):
        parts += passed(sound, given_rate, np.array_split(cut, 7))
        saved, sound = sound.snapshot(), Sound(rate)
        sound.restore(saved)
    found = np.concatenate([*parts, sound.finish()])
    np.testing.assert_allclose(found, soxr.resample(samples, given_rate, rate), rtol=0, atol=1e-6)


def test_what_is_kept_does_not_grow():
    sound = Sound(16_000)
    sizes = []
    for _ in range(4):
        passed(sound, 48_000, [noise(480)] * 300)
        sizes.append(len(sound.snapshot().to_bytes()))
    assert max(sizes) < 250_000


@pytest.mark.parametrize("dtype", [np.int16, np.dtype(">i2"), np.int32, np.uint8, np.float16, np.float64])
def test_formats_are_scaled_to_full_scale(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        assert mono(np.array([-1, 0, 0.5], dtype)).tolist() == [-1, 0, 0.5]
        return
    limits = np.iinfo(dtype)
    middle = (int(limits.min) + int(limits.max) + 1) // 2
    quarter = (int(limits.max) + 1 - middle) // 4
    given_samples = np.array([limits.min, middle, middle + quarter, middle - quarter], dtype)
    assert mono(given_samples).tolist() == [-1, 0, 0.25, -0.25]
    assert mono(np.stack([given_samples, given_samples[::-1]], 1)).tolist() == [-0.625, 0.125, 0.125, -0.625]


@pytest.mark.parametrize(("rate", "samples"), [(44_100.5, 3), (999, 3), (2e6, 3), (np.nan, 3), ("48000", 3)])
def test_rates_that_are_not_resampled_are_refused(rate, samples):
    with pytest.raises(tinyseq.FeedError, match="Hz"):
        Sound(16_000).checked(rate, noise(samples))


def test_a_rate_stays_what_it_is():
    sound = Sound(16_000)
    passed(sound, 48_000, [noise(9)])
    with pytest.raises(tinyseq.FeedError, match=r"came at 48000 Hz, this at 16000 Hz"):
        sound.checked(16_000, noise(9))
