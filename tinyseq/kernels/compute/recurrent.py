"""The recurrent layers over whole sequences: the one time loop, for every cell, and for several layers.

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
from tinyseq.kernels.compute.blocks import resolve
from tinyseq.kernels.compute.elementwise import elementwise, fill
from tinyseq.kernels.compute.lockstep import fits_lockstep, lockstep_of
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import (
    BIAS,
    CONSTANTS,
    LAYER_WORDS,
    LENGTHS,
    OPTIONS,
    REVERSE,
    ROUNDED,
    ROW,
    SCRATCH,
    SECOND,
    SUMS,
    XW,
    Y_FRAME,
    Y_PLACE,
    Y_ROW,
    C,
    H,
    R,
    T,
    Y,
    beside_of,
    row_of,
    valid_row,
    vectors_of,
)
from tinyseq.kernels.compute.sharing import LAYER, LEAST, PART, share, sharing, work_of
from tinyseq.kernels.compute.weighted import linear, weighted
from tinyseq.kernels.formats import BLOCK_ROWS, BYTE_BLOCK, FLOAT32, INT8, INT16, bytes_of_row
from tinyseq.kernels.instructions import (
    BYTES,
    HAS_LENGTHS,
    HAS_Y,
    MOST_ABREAST,
    OPCODES,
    OPERANDS,
    PROJECTED,
)
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, lanes, stack
from tinyseq.kernels.llvm.switch import switch

FILL, LINEAR, RECURRENT = OPCODES["fill"], OPCODES["linear"], OPCODES["recurrent"]

MANY_ROWS = 6
"""So many rows for each part fill the tiles of a product."""

AS_FLOATS = FLOAT32.code
BYTES_TOGETHER, ONE_PLANE, TWO_PLANES = BYTE_BLOCK.code, INT8.code, INT16.code

ADDRESSES, WAY, CELL, FRAMES, ROWS, HIDDEN, UNITS, FLAGS, FORMAT = (
    2 + OPERANDS["recurrent"].index(name)
    for name in ("xw", "reverse", "cell", "frames", "rows", "hidden", "units", "flags", "format")
)
"""The places of operands in a row of ``recurrent``: its addresses, its way through the frames, and others."""

_task, _layer = stack(types.int64, 12), stack(types.int64, LAYER_WORDS)
_layers = stack(types.int64, MOST_ABREAST * LAYER_WORDS)


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


@compiled(types.void(*[types.int64] * 9))
def _multiply(layer, rows, units, width, columns, apart, flags, format, team):
    """The product of a frame with the state of a layer, and where its output goes."""
    words = integers(layer)
    start, start_stride, t = words[ROW], width, words[T]
    if apart:
        start, start_stride = words[BIAS], 0
    words[Y_PLACE] = words[Y] + t * words[Y_FRAME] * BYTES
    weighted(
        format, words[H], (1, 0, rows, units), units, words[R], columns, start, start_stride, words[SUMS],
        width, words[ROUNDED], words[LENGTHS], t, flags, team,
    )  # fmt: skip


def _sequence_of(variant: Variant) -> Callable:
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, resets = cell.apart, cell.reset is not None
    compute = row_of(variant, cell.formula)
    reset = row_of(variant, cell.reset, in_place=False) if resets else compute
    besides = not resets and not variant.constants and not variant.general
    beside = beside_of(variant, compute) if besides else compute
    lockstep = lockstep_of(variant, vectors_of(variant, cell.formula, True)) if besides else compute

    @compiled()
    def sequence(layers, count, frames, rows, hidden, units, flags, format, all_rows, team):
        width = gates * hidden
        columns = width - hidden if resets else width
        together = False
        if besides:
            plain = flags & (HAS_LENGTHS | PROJECTED) == 0
            together = lanes() > 1 and hidden < lanes() and count * rows > 1 and plain
            if plain and format == AS_FLOATS and fits_lockstep(count, frames, rows, hidden):
                lockstep(layers, count, frames, hidden, flags)
                return
        for step in range(frames):
            for number in range(count):
                layer = layers + number * LAYER_WORDS * 8
                words = integers(layer)
                t = step + words[REVERSE] * (frames - 1 - 2 * step)
                words[T], row = t, words[XW] + t * all_rows * width * BYTES
                words[ROW], words[SUMS] = row, words[SCRATCH] if apart else row
                _multiply(layer, rows, units, width, columns, apart, flags, format, team)
                if resets:
                    h, scratch = words[H], words[SCRATCH]
                    for n in range(rows):
                        skip, own = n * hidden * BYTES, row + n * width * BYTES
                        reset(
                            own, own, h + skip, scratch + skip, words[C], words[CONSTANTS], words[OPTIONS],
                            hidden,
                        )  # fmt: skip
                    last = row + columns * BYTES
                    weighted(
                        format, scratch, (1, 0, rows, hidden), hidden, words[SECOND], hidden, last, width,
                        last, width, words[ROUNDED], words[LENGTHS], t, flags, team,
                    )  # fmt: skip
            if besides:
                if together:
                    beside(layers, count, rows, hidden, integers(layers)[OPTIONS], flags)
            for number in range(0 if together else count):
                words = integers(layers + number * LAYER_WORDS * 8)
                t = words[T]
                made = words[SCRATCH] if flags & PROJECTED else words[H]
                for n in range(rows):
                    valid = valid_row(words[LENGTHS], n, t, flags)
                    skip, own = n * hidden * BYTES, n * width * BYTES
                    if valid:
                        state = made + skip
                        compute(
                            words[ROW] + own, words[SUMS] + own, state, state, words[C] + skip,
                            words[CONSTANTS], words[OPTIONS], hidden,
                        )  # fmt: skip
                    if not flags & PROJECTED:
                        y = words[Y_PLACE] + n * words[Y_ROW] * BYTES
                        _emit(y, words[H] + skip, hidden, valid, flags)
                if flags & PROJECTED:
                    _project(
                        made, words[SECOND], words[BIAS], words[H], words[Y_PLACE], words[Y_ROW],
                        words[ROUNDED], words[LENGTHS], t, rows, hidden, units, flags, format, team,
                    )  # fmt: skip

    return sequence


PARAMETERS = ("layers", "count", "frames", "rows", "hidden", "units", "flags", "format", "all_rows", "team")
"""Those of a sequence of ``count`` layers, frame by frame: some of the rows that lie side by side in a frame.
``layers`` has the words of each, see ``rows.py``."""

# An explicit signature keeps Numba from compiling a twin for a literal argument.
_sequences = switch(
    "sequences",
    [_sequence_of(variant) for variant in VARIANTS],
    PARAMETERS,
    "cell",
    types.void(*[types.int64] * (len(PARAMETERS) + 1)),
)


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
def _describe(
    layer, xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths, reverse, y_frame,
    y_row,
):  # fmt: skip
    """Writes the words of a layer."""
    words = integers(layer)
    words[XW], words[R], words[SECOND], words[BIAS], words[CONSTANTS] = xw, r, second, bias, constants
    words[OPTIONS], words[H], words[C], words[Y], words[SCRATCH] = options, h, c, y, scratch
    words[ROUNDED], words[LENGTHS], words[REVERSE] = rounded, lengths, reverse
    words[Y_FRAME], words[Y_ROW] = y_frame, y_row


@compiled()
def recurrent(
    cell, xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths,
    frames, rows, hidden, units, reverse, y_frame, y_row, flags, format, team,
):  # fmt: skip
    layer, width = _layer(), _gates(cell) * hidden
    _describe(
        layer, xw, r, second, bias, constants, options, h, c, y, scratch, rounded, lengths, reverse, y_frame,
        y_row,
    )  # fmt: skip
    parts = sharing(team, frames * work_of(rows, units, width))
    if parts == 1 or not _in_rows(format, rows, units, width, parts, team):
        _sequences(cell, layer, 1, frames, rows, hidden, units, flags, format, rows, team)
        return
    task = _task()
    words = integers(task)
    words[0], words[1], words[2], words[3], words[4] = LAYER, cell, layer, frames, rows
    words[5], words[6], words[7], words[8] = hidden, units, flags, format
    share(team, task, parts)


@compiled(PART)
def part_of_layer(task, part, parts):
    """Runs some rows of a layer for all frames."""
    words = integers(task)
    cell, frames, all_rows, hidden, units, flags = words[1], words[3], words[4], words[5], words[6], words[7]
    first = all_rows * part // parts
    rows = all_rows * (part + 1) // parts - first
    width = _gates(cell) * hidden
    apart = hidden + units if flags & PROJECTED else _apart(cell) * hidden
    whole, layer = integers(words[2]), _layer()
    _describe(
        layer, whole[XW] + first * width * BYTES, whole[R], whole[SECOND], whole[BIAS], whole[CONSTANTS],
        whole[OPTIONS], whole[H] + first * units * BYTES, whole[C] + first * hidden * BYTES,
        whole[Y] + first * whole[Y_ROW] * BYTES, whole[SCRATCH] + first * apart * BYTES,
        whole[ROUNDED] + first * _bytes_of_row(max(hidden, units), max(width, units)),
        whole[LENGTHS] + first * 8, whole[REVERSE], whole[Y_FRAME], whole[Y_ROW],
    )  # fmt: skip
    _sequences(cell, layer, 1, frames, rows, hidden, units, flags, words[8], all_rows, 0)
    return 0


@compiled()
def _before(row, segments, team):
    """Does what a row does that is no layer: ``fill``, ``elementwise`` or ``linear``."""
    words = integers(row)
    if words[0] == FILL:
        fill(resolve(words[2], segments), words[3], words[4])
    elif words[0] == LINEAR:
        linear(
            resolve(words[2], segments), words[3], words[4], words[5], words[6], words[7],
            resolve(words[8], segments), words[9], resolve(words[10], segments),
            resolve(words[11], segments), words[12], resolve(words[13], segments),
            resolve(words[14], segments), words[15], words[16], team,
        )  # fmt: skip
    else:
        elementwise(
            words[2], resolve(words[3], segments), resolve(words[4], segments), resolve(words[5], segments),
            resolve(words[6], segments), words[7], row + 8 * 8,
        )  # fmt: skip


@compiled()
def abreast(segments, distance, rows, team):
    """Does what the rows behind this one do, ``distance`` words: layers that are alike, frame by frame
    together, after all that comes before one of them and does not wait for another. Gives how far behind this
    row the program goes on."""
    layers, place, count, last = _layers(), rows, 0, rows
    while place < rows + distance * 8:
        words = integers(place)
        if words[0] == RECURRENT:
            layer, last = integers(layers + count * LAYER_WORDS * 8), place
            for word in range(REVERSE):
                layer[word] = resolve(words[ADDRESSES + word], segments)
            for word in range(REVERSE, Y_ROW + 1):
                layer[word] = words[WAY + word - REVERSE]
            count += 1
        else:
            _before(place, segments, team)
        place += words[1] * 8
    words = integers(last)
    _sequences(
        words[CELL], layers, count, words[FRAMES], words[ROWS], words[HIDDEN], words[UNITS], words[FLAGS],
        words[FORMAT], words[ROWS], team,
    )  # fmt: skip
    return distance
