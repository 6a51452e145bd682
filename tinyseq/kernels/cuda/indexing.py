"""Kernels whose addresses are data; the twins of ``tinyseq.kernels.compute.indexing``.

Of a scatter's elements that meet in one place the last wins, or all are folded in their order, as on the
CPU: whatever goes into one place, one thread puts there.
"""

from __future__ import annotations

from functools import cache

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.cuda.intrinsics import WARP, barrier, block, blocks, shared, thread, threads
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, THREADS, Failure, Kernel, Launch, Tail
from tinyseq.kernels.instructions import GATHER, OVERWRITE, STORES
from tinyseq.kernels.llvm.intrinsics import floats, integers, integers32, octets

OUTSIDE = -1
"""The place of an index that is none."""

WORDS = {8: integers, 4: integers32, 1: octets}
"""What is moved at once, by its bytes."""

SHARES = 1024
"""Threads at most that share out the places into which the elements of one scatter go."""

BUSY = 2**16
"""Threads with which a device has enough to do."""

SPREADER = uint32(2654435761)
"""Multiplies what follows a pattern into what follows none in its upper half."""


def _fail(failed, place):
    integers(failed)[0] = place


def _inside(index, size):
    """The index counted from the start, or ``OUTSIDE``."""
    counted = index + size if index < 0 else index
    return counted if 0 <= counted < size else OUTSIDE


def _located(tuples, first, shape, depth):
    """How many bytes in the run lies that the ``depth`` indices from ``first`` on pick, or ``OUTSIDE``."""
    offset = int64(0)
    for d in range(depth):
        index = _inside(tuples[first + d], shape[d])
        if index == OUTSIDE:
            return OUTSIDE
        offset += index * shape[depth + d]
    return offset


def _share_of(offset, shares):
    """Which of ``shares``, a power of two, a place falls to."""
    return int64((uint32(offset) * SPREADER) >> uint32(16)) & (shares - 1)


def _mover(store: int, width: int):
    """``move(source, target, i)``: element i into a place, or what a store makes of the two."""
    if store in (GATHER, OVERWRITE):
        word = WORDS[width]

        def move(source, target, i):
            word(target)[i] = word(source)[i]

        return move
    name, kind = STORES[store]
    function, pointer = SCALARS[name, kind * 2], floats if kind == "f" else integers

    def fold(source, target, i):
        elements = pointer(target)
        elements[i] = function(elements[i], pointer(source)[i])

    return fold


def _width(store: int, *places: int) -> int:
    """The bytes of what is moved at once between addresses and over strides."""
    if store not in (GATHER, OVERWRITE):
        return 4 if STORES[store][1] == "f" else 8
    return next(width for width in WORDS if not any(place % width for place in places))


