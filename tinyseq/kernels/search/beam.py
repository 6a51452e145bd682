"""One step of beam search, for many beams at once.

A slot is one place for a hypothesis, ``width`` of them a beam. trace[positions, slots, NODE] has for each
position and slot the token that was chosen there, the row of scores it was chosen from, its score as float64,
and the slot of the hypothesis it continues. ``status`` has words by the names ``UNITS`` to ``UNTIL``, which
``advance`` keeps. heads[beams, places, HEAD] has for each finished hypothesis, in
float64, its score, the sum of its tokens' scores, their number, and how it ended; pool[beams, places, NODE]
has its last token.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.compute.math import ONE, ZERO, log
from tinyseq.kernels.instructions import (
    CUT,
    EMPTY,
    ENDED,
    FIRST_FULL,
    GOES_ON,
    HEAD,
    MAX_ROWS,
    MIN_ROWS,
    NODE,
    POSITION,
    ROWS,
    UNITS,
    UNTIL,
)
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers
from tinyseq.kernels.llvm.vectors import LANES, LEAST_OF_ALL, at_least, first_bit

NEVER = -np.inf
ROUNDING = np.float32(2.0**-22)
"""More than rounding to float32 can change a number by, relatively."""

PARENT = 32
"""Where in a candidate's number its hypothesis begins; below lies its token."""
TOKEN = (1 << PARENT) - 1


@compiled()
def advance(status, units, rows):
    """One token further, with so many units and rows; says whether the next step is like this one."""
    words = integers(status)
    words[UNITS] = units
    words[ROWS] = rows
    words[POSITION] += 1
    words[GOES_ON] = 1 if words[MIN_ROWS] <= rows <= words[MAX_ROWS] and words[POSITION] < words[UNTIL] else 0


@compiled()
def among(token, listed, number):
    """Whether a token is one of the ``number`` words at ``listed``."""
    words = integers(listed)
    found = False
    for i in range(number):
        found = found or words[i] == token
    return found


@compiled()
def write_node(node, token, row, score, parent):
    """Writes what was chosen into a node of the trace."""
    words = integers(node)
    words[0] = token
    words[1] = row
    doubles(node)[2] = score
    words[3] = parent


@compiled()
def write_row(feeds, slots, row, token, source, target, owner):
    """feeds[4, slots]: what row number ``row`` of the next step is given; see ``Steps`` in tinyseq.decode."""
    words = integers(feeds)
    words[row] = token
    words[slots + row] = source
    words[2 * slots + row] = target
    words[3 * slots + row] = owner


@compiled()
def feed(feeds, slots, rows, tokens, sources, targets, owners, size, spare):
    """feeds[4, slots] as a model of ``size`` rows takes them: the rows that are too many repeat the first one
    and write into row ``spare``."""
    given, count = integers(feeds), integers(rows)[0]
    for what in range(4):
        target = integers(tokens if what == 0 else sources if what == 1 else targets if what == 2 else owners)
        for row in range(size):
            target[row] = given[what * slots + (row if row < count else 0)]
    for row in range(count, size):
        integers(targets)[row] = spare


@compiled()
def unroll(trace, ends, lengths, step, history, rows, slots, room):
    """history[rows, NODE, room]: all nodes of hypotheses, first to last.

    trace[positions, slots, NODE], ends[rows]: the slot of the last node, lengths[step * row]: the nodes.
    """
    for row in range(integers(rows)[0]):
        slot = integers(ends)[row]
        target = integers(history + row * NODE * room * 8)
        for position in range(integers(lengths)[step * row] - 1, -1, -1):
            node = integers(trace + (position * slots + slot) * NODE * 8)
            for word in range(NODE):
                target[word * room + position] = node[word]
            slot = node[3]


@compiled()
def _ranked(best, wanted, found, value, index):
    """Puts a candidate among the ``wanted`` best, behind its equals; gives their number."""
    values, indices = doubles(best), integers(best)
    place = found if found < wanted else wanted - 1
    while place > 0 and values[2 * place - 2] < value:
        values[2 * place] = values[2 * place - 2]
        indices[2 * place + 1] = indices[2 * place - 1]
        place -= 1
    values[2 * place] = value
    indices[2 * place + 1] = index
    return found + 1 if found < wanted else wanted


@compiled()
def _least(base, bound):
    """A float32 that no score is below whose sum with ``base`` is above a bound."""
    least = np.float32(bound - base)
    return least - abs(least) * ROUNDING


