"""Kernels whose addresses are data; the twins of ``tinyseq.kernels.compute.indexing``.

Of a scatter's elements that meet in one place the last wins, or all are folded in their order, as on the
CPU: the thread of the first of them looks for the others.
"""

from __future__ import annotations

from functools import cache

from numba import types
from numpy import int32, int64, uint8, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    blocks,
    read4,
    shared,
    thread,
    threads,
    write4,
)
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, THREADS, Failure, Kernel, Launch, Tail
from tinyseq.kernels.instructions import APART, GATHER, OVERWRITE, STORES
from tinyseq.kernels.llvm.intrinsics import floats, integers, integers32, octets

OUTSIDE = -1
"""The place of an index that is none."""

WORDS = {8: integers, 4: integers32, 1: octets}
"""What is moved at once, by its bytes."""

NOTHING = {integers: int64(0), integers32: int32(0), octets: uint8(0), floats: ZERO}
"""A number of what pointers lead to."""


def _fail(failed, place):
    integers(failed)[0] = place


def _inside(index, size):
    """The index counted from the start, or ``OUTSIDE``."""
    counted = index + size if index < 0 else index
    return counted if 0 <= counted < size else OUTSIDE


def located(tuples, first, shape, at, depth):
    """How many bytes in the run lies that the ``depth`` indices from ``first`` on pick, or ``OUTSIDE``; the
    sizes that they count from 0, and then their strides, are ``shape`` from ``at`` on."""
    offset = int64(0)
    for d in range(depth):
        index = _inside(tuples[first + d], shape[at + d])
        if index == OUTSIDE:
            return OUTSIDE
        offset += index * shape[at + depth + d]
    return offset


WIDE = 16
"""Bytes that are moved at once where nothing is done with them."""


def _mover(width: int, into: bool):
    """``move(x, y, i)``: word i of a place in x into a run of y, or the other way."""

    def pick_wide(x, y, i):
        a, b, c, d = read4(x + i * WIDE)
        write4(y + i * WIDE, a, b, c, d)

    def put_wide(x, y, i):
        pick_wide(y, x, i)

    if width == WIDE:
        return put_wide if into else pick_wide
    word = WORDS[width]

    def pick(x, y, i):
        word(y)[i] = word(x)[i]

    def put(x, y, i):
        word(x)[i] = word(y)[i]

    return put if into else pick


def _meeting(store: int, width: int):
    """``(pointer, meet)``: how elements are read, and what becomes of one that another meets in its place."""
    name, kind = STORES[store]
    if not kind:

        def last(value, other):
            return other

        return WORDS[width], last
    return floats if kind == "f" else integers, SCALARS[name, kind * 2]


def is_ordered(store: int, count: int) -> bool:
    """Whether elements of a scatter may meet, or meet what is there."""
    return store not in (GATHER, APART) and (store != OVERWRITE or count > 1)


def _width(store: int, *places: int) -> int:
    """The bytes of what is moved at once between addresses and over strides."""
    if store not in (GATHER, OVERWRITE, APART):
        return 4 if STORES[store][1] == "f" else 8
    return next(width for width in WORDS if not any(place % width for place in places))


