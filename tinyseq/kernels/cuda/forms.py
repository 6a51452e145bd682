"""Which recurrent layers run as one persistent launch, and in which form.

The recurrent weights of all units have to fit the registers of the blocks that share a sequence:

* up to ``SHORT`` units, or fewer, a block runs a few rows by itself; see ``small.py``;
* up to 256 units, a cluster does;
* up to 1024 units and ``GRID_ROWS`` rows, all of the grid does, if it fits the device.

Before ``CLUSTERS_SINCE`` there are no clusters, and it is 768 for the grid: code for older devices takes more
registers.

The first that fits is taken. All of them give the same bits, as do launches for each frame of a few rows.
What fits none runs frame by frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.cuda.clusters import CLUSTERS_SINCE
from tinyseq.kernels.cuda.exchange import CLUSTER, CLUSTERS, GRID, Exchange
from tinyseq.kernels.cuda.intrinsics import WARP
from tinyseq.kernels.cuda.launch import Facts, Launch
from tinyseq.kernels.cuda.persistent import sequence_of
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.small import fits_block, small
from tinyseq.kernels.cuda.sums import SHORT, order_of, padded
from tinyseq.kernels.instructions import PROJECTED

if TYPE_CHECKING:
    from tinyseq.kernels.cuda.recurrent import RecurrentOperands

GRID_ROWS, GRID_WARPS = 16, 8

NEWEST = (12, 0)
"""The compute capability from which on the linker's code needs more registers."""


class Form(NamedTuple):
    """How a layer is shared out: ``members`` blocks of up to ``warps`` share a sequence, each warp has
    ``units``. The fewer warps there are, the more registers each of their threads has: for weights, and for
    ``sums``."""

    exchange: Exchange
    members: int
    warps: int
    units: int
    sums: int


CLUSTERED = Form(CLUSTERS, CLUSTER, 16, 2, 8)


def form_for(hidden: int, rows: int, facts: Facts) -> Form | None:
    """The form of a layer that several blocks share, or None if it has none."""
    newer = facts.capability >= CLUSTERS_SINCE
    if newer and hidden <= CLUSTERED.members * CLUSTERED.warps * CLUSTERED.units:
        return CLUSTERED
    grid = Form(GRID, -(-hidden // GRID_WARPS), GRID_WARPS, 1, 16)
    fits = hidden <= (1024 if newer else 768) and rows <= GRID_ROWS
    return grid if fits and grid.members <= facts.multiprocessors else None


def has_any_rows(variant: Variant, layer: RecurrentOperands, facts: Facts) -> bool:
    """Whether a layer has a persistent form for however many rows."""
    if not _has_forms(variant, layer):
        return False
    if layer.hidden <= SHORT:
        return fits_block(layer.hidden, facts)
    return form_for(layer.hidden, 1, facts) is CLUSTERED


def _has_forms(variant: Variant, layer: RecurrentOperands) -> bool:
    """General cells have none, nor those with constants: there are no registers to spare for them."""
    return not (variant.general or variant.constants or layer.rounds or layer.flags & PROJECTED)


class LayerShare(NamedTuple):
    """What the kernel and launch of a form come to: a lane's numbers, rows at once, a team's rows, blocks,
    threads and bytes of shared memory."""

    per_lane: int
    at_once: int
    room: int
    blocks: int
    threads: int
    shared: int


def shared_out(form: Form, values: int, hidden: int, rows: int, facts: Facts, least: int = 1) -> LayerShare:
    """A layer of so many sums a warp, in a form; a unit of a row is a lane's. ``least`` rows
    are taken at once."""
    per_lane = order_of(hidden).each
    teams = 1 if form.exchange is GRID else max(1, facts.multiprocessors // form.members)
    room = min(-(-rows // teams), WARP // form.units)
    at_once = least if room == 1 else max(least, min(4, form.sums // padded(values)))
    room = -(-room // at_once) * at_once
    blocks = -(-rows // room) * form.members
    warps = -(-hidden // (form.members * form.units))
    return LayerShare(per_lane, at_once, room, blocks, warps * WARP, 2 * room * per_lane * WARP * BYTES)


def sequence(variant: Variant, layer: RecurrentOperands, facts: Facts) -> list[Launch] | None:
    """The one launch of a layer, or None if it has no persistent form."""
    if not _has_forms(variant, layer):
        return None
    if layer.frames == 0:
        return []
    if layer.hidden <= SHORT:
        return small(variant, layer, facts)
    form = form_for(layer.hidden, layer.rows, facts)
    if form is None:
        return None
    resets = variant.cell.reset is not None
    # For pairs of units and fewer rows at a time, the linker's code runs out of registers.
    short = (2 * resets + variant.coupled) if facts.capability >= NEWEST else resets
    least = max(1, form.units * short) if form.exchange is CLUSTERS else 1
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
