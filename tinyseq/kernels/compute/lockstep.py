"""Layers of 4 or 8 units whose rows fill one vector together, over whole sequences.

Lane ``number * units + unit`` is a unit of a layer. What the lanes of all layers are multiplied with lies
side by side on the stack, and of a frame only what the cells take and give is moved. Each sum has the terms
that ``product.py`` gives it, in that order.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import types

from tinyseq.kernels.cells import CELLS, Variant
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import (
    BIAS,
    LAYER_WORDS,
    OPTIONS,
    REVERSE,
    XW,
    Y_FRAME,
    C,
    H,
    R,
    Y,
)
from tinyseq.kernels.instructions import BYTES, HAS_Y, PANEL
from tinyseq.kernels.llvm.intrinsics import compiled, floats, fma, integers, stack, stay_apart
from tinyseq.kernels.llvm.vectors import spreading

UNITS = (4, 8)
"""Units of a layer of which several fill a vector."""

LEAST_FRAMES = 4
"""From so many frames on it takes less time than it takes to put the weights side by side."""

LINE = PANEL * BYTES
"""Bytes of a number of each lane."""

_GATES = max(len(cell.gates) for cell in CELLS.values())

SUMS, BIASES, STATE, CELL, SPREAD, WEIGHTS, ROOM = (
    LINE * lines
    for lines in (
        *(_GATES, 2 * _GATES, 3 * _GATES, 3 * _GATES + 1, 3 * _GATES + 2),
        *(3 * _GATES + 2 + max(UNITS), 3 * _GATES + 2 + max(UNITS) * (1 + _GATES)),
    )
)
"""Where things lie behind the gates of a frame: sums with the products, what these start from where they are
kept apart, h, c, h spread, and the weights."""

_room = stack(types.float32, ROOM // BYTES)


@compiled()
def fits_lockstep(count, frames, rows, hidden):
    """Whether ``count`` layers have few enough units, and enough frames."""
    fills = (hidden == 4 or hidden == 8) and 1 < count <= PANEL // hidden
    return rows == 1 and fills and frames >= LEAST_FRAMES


@compiled()
def _copy(source, target, count):
    stay_apart()
    numbers, copies = floats(source), floats(target)
    for i in range(count):
        copies[i] = numbers[i]


@compiled()
def _gather(layers, count, units, gates, apart, own):
    """Puts state and weights of the layers side by side."""
    stay_apart()
    every = floats(own)
    for i in range(ROOM // BYTES):
        every[i] = ZERO
    padded = (gates * units + PANEL - 1) // PANEL * PANEL
    for number in range(count):
        words, lane = integers(layers + number * LAYER_WORDS * 8), own + number * units * BYTES
        _copy(words[H], lane + STATE, units)
        for gate in range(gates):
            if apart:
                _copy(words[BIAS] + gate * units * BYTES, lane + BIASES + gate * LINE, units)
            for k in range(units):
                source = words[R] + (k * padded + gate * units) * BYTES
                _copy(source, lane + WEIGHTS + (gate * units + k) * LINE, units)


def _moving(units: int) -> Callable:
    """``move(source, target)``: copies so many float32."""

    @compiled()
    def move(source, target):
        for start in range(0, units * BYTES, 4 * BYTES):
            x, y = floats(source + start), floats(target + start)
            a, b, c, d = x[0], x[1], x[2], x[3]
            y[0], y[1], y[2], y[3] = a, b, c, d

    return move


def _before_cells(units: int) -> Callable:
    """``before(layers, count, step, frames, gates, start, own)``: brings the gates of a frame and makes the
    sums that begin with what is at ``start``."""
    move, spread = _moving(units), spreading(units)

    @compiled()
    def multiply(start, factors, weights, sums):
        """Four steps of k of all lanes."""
        begun, x, w, y = floats(start), floats(factors), floats(weights), floats(sums)
        for lane in range(PANEL):
            a, b, c, d = lane, PANEL + lane, 2 * PANEL + lane, 3 * PANEL + lane
            y[lane] = fma(x[d], w[d], fma(x[c], w[c], fma(x[b], w[b], fma(x[a], w[a], begun[lane]))))

    @compiled()
    def before(layers, count, step, frames, gates, start, own):
        stay_apart()
        width = gates * units
        for number in range(count):
            words, lane = integers(layers + number * LAYER_WORDS * 8), own + number * units * BYTES
            row = words[XW] + (step + words[REVERSE] * (frames - 1 - 2 * step)) * width * BYTES
            for gate in range(gates):
                move(row + gate * units * BYTES, lane + gate * LINE)
        spread(own + STATE, own + SPREAD)
        for gate in range(gates):
            source, target = start + gate * LINE, own + SUMS + gate * LINE
            for k in range(0, units, 4):
                multiply(source, own + SPREAD + k * LINE, own + WEIGHTS + (gate * units + k) * LINE, target)
                source = target

    return before


def _behind_cells(units: int) -> Callable:
    """``behind(layers, count, step, frames, own)``: the output of a frame."""
    move = _moving(units)

    @compiled()
    def behind(layers, count, step, frames, own):
        stay_apart()
        for number in range(count):
            words = integers(layers + number * LAYER_WORDS * 8)
            t = step + words[REVERSE] * (frames - 1 - 2 * step)
            move(own + STATE + number * units * BYTES, words[Y] + t * words[Y_FRAME] * BYTES)

    return behind


_before4, _before8 = map(_before_cells, UNITS)
_behind4, _behind8 = map(_behind_cells, UNITS)


def lockstep_of(variant: Variant, compute: Callable) -> Callable:
    """``lockstep(layers, count, frames, hidden, flags)``: a sequence of ``count`` layers of one row for which
    ``fits_lockstep`` says so, whose weights are float32; ``compute`` is the cell of whole vectors."""
    all_gates, cs, apart = len(variant.cell.gates), int(variant.cell.has_c), variant.cell.apart

    @compiled()
    def lockstep(layers, count, frames, hidden, flags):
        stay_apart()
        # Added to literals, so that Numba compiles no twins for them.
        no = hidden - hidden
        own, whole, gates = _room(), no + PANEL, no + all_gates
        state, start, given = own + STATE, own, own + SUMS
        if apart:
            start, given = own + BIASES, own
        _gather(layers, count, hidden, gates, no + apart, own)
        for number in range(count if cs else 0):
            words = integers(layers + number * LAYER_WORDS * 8)
            _copy(words[C], own + CELL + number * hidden * BYTES, hidden)
        options = integers(layers)[OPTIONS]
        for step in range(frames):
            if hidden == 4:
                _before4(layers, count, step, frames, gates, start, own)
            else:
                _before8(layers, count, step, frames, gates, start, own)
            compute(given, own + SUMS, state, state, own + CELL, own, options, whole, whole)
            if flags & HAS_Y:
                if hidden == 4:
                    _behind4(layers, count, step, frames, own)
                else:
                    _behind8(layers, count, step, frames, own)
        for number in range(count):
            words, lane = integers(layers + number * LAYER_WORDS * 8), own + number * hidden * BYTES
            _copy(lane + STATE, words[H], hidden)
            if cs:
                _copy(lane + CELL, words[C], hidden)

    return lockstep
