"""Products of bytes and the quantising of numbers; the twins of ``tinyseq.kernels.compute.quantized``."""

from __future__ import annotations

from functools import cache

from numba import types
from numpy import float32, int32, int64

from tinyseq.kernels.compute.math import BYTE_MAX, quantize
from tinyseq.kernels.cuda.arithmetic import dot4
from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.kinds import Kind, asked_by
from tinyseq.kernels.cuda.launch import THREADS, Facts, Kernel, Launch
from tinyseq.kernels.cuda.product import launched, product_of, tile_for
from tinyseq.kernels.cuda.reduction import across_block
from tinyseq.kernels.cuda.stages import Product
from tinyseq.kernels.cuda.tiles import Tile, tiles_of
from tinyseq.kernels.formats import BYTE_ELEMENT
from tinyseq.kernels.instructions import HAS_LENGTHS, PANEL
from tinyseq.kernels.llvm.intrinsics import floats, integers, integers32, octets

BYTES = 4
ZERO, ONE = float32(0), float32(1)
NO_SUM, EACH_BYTE = int32(0), int32(0x01010101)

LONG = 2**14
"""Numbers from which on several blocks look for their range."""
MOST_RANGES = 64


def _lower(a, b):
    return a if a < b else b


def _higher(a, b):
    return a if a > b else b


_lowest, _highest = across_block(_lower, types.float32), across_block(_higher, types.float32)
_longest = across_block(_higher, types.int64)


def _count(count, lengths, rows, width):
    """``count``; if there are rows, the numbers [frame, row, width] up to the longest of their lengths."""
    if rows == 0:
        return count
    longest = int64(0)
    for row in range(thread(), rows, threads()):
        longest = _higher(integers(lengths)[row], longest)
    return _longest(longest) * rows * width


def _range(x, count):
    """The least and the greatest of some numbers and 0, not-a-number left out; of all threads of a grid."""
    values, low, high = floats(x), ZERO, ZERO
    for i in range(block() * threads() + thread(), count, blocks() * threads()):
        low, high = _lower(values[i], low), _higher(values[i], high)
    return _lowest(low), _highest(high)


def _ranges(x, count, lengths, rows, width, y):
    """Each block's range of x -> y[blocks, 2]."""
    low, high = _range(x, _count(count, lengths, rows, width))
    if thread() == 0:
        floats(y)[2 * block()], floats(y)[2 * block() + 1] = low, high


def _cover(x, count, lengths, rows, width, scale, zero_point):
    """The scale and the zero point, one byte, with which unsigned bytes cover x and 0; by one block."""
    bottom, top = _range(x, _count(count, lengths, rows, width))
    _parameters(bottom, top, scale, zero_point)


def _parameters(bottom, top, scale, zero_point):
    """Writes the scale and the zero point of a range."""
    if thread() == 0:
        step = (top - bottom) / BYTE_MAX if top > bottom else ONE
        floats(scale)[0], octets(zero_point)[0] = step, quantize(-bottom, step, ZERO)


def _round(x, count, lengths, rows, width, y, scale, zero_point):
    """x -> y, one byte each."""
    count = _count(count, lengths, rows, width)
    values, step, shift = floats(x), floats(scale)[0], float32(octets(zero_point)[0])
    for i in range(block() * threads() + thread(), count, blocks() * threads()):
        octets(y)[i] = quantize(values[i], step, shift)


def _cover_running(x, rows, width, lengths, t, flags, scale, zero_point):
    """``_cover`` of the rows that run for frame t or did for the one before; by one block."""
    low, high = ZERO, ZERO
    for row in range(rows):
        if flags & HAS_LENGTHS == 0 or t <= integers(lengths)[row]:
            values = floats(x + row * width * BYTES)
            for i in range(thread(), width, threads()):
                low, high = _lower(values[i], low), _higher(values[i], high)
    _parameters(_lowest(low), _highest(high), scale, zero_point)


_ranging, _covering, _rounding = Kernel(_ranges), Kernel(_cover), Kernel(_round)
_covering_running = Kernel(_cover_running)


def _covered(x, count, lengths, rows, width, room, scale, zero_point) -> list[Launch]:
    """Finds a scale and a zero point; of many numbers, by way of ranges at the address ``room``."""
    if count < LONG:
        return [Launch(_covering, 1, THREADS, (x, count, lengths, rows, width, scale, zero_point))]
    return [
        Launch(_ranging, MOST_RANGES, THREADS, (x, count, lengths, rows, width, room)),
        Launch(_covering, 1, THREADS, (room, 2 * MOST_RANGES, 0, 0, 0, scale, zero_point)),
    ]


def quantize_dynamic(x: int, count: int, y: int, scale: int, zero_point: int) -> list[Launch]:
    return [
        *_covered(x, count, 0, 0, 0, y, scale, zero_point),
        *_rounding.over(count, x, count, 0, 0, 0, y, scale, zero_point),
    ]


def _word(a, b, c, d):
    """Four bytes as one int32, the first lowest."""
    return int32(int32(a) | int32(b) << 8 | int32(c) << 16 | int32(d) << 24)


