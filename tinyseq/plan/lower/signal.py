"""Lowerings of resampling and of Fourier transforms: what they weigh is known when planning."""

from __future__ import annotations

import math
from operator import index
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinyseq.common import memory
from tinyseq.kernels.formats import FLOAT32
from tinyseq.kernels.fourier import FourierMatrix, is_worth
from tinyseq.plan import packing
from tinyseq.plan.lower.elementwise import apply, number
from tinyseq.plan.lower.indexing import picked
from tinyseq.plan.lower.linear import linear
from tinyseq.plan.lower.movement import padded
from tinyseq.plan.lower.operands import along, given, real, reshaped
from tinyseq.plan.view import Factor, View
from tinyseq.shapes.signal import dft_axis, dft_length, resize_scales, resized_axes, stft_frames

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


class Taps(NamedTuple):
    """Along one axis: which elements [taps, out] make each new one, their weights, and which new ones lie
    outside the old axis."""

    places: np.ndarray
    weights: np.ndarray
    outside: np.ndarray


def _coordinates(mode: str, before: int, after: int, scale: float, region: tuple[float, float]) -> np.ndarray:
    """Where the elements of a resized axis lie in the original one."""
    i = np.arange(after, dtype=np.float64)
    centred = (i + 0.5) / scale - 0.5
    last, start, end = before - 1, *region
    single = after == 1
    return {
        "half_pixel": lambda: centred,
        "half_pixel_symmetric": lambda: centred + before / 2 * (1 - after / (scale * before)),
        "pytorch_half_pixel": lambda: 0 * i if single else centred,
        "align_corners": lambda: 0 * i if single else i * last / (after - 1),
        "asymmetric": lambda: i / scale,
        "tf_half_pixel_for_nn": lambda: (i + 0.5) / scale,
        "tf_crop_and_resize": lambda: (
            0 * i + 0.5 * (start + end) * last
            if single
            else start * last + i * (end - start) * last / (after - 1)
        ),
    }[mode]()


def _linear(distance: np.ndarray, a: float) -> np.ndarray:
    return np.maximum(0, 1 - distance)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