@cache
def _moving(width: int, into: bool) -> Kernel:
    """Each thread moves words, by their number in y; where there are none, it looks at the indices."""
    move = _mover(width, into)

    def gather(x, indices, y, total, x_outer, count, depth, units, dims, failed, place):
        shape, table, each = integers(dims), integers(indices), max(units, 1)
        word = block() * threads() + thread()
        while word < total:
            run = int64(uint32(word) // uint32(each))
            o = int64(uint32(run) // uint32(count))
            offset = located(table, o * shape[2 * depth] + (run - o * count) * depth, shape, 0, depth)
            if offset == OUTSIDE:
                _fail(failed, place)
            elif units:
                move(x + o * x_outer + offset, y + run * units * width, word - run * each)
            word += blocks() * threads()

    return Kernel(gather)


@cache
def _scattering(store: int, width: int) -> Kernel:
    """A thread for each word of each run: blocks take the words of one outer row."""
    pointer, meet = _meeting(store, width)
    places, nothing = shared(types.int64, THREADS), NOTHING[pointer]

    def scatter(x, indices, y, parts, x_outer, count, depth, units, dims, total, failed, place):
        shape, table, each, met, me = integers(dims), integers(indices), max(units, 1), places(), thread()
        part = block()
        while part < parts * total:
            o = int64(uint32(part) // uint32(parts))
            job = (part - o * parts) * threads() + me
            mine = int64(uint32(job) // uint32(each))
            unit, first = job - mine * each, o * shape[2 * depth]
            own = int64(OUTSIDE)
            if mine < count:
                own = located(table, first + mine * depth, shape, 0, depth)
            target, runs = pointer(x + o * x_outer + max(own, 0)), pointer(y)
            step, start = units, (o * count) * units + unit
            alone = own != OUTSIDE and units > 0
            value, begin = nothing, 0
            while begin < count:
                barrier()
                offset = int64(OUTSIDE)
                if begin + me < count:
                    offset = located(table, first + (begin + me) * depth, shape, 0, depth)
                    if offset == OUTSIDE:
                        _fail(failed, place)
                met[me] = offset
                barrier()
                for k in range(0, threads(), 4):
                    found = (met[k] == own) | (met[k + 1] == own) | (met[k + 2] == own) | (met[k + 3] == own)
                    if found and alone:
                        for j in range(k, k + 4):
                            if met[j] == own and begin + j < mine:
                                alone = False
                            elif met[j] == own and alone:
                                before = target[unit] if begin + j == mine else value
                                value = meet(before, runs[start + (begin + j) * step])
                begin += threads()
            if alone:
                target[unit] = value
            part += blocks()

    return Kernel(scatter)


def gather(
    x: int, indices: int, y: int, outer: int, x_outer: int, count: int, depth: int, inner: int, store: int,
    dims: Tail, failure: Failure,
) -> list[Launch]:  # fmt: skip
    steps = x, y, x_outer, inner, *dims.values[depth : 2 * depth]
    width = _width(store, *steps)
    if not is_ordered(store, count) and not any(step % WIDE for step in steps):
        width = WIDE
    units = inner // width
    if not is_ordered(store, count):
        total = outer * count * max(units, 1)
        arguments = (total, x_outer, count, depth, units, dims.address, *failure)
        return _moving(width, store != GATHER).over(total, x, indices, y, *arguments)
    parts = -(-count * max(units, 1) // THREADS)
    kernel = _scattering(store, width)
    arguments = (x, indices, y, parts, x_outer, count, depth, units, dims.address, outer, *failure)
    return [Launch(kernel, min(parts * outer, MOST_BLOCKS), THREADS, arguments)] if parts * outer else []


@cache
def _moving_elements(width: int, into: bool) -> Kernel:
    """Each thread moves elements, by their number in y."""
    move = _mover(width, into)

    def gather_elements(x, indices, y, total, x_count, count, inner, failed, place):
        table = integers(indices)
        element = block() * threads() + thread()
        while element < total:
            row = int64(uint32(element) // uint32(inner))
            i, o = element - row * inner, int64(uint32(row) // uint32(count))
            index = _inside(table[element], x_count)
            if index == OUTSIDE:
                _fail(failed, place)
            else:
                move(x + ((o * x_count + index) * inner + i) * width, y + element * width, 0)
            element += blocks() * threads()

    return Kernel(gather_elements)


@cache
def _scattering_elements(store: int, width: int) -> Kernel:
    """A thread for each element, which looks at all of its line along count."""
    pointer, meet = _meeting(store, width)

    def scatter_elements(x, indices, y, total, x_count, count, inner, failed, place):
        table, runs = integers(indices), pointer(y)
        element = block() * threads() + thread()
        while element < total:
            row = int64(uint32(element) // uint32(inner))
            i, o = element - row * inner, int64(uint32(row) // uint32(count))
            mine, line, own = row - o * count, o * count * inner + i, _inside(table[element], x_count)
            if own == OUTSIDE:
                _fail(failed, place)
            else:
                target, alone = pointer(x + ((o * x_count + own) * inner + i) * width), True
                for j in range(mine):
                    alone &= _inside(table[line + j * inner], x_count) != own
                if alone:
                    value = meet(target[0], runs[element])
                    for j in range(mine + 1, count):
                        if _inside(table[line + j * inner], x_count) == own:
                            value = meet(value, runs[line + j * inner])
                    target[0] = value
            element += blocks() * threads()

    return Kernel(scatter_elements)


def gather_elements(
    x: int, indices: int, y: int, outer: int, x_count: int, count: int, inner: int, bytes: int, store: int,
    failure: Failure,
) -> list[Launch]:  # fmt: skip
    width, total = _width(store, bytes), outer * count * inner
    arguments = (x, indices, y, total, x_count, count, inner, *failure)
    if is_ordered(store, count):
        return _scattering_elements(store, width).over(total, *arguments)
    return _moving_elements(width, store != GATHER).over(total, *arguments)


def _within(x, count, low, high, failed, place):
    values = integers(x)
    i = block() * threads() + thread()
    while i < count:
        if values[i] < low or values[i] > high:
            _fail(failed, place)
        i += blocks() * threads()


_checking = Kernel(_within)


def within(x: int, count: int, low: int, high: int, failure: Failure) -> list[Launch]:
    return _checking.over(count, x, count, low, high, *failure)


def _finite(x, count, failed, place):
    values = floats(x)
    i = block() * threads() + thread()
    while i < count:
        if values[i] - values[i] != ZERO:
            _fail(failed, place)
        i += blocks() * threads()


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
        output = block()
        while output < outputs:
            o = int64(uint32(output) // uint32(inner))
            first = o * count * inner + output - o * inner
            leader, lead = source[first], int64(OUTSIDE)
            j = me
            while j < count:
                value = source[first + j * inner]
                if lead == OUTSIDE or _beats(value, j, leader, lead, sign, last):
                    leader, lead = value, j
                j += threads()
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
            output += blocks()

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
        element = block() * threads() + thread()
        while element < total:
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
            element += blocks() * threads()

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