def _byte(address, place, left):
    return int32(octets(address + place)[0]) if place < left else NO_SUM


def _fetch(target, place, address, left):
    """Four bytes at any address, zero behind the row's end."""
    if address % 4 == 0 and left >= 4:
        return integers32(address)[0]
    return _word(
        _byte(address, 0, left), _byte(address, 1, left), _byte(address, 2, left), _byte(address, 3, left)
    )


def _keep(target, place, value):
    target[place] = value


def _begin(start):
    return NO_SUM


def _exact(total, row_total, column, w, k, n, zero_point):
    """The sum with both zero points, and the scale of the column."""
    width = (n + PANEL - 1) // PANEL * PANEL
    totals = w + (k + 3) // 4 * width * BYTES + column * BYTES
    offset, scale = integers32(totals + width * BYTES)[0], floats(totals + 2 * width * BYTES)[0]
    shift = int32(octets(zero_point)[0])
    return int32(total - shift * integers32(totals)[0] - row_total * offset), scale


def _finish(total, row_total, column, w, k, n, start, scale, zero_point):
    exact, _ = _exact(total, row_total, column, w, k, n, zero_point)
    return exact


def _finish_scaled(total, row_total, column, w, k, n, start, scale, zero_point):
    exact, column_scale = _exact(total, row_total, column, w, k, n, zero_point)
    return floats(start)[0] + float32(exact) * (floats(scale)[0] * column_scale)


def _put(y, value):
    integers32(y)[0] = value


def _put_scaled(y, value):
    floats(y)[0] = value


WORDS = Kind(
    types.int32,
    BYTE_ELEMENT.per,
    1,
    NO_SUM,
    EACH_BYTE,
    True,
    False,
    _fetch,
    _keep,
    dot4,
    _begin,
    _finish,
    _put,
)
"""Rows of bytes -> int32."""

SCALED = WORDS._replace(finish=_finish_scaled, put=_put_scaled)
"""Rows of bytes -> float32."""


@cache
def _linear_bytes_of(form: Tile) -> Kernel:
    product = product_of(WORDS, form)

    def linear_bytes(x, outer, outer_stride, inner, inner_stride, k, w, n, zero_point, y):
        product(block(), x, outer, outer_stride, inner, inner_stride, k, w, n, y, n, y, n, 0, zero_point)

    return Kernel(linear_bytes, form.threads, shared=asked_by(WORDS, form))


def linear_bytes(
    x: int, outer: int, outer_stride: int, inner: int, inner_stride: int, k: int, w: int, n: int,
    zero_point: int, y: int,
) -> list[Launch]:  # fmt: skip
    form, rows = tile_for(outer * inner, n), outer * inner
    arguments = (x, outer, outer_stride, inner, inner_stride, k, w, n, zero_point, y)
    return launched(_linear_bytes_of(form), tiles_of(form, rows, n), arguments)


@cache
def _linear_dynamic_of(form: Tile) -> Kernel:
    product = product_of(SCALED, form)

    def linear_dynamic(x, count, lengths, rows, k, w, n, start, start_stride, y, y_stride, scale, zero_point):
        count = _count(count, lengths, rows, 1)
        product(block(), x, 1, 0, count, k, k, w, n, start, start_stride, y, y_stride, scale, zero_point)

    return Kernel(linear_dynamic, form.threads, shared=asked_by(SCALED, form))


def linear_dynamic(
    x: int, outer: int, outer_stride: int, inner: int, inner_stride: int, k: int, w: int, n: int, bias: int,
    y: int, y_stride: int, rounded: int, lengths: int, flags: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    """``linear`` with a block, of rows one behind the other, which are quantised together."""
    form, count = tile_for(outer * inner, n), outer * inner
    limits = (lengths, inner) if flags & HAS_LENGTHS else (0, 0)
    # The CPU's sums need not be stored here: the scale takes their place, the zero point is behind the bytes.
    octet = rounded + count * n * BYTES
    parameters = (rounded, octet + count * k)
    return [
        *_covered(x, count * k, *limits, k, octet, *parameters),
        *_rounding.over(count * k, x, count * k, *limits, k, octet, *parameters),
        *launched(
            _linear_dynamic_of(form),
            tiles_of(form, count, n),
            (octet, count, *limits, k, w, n, bias, 0, y, y_stride, *parameters),
        ),
    ]


def dynamic_product(
    x: int, rows: int, k: int, product: Product, rounded: int, lengths: int, t: int, flags: int
) -> list[Launch]:
    """A product of x[rows, k], which is quantised over the rows that run for frame t, with a block."""
    w, n, start, start_stride, y, y_stride = product
    form, octet = tile_for(rows, n), rounded + rows * n * BYTES
    parameters = (rounded, octet + rows * k)
    return [
        Launch(_covering_running, 1, THREADS, (x, rows, k, lengths, t, flags, *parameters)),
        *_rounding.over(rows * k, x, rows * k, 0, 0, 0, octet, *parameters),
        *launched(
            _linear_dynamic_of(form),
            tiles_of(form, rows, n),
            (octet, rows, 0, 0, k, w, n, start, start_stride, y, y_stride, *parameters),
        ),
    ]
