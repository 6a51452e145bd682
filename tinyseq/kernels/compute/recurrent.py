"""The recurrent layers over whole sequences: the one time loop, for every cell.

Addresses are of float32 unless said otherwise; there are G gates.

* ``cell``: a code of ``VARIANTS``;
* ``xw[frames, rows, G * hidden]``: the input projection with the biases; overwritten;
* ``r``: packed recurrent weights [units, G * hidden], gates in ONNX's order; of all gates but the last for a
  cell that resets the state, whose weights [hidden, hidden] are then ``second``;
* ``bias``: what sums start from that are not added to ``xw``: products kept apart [G * hidden], or the
  projection [units];
* ``constants[3 * hidden]``: the peepholes of i, o and f;
* ``options``: of a cell whose activations are named, the clip threshold (infinity for none), then for each
  activation its code in ``ACTIVATIONS``, alpha and beta;
* ``h[rows, units]``, ``c[rows, hidden]``: state, read as the initial and left as the final one;
* ``y``: output, frame t of row n at ``t * y_frame + n * y_row`` elements, if flag ``HAS_Y``;
* ``scratch``: products kept apart [rows, G * hidden], or the reset state [rows, hidden], or, with flag
  ``PROJECTED``, [rows, hidden] and [rows, units];
* ``rounded``: scratch of products that quantise, see ``quantized.py``;
* ``lengths[rows]`` int64: valid frames of each row, if flag ``HAS_LENGTHS``; past them y is zero and
  the state keeps still.

With flag ``PROJECTED``, h is ``second`` [hidden, units], a packed matrix, times what the cell gives; else
there are as many ``units`` as ``hidden``. ``reverse`` runs the frames from last to first. ``format`` is that
of ``r`` and ``second``, see ``formats.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import types

from tinyseq.kernels.cells import VARIANTS, Variant
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import row_of, valid_row
from tinyseq.kernels.compute.sharing import LAYER, LEAST, PART, share, sharing, work_of
from tinyseq.kernels.compute.weighted import weighted
from tinyseq.kernels.formats import BLOCK_ROWS, BYTE_BLOCK, INT8, INT16, bytes_of_row
from tinyseq.kernels.instructions import BYTES, HAS_Y, OPERANDS, PROJECTED
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, stack
from tinyseq.kernels.llvm.switch import switch

MANY_ROWS = 6
"""So many rows for each part fill the tiles of a product."""

BYTES_TOGETHER, ONE_PLANE, TWO_PLANES = BYTE_BLOCK.code, INT8.code, INT16.code

_task = stack(types.int64, 24)


@compiled()
def _emit(y, h, units, valid, flags):
    """Writes one row of the output of one frame."""
    if flags & HAS_Y:
        target = floats(y)
        source = floats(h)
        for j in range(units):
            target[j] = source[j] if valid else ZERO


@compiled()
def _project(
    made, projection, bias, h, y, y_row, rounded, lengths, t, rows, hidden, units, flags, format, team
):  # fmt: skip
    """h of one frame, and its output, from what the cells made."""
    projected = made + rows * hidden * BYTES
    weighted(
        format, made, (1, 0, rows, hidden), hidden, projection, units, bias, 0, projected, units,
        rounded, lengths, t, flags, team,
    )  # fmt: skip
    for n in range(rows):
        valid = valid_row(lengths, n, t, flags)
        skip = n * units * BYTES
        if valid:
            source, target = floats(projected + skip), floats(h + skip)
            for j in range(units):
                target[j] = source[j]
        _emit(y + n * y_row * BYTES, h + skip, units, valid, flags)


def _sequence_of(variant: Variant) -> Callable:
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, resets = cell.apart, cell.reset is not None
    compute = row_of(variant, cell.formula)
    reset = row_of(variant, cell.reset, in_place=False) if resets else compute

    @compiled()
    def sequence(
        xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths,
        frames, rows, hidden, units, reverse, y_frame, y_row, flags, format, all_rows, team,
    ):  # fmt: skip
        width = gates * hidden
        columns = width - hidden if resets else width
        made = scratch if flags & PROJECTED else h
        for step in range(frames):
            t = frames - 1 - step if reverse else step
            row = xw + t * all_rows * width * BYTES
            sums, start, start_stride = (scratch, bias, 0) if apart else (row, row, width)
            weighted(
                format, h, (1, 0, rows, units), units, r, columns, start, start_stride, sums, width,
                rounded, lengths, t, flags, team,
            )  # fmt: skip
            if resets:
                for n in range(rows):
                    skip = n * hidden * BYTES
                    own = row + n * width * BYTES
                    reset(own, own, h + skip, scratch + skip, c, constants, options, hidden)
                last = row + columns * BYTES
                weighted(
                    format, scratch, (1, 0, rows, hidden), hidden, second, hidden, last, width, last, width,
                    rounded, lengths, t, flags, team,
                )  # fmt: skip
            for n in range(rows):
                valid = valid_row(lengths, n, t, flags)
                skip = n * hidden * BYTES
                if valid:
                    own, own_sums, state = row + n * width * BYTES, sums + n * width * BYTES, made + skip
                    compute(own, own_sums, state, state, c + skip, constants, options, hidden)
                if not flags & PROJECTED:
                    _emit(y + (t * y_frame + n * y_row) * BYTES, h + skip, hidden, valid, flags)
            if flags & PROJECTED:
                y_t = y + t * y_frame * BYTES
                _project(
                    made, second, bias, h, y_t, y_row, rounded, lengths, t, rows, hidden, units, flags,
                    format, team,
                )  # fmt: skip

    return sequence


PARAMETERS = (*OPERANDS["recurrent"][1:], "all_rows", "team")
"""Those of a sequence of some of the rows that lie side by side in a frame."""

_sequences = switch("sequences", [_sequence_of(variant) for variant in VARIANTS], PARAMETERS, "cell")


def _count_of(variant: Variant) -> Callable:
    count = len(variant.cell.gates)
    return compiled()(lambda: count)


_gates = switch("gates", [_count_of(variant) for variant in VARIANTS], (), "cell")


def _numbers_apart(variant: Variant) -> Callable:
    """How many numbers of scratch a cell takes for each unit of a row."""
    count = len(variant.cell.gates) if variant.cell.apart else int(variant.cell.reset is not None)
    return compiled()(lambda: count)


_apart = switch("apart", [_numbers_apart(variant) for variant in VARIANTS], (), "cell")

_bytes_of_row = compiled()(bytes_of_row)


@compiled()
def _in_rows(format, rows, units, width, parts, team):
    """Whether to share rows, each for all frames, and not each product: where there are enough of them, or
    these are too small. Of 16 bits there must be scratch for all rows."""
    planes = format in (ONE_PLANE, TWO_PLANES)
    if format == BYTES_TOGETHER or (rows > BLOCK_ROWS and planes):
        return False
    least = integers(integers(team)[0])[LEAST]
    return rows >= MANY_ROWS * parts or (rows >= parts and work_of(rows, units, width) < least)


@compiled()
def recurrent(
    cell, xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths,
    frames, rows, hidden, units, reverse, y_frame, y_row, flags, format, team,
):  # fmt: skip
    width = _gates(cell) * hidden
    parts = sharing(team, frames * work_of(rows, units, width))
    if parts == 1 or not _in_rows(format, rows, units, width, parts, team):
        _sequences(
            cell, xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths,
            frames, rows, hidden, units, reverse, y_frame, y_row, flags, format, rows, team,
        )  # fmt: skip
        return
    task = _task()
    words = integers(task)
    words[0], words[1], words[2], words[3], words[4], words[5] = LAYER, cell, xw, r, second, bias
    words[6], words[7], words[8], words[9], words[10], words[11] = constants, options, h, c, y, scratch
    words[12], words[13], words[14], words[15], words[16] = rounded, lengths, frames, rows, hidden
    words[17], words[18], words[19], words[20], words[21] = units, reverse, y_frame, y_row, flags
    words[22], words[23] = format, 0
    share(team, task, parts)


@compiled(PART)
def part_of_layer(task, part, parts):
    """Runs some rows of a layer for all frames."""
    words = integers(task)
    cell, xw, r, second, bias, constants = words[1], words[2], words[3], words[4], words[5], words[6]
    options, h, c, y, scratch, rounded = words[7], words[8], words[9], words[10], words[11], words[12]
    lengths, frames, all_rows, hidden, units = words[13], words[14], words[15], words[16], words[17]
    reverse, y_frame, y_row, flags, format, team = (
        words[18],
        words[19],
        words[20],
        words[21],
        words[22],
        words[23],
    )
    first = all_rows * part // parts
    rows = all_rows * (part + 1) // parts - first
    width = _gates(cell) * hidden
    apart = hidden + units if flags & PROJECTED else _apart(cell) * hidden
    _sequences(
        cell, xw + first * width * BYTES, r, second, bias, constants, options, h + first * units * BYTES,
        c + first * hidden * BYTES, y + first * y_row * BYTES, scratch + first * apart * BYTES,
        rounded + first * _bytes_of_row(max(hidden, units), max(width, units)), lengths + first * 8,
        frames, rows, hidden, units, reverse, y_frame, y_row, flags, format, all_rows, team,
    )  # fmt: skip
    return 0
