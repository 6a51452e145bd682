"""Which recurrent layers run as one persistent launch, and in which form.

The recurrent weights of all units have to fit the registers of the blocks that share a sequence:

* up to 64 units, a block runs a few rows by itself;
* up to 256 units, a cluster does;
* up to 1024 units and ``GRID_ROWS`` rows, all of the grid does, if it fits the device.

Before ``CLUSTERS_SINCE`` it is 32 units for a block, none for clusters, of which there are none, and 768 for
the grid: code for older devices takes more registers.

The first that fits is taken, whatever the number of frames. All of them give the same bits; what fits none
runs frame by frame, with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.cuda.exchange import BLOCK, CLUSTER, CLUSTERS, GRID, Exchange
from tinyseq.kernels.cuda.intrinsics import WARP
from tinyseq.kernels.cuda.launch import Facts, Launch
from tinyseq.kernels.cuda.persistent import sequence_of
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.warps import padded
from tinyseq.kernels.instructions import PROJECTED, QUANTIZED

if TYPE_CHECKING:
    from tinyseq.kernels.cuda.recurrent import RecurrentOperands

GRID_ROWS, GRID_WARPS = 16, 8

PER_LANE = (1, 2, 4, 8, 16, 24, 32)
"""Numbers of the state of which a lane holds the weights; 32 lanes hold them all."""

CLUSTERS_SINCE = (9, 0)
"""The compute capability from which on there are clusters."""


class Form(NamedTuple):
    """How a layer is shared out: ``members`` blocks of up to ``warps`` share a sequence, each warp has
    ``units``. The fewer warps there are, the more registers each of their threads has: for weights, and for
    ``sums``."""

    exchange: Exchange
    members: int
    warps: int
    units: int
    sums: int


OLDER_FORMS = tuple(Form(BLOCK, 1, 16, units, 8) for units in (1, 2))
NEWER_FORMS = (
    *OLDER_FORMS,
    Form(BLOCK, 1, 16, 4, 8),
    *(Form(CLUSTERS, CLUSTER, 16, units, 8) for units in (1, 2)),
)
"""From the fewest units on; the grid comes after them."""


def form_for(hidden: int, rows: int, facts: Facts) -> Form | None:
    """The persistent form of a layer, or None if it has none."""
    newer = facts.capability >= CLUSTERS_SINCE
    for form in NEWER_FORMS if newer else OLDER_FORMS:
        if hidden <= form.members * form.warps * form.units:
            return form
    grid = Form(GRID, -(-hidden // GRID_WARPS), GRID_WARPS, 1, 16)
    fits = hidden <= (1024 if newer else 768) and rows <= GRID_ROWS
    return grid if fits and grid.members <= facts.multiprocessors else None


class Share(NamedTuple):
    """What the kernel and launch of a form come to: a lane's numbers, rows at once, a team's rows, blocks,
    threads and bytes of shared memory."""

    per_lane: int
    at_once: int
    room: int
    blocks: int
    threads: int
    shared: int


def shared_out(form: Form, values: int, hidden: int, rows: int, facts: Facts, least: int = 1) -> Share:
    """A layer of so many sums a warp, in a form; a unit of a row is a lane's. ``least`` rows
    are taken at once."""
    per_lane = next(count for count in PER_LANE if hidden <= count * WARP)
    teams = 1 if form.exchange is GRID else max(1, facts.multiprocessors // form.members)
    room = min(-(-rows // teams), WARP // form.units)
    at_once = least if room == 1 else max(least, min(4, form.sums // padded(values)))
    room = -(-room // at_once) * at_once
    blocks = -(-rows // room) * form.members
    warps = -(-hidden // (form.members * form.units))
    return Share(per_lane, at_once, room, blocks, warps * WARP, 2 * room * per_lane * WARP * BYTES)


def sequence(variant: Variant, layer: RecurrentOperands, facts: Facts) -> list[Launch] | None:
    """The one launch of a layer, or None if it has no persistent form.

    General cells have none, nor those with constants: there are no registers to spare for them.
    """
    form = form_for(layer.hidden, layer.rows, facts)
    if form is None or variant.general or variant.constants or layer.flags & (QUANTIZED | PROJECTED):
        return None
    if layer.frames == 0:
        return []
    resets = variant.cell.reset is not None
    # For pairs of units and one row at a time, the linker's code for (12, 0) runs out of registers.
    least = form.units if resets and form.exchange is CLUSTERS else 1
    values = form.units * (len(variant.cell.gates) - resets)
    share = shared_out(form, values, layer.hidden, layer.rows, facts, least)
    kernel = sequence_of(variant, form.units, share.per_lane, share.at_once, form.exchange, form.warps * WARP)
    arguments = (
        *(layer.xw, layer.r, layer.second, layer.bias, layer.h, layer.c, layer.y, layer.lengths),
        *(layer.frames, layer.rows, layer.hidden, layer.reverse, layer.y_frame, layer.y_row, layer.flags),
        *(share.room, facts.meeting),
    )
    cluster, together = (CLUSTER if form.exchange is CLUSTERS else 1), form.exchange is GRID
    return [Launch(kernel, share.blocks, share.threads, arguments, share.shared, cluster, together)]
