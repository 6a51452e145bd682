"""Shape rules of what resamples and transforms signals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinyseq.shapes.common import Attributes, Mismatch, Shape, axes_of, axis_of, listed, whole_numbers

MOST_SIZE = 2**24
"""Elements of a resized axis."""


def _given(values, place: int):
    """A known input; None where it is absent or empty."""
    value = values[place] if place < len(values) else None
    return None if value is None or np.size(value) == 0 else value


def resized_axes(attributes: Attributes, rank: int) -> list[int]:
    """The axes that sizes, scales and regions are of."""
    return list(range(rank)) if attributes["axes"] is None else axes_of(attributes["axes"], rank)


def _check_sizes(sizes: Sequence[float]) -> None:
    if max(sizes, default=0) > MOST_SIZE:
        raise Mismatch(f"{max(sizes):.10g} elements of a resized axis; {MOST_SIZE:,} are the most")


def resize_scales(attributes: Attributes, shape: Shape, values) -> dict[int, tuple[int, float]]:
    """By axis, for those that may change, the new size and the scale that leads to it."""
    axes = resized_axes(attributes, len(shape))
    scales, sizes = _given(values, 2), _given(values, 3)
    if (scales is None) == (sizes is None):
        raise Mismatch("scales or sizes are to be given, and not both")
    if scales is not None:
        factors = [float(scale) for scale in np.ravel(scales)]
        if len(factors) != len(axes) or not all(0 < factor < math.inf for factor in factors):
            raise Mismatch(f"scales {factors} for {len(axes)} axes; each is a number above 0")
        # Products are of float32, as the scales are.
        sizes = [float(np.float32(shape[axis]) * np.float32(factor)) for axis, factor in zip(axes, factors)]
        _check_sizes(sizes)
        return {axis: (math.floor(size), factor) for axis, size, factor in zip(axes, sizes, factors)}
    wanted = listed(sizes, "sizes")
    if len(wanted) != len(axes) or min(wanted, default=1) < 0:
        raise Mismatch(f"sizes {wanted} for {len(axes)} axes")
    ratios = [size / shape[axis] if shape[axis] else 1.0 for axis, size in zip(axes, wanted)]
    policy = attributes["keep_aspect_ratio_policy"]
    if policy != "stretch" and ratios:
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        wanted = [math.floor(ratio * shape[axis] + 0.5) for axis in axes]
        ratios = [ratio] * len(axes)
    _check_sizes(wanted)
    return {axis: (size, ratio) for axis, size, ratio in zip(axes, wanted, ratios)}


def resize(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x = shapes[0]
    found = resize_scales(attributes, x, values)
    if any(size and not x[axis] for axis, (size, _) in found.items()):
        raise Mismatch(f"{list(x)} has nothing to be resized")
    if attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
        roi = _given(values, 1)
        if roi is None or np.size(roi) != 2 * len(resized_axes(attributes, len(x))):
            raise Mismatch(
                "tf_crop_and_resize needs a region: where it starts and where it ends on each axis"
            )
    return (tuple(found[axis][0] if axis in found else size for axis, size in enumerate(x)),)


def _one(value, what: str) -> int:
    if np.size(value) != 1:
        raise Mismatch(f"{what} holds {np.size(value)} elements where one is needed")
    return whole_numbers(np.asarray(value), what)[0]


def dft_axis(shape: Shape, values) -> int:
    """The axis of a Fourier transform; the last one is of real and imaginary parts."""
    given = values[2] if len(values) > 2 else None
    axis = axis_of(-2 if given is None else _one(given, "axis"), len(shape))
    if axis == len(shape) - 1 or shape[-1] not in (1, 2):
        raise Mismatch(
            f"a Fourier transform along axis {axis} of {list(shape)}, whose last dimension is of real and "
            "imaginary parts"
        )
    return axis


def dft_length(attributes: Attributes, shape: Shape, values) -> int:
    """The length of a Fourier transform."""
    size = shape[dft_axis(shape, values)]
    given = values[1] if len(values) > 1 else None
    if given is None:
        return 2 * (size - 1) if attributes["onesided"] and attributes["inverse"] else size
    length = _one(given, "dft_length")
    if length < 1:
        raise Mismatch(f"dft_length {length}; it is 1 at the least")
    return length


def dft(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x = shapes[0]
    axis, length = dft_axis(x, values), dft_length(attributes, x, values)
    if length < 1:
        raise Mismatch(f"a Fourier transform over {x[axis]} elements")
    half, inverse = attributes["onesided"], attributes["inverse"]
    if half and x[-1] != (2 if inverse else 1):
        raise Mismatch(f"a one-sided transform of {x[-1]} parts; forward it is of 1, inverse of 2")
    size = length // 2 + 1 if half and not inverse else length
    return ((*x[:axis], size, *x[axis + 1 : -1], 1 if half and inverse else 2),)


def stft_frames(shapes, values) -> tuple[int, int, int]:
    """How long the frames of a short-time Fourier transform are, how far apart, and how many."""
    x, window = shapes[0], shapes[2] if len(shapes) > 2 else None
    if len(x) != 3 or x[2] not in (1, 2):
        raise Mismatch(f"a signal {list(x)}; it is [rows, samples, real and imaginary parts]")
    given = values[3] if len(values) > 3 else None
    length = (window or x[1:])[0] if given is None else _one(given, "frame_length")
    if window not in (None, (length,)):
        raise Mismatch(f"a window {list(window)} for frames of {length}")
    step = _one(values[1], "frame_step")
    if step < 1 or length < 1:
        raise Mismatch(f"frames of {length} every {step}; both are 1 at the least")
    return length, step, max(0, (x[1] - length) // step + 1)


def stft(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    length, _, count = stft_frames(shapes, values)
    if attributes["onesided"] and shapes[0][2] == 2:
        raise Mismatch("a one-sided transform of a signal with imaginary parts")
    return ((shapes[0][0], count, length // 2 + 1 if attributes["onesided"] else length, 2),)
