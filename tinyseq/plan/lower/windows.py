"""Lowerings of what slides over a signal: convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tinyseq import shapes as rules
from tinyseq.ir.weights import Constant
from tinyseq.kernels.instructions import BYTES, PANEL
from tinyseq.plan import packing
from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.linear import linear, packed_matrix
from tinyseq.plan.lower.operands import along, given, joined, real, reshaped
from tinyseq.plan.lower.reduction import folded, start_of
from tinyseq.plan.lower.sliding import Windowing, all_used, as_they_lie, flattened, windows_of
from tinyseq.plan.ring import apart, tap_views
from tinyseq.plan.view import BOOL, INTEGER, Factor, Shape, View, collapsed, dense_strides

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


Used = list[tuple[int, int]]
"""Along each axis the first tap that is used, and the one behind the last."""

Product = Callable[[View, int, slice, Used], View]
"""``product(windows, head, kernels, used)``: windows, whose taps are all dimensions from ``head`` on, times
the used taps of some kernels."""

Taps = Callable[[np.ndarray, slice, Used], np.ndarray]
"""Gives the used taps of some kernels of known weights, [taps..., M]."""


def _convolved(
    p: Builder, x: View, kernels: slice, geometry: Windowing, product: Product, fill: float | View
) -> View:
    """A convolution as one product over windows, x[N, C, ...] and kernels [M, C, ...] -> [N, M, ...].

    With dilation 1 along the last axis a window's taps are one contiguous run. Taps that meet only
    padding are left out, with their weights.
    """
    rank = len(geometry.sizes)
    used = all_used(x, geometry)
    windows = apart(p, windows_of(p, x, geometry, used, fill), rank)
    y = product(windows, rank + 1, kernels, used)
    return y.transposed((0, rank + 1, *range(1, rank + 1)))


def _by_groups(
    p: Builder, x: View, geometry: Windowing, groups: int, count: int, product: Product, fill: float | View
) -> View:
    """Each group of input channels with its own ``count`` kernels."""
    channels = x.shape[1] // groups
    if groups > 1:
        p.demand(x)
    parts = []
    for g in range(groups):
        part = along(x, 1, g * channels, channels)
        kernels = slice(g * count, (g + 1) * count)
        parts.append(_convolved(p, part, kernels, geometry, product, fill))
    return parts[0] if groups == 1 else joined(p, parts, 1)


def taps_of(w: np.ndarray, kernels: slice, used: Used) -> np.ndarray:
    """``Taps`` of w[M, C, ...]."""
    own = w[(kernels, slice(None), *[slice(*run) for run in used])]
    return own.transpose(*range(2, w.ndim), 1, 0)


def _turned_taps_of(w: np.ndarray, kernels: slice, used: Used, groups: int) -> np.ndarray:
    """``Taps`` of the weights w[C, M / groups, ...] of a transposed convolution, of a group's kernels."""
    channels, group = len(w) // groups, kernels.start // w.shape[1]
    own = _turned_round(w[group * channels : (group + 1) * channels]).swapaxes(0, 1)
    return taps_of(own, slice(None), used)


def _turned_round(w: np.ndarray) -> np.ndarray:
    """Weights [..., ..., taps...] whose last taps are the first ones."""
    return np.flip(w, tuple(range(2, w.ndim)))


def _by_panels(p: Builder, source: Constant, key: object, b: View | None, taps: Taps) -> Product:
    """The product of numbers with known kernels; ``key`` tells taps from others of the same weights."""

    def product(windows: View, head: int, kernels: slice, used: Used) -> View:
        layout = ("conv", key, kernels.start, kernels.stop, *used)
        lay = partial(taps, kernels=kernels, used=used)
        w = p.factor(source, layout, kernels.stop - kernels.start, lay)
        return _multiplied(p, windows, head, w, b, kernels)

    return product


def _by_computed(p: Builder, source: View, b: View | None) -> Product:
    """The product of numbers with kernels [M, C, ...] that are computed."""

    def product(windows: View, head: int, kernels: slice, used: Used) -> View:
        own = along(source, 0, kernels.start, kernels.stop - kernels.start)
        kept = own.sliced([*[(0, 1, n) for n in own.shape[:2]], *[(a, 1, b - a) for a, b in used]])
        taps = kept.transposed((*range(2, len(own.shape)), 1, 0))
        matrix = reshaped(p, taps, (math.prod(taps.shape[:-1]), taps.shape[-1]))
        return _multiplied(p, windows, head, packed_matrix(p, matrix), b, kernels)

    return product


def _multiplied(p: Builder, windows: View, head: int, w: Factor, b: View | None, kernels: slice) -> View:
    p.demand(windows)
    if b is not None:
        # What computes it is no part of the windows.
        p.demand(b)
    begun = as_they_lie(p, windows, head, w)
    flat = flattened(p, windows, head)
    y = linear(p, flat, w, None if b is None else b.sliced([(kernels.start, 1, w.n)]))
    if begun:
        p.end_windows(begun)
    return y


