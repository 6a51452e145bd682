"""Resampling and Fourier transforms."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.reference.common import checked_shape, defines


def _original(before: int, after: int, scale: float, mode: str, start: float, end: float) -> np.ndarray:
    """The places in the original axis of the elements of the resized one."""
    i = np.arange(after, dtype=np.float64)
    if mode == "align_corners":
        return 0 * i if after == 1 else i * (before - 1) / (after - 1)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "tf_crop_and_resize":
        if after == 1:
            return 0 * i + 0.5 * (start + end) * (before - 1)
        return start * (before - 1) + i * (end - start) * (before - 1) / (after - 1)
    if mode == "pytorch_half_pixel" and after == 1:
        return 0 * i
    places = (i + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        places += before / 2 * (1 - after / (scale * before))
    return places


def _nearest(places, mode: str):
    if mode == "round_prefer_floor":
        return np.ceil(places - 0.5)
    if mode == "round_prefer_ceil":
        return np.floor(places + 0.5)
    return np.floor(places) if mode == "floor" else np.ceil(places)


def _kernel(distances, mode: str, a: float):
    """The weights of elements at some distances."""
    d = np.abs(distances)
    if mode == "linear":
        return np.where(d < 1, 1 - d, 0)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _resized(x, axis: int, places, scale: float, mode: str, attributes: dict):
    """x with the elements at these places of an axis; what lies beyond an end counts as the last."""
    size = x.shape[axis]
    if mode == "nearest":
        chosen = np.clip(_nearest(places, attributes["nearest_mode"]), 0, size - 1)
        return np.take(x, chosen.astype(int), axis)
    along = [-1 if a == axis else 1 for a in range(x.ndim)]
    stretch = 1 / min(scale, 1.0) if attributes["antialias"] else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) * stretch)
    y, total = 0.0, np.zeros(len(places))
    for offset in range(-reach, reach + 1):
        taps = np.floor(places) + offset
        weights = _kernel((taps - places) / stretch, mode, attributes["cubic_coeff_a"])
        if attributes["exclude_outside"]:
            weights = np.where((taps < 0) | (taps >= size), 0, weights)
        total = total + weights
        part = np.take(x, np.clip(taps, 0, size - 1).astype(int), axis)
        y = y + part * weights.reshape(along)
    scaled = attributes["antialias"] or attributes["exclude_outside"]
    return y / total.reshape(along) if scaled else y


def _scales(shape, axes, scales, sizes, policy: str) -> tuple[list[int], list[float]]:
    """For each axis its new size and its scale."""
    if scales is not None and np.size(scales):
        factors = [float(scale) for scale in np.ravel(scales)]
        narrow = [
            np.float32(shape[axis]) * np.float32(scale) for axis, scale in zip(axes, factors, strict=True)
        ]
        return [math.floor(size) for size in narrow], factors
    wanted = [int(size) for size in np.ravel(sizes)]
    ratios = [size / shape[axis] if shape[axis] else 1.0 for axis, size in zip(axes, wanted, strict=True)]
    if policy == "stretch" or not ratios:
        return wanted, ratios
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(ratio * shape[axis] + 0.5) for axis in axes], [ratio] * len(axes)


@defines("Resize")
def resize(
    x, roi=None, scales=None, sizes=None, *,
    antialias, axes, coordinate_transformation_mode, cubic_coeff_a, exclude_outside, extrapolation_value,
    keep_aspect_ratio_policy, mode, nearest_mode,
):  # fmt: skip
    """Sums of weighted elements along each axis, one after the other."""
    attributes = {
        "antialias": antialias, "cubic_coeff_a": cubic_coeff_a, "exclude_outside": exclude_outside,
        "nearest_mode": nearest_mode,
    }  # fmt: skip
    axes = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    made, factors = _scales(x.shape, axes, scales, sizes, keep_aspect_ratio_policy)
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    regions = np.ravel(roi).reshape(2, -1).T if crops else [(0.0, 1.0)] * len(axes)
    dtype, y = x.dtype, x
    shape = checked_shape([dict(zip(axes, made)).get(axis, size) for axis, size in enumerate(x.shape)])
    if 0 in shape:
        return np.zeros(shape, dtype)
    outside = []
    for axis, after, scale, (start, end) in zip(axes, made, factors, regions, strict=True):
        before = x.shape[axis]
        places = _original(before, after, scale, coordinate_transformation_mode, start, end)
        if crops:
            outside += [(axis, i) for i in np.flatnonzero((places < 0) | (places > before - 1))]
        if before:
            y = _resized(y, axis, places, scale, mode, attributes)
    y = np.array(y, dtype)
    for axis, i in outside:
        np.moveaxis(y, axis, 0)[i] = extrapolation_value
    return y


@defines("DFT")
def dft(x, dft_length=None, axis=None, *, inverse, onesided):
    axis = -2 if axis is None else int(np.ravel(axis)[0])
    axis = axis % x.ndim
    numbers = x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)
    count = x.shape[axis]
    length = 2 * (count - 1) if onesided and inverse else count
    length = length if dft_length is None else int(np.ravel(dft_length)[0])
    if onesided and inverse:
        return np.fft.irfft(numbers, length, axis)[..., None].astype(x.dtype)
    if onesided:
        y = np.fft.rfft(numbers.real, length, axis)
    else:
        y = (np.fft.ifft if inverse else np.fft.fft)(numbers, length, axis)
    return np.stack([y.real, y.imag], -1).astype(x.dtype)


@defines("STFT")
def stft(x, step, window=None, length=None, *, onesided):
    numbers = x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)
    given = x.shape[1] if window is None else len(window)
    length = given if length is None else int(np.ravel(length)[0])
    step = int(np.ravel(step)[0])
    window = np.ones(length) if window is None else window
    starts = range(0, x.shape[1] - length + 1, step)
    frames = np.array([numbers[:, start : start + length] * window for start in starts])
    frames = frames.reshape(len(starts), x.shape[0], length).swapaxes(0, 1)
    y = np.fft.rfft(frames.real, axis=-1) if onesided else np.fft.fft(frames, axis=-1)
    return np.stack([y.real, y.imag], -1).astype(x.dtype)
