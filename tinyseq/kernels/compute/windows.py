"""Products of windows, which are multiplied where they lie instead of being put side by side first.

There are two ways, which give the same bits. Where a window is some long runs of numbers, these are what the
matrix product takes. Where few numbers come of a window, or its runs are short, many neighbouring windows are
weighed at once: a vector holds the same number of each of them. For that their numbers are sorted first:
windows lie ``step`` numbers apart, so a number of a run and those by multiples of ``step`` behind it make a
**line**, in which what a tap meets in neighbouring windows lies side by side.
"""

from __future__ import annotations

from numba import types

from tinyseq.kernels.compute.blocks import DIMS, RANK, A, resolve
from tinyseq.kernels.compute.product import ADDRESS, RUNS, SIZE, STRIDES
from tinyseq.kernels.compute.shared import shared_runs_product_of
from tinyseq.kernels.depthwise import panels_weighed
from tinyseq.kernels.formats import AS_THEY_ARE, FORMATS, WeightFormat
from tinyseq.kernels.instructions import BYTES, GROUP, OPCODES, OPERANDS, PANEL
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers
from tinyseq.kernels.llvm.switch import switch

X, OUTER, OUTER_STRIDE, INNER, INNER_STRIDE, K, W, N, BIAS, Y, Y_STRIDE, FORMAT = (
    2 + OPERANDS["linear"].index(name)
    for name in (
        *("x", "outer", "outer_stride", "inner", "inner_stride", "k", "w", "n", "bias", "y"),
        *("y_stride", "format"),
    )
)
"""The places of the operands in a row of ``linear``."""

ELEMENTWISE = OPCODES["elementwise"]

_PARAMETERS = ("x", "strides", "runs", "k", "w", "n", "bias", "y", "y_stride", "team")


def _product_of(of: WeightFormat):
    signature = types.void(ADDRESS, STRIDES, RUNS, *[SIZE] * 7)
    if of.activations is not AS_THEY_ARE:
        return compiled(signature)(lambda x, strides, runs, k, w, n, bias, y, y_stride, team: None)
    product = shared_runs_product_of(of.element)

    @compiled(signature)
    def plain(x, strides, runs, k, w, n, bias, y, y_stride, team):
        product(x, strides, runs, k, w, n, bias, 0, y, y_stride, 0, team)

    return plain


_product = switch("product", [_product_of(row) for row in FORMATS], _PARAMETERS, "format_")