def _shares(count: int, others: int) -> int:
    """How many threads share out the places of ``count`` elements, with ``others`` at work beside each."""
    return 1 << (max(min(count, SHARES, BUSY // max(others, 1)), 1).bit_length() - 1)


@cache
def _gathering(width: int) -> Kernel:
    """Each thread moves words, by their number in y; where there are none, it looks at the indices."""
    move = _mover(GATHER, width)

    def gather(x, indices, y, total, x_outer, count, depth, units, dims, failed, place):
        shape, table, each = integers(dims), integers(indices), max(units, 1)
        for word in range(block() * threads() + thread(), total, blocks() * threads()):
            run = int64(uint32(word) // uint32(each))
            o = int64(uint32(run) // uint32(count))
            offset = _located(table, o * shape[2 * depth] + (run - o * count) * depth, shape, depth)
            if offset == OUTSIDE:
                _fail(failed, place)
            elif units:
                move(x + o * x_outer + offset, y + run * units * width, word - run * each)

    return Kernel(gather)


@cache
def _scattering(store: int, width: int) -> Kernel:
    """Each thread puts one word of every run into the places that are its share, in order."""
    move = _mover(store, width)

    def scatter(x, indices, y, total, x_outer, count, depth, units, shares, dims, failed, place):
        shape, table, each = integers(dims), integers(indices), max(units, 1)
        for job in range(block() * threads() + thread(), total, blocks() * threads()):
            rest = int64(uint32(job) // uint32(each))
            unit, share, o = job - rest * each, rest & (shares - 1), int64(uint32(rest) // uint32(shares))
            for j in range(count):
                offset = _located(table, o * shape[2 * depth] + j * depth, shape, depth)
                if offset == OUTSIDE:
                    _fail(failed, place)
                    break
                if units and _share_of(offset, shares) == share:
                    move(y + (o * count + j) * units * width, x + o * x_outer + offset, unit)

    return Kernel(scatter)


def gather(
    x: int, indices: int, y: int, outer: int, x_outer: int, count: int, depth: int, inner: int, store: int,
    dims: Tail, failure: Failure,
) -> list[Launch]:  # fmt: skip
    width = _width(store, x, y, x_outer, inner, *dims.values[depth : 2 * depth])
    units = inner // width
    if store == GATHER:
        total = outer * count * max(units, 1)
        arguments = (total, x_outer, count, depth, units, dims.address, *failure)
        return _gathering(width).over(total, x, indices, y, *arguments)
    shares = _shares(count, outer * max(units, 1))
    total = outer * max(units, 1) * shares if count else 0
    arguments = (total, x_outer, count, depth, units, shares, dims.address, *failure)
    return _scattering(store, width).over(total, x, indices, y, *arguments)


@cache
def _gathering_elements(width: int) -> Kernel:
    """Each thread moves elements, by their number in y."""
    move = _mover(GATHER, width)

    def gather_elements(x, indices, y, total, x_count, count, inner, failed, place):
        table = integers(indices)
        for element in range(block() * threads() + thread(), total, blocks() * threads()):
            row = int64(uint32(element) // uint32(inner))
            i, o = element - row * inner, int64(uint32(row) // uint32(count))
            index = _inside(table[element], x_count)
            if index == OUTSIDE:
                _fail(failed, place)
            else:
                move(x + ((o * x_count + index) * inner + i) * width, y + element * width, 0)

    return Kernel(gather_elements)


@cache
def _scattering_elements(store: int, width: int) -> Kernel:
    """Each thread puts elements of one line along count into the places that are its share, in order."""
    move = _mover(store, width)

    def scatter_elements(x, indices, y, total, x_count, count, inner, shares, failed, place):
        table = integers(indices)
        for job in range(block() * threads() + thread(), total, blocks() * threads()):
            rest = int64(uint32(job) // uint32(inner))
            i, share, o = job - rest * inner, rest & (shares - 1), int64(uint32(rest) // uint32(shares))
            for j in range(count):
                element = (o * count + j) * inner + i
                index = _inside(table[element], x_count)
                if index == OUTSIDE:
                    _fail(failed, place)
                    break
                if _share_of(index, shares) == share:
                    move(y + element * width, x + ((o * x_count + index) * inner + i) * width, 0)

    return Kernel(scatter_elements)


def gather_elements(
    x: int, indices: int, y: int, outer: int, x_count: int, count: int, inner: int, bytes: int, store: int,
    failure: Failure,
) -> list[Launch]:  # fmt: skip
    width = _width(store, bytes)
    if store == GATHER:
        total = outer * count * inner
        arguments = (total, x_count, count, inner, *failure)
        return _gathering_elements(width).over(total, x, indices, y, *arguments)
    shares = _shares(count, outer * inner)
    total = outer * inner * shares if count else 0
    arguments = (total, x_count, count, inner, shares, *failure)
    return _scattering_elements(store, width).over(total, x, indices, y, *arguments)


def _within(x, count, low, high, failed, place):
    values = integers(x)
    for i in range(block() * threads() + thread(), count, blocks() * threads()):
        if values[i] < low or values[i] > high:
            _fail(failed, place)


_checking = Kernel(_within)


def within(x: int, count: int, low: int, high: int, failure: Failure) -> list[Launch]:
    return _checking.over(count, x, count, low, high, *failure)


def _finite(x, count, failed, place):
    values = floats(x)
    for i in range(block() * threads() + thread(), count, blocks() * threads()):
        if values[i] - values[i] != ZERO:
            _fail(failed, place)


_finding = Kernel(_finite)


def finite(x: int, count: int, failure: Failure) -> list[Launch]:
    return _finding.over(count, x, count, *failure)


def _before(a, b, sign):
    """Whether a comes before b where the largest ``sign`` * x come first; not-a-number is the largest."""
    if sign > 0:
        return a > b or (a != a and b == b)
    return a < b or (a == a and b != b)


def _beats(value, place, top, best, sign, last):
    """Whether a value takes the lead; not-a-number is above all whatever the sign."""
    above = (value > top if sign > 0 else value < top) or (value != value and top == top)
    even = value == top or (value != value and top != top)
    return above or (even and (place > best if last else place < best))


def _extreme_of(element: types.Type, pointer) -> Kernel:
    tops, bests = shared(element, THREADS), shared(types.int64, THREADS)

    def extreme(x, y, outputs, count, inner, sign, last):
        """The threads of a block look along count together."""
        source, top, best, me = pointer(x), tops(), bests(), thread()
        for output in range(block(), outputs, blocks()):
            o = int64(uint32(output) // uint32(inner))
            first = o * count * inner + output - o * inner
            leader, lead = source[first], int64(OUTSIDE)
            for j in range(me, count, threads()):
                value = source[first + j * inner]
                if lead == OUTSIDE or _beats(value, j, leader, lead, sign, last):
                    leader, lead = value, j
            top[me], best[me] = leader, lead
            barrier()
            step = threads() // 2
            while step > 0:
                if me < step and best[me + step] != OUTSIDE:
                    if _beats(top[me + step], best[me + step], top[me], best[me], sign, last):
                        top[me], best[me] = top[me + step], best[me + step]
                barrier()
                step //= 2
            if me == 0:
                integers(y)[output] = best[0]
            barrier()

    return Kernel(extreme)


_extreme, _extreme_integer = _extreme_of(types.float32, floats), _extreme_of(types.int64, integers)


def _extremes(kernel: Kernel, x, y, outer, count, inner, sign, last) -> list[Launch]:
    outputs = outer * inner
    threads = WARP if count <= THREADS else THREADS
    arguments = (x, y, outputs, count, inner, sign, last)
    return [Launch(kernel, min(outputs, MOST_BLOCKS), threads, arguments)] if outputs else []


def extreme(x: int, y: int, outer: int, count: int, inner: int, sign: int, last: int) -> list[Launch]:
    return _extremes(_extreme, x, y, outer, count, inner, sign, last)


def extreme_integer(x: int, y: int, outer: int, count: int, inner: int, sign: int, last: int) -> list[Launch]:
    return _extremes(_extreme_integer, x, y, outer, count, inner, sign, last)


def _top_k_of(pointer) -> Kernel:
    def top_k(x, values, places, total, count, inner, k, sign):
        """Each thread counts what comes before an element, until that are k."""
        source, best, where = pointer(x), pointer(values), integers(places)
        for element in range(block() * threads() + thread(), total, blocks() * threads()):
            row = int64(uint32(element) // uint32(inner))
            i, o = element - row * inner, int64(uint32(row) // uint32(count))
            j, first = row - o * count, o * count * inner + i
            value = source[element]
            rank, other = int64(0), int64(0)
            while other < count and rank < k:
                rival = source[first + other * inner]
                if _before(rival, value, sign) or (other < j and not _before(value, rival, sign)):
                    rank += 1
                other += 1
            if rank < k:
                best[(o * k + rank) * inner + i] = value
                where[(o * k + rank) * inner + i] = j

    return Kernel(top_k)


_top_k, _top_k_integer = _top_k_of(floats), _top_k_of(integers)


def top_k(
    x: int, values: int, places: int, outer: int, count: int, inner: int, k: int, sign: int
) -> list[Launch]:
    total = outer * count * inner
    return _top_k.over(total, x, values, places, total, count, inner, k, sign)


def top_k_integer(
    x: int, values: int, places: int, outer: int, count: int, inner: int, k: int, sign: int
) -> list[Launch]:
    total = outer * count * inner
    return _top_k_integer.over(total, x, values, places, total, count, inner, k, sign)