Kernels = Callable[[list, int], View]
"""``kernels(used, times)``: the used taps of kernels w[C, 1, ...], each so many times: [taps, times * C]."""


def _in_line(windows: View, rank: int) -> int:
    """How many neighbouring windows count as one of so many times the channels, to have a panel of them where
    there are few; the channels of one lie behind those of the other."""
    count, channels = windows.shape[rank], windows.shape[-1]
    if type(count) is not int or channels >= PANEL or windows.strides[rank] != channels:
        return 1
    enough = range(-(-PANEL // channels), min(count, PANEL) + 1)
    return next((times for times in enough if count % times == 0), 1)


def _depthwise(
    p: Builder, x: View, kernels: Kernels, b: np.ndarray | View | None, geometry: Windowing
) -> View:
    """One kernel a channel. Taps that meet only padding are left out, with their weights."""
    rank, channels = len(geometry.sizes), x.shape[1]
    used = all_used(x, geometry)
    windows = windows_of(p, x, geometry, used)
    if channels > 1 and windows.strides[-1] != 1:
        order = (0, *range(2, rank + 2), 1)
        x = p.fresh(x.transposed(order)).transposed((0, rank + 1, *range(1, rank + 1)))
        windows = windows_of(p, x, geometry, used)
    windows = apart(p, windows, rank)
    y = p.allocate((*windows.shape[: rank + 1], channels))
    if y.size:
        times = _in_line(windows, rank)
        head = (*windows.shape[:rank], windows.shape[rank] // times)
        places = [(*own[:rank], own[rank] * times) for own in (windows.strides, y.strides)]
        leaps = windows.strides[rank + 1 : -1]
        taps = list(np.ndindex(*windows.shape[rank + 1 : -1]))
        sizes, steps, _ = collapsed(head, *places)
        offsets = [sum(i * leap for i, leap in zip(place, leaps)) for place in taps]
        dims = [*sizes, *[BYTES * step for step in (*steps, *offsets)]]
        bias = p.zeros(channels * times) if b is None else _repeated(p, b, times)
        w = kernels(used, times)
        p.emit("depthwise", windows, w, bias, y, channels * times, len(taps), len(sizes), dims)
    return y.transposed((0, rank + 1, *range(1, rank + 1)))


def _repeated(p: Builder, vector: np.ndarray | View, times: int) -> View:
    """A vector so many times one behind the other, dense."""
    if isinstance(vector, np.ndarray):
        return p.packed(vector, ("repeated", times), lambda: packing.segment(np.tile(vector, times)))
    vector = p.dense(real(p, vector))
    return p.dense(vector.reshaped((1, vector.size)).broadcast((times, vector.size)))


def _by_taps(p: Builder, source: np.ndarray | View, w: np.ndarray | View, key: str) -> Kernels:
    """Kernels w[C, 1, ...], known or not; ``source`` and ``key`` tell where they come from."""

    def kernels(used: list, times: int) -> View:
        order, channels = (*range(1, len(used) + 1), 0), w.shape[0]
        if isinstance(w, View):
            kept = w.sliced([(0, 1, channels), (0, 1, 1), *[(a, 1, b - a) for a, b in used]])
            kept = kept.laid((channels, *kept.shape[2:]), (kept.strides[0], *kept.strides[2:]))
            taps = p.dense(kept.transposed(order)).reshaped((kept.size // channels, 1, channels))
            return p.dense(taps.broadcast((taps.shape[0], times, channels)))

        def make() -> np.ndarray:
            taps = w[(slice(None), 0, *[slice(*run) for run in used])].transpose(order)
            return packing.segment(np.tile(taps, times))

        return p.packed(source, ("depthwise", key, times, *used), make)

    return kernels


def _geometry(node: Node, x: View, w: Constant | View, shape: Shape) -> Windowing:
    sizes, strides, dilations, before, _ = rules.conv_geometry(node.attributes, x.shape, w.shape)
    return Windowing(tuple(sizes), tuple(strides), tuple(dilations), tuple(before), shape[2:])


def convolution(
    p: Builder, node: Node, x: View, w: Constant | View, shape: Shape, product: Product, fill: float | View
) -> View:
    """A convolution of any groups by the given product, padded with ``fill``."""
    groups = node.attributes["group"]
    return _by_groups(p, x, _geometry(node, x, w, shape), groups, w.shape[0] // groups, product, fill)


def conv(p: Builder, node: Node, inputs, shapes) -> View:
    x, w, b = real(p, inputs[0]), inputs[1], given(inputs, 2)
    groups = node.attributes["group"]
    if 1 < groups == w.shape[0] == x.shape[1]:
        return _depthwise(p, x, _by_taps(p, w, w, "as is"), b, _geometry(node, x, w, shapes[0]))
    b = None if b is None else p.dense(real(p, b))
    if w.shape[1] == groups == 1 and not isinstance(w, View):
        transform = p.found_transform(w, "conv", lambda own: own.reshape(len(own), -1).T)
        if transform is not None:
            return _transformed(p, x, transform, b, _geometry(node, x, w, shapes[0]))
    known = not isinstance(w, View)
    product = _by_panels(p, w, "as is", b, taps_of) if known else _by_computed(p, w, b)
    return convolution(p, node, x, w, shapes[0], product, 0.0)


def _transformed(p: Builder, x: View, transform: Factor, b: View | None, geometry: Windowing) -> View:
    """A convolution of one channel that is a Fourier transform of each window. Taps that meet only padding
    stay, for sums to run in the order of the whole."""
    rank = len(geometry.sizes)
    windows = apart(p, windows_of(p, x, geometry, [(0, size) for size in geometry.sizes]), rank)
    p.demand(windows)
    y = linear(p, flattened(p, windows, rank + 1), transform, b)
    return y.transposed((0, rank + 1, *range(1, rank + 1)))


def conv_transpose(p: Builder, node: Node, inputs, shapes) -> View:
    """The convolution of x, zeros between its elements, with the kernels turned round."""
    x, source, b = real(p, inputs[0]), inputs[1], given(inputs, 2)
    b = None if b is None else p.dense(real(p, b))
    sizes, strides, dilations, before, _ = rules.conv_transpose_geometry(
        node.attributes, x.shape, source.shape
    )[0]
    groups = node.attributes["group"]
    spread = tuple((n - 1) * step + 1 if n else 0 for n, step in zip(x.shape[2:], strides))
    if any(step > 1 for step in strides):
        between = p.fill(p.allocate((*x.shape[:2], *spread)))
        places = [(0, 1, n) for n in x.shape[:2]]
        places += [(0, step, n) for n, step in zip(x.shape[2:], strides)]
        p.copy(x, between.sliced(places))
        x = between
    front = tuple(d * (k - 1) - a for d, k, a in zip(dilations, sizes, before))
    geometry = Windowing(tuple(sizes), (1,) * len(sizes), tuple(dilations), front, shapes[0][2:])
    count, known = source.shape[1], not isinstance(source, View)
    if 1 < groups == x.shape[1] and count == 1:
        turned = _turned_round(source) if known else _turned(p, source, groups)
        return _depthwise(p, x, _by_taps(p, source, turned, "transposed"), b, geometry)
    if known:
        taps = partial(_turned_taps_of, groups=groups)
        product = _by_panels(p, source, ("transposed", groups), b, taps)
    else:
        product = _by_computed(p, _turned(p, source, groups), b)
    return _by_groups(p, x, geometry, groups, count, product, 0.0)


def _turned(p: Builder, w: View, groups: int) -> View:
    """The computed weights w[C, M / groups, ...] of a transposed convolution as those of a plain one."""
    channels, filters, *sizes = w.shape
    split, joint = (groups, channels // groups, filters), (groups * filters, channels // groups)
    turned = w.sliced([*[(0, 1, n) for n in w.shape[:2]], *[(n - 1, -1, n) for n in sizes]])
    turned = reshaped(p, turned, (*split, *sizes)).transposed((0, 2, 1, *range(3, 3 + len(sizes))))
    return reshaped(p, turned, (*joint, *sizes))


def _pool_windows(p: Builder, node: Node, x: View, fill: float, shape: Shape) -> tuple[Windowing, View]:
    """x[N, C, ...] as [N, out..., taps..., C], padded with ``fill``."""
    sizes, strides, dilations, before, _ = rules.pool_geometry(node.attributes, x.shape)
    geometry = Windowing(tuple(sizes), tuple(strides), tuple(dilations), tuple(before), shape[2:])
    return geometry, windows_of(p, x, geometry, [(0, size) for size in sizes], fill)


def _summed_windows(p: Builder, node: Node, x: View, shape: Shape) -> tuple[Windowing, View]:
    """The taps added one after the other, [N, out..., C]."""
    geometry, windows = _pool_windows(p, node, x, 0.0, shape)
    rank = len(geometry.sizes)
    y = p.fill(p.allocate((*windows.shape[: rank + 1], x.shape[1])))
    for tap in tap_views(windows, rank):
        p.elementwise("add", y, y, tap)
    return geometry, y


def average_pool(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    geometry, y = _summed_windows(p, node, x, shapes[0])
    counts = _counts(node, x.shape[2:], geometry)[None, ..., None]
    y = p.elementwise("divide", y, y, p.constant(counts).broadcast(y.shape))
    return y.transposed((0, len(y.shape) - 1, *range(1, len(y.shape) - 1)))


def lp_pool(p: Builder, node: Node, inputs, shapes) -> View:
    """The root of the sum of powers."""
    x, degree = apply(p, "absolute", real(p, inputs[0])), node.attributes["p"]
    powers = apply(p, "square", x) if degree == 2 else apply(p, "power", x, p.scalar(degree, x.shape))
    _, y = _summed_windows(p, node, powers, shapes[0])
    y = apply(p, "sqrt", y) if degree == 2 else apply(p, "power", y, p.scalar(1 / degree, y.shape))
    return y.transposed((0, len(y.shape) - 1, *range(1, len(y.shape) - 1)))


def max_pool(p: Builder, node: Node, inputs, shapes) -> list[View]:
    """The taps folded one after the other; the places follow where the maximum moves."""
    x = p.view(inputs[0])
    least = start_of("maximum", x.dtype)
    geometry, windows = _pool_windows(p, node, x, least, shapes[0])
    rank = len(geometry.sizes)
    shape = (*windows.shape[: rank + 1], x.shape[1])
    back = (0, rank + 1, *range(1, rank + 1))
    y = p.fill(p.allocate(shape, dtype=x.dtype), least)
    if len(node.outputs) == 1:
        for tap in tap_views(windows, rank):
            p.elementwise("maximum", y, y, tap)
        return [y.transposed(back)]
    met = _met(x.shape[2:], geometry)
    rows, channels, *size = map(int, x.shape)
    weights = dense_strides(size[::-1])[::-1] if node.attributes["storage_order"] else dense_strides(size)

    def place(coordinates) -> View:
        """Positions in a plane, [out..., 1], from those along each axis."""
        flat = sum(np.ix_(*[c * weight for c, weight in zip(coordinates, weights)]), np.int64(0))
        return p.constant(np.asarray(flat, np.int64)[..., None]).broadcast(shape)

    places = place([np.where(inside, at, np.iinfo(np.int64).max).min(1) % n for at, inside, n in met])
    for taps, tap in zip(np.ndindex(*geometry.sizes), tap_views(windows, rank)):
        top = apply(p, "maximum", y, tap)
        same = apply(p, "or", *(apply(p, "equal", y, top, dtype=BOOL), _is_nan(p, y)))
        here = place([np.clip(at[:, t], 0, n - 1) for (at, _, n), t in zip(met, taps)])
        places = apply(p, "where", same, places, here, dtype=INTEGER)
        y = top
    planes = np.arange(rows * channels).reshape(rows, *[1] * rank, channels) * math.prod(size)
    planes = p.constant(planes).broadcast(shape)
    places = apply(p, "add", places, planes)
    return [y.transposed(back), places.transposed(back)]


def _is_nan(p: Builder, x: View) -> View:
    if x.kind == "i":
        return p.constant(np.array(False)).broadcast(x.shape)
    return apply(p, "is_nan", x, dtype=BOOL)


def _met(size: Shape, geometry: Windowing) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """For each axis the positions [out, taps] that windows meet, which of them are elements, and how many
    elements there are."""
    axes = zip(size, geometry.sizes, geometry.strides, geometry.dilations, geometry.before, geometry.out)
    result = []
    for axis in axes:
        n, taps, stride, dilation, before, out = map(int, axis)
        at = (np.arange(out) * stride - before)[:, None] + np.arange(taps) * dilation
        result.append((at, (at >= 0) & (at < n), n))
    return result


def _counts(node: Node, size: Shape, geometry: Windowing) -> np.ndarray:
    """How many elements each window averages over, [out...]."""
    counts = np.ones((), np.float32)
    after = rules.pool_geometry(node.attributes, (1, 1, *size))[4]
    for n, pad_after, *axis in zip(
        size, after, geometry.sizes, geometry.strides, geometry.dilations, geometry.before, geometry.out
    ):
        taps, stride, dilation, before, out = axis
        low, high = (-before, n + pad_after) if node.attributes["count_include_pad"] else (0, n)
        starts = np.arange(out) * stride - before
        met = starts[:, None] + np.arange(taps) * dilation
        counts = np.multiply.outer(counts, ((low <= met) & (met < high)).sum(1).astype(np.float32))
    return counts.astype(np.float32)


def global_pool(function: str):
    """All of the signal in one window."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        x = real(p, inputs[0])
        axes = list(range(2, len(x.shape)))
        y = folded(p, function, x, axes)
        count = math.prod(x.shape[2:])
        return apply(p, "divide", y, p.scalar(count, y.shape)) if function == "add" else y

    return lower


LOWERINGS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_pool("add"),
    "GlobalMaxPool": global_pool("maximum"),
}