@compiled()
def _sorted_run(x, step, k, count, lines, length):
    """The numbers of a run of k of ``count`` windows, ``step`` apart, as lines that are ``length`` apart."""
    source = floats(x)
    numbers = (count - 1) * step + k
    for b in range(min(step, k)):
        line = floats(lines + b * length * BYTES)
        for i in range((numbers - b + step - 1) // step):
            line[i] = source[b + i * step]


@compiled()
def _laid(table, runs, first, k, step, length):
    """``table[runs * k]``: how many bytes from the first line what a tap meets in the first window lies, the
    lines of run 0 being those of number ``first``."""
    offsets, kept = integers(table), min(step, k)
    for run in range(runs):
        lines = (run + first) % runs * kept
        for tap in range(k):
            offsets[run * k + tap] = ((lines + tap % step) * length + tap // step) * BYTES


@compiled()
def _spread(w, k, n, bias, factors, starts):
    """Packed weights [k, n] as [n, k] and a bias [n], each number ``PANEL`` times."""
    begin = floats(bias)
    for column in range(n):
        group = column // (GROUP * PANEL) * (GROUP * PANEL)
        width = (min(n - group, GROUP * PANEL) + PANEL - 1) // PANEL * PANEL
        source = floats(w + (group * k + column - group) * BYTES)
        target, start = floats(factors + column * k * PANEL * BYTES), floats(starts + column * PANEL * BYTES)
        for i in range(k):
            for lane in range(PANEL):
                target[i * PANEL + lane] = source[i * width]
        for lane in range(PANEL):
            start[lane] = begin[column]


@compiled()
def _side_by_side(x, strides, runs, k, w, n, bias, y, y_stride, scratch, together):
    """The product of windows of float32, ``together`` of them at once, in whole panels.

    ``scratch`` takes a table, int64 [runs * k]; lines, float32 [runs * min(step, k), together + k / step +
    1]; what comes of the windows, float32 [n, together]; and weights and biases, float32 [n, PANEL * (runs *
    k + 1)].
    """
    outer, outer_stride, inner, step = strides
    count, run_stride = runs
    taps, kept, length = count * k, min(step, k), together + k // step + 1
    table, lines = scratch, scratch + taps * 8
    results = lines + count * kept * length * BYTES
    factors = results + n * together * BYTES
    starts = factors + n * taps * PANEL * BYTES
    _spread(w, taps, n, bias, factors, starts)
    # Where rows of windows lie a run apart, all runs but one are those of the row before.
    follows = outer_stride * BYTES == run_stride
    for place in range(0, inner, together):
        held = min(inner - place, together)
        panels = (held + PANEL - 1) // PANEL
        for row in range(outer):
            here = x + (row * outer_stride + place * step) * BYTES
            first = row % count if follows else 0
            for run in range(count - 1 if follows and row > 0 else 0, count):
                own = lines + (run + first) % count * kept * length * BYTES
                _sorted_run(here + run * run_stride, step, k, held, own, length)
            if row == 0 or first > 0 or (follows and count > 1):
                _laid(table, count, first, k, step, length)
            target = floats(y + (row * inner + place) * y_stride * BYTES)
            for column in range(n):
                own = results + column * together * BYTES
                panels_weighed(
                    lines, panels, table, taps, factors + column * taps * PANEL * BYTES, PANEL * BYTES,
                    starts + column * PANEL * BYTES, own,
                )  # fmt: skip
                made = floats(own)
                for i in range(held):
                    target[i * y_stride + column] = made[i]


@compiled()
def windows(segments, scratch, together, distance, rows, team):
    """Does what the rows behind this one do, ``distance`` words, and gives how far behind this row the
    program goes on: ``linear``, and before it a copy, if any, that puts windows side by side, dense, each a
    row of x.

    The last dimension of the copy is a run of contiguous numbers; a window is one of them, or as many as the
    last dimension but one says. If not 0, ``together`` windows are taken at once, see ``_side_by_side``.
    """
    copy = integers(rows)
    copied = copy[0] == ELEMENTWISE
    linear = integers(rows + copy[1] * 8) if copied else copy
    k, n, y_stride = linear[K], linear[N], linear[Y_STRIDE]
    y, w, bias = (
        resolve(linear[Y], segments),
        resolve(linear[W], segments),
        resolve(linear[BIAS], segments),
    )
    if not copied:
        strides = linear[OUTER], linear[OUTER_STRIDE], linear[INNER], linear[INNER_STRIDE]
        _side_by_side(
            resolve(linear[X], segments), strides, (1, 0), k, w, n, bias, y, y_stride, scratch, together
        )
        return distance
    rank = copy[RANK]
    sizes, steps = integers(rows + DIMS * 8), integers(rows + (DIMS + rank) * 8)
    run = sizes[rank - 1]
    last = rank - 2 if run == k else rank - 3
    runs = k // run, steps[rank - 2]
    strides = 1, 0, sizes[last], steps[last] // BYTES
    if last > 0:
        strides = sizes[last - 1], steps[last - 1] // BYTES, sizes[last], steps[last] // BYTES
    others = 1
    for axis in range(last - 1):
        others *= sizes[axis]
    x = resolve(copy[A], segments)
    for number in range(others):
        rest, place = number, x
        for axis in range(last - 2, -1, -1):
            place += rest % sizes[axis] * steps[axis]
            rest //= sizes[axis]
        if together:
            _side_by_side(place, strides, runs, run, w, n, bias, y, y_stride, scratch, together)
        else:
            _product(linear[FORMAT], place, strides, runs, run, w, n, bias, y, y_stride, team)
        y += strides[0] * strides[2] * y_stride * BYTES
    return distance