@compiled()
def _candidates(y, running, width, count, best, wanted):
    """The best continuations of ``width`` hypotheses: pairs of sum and number, as ``PARENT`` says."""
    sums, values = doubles(running), doubles(best)
    found = 0
    for beam in range(width):
        base = sums[beam]
        if base == NEVER:
            continue
        row = y + beam * count * 4
        scores = floats(row)
        least = _least(base, values[2 * wanted - 2]) if found == wanted else LEAST_OF_ALL
        for start in range(0, count, LANES):
            bits = at_least(row, start, count, least)
            while bits:
                i = start + first_bit(bits)
                bits &= bits - 1
                value = base + np.float64(scores[i])
                if value > (values[2 * wanted - 2] if found == wanted else NEVER):
                    found = _ranked(best, wanted, found, value, beam << PARENT | i)
                    least = _least(base, values[2 * wanted - 2]) if found == wanted else LEAST_OF_ALL
    return found


@compiled()
def _diversify(y, layer, running, number, groups, rows, width, count, penalty):
    """Takes ``penalty`` off the tokens that earlier groups of the same input have just chosen, each time."""
    sums = doubles(running)
    for slot in range(number // groups * groups * width, number * width):
        if sums[slot] > NEVER:
            token = integers(layer + slot * NODE * 8)[0]
            for row in range(rows):
                scores = floats(y + row * count * 4)
                scores[token] = np.float32(np.float64(scores[token]) - penalty)


@compiled()
def _coverage_bonus(former, row_attention, positions):
    """Sum over the source of log(min(attention received, 1)); what never received any is left out."""
    sums, now = floats(former), floats(row_attention)
    total = 0.0
    for i in range(positions):
        received = sums[i] + now[i]
        if ZERO < received < ONE:
            total += np.float64(log(received))
    return total


@compiled()
def _place_for(heads, places, score):
    """The first empty place, else that of the worst hypothesis if ``score`` is better, else -1."""
    table = doubles(heads)
    worst = -1
    lowest = score
    for place in range(places):
        if table[place * HEAD + 3] == EMPTY:
            return place
        if table[place * HEAD] < lowest:
            worst = place
            lowest = table[place * HEAD]
    return worst


@compiled()
def write_head(heads, place, score, total, length, how):
    table = doubles(heads)
    table[place * HEAD] = score
    table[place * HEAD + 1] = total
    table[place * HEAD + 2] = np.float64(length)
    table[place * HEAD + 3] = how


@compiled()
def _full(heads, places):
    full = True
    for place in range(places):
        full = full and doubles(heads)[place * HEAD + 3] != EMPTY
    return full


@compiled()
def _worst(heads, places):
    lowest = np.inf
    for place in range(places):
        lowest = min(lowest, doubles(heads)[place * HEAD])
    return lowest


@compiled()
def _strand(nodes, running, width, heads, pool, places, length, norm):
    """Keeps hypotheses that nothing can follow as they stand, where no other has finished."""
    sums = doubles(running)
    for place in range(places):
        if doubles(heads)[place * HEAD + 3] != EMPTY:
            return
    for slot in range(min(width, places)):
        if sums[slot] > NEVER:
            node = integers(nodes + slot * NODE * 8)
            write_node(pool + slot * NODE * 8, node[0], node[1], doubles(nodes)[slot * NODE + 2], node[3])
            write_head(heads, slot, sums[slot] / norm, sums[slot], length, CUT)


@compiled()
def _retained(heads, places, best, found, width):
    """How many candidates are among the ``width`` best of candidates and finished hypotheses together;
    finished ones that are not lose their places."""
    table, values = doubles(heads), doubles(best)
    kept = 0
    taken = 0
    while kept + taken < width:
        top = -1
        for place in range(places):
            unseen = table[place * HEAD + 3] > EMPTY
            if unseen and (top < 0 or table[place * HEAD + 1] > table[top * HEAD + 1]):
                top = place
        if top >= 0 and (kept == found or table[top * HEAD + 1] >= values[2 * kept]):
            table[top * HEAD + 3] = -table[top * HEAD + 3]
            taken += 1
        elif kept < found:
            kept += 1
        else:
            break
    for place in range(places):
        table[place * HEAD + 3] = max(-table[place * HEAD + 3], EMPTY)
    return kept


@compiled()
def _cover(seen, covered, attention, parent, kept, positions):
    """Adds the attention of a hypothesis' last token to what each position of the source has received."""
    old, given = floats(seen + parent * positions * 4), floats(attention)
    new = floats(covered + kept * positions * 4)
    for i in range(positions):
        new[i] = old[i] + given[i]


@compiled()
def settle_beam(
    y, running, trace, pool, heads, best, found, number, first_row, rows, position, norms, attention,
    coverage, width, count, slots, options,
):  # fmt: skip
    """What a beam makes of its ``found`` best continuations, see ``beam``: it keeps those that end and
    leaves the others in the trace, as many as it gives; none, if its search is over."""
    words, numbers = integers(options), doubles(options)
    places, compete, early, prompt, most = words[3], words[4], words[5], words[6], words[7]
    positions, hopeful, coverage_penalty = words[8], words[9], numbers[11]
    sums, ranks = doubles(running), doubles(best)
    layer = trace + position * slots * NODE * 8
    seen = coverage + (position & 1) * slots * positions * 4
    covered = coverage + (1 - (position & 1)) * slots * positions * 4
    length = position - prompt + 1
    last = length == most
    norm = doubles(norms)[length - 1]
    former_norm = doubles(norms)[length - 2] if length > 1 else 1.0
    best_norm = doubles(norms)[most - 1] if hopeful else norm
    base = number * width
    own_heads = heads + number * places * HEAD * 8
    own_pool = pool + number * places * NODE * 8
    was_full = _full(own_heads, places)
    if found == 0:
        former = layer + (base - slots) * NODE * 8
        _strand(former, running + base * 8, rows, own_heads, own_pool, places, length - 1, former_norm)
    if compete:
        found = _retained(own_heads, places, best, found, width)
    kept = 0
    for rank in range(found):
        total = ranks[2 * rank]
        index = integers(best)[2 * rank + 1]
        parent, token = index >> PARENT, index & TOKEN
        row = first_row + parent
        score = np.float64(floats(y)[row * count + token])
        ended = among(token, options + 13 * 8, words[12])
        if ended or last:
            if compete or (rank < width and not (was_full and early == FIRST_FULL)):
                value = total / norm
                if coverage_penalty != 0.0:
                    value += coverage_penalty * _coverage_bonus(
                        seen + (base + parent) * positions * 4, attention + row * positions * 4, positions
                    )
                place = _place_for(own_heads, places, value)
                if place >= 0:
                    write_head(own_heads, place, value, total, length, ENDED if ended else CUT)
                    write_node(own_pool + place * NODE * 8, token, row, score, base + parent)
        elif kept < width:
            write_node(layer + (base + kept) * NODE * 8, token, row, score, base + parent)
            if positions > 0:
                given = attention + row * positions * 4
                _cover(seen, covered, given, base + parent, base + kept, positions)
            sums[base + kept] = total
            kept += 1
    over = kept == 0
    if not over and not compete and _full(own_heads, places):
        hopeless = sums[base] / best_norm <= _worst(own_heads, places)
        over = early == FIRST_FULL or hopeless
    kept = 0 if over else kept
    for idle in range(kept, width):
        sums[base + idle] = NEVER
    return kept


@compiled()
def feed_beam(layer, feeds, slots, first, number, kept, width, share):
    """Gives the next step the ``kept`` hypotheses of a beam, as its rows from number ``first`` on."""
    base = number * width
    for slot in range(base, base + kept):
        node = integers(layer + slot * NODE * 8)
        write_row(feeds, slots, first + slot - base, node[0], node[3], slot, base // share * share)


@compiled()
def beam(
    y, running, trace, pool, heads, best, live, counts, feeds, status, norms, attention, coverage,
    width, count, slots, options,
):  # fmt: skip
    """One step of the beams ``live``; ``tinyseq.Beam`` says what it computes.

    y[rows, count], running[slots], best[beams, wanted, 2], attention[rows, positions], coverage[2, slots,
    positions], norms[most]: what sums of so many tokens are divided by. The first words of ``live`` are the
    numbers of beams, those of ``counts`` how many rows of y each has; both, ``status`` and feeds[4, slots]
    become those of the next step. The sides of ``coverage`` take turns by the position's parity.
    """
    words, diversity = integers(options), doubles(options)[10]
    share, groups, wanted = words[0], words[1], words[2]
    beams, rows_of, position = integers(live), integers(counts), integers(status)[POSITION]
    layer = trace + position * slots * NODE * 8
    first_row = 0
    units_left = 0
    rows_left = 0
    for unit in range(integers(status)[UNITS]):
        number = beams[unit]
        rows = rows_of[unit]
        scores = y + first_row * count * 4
        ranked = best + number * wanted * 2 * 8
        if diversity != 0.0:
            _diversify(scores, layer, running, number, groups, rows, width, count, diversity)
        found = _candidates(scores, running + number * width * 8, rows, count, ranked, wanted)
        kept = settle_beam(
            y, running, trace, pool, heads, ranked, found, number, first_row, rows, position, norms,
            attention, coverage, width, count, slots, options,
        )  # fmt: skip
        if kept > 0:
            feed_beam(layer, feeds, slots, rows_left, number, kept, width, share)
            beams[units_left] = number
            rows_of[units_left] = kept
            units_left += 1
            rows_left += kept
        first_row += rows
    advance(status, units_left, rows_left)
