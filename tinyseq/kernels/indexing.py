"""Kernels whose addresses are data: gathering, scattering and the places of extremes.

Indices are int64; a negative one counts from the end. An index outside its dimension ends the kernel
with ``FAILED``, before anything is read or written there.
"""

from __future__ import annotations

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.intrinsics import compiled, floats, integers, integers32, octets

DONE = 0


@compiled()
def _move(source, target, count):
    """Copies ``count`` bytes."""
    a = integers32(source)
    b = integers32(target)
    for i in range(count // 4):
        b[i] = a[i]
    c = octets(source)
    d = octets(target)
    for i in range(count - count % 4, count):
        d[i] = c[i]


@compiled()
def gather(x, indices, y, outer, x_outer, count, depth, inner, scatter, dims):
    """x[outer, ...] indices[outer or 1, count, depth] -> y[outer, count, inner bytes].

    Index tuple j of ``depth`` entries picks a run of ``inner`` bytes in x. ``dims``: the ``depth``
    sizes, their strides in bytes, then the step of the indices from one outer row to the next. With
    ``scatter`` the runs of y are written into x instead. ``x_outer`` is in bytes.
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
            if scatter:
                _move(run, place, inner)
            else:
                _move(place, run, inner)
    return DONE


@compiled()
def gather_elements(x, indices, y, outer, x_count, count, inner, bytes, scatter):
    """x[outer, x_count, inner] indices[outer, count, inner] -> y[outer, count, inner].

    Elements are of ``bytes`` bytes. With ``scatter``, y's elements are written into x instead.
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
                if scatter:
                    _move(y + element * bytes, place, bytes)
                else:
                    _move(place, y + element * bytes, bytes)
    return DONE


@compiled()
def within(x, count, low, high):
    """Fails unless all ``count`` integers of x are in low ... high."""
    values = integers(x)
    for i in range(count):
        if values[i] < low or values[i] > high:
            return FAILED
    return DONE


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
