"""Kernels whose addresses are data: gathering, scattering and the places of extremes.

Indices are int64; a negative one counts from the end. An index outside its dimension ends the kernel
with ``FAILED``, before anything is read or written there.
"""

from __future__ import annotations

from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.instructions import FAILED, GATHER, STORES
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, integers32, octets
from tinyseq.kernels.llvm.switch import switch

DONE = 0


@compiled()
def _move(source, target, count):
    """Copies ``count`` bytes."""
    a = integers32(source)
    b = integers32(target)
    if count == 4:
        # LLVM makes a call of the loop.
        b[0] = a[0]
        return
    for i in range(count // 4):
        b[i] = a[i]
    c = octets(source)
    d = octets(target)
    for i in range(count - count % 4, count):
        d[i] = c[i]


def _folding(name: str, kind: str):
    """A store that folds ``count`` bytes of elements of a kind into those at the target."""
    if not kind:
        return _move
    function = SCALARS[name, kind * 2]
    pointer, size = (floats, 4) if kind == "f" else (integers, 8)

    @compiled()
    def fold(source, target, count):
        a = pointer(source)
        b = pointer(target)
        for i in range(count // size):
            b[i] = function(b[i], a[i])

    return fold


_store = switch("store", [_folding(*row) for row in STORES], ("source", "target", "count"))


@compiled()
def gather(x, indices, y, outer, x_outer, count, depth, inner, store, dims):
    """x[outer, ...] indices[outer or 1, count, depth] -> y[outer, count, inner bytes].

    Index tuple j of ``depth`` entries picks a run of ``inner`` bytes in x. ``dims``: the ``depth``
    sizes, their strides in bytes, then the step of the indices from one outer row to the next. With a
    ``store`` of the table the runs of y go into x instead. ``x_outer`` is in bytes.
    """
    shape = integers(dims)
    table = integers(indices)
    for o in range(outer):
        first = o * shape[2 * depth]
        for j in range(count):
            place = x + o * x_outer
            for d in range(depth):
                index = table[first + j * depth + d]
                size = shape[d]
                index += size if index < 0 else 0
                if index < 0 or index >= size:
                    return FAILED
                place += index * shape[depth + d]
            run = y + (o * count + j) * inner
            if store == GATHER:
                _move(place, run, inner)
            else:
                _store(store, run, place, inner)
    return DONE


@compiled()
def gather_elements(x, indices, y, outer, x_count, count, inner, bytes, store):
    """x[outer, x_count, inner] indices[outer, count, inner] -> y[outer, count, inner].

    Elements are of ``bytes`` bytes. With a ``store`` of the table, y's elements go into x instead.
    """
    table = integers(indices)
    for o in range(outer):
        for j in range(count):
            for i in range(inner):
                element = (o * count + j) * inner + i
                index = table[element]
                index += x_count if index < 0 else 0
                if index < 0 or index >= x_count:
                    return FAILED
                place = x + ((o * x_count + index) * inner + i) * bytes
                if store == GATHER:
                    _move(place, y + element * bytes, bytes)
                else:
                    _store(store, y + element * bytes, place, bytes)
    return DONE


@compiled()
def within(x, count, low, high):
    """Fails unless all ``count`` integers of x are in low ... high."""
    values = integers(x)
    for i in range(count):
        if values[i] < low or values[i] > high:
            return FAILED
    return DONE


@compiled()
def finite(x, count):
    """Fails unless all ``count`` numbers of x are finite."""
    values = floats(x)
    strange = 0
    for i in range(count):
        strange |= values[i] - values[i] != 0
    return FAILED if strange else DONE


def _extreme_of(name: str, pointer):
    def extreme(x, y, outer, count, inner, sign, last):
        """x[outer, count, inner] -> y[outer, inner] int64: where ``sign`` * x is largest along count.

        The first of equals, or the ``last``; not-a-number is above all.
        """
        source = pointer(x)
        target = integers(y)
        for o in range(outer):
            for i in range(inner):
                best = 0
                top = source[o * count * inner + i]
                for j in range(1, count):
                    value = source[(o * count + j) * inner + i]
                    above = (value > top if sign > 0 else value < top) or (value != value and top == top)
                    even = value == top or (value != value and top != top)
                    if above or (last and even):
                        best = j
                        top = value
                target[o * inner + i] = best

    extreme.__name__ = name
    return compiled()(extreme)


extreme = _extreme_of("extreme", floats)
extreme_integer = _extreme_of("extreme_integer", integers)


def _top_k_of(name: str, pointer):
    @compiled()
    def before(a, b, sign):
        """Whether a comes before b: not-a-number counts as above all."""
        if sign > 0:
            return a > b or (a != a and b == b)
        return a < b or (a == a and b != b)

    def top_k(x, values, places, outer, count, inner, k, sign):
        """x[outer, count, inner] -> values[outer, k, inner] and their places along count, in order.

        The largest ``sign`` * x come first, among equals the first.
        """
        source, best, where = pointer(x), pointer(values), integers(places)
        for o in range(outer):
            for i in range(inner):
                first = o * k * inner + i
                for j in range(count):
                    value = source[(o * count + j) * inner + i]
                    slot = min(j, k)
                    while slot > 0 and before(value, best[first + (slot - 1) * inner], sign):
                        slot -= 1
                        if slot + 1 < k:
                            best[first + (slot + 1) * inner] = best[first + slot * inner]
                            where[first + (slot + 1) * inner] = where[first + slot * inner]
                    if slot < k:
                        best[first + slot * inner] = value
                        where[first + slot * inner] = j

    top_k.__name__ = name
    return compiled()(top_k)


top_k = _top_k_of("top_k", floats)
top_k_integer = _top_k_of("top_k_integer", integers)
