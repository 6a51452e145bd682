"""Steps of searches that choose on the device; the twins of ``tinyseq.kernels.search.beam`` and of ``pick``.

What takes long, the best of a row or of a beam's rows, is shared out among the threads of a block. What
follows from it is the CPU's own code, a thread for each row or beam of a block.
"""

from __future__ import annotations

from numba import types
from numpy import float64, int64

from tinyseq.errors import UnsupportedError
from tinyseq.kernels.cuda.intrinsics import barrier, block, blocks, shared, thread, threads
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, THREADS, Kernel, Launch, Tail
from tinyseq.kernels.cuda.reduction import across_block
from tinyseq.kernels.cuda.scores import greatest_of
from tinyseq.kernels.instructions import CUT, ENDED, GOES_ON, HEAD, NODE, POSITION, ROWS, UNITS
from tinyseq.kernels.llvm.intrinsics import doubles, floats, integers
from tinyseq.kernels.search.beam import (
    NEVER,
    PARENT,
    advance,
    among,
    feed_beam,
    settle_beam,
    write_head,
    write_node,
    write_row,
)
from tinyseq.kernels.search.scores import BANNED

LEFT = -2
"""What the status of a run holds once a search leaves off: until the host sets it, nothing runs any more."""

NOWHERE = 2**62
"""A place behind all others."""


def _lesser(a, b):
    return a if a < b else b


def _sum(a, b):
    return a + b


_first_across = across_block(_lesser, types.int64)
_total_across = across_block(_sum, types.int64)

_counts = shared(types.int64, THREADS)


def _before(own):
    """The sum of what the threads of the block before this one give, and of what all give."""
    me, held = thread(), _counts()
    barrier()
    held[me] = own
    barrier()
    step = 1
    while step < threads():
        more = held[me - step] if me >= step else int64(0)
        barrier()
        held[me] += more
        barrier()
        step *= 2
    return held[me] - own, held[threads() - 1]


# What a model of so many rows is given.


def _feed(feeds, slots, rows, tokens, sources, targets, owners, size, spare):
    given, count = integers(feeds), integers(rows)[0]
    for row in range(block() * threads() + thread(), size, blocks() * threads()):
        place = row if row < count else 0
        integers(tokens)[row] = given[place]
        integers(sources)[row] = given[slots + place]
        integers(targets)[row] = given[2 * slots + place] if row < count else spare
        integers(owners)[row] = given[3 * slots + place]


_feeding = Kernel(_feed)


def feed(
    feeds: int,
    slots: int,
    rows: int,
    tokens: int,
    sources: int,
    targets: int,
    owners: int,
    size: int,
    spare: int,
) -> list[Launch]:
    return _feeding.over(size, feeds, slots, rows, tokens, sources, targets, owners, size, spare)


# Histories.


def _unroll(trace, ends, lengths, step, history, rows, slots, room):
    for index in range(block() * threads() + thread(), integers(rows)[0] * NODE, blocks() * threads()):
        row, word = index // NODE, index % NODE
        slot, target = integers(ends)[row], integers(history + index * room * 8)
        for position in range(integers(lengths)[step * row] - 1, -1, -1):
            node = integers(trace + (position * slots + slot) * NODE * 8)
            target[position] = node[word]
            slot = node[3]


_unrolling = Kernel(_unroll)


def unroll(
    trace: int, ends: int, lengths: int, step: int, history: int, rows: int, slots: int, room: int
) -> list[Launch]:
    return _unrolling.over(slots * NODE, trace, ends, lengths, step, history, rows, slots, room)


# Greedy search.


def _likeliest(y, trace, live, feeds, search, count, slots):
    """Chooses a token for each row, a block for each, and leaves it in the trace and the feeds; else -1."""
    layer, row = trace + integers(search)[POSITION] * slots * NODE * 8, block()
    while row < integers(search)[ROWS]:
        scores = floats(y + row * count * 4)
        top = greatest_of(scores, count)
        first = int64(NOWHERE)
        for i in range(thread(), count, threads()):
            first = i if first == NOWHERE and scores[i] == top else first
        token = _first_across(first) if top > BANNED else int64(-1)
        if thread() == 0:
            integers(feeds)[row] = token
            if token >= 0:
                slot = integers(live)[row]
                write_node(layer + slot * NODE * 8, token, row, float64(scores[token]), slot)
        row += blocks()


