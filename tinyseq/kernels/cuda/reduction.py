"""What the threads of a block find out together; device functions that all of them call."""

from __future__ import annotations

from collections.abc import Callable

from numba import types

from tinyseq.kernels.cuda.intrinsics import barrier, shared, thread, threads
from tinyseq.kernels.cuda.launch import THREADS


def across_block(function: Callable, element: types.Type):
    """``together(value)``: the function of the values of all threads, two at a time by a fixed tree.

    There are a power of two of threads, ``THREADS`` at most.
    """
    cells = shared(element, THREADS)

    def together(value):
        me, held = thread(), cells()
        barrier()
        held[me] = value
        barrier()
        half = threads() // 2
        while half > 0:
            if me < half:
                held[me] = function(held[me], held[me + half])
            barrier()
            half //= 2
        return held[0]

    return together