NEAREST = {
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _taps(attributes: dict, before: int, after: int, scale: float, region: tuple[float, float]) -> Taps:
    # Places of elements are worked out here: a formula holds for these sizes alone.
    before, after, scale = index(before), index(after), float(scale)
    mode = attributes["coordinate_transformation_mode"]
    places = _coordinates(mode, before, after, scale, region)
    outside = (places < 0) | (places > before - 1)
    if attributes["mode"] == "nearest":
        chosen = NEAREST[attributes["nearest_mode"]](places)[None]
        return Taps(np.clip(chosen, 0, before - 1).astype(np.int64), np.ones((1, after)), outside)
    weigh, radius = (_linear, 1) if attributes["mode"] == "linear" else (_cubic, 2)
    stretch = 1 / min(scale, 1.0) if attributes["antialias"] else 1.0
    reach = math.ceil(radius * stretch)
    taps = np.floor(places) + np.arange(1 - reach, 1 + reach)[:, None]
    weights = weigh(np.abs(taps - places) / stretch, attributes["cubic_coeff_a"])
    if attributes["exclude_outside"]:
        weights = np.where((taps < 0) | (taps >= before), 0, weights)
    if attributes["exclude_outside"] or attributes["antialias"]:
        weights = weights / weights.sum(0)
    return Taps(np.clip(taps, 0, before - 1).astype(np.int64), weights, outside)


def resize(p: Builder, node: Node, inputs, shapes) -> View:
    x = p.view(inputs[0])
    found = resize_scales(node.attributes, x.shape, inputs)
    crops = node.attributes["coordinate_transformation_mode"] == "tf_crop_and_resize"
    axes = resized_axes(node.attributes, len(x.shape))
    regions = np.ravel(inputs[1]).reshape(2, -1).T.tolist() if crops else [(0.0, 1.0)] * len(axes)
    if 0 in shapes[0]:
        return p.allocate(shapes[0], dtype=x.dtype)
    outside = []
    for axis, region in zip(axes, regions):
        after, scale = found[axis]
        if not crops and after == x.shape[axis] and scale == 1:
            continue
        taps = _taps(node.attributes, x.shape[axis], after, scale, tuple(region))
        outside.append((axis, taps.outside))
        x = _weighed(p, node, x, axis, taps)
    if crops:
        x = _filled(p, x, outside, node.attributes["extrapolation_value"])
    return x


def _weighed(p: Builder, node: Node, x: View, axis: int, taps: Taps) -> View:
    """The sum of weighted elements along one axis."""
    shape = tuple(taps.places.shape[1] if a == axis else n for a, n in enumerate(x.shape))
    if node.attributes["mode"] == "nearest":
        return picked(p, node, x, axis, taps.places[0], shape)
    x, total = real(p, x), None
    for places, weights in zip(taps.places, taps.weights):
        if not weights.any():
            continue
        part = picked(p, node, x, axis, places, shape)
        spread = weights.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        factor = p.constant(spread).broadcast(shape)
        start = p.scalar(0, shape) if total is None else total
        total = apply(p, "fma", part, factor, start)
    return total if total is not None else p.fill(p.allocate(shape))


def _filled(p: Builder, x: View, outside: list[tuple[int, np.ndarray]], value: float) -> View:
    """A number in place of what lies outside the original tensor along any axis."""
    mask = np.zeros(x.shape, bool)
    for axis, where in outside:
        mask |= where.reshape([-1 if a == axis else 1 for a in range(len(x.shape))])
    if not mask.any():
        return x
    return apply(p, "where", p.constant(mask), number(p, x, value), x, dtype=x.dtype)


def dft(p: Builder, node: Node, inputs, shapes) -> View:
    """A product with the matrix of the transform, whose rows and columns are pairs of parts."""
    x, values = real(p, inputs[0]), [None, given(inputs, 1), given(inputs, 2)]
    axis, length = dft_axis(x.shape, values), dft_length(node.attributes, x.shape, values)
    half, inverse = bool(node.attributes["onesided"]), bool(node.attributes["inverse"])
    parts, made = x.shape[-1], shapes[0][-1]
    wanted = length // 2 + 1 if half and inverse else length
    x = along(x, axis, 0, min(wanted, x.shape[axis]))
    if x.shape[axis] < wanted:
        widths = [(0, wanted - n if a == axis else 0) for a, n in enumerate(x.shape)]
        longer = tuple(n + more for n, (_, more) in zip(x.shape, widths))
        x = padded(p, x, widths, p.allocate(longer), "constant")
    others = [a for a in range(len(x.shape) - 1) if a != axis]
    last = len(x.shape) - 1
    turned = x.transposed((*others, axis, last))
    kept = turned.shape[:-2]
    w = None if inverse else _transform(p, None, wanted, length, shapes[0][axis], parts)
    if w is None:
        w = _factor(p, _fourier(length, wanted, shapes[0][axis], parts, made, half, inverse))
    y = linear(p, reshaped(p, turned, (*kept, wanted * parts)), w, None)
    y = y.reshaped((*kept, shapes[0][axis], made))
    order = sorted(range(last), key=lambda a: (*others, axis)[a])
    return y.transposed((*order, last))


def _transform(
    p: Builder, window: np.ndarray | None, given: int, length: int, made: int, parts: int
) -> Factor | None:
    """The transform to complex numbers, if it is one of real numbers and worth it; ``window`` weighs them."""
    given, length, made = index(given), index(length), index(made)
    if parts != 1 or not is_worth(given, 2 * made, length):
        return None
    weights = np.ones(given) if window is None else np.asarray(window, np.float64).ravel()
    bins, sines = np.repeat(np.arange(made), 2), np.tile((0, -1), made)
    return p.transform(FourierMatrix(length, weights, bins, sines))


def _factor(p: Builder, matrix: np.ndarray) -> Factor:
    """A matrix that belongs to no weights of the model."""
    return Factor(p.constant(packing.panels(matrix.astype(np.float32))), matrix.shape[1], FLOAT32)


def stft(p: Builder, node: Node, inputs, shapes) -> View:
    """The same of overlapping frames, which are a view of the signal, times the window."""
    x, window = real(p, inputs[0]), given(inputs, 2)
    told = [x.shape, None, None if window is None else window.shape]
    length, step, count = stft_frames(told, [None, inputs[1], None, given(inputs, 3)])
    rows, _, parts = x.shape
    if 0 in shapes[0]:
        return p.allocate(shapes[0])
    along_rows, sample, part = x.strides
    frames = x.laid((rows, count, length, parts), (along_rows, sample * step, sample, part))
    made, known = shapes[0][2], None if isinstance(window, View) else window
    w = _transform(p, known, length, length, made, parts)
    if window is not None and (known is None or w is None):
        factor = real(p, window).reshaped((length, 1)).broadcast(frames.shape)
        frames = apply(p, "multiply", p.fresh(frames), factor)
    if w is None:
        w = _factor(p, _fourier(length, length, made, parts, 2, False, False))
    flat = reshaped(p, frames, (rows, count, length * parts))
    return linear(p, flat, w, None).reshaped((rows, count, made, 2))


A_PAIR = 128
"""Bytes that making the matrix of a transform takes for each pair of an input and a result."""


def _fourier(
    length: int, given: int, made: int, parts: int, parts_made: int, half: bool, inverse: bool
) -> np.ndarray:
    """[given, parts, made, parts made] as a matrix: what a part of an input adds to each part of a result."""
    length, given, made = index(length), index(given), index(made)
    memory.check(A_PAIR * given * made)
    angles = 2 * np.pi / length * (np.outer(np.arange(given), np.arange(made)) % length)
    cosine, sine = np.cos(angles), np.sin(angles) * (1 if inverse else -1)
    # Real parts give (cos, sin), imaginary ones (-sin, cos).
    full = np.array([[cosine, sine], [-sine, cosine]]).transpose(2, 0, 3, 1)
    if half and inverse:
        # Each element but the first, and the middle one, stands for its conjugate too.
        twice = np.full(given, 2.0)
        twice[0] = 1
        if length % 2 == 0:
            twice[-1] = 1
        full = full * twice[:, None, None, None]
    full = full / (length if inverse else 1)
    return full[:, :parts, :, :parts_made].reshape(given * parts, made * parts_made)


LOWERINGS = {"Resize": resize, "DFT": dft, "STFT": stft}
