"""The order in which a recurrent layer sums the products of its state, in whatever form it runs.

The sum over k is cut into parts. Each takes a run of numbers, then as many again behind those of all others,
one fma each, from zero. Then parts are added up in pairs: those half of all parts apart, then half of these,
and so on. So a part is what a thread does by itself, and a pair what two of them exchange.
"""

from __future__ import annotations

from typing import NamedTuple

RUN = 4
"""Numbers in a row of a part, where there are many parts."""

BATCH = 8
"""Numbers of a part are whole batches; behind the end of k they are zero."""

SHORT = 128
"""Most numbers of a sum that one thread does by itself, in few parts."""


class Order(NamedTuple):
    """``parts`` of a sum, their ``run``, and the numbers of ``each``."""

    parts: int
    run: int
    each: int


def order_of(k: int) -> Order:
    """The order of a sum over k."""
    parts, run = (4, 1) if k <= SHORT else (32, RUN)
    return Order(parts, run, -(-k // (BATCH * parts)) * BATCH)


def padded(values: int) -> int:
    """The power of two that so many values are padded to where they are shared out."""
    return 1 << (values - 1).bit_length()