def _pick(trace, heads, live, feeds, search, slots, options):
    """What the chosen tokens lead to, by one block: heads, and the rows of the next step."""
    words, table, places = integers(options), doubles(heads), integers(live)
    prompt, most, share = words[1], words[2], words[3]
    position, rows, left = integers(search)[POSITION], integers(search)[ROWS], int64(0)
    layer = trace + position * slots * NODE * 8
    for start in range(0, rows, threads()):
        row = start + thread()
        token, slot, goes_on = int64(-1), int64(0), False
        if row < rows:
            slot, token = places[row], integers(feeds)[row]
            ended = token >= 0 and among(token, options + 5 * 8, words[4])
            length = position - prompt
            if token >= 0:
                table[slot * HEAD] += doubles(layer)[slot * NODE + 2]
                length += 1
            goes_on = not (ended or token < 0 or position - prompt + 1 == most)
            if not goes_on:
                total = table[slot * HEAD]
                write_head(heads, slot, total, total, length, ENDED if ended else CUT)
        before, all_of_them = _before(int64(1) if goes_on else int64(0))
        if goes_on:
            places[left + before] = slot
            write_row(feeds, slots, left + before, token, slot, slot, slot // share * share)
        left += all_of_them
    barrier()
    if thread() == 0:
        advance(search, left, left)


_choosing, _picking = Kernel(_likeliest), Kernel(_pick)


def pick(
    y: int, trace: int, heads: int, live: int, keys: int, feeds: int, status: int, count: int, slots: int,
    options: Tail,
) -> list[Launch]:  # fmt: skip
    if options.values[0]:
        raise UnsupportedError("no CUDA kernel draws tokens")
    chosen = y, trace, live, feeds, status, count, slots
    led_to = trace, heads, live, feeds, status, slots, options.address
    return [
        Launch(_choosing, min(slots, MOST_BLOCKS), THREADS, chosen),
        Launch(_picking, 1, THREADS, led_to),
    ]


# Beam search.

_values, _places = shared(types.float64, THREADS), shared(types.int64, THREADS)


def _is_better(value, place, than, its_place):
    """Whether a candidate comes before another one: its sum is greater, or equal and its place before."""
    return value > than or (value == than and place < its_place)


def _next_best(y, running, rows, count, value, place):
    """Of the thread's candidates the best one that comes after another; ``NEVER`` if there is none."""
    best, best_place = NEVER, int64(NOWHERE)
    for beam in range(rows):
        base, scores = doubles(running)[beam], floats(y + beam * count * 4)
        if base > NEVER:
            for i in range(thread(), count, threads()):
                total, index = base + float64(scores[i]), beam << PARENT | i
                after = _is_better(value, place, total, index)
                if after and _is_better(total, index, best, best_place):
                    best, best_place = total, index
    return best, best_place


def _best_across(value, place):
    """The best candidate of all threads of the block."""
    me, values, places = thread(), _values(), _places()
    barrier()
    values[me], places[me] = value, place
    barrier()
    half = threads() // 2
    while half > 0:
        if me < half and _is_better(values[me + half], places[me + half], values[me], places[me]):
            values[me], places[me] = values[me + half], places[me + half]
        barrier()
        half //= 2
    return values[0], places[0]


def _rank(y, running, best, live, counts, search, width, count, wanted):
    """The ``wanted`` best continuations of each beam, a block for each; ``NEVER`` after the last."""
    unit, rows_of = block(), integers(counts)
    while unit < integers(search)[UNITS]:
        before = int64(0)
        for i in range(thread(), unit, threads()):
            before += rows_of[i]
        number, rows = integers(live)[unit], rows_of[unit]
        scores, sums = y + _total_across(before) * count * 4, running + number * width * 8
        ranked = best + number * wanted * 2 * 8
        own, own_place = _next_best(scores, sums, rows, count, float64(-NEVER), int64(-1))
        for rank in range(wanted):
            value, place = _best_across(own, own_place)
            if thread() == 0:
                doubles(ranked)[2 * rank], integers(ranked)[2 * rank + 1] = value, place
            if place == own_place and value > NEVER:
                own, own_place = _next_best(scores, sums, rows, count, value, place)
        unit += blocks()


def _settle(
    y, running, trace, pool, heads, best, live, counts, feeds, search, norms, width, count, slots, options
):
    """What the beams make of their continuations, a thread for each of one block."""
    beams, rows_of, wanted, share = (
        integers(live),
        integers(counts),
        integers(options)[2],
        integers(options)[0],
    )
    units, position = integers(search)[UNITS], integers(search)[POSITION]
    layer = trace + position * slots * NODE * 8
    row, left, rows_left = int64(0), int64(0), int64(0)
    for start in range(0, units, threads()):
        unit = start + thread()
        number, rows, kept = int64(0), int64(0), int64(0)
        if unit < units:
            number, rows = beams[unit], rows_of[unit]
        before, rows_here = _before(rows)
        if unit < units:
            ranked = best + number * wanted * 2 * 8
            found = int64(0)
            while found < wanted and doubles(ranked)[2 * found] > NEVER:
                found += 1
            kept = settle_beam(
                y, running, trace, pool, heads, ranked, found, number, row + before, rows, position, norms,
                int64(0), int64(0), width, count, slots, options,
            )  # fmt: skip
        row += rows_here
        place, units_here = _before(int64(1) if kept > 0 else int64(0))
        first, kept_here = _before(kept)
        if kept > 0:
            beams[left + place], rows_of[left + place] = number, kept
            feed_beam(layer, feeds, slots, rows_left + first, number, kept, width, share)
        left += units_here
        rows_left += kept_here
    barrier()
    if thread() == 0:
        advance(search, left, rows_left)


_ranking, _settling = Kernel(_rank), Kernel(_settle)


def beam(
    y: int, running: int, trace: int, pool: int, heads: int, best: int, live: int, counts: int, feeds: int,
    status: int, norms: int, attention: int, coverage: int, width: int, count: int, slots: int, options: Tail,
) -> list[Launch]:  # fmt: skip
    wanted, positions, diversity = options.values[2], options.values[8], options.values[10]
    if positions or diversity:
        raise UnsupportedError("no CUDA kernel minds attention or other groups of beams")
    ranked = y, running, best, live, counts, status, width, count, wanted
    settled = y, running, trace, pool, heads, best, live, counts, feeds, status, norms, width, count, slots
    return [
        Launch(_ranking, min(slots // width, MOST_BLOCKS), THREADS, ranked),
        Launch(_settling, 1, THREADS, (*settled, options.address)),
    ]


# Leaving off.


def _leave(search, run):
    """Ends the run where the next step is not like this one."""
    if integers(search)[GOES_ON] == 0:
        integers(run)[0] = LEFT


_leaving = Kernel(_leave, 1)


def leave(search: int, run: int) -> list[Launch]:
    """What comes at the end of each step of a search, whose status and whose run's are at these addresses."""
    return [Launch(_leaving, 1, 1, (search, run))]
