"""Transducers: greedy search and modified beam search, a step of many streams at a time.

A search knows rows of scores, never models. It asks for them over a desk: words that ``layout.py`` names,
then five lists. A stream writes there for which of its frames and with which place's predictor output it
wants rows, and which tokens the predictor is to take; in the next run it finds the rows behind those of the
streams before it.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.automata import is_asking
from tinyseq.kernels.fusion import fused
from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.intrinsics import compiled, doubles, floats, integers, integers32
from tinyseq.kernels.layout import (
    ACTIVE,
    ADDED,
    ALIGNED_BLANK,
    ALIGNED_TOKEN,
    ASKED_ROWS,
    BLANK,
    BOTH,
    CAPACITY,
    DESK,
    EMITTED,
    FRAMES,
    FUSED,
    GAIN,
    HEAD,
    HEARD,
    JOIN_FRAMES,
    JOIN_PLACES,
    JOINED,
    JOINS,
    LIVE,
    LIVING,
    LOOK,
    NODES_FREE,
    NONE,
    PATH_BLANK,
    PLACE,
    PREDICTIONS,
    PREFIX,
    PRUNE,
    RECORD,
    RESUMED,
    SOURCES,
    SPEAKER,
    STATES,
    SYMBOLS,
    TAKEN,
    TARGETS,
    TOKEN,
    TOKENS,
    TOTAL,
    VOCABULARY,
    WAITING,
    WIDTH,
)
from tinyseq.kernels.prefixes import aligned, child_of, node
from tinyseq.kernels.ranking import DONE, NOTHING, add_logs, best_first, keep_best, row_peak
from tinyseq.kernels.records import end_frame, hold_all, record_of, replace

BLOCK = 32
"""Scores of a row that are looked at together."""


@compiled()
def _entry(desk, which, index):
    """The address of an entry of one of the desk's lists."""
    return desk + (DESK + which * integers(desk)[CAPACITY] + index) * 8


@compiled()
def _join(desk, frame, place):
    """Asks for a row of scores."""
    head = integers(desk)
    integers(_entry(desk, JOIN_FRAMES, head[JOINS]))[0] = frame
    integers(_entry(desk, JOIN_PLACES, head[JOINS]))[0] = place
    head[JOINS] += 1


@compiled()
def _predict(desk, token, source, target):
    """Gives the predictor a token."""
    head = integers(desk)
    integers(_entry(desk, TOKENS, head[PREDICTIONS]))[0] = token
    integers(_entry(desk, SOURCES, head[PREDICTIONS]))[0] = source
    integers(_entry(desk, TARGETS, head[PREDICTIONS]))[0] = target
    head[PREDICTIONS] += 1


@compiled()
def transducer_path(
    y, vocabulary, blank, most, desk, first, frames, start, place, state, tokens, places, logps
):
    """Greedy search for one stream, whose chunk of ``frames`` begins at its frame ``start``; of all streams'
    frames it is the one numbered ``first``.

    It asks for several frames at once, as if all of them but the last were blank, and uses their rows
    up to the first that is not: then it waits until the predictor has had the token. After ``most`` symbols a
    frame is over.
    """
    head, total, table = integers(state), doubles(state), integers(desk)
    asked = head[JOINED]
    rows = y + table[TAKEN] * vocabulary * 4
    table[TAKEN] += asked
    head[JOINED] = 0
    if table[RESUMED]:
        head[WAITING] = 0
    for r in range(asked):
        row = rows + r * vocabulary * 4
        token = row_peak(row, vocabulary)[1]
        value = floats(row)[token]
        total[TOTAL] += np.float64(value)
        if token != blank:
            written = head[EMITTED]
            integers32(tokens)[written] = token
            integers32(places)[written] = head[HEARD]
            floats(logps)[written] = value
            head[EMITTED] += 1
            head[SYMBOLS] += 1
            head[WAITING] = 1
            _predict(desk, token, place, place)
        if token == blank or head[SYMBOLS] == most:
            head[HEARD] += 1
            head[SYMBOLS] = 0
        if token != blank:
            break
    if not head[WAITING] and head[HEARD] < start + frames:
        count = min(table[LOOK], start + frames - head[HEARD])
        for k in range(count):
            _join(desk, first + head[HEARD] - start + k, place)
        head[JOINED] = count
        table[ACTIVE] += 1


@compiled()
def _offer(search, record, row, j, scores, keys, kept, top, scorers):
    """Ranks what a hypothesis may become; the count and the best score. Key: j * vocabulary + token."""
    settings, limits = integers(search), doubles(search)
    width, vocabulary, blank = settings[WIDTH], settings[VOCABULARY], settings[BLANK]
    model, labels, words, hotwords, spelling = scorers
    values, x = doubles(record), floats(row)
    base = values[BOTH] + values[ADDED]
    silent = base + np.float64(x[blank])
    if silent > NOTHING:
        kept = keep_best(scores, keys, kept, width, silent, j * vocabulary + blank)
        top = max(top, silent)
    for block in range(0, vocabulary, BLOCK):
        end = min(block + BLOCK, vocabulary)
        bound = max(scores[0] if kept == width else NOTHING, top + limits[PRUNE])
        above = 0
        for token in range(block, end):
            above += 1 if base + np.float64(x[token]) + limits[GAIN] >= bound else 0
        if above == 0:
            continue
        for token in range(block, end):
            logp = np.float64(x[token])
            bound = max(scores[0] if kept == width else NOTHING, top + limits[PRUNE])
            if token == blank or logp == NOTHING or base + logp + limits[GAIN] < bound:
                continue
            score = base + logp
            if settings[FUSED]:
                states = record + STATES * 8
                added = fused(search, model, labels, words, hotwords, spelling, token, states)[0]
                score = values[BOTH] + logp + (values[ADDED] + added)
            if score > NOTHING:
                kept = keep_best(scores, keys, kept, width, score, j * vocabulary + token)
                top = max(top, score)
    return kept, top


@compiled()
def _become(search, state, pool, record, new, j, token, logp, scorers):
    """Writes what a hypothesis becomes: as long as before by the blank, else one token longer."""
    model, labels, words, hotwords, spelling = scorers
    values, nodes = doubles(new), integers(new)
    for k in range(RECORD):
        nodes[k] = integers(record)[k]
    values[BOTH] = doubles(record)[BOTH] + logp
    values[PATH_BLANK] = doubles(record)[PATH_BLANK] + logp
    nodes[SPEAKER] = NONE
    if token == integers(search)[BLANK]:
        return
    nodes[SPEAKER] = j
    if integers(search)[FUSED]:
        added, nodes[STATES], nodes[STATES + 1], nodes[STATES + 2] = fused(
            search, model, labels, words, hotwords, spelling, token, record + STATES * 8
        )
        values[ADDED] = doubles(record)[ADDED] + added
    nodes[PREFIX] = child_of(state, pool, nodes[PREFIX], token)


@compiled()
def _merged(news, count, new):
    """Adds a hypothesis to an equal one that there is already; whether there is one."""
    values, nodes = doubles(new), integers(new)
    for w in range(count):
        other = record_of(news, w)
        if integers(other)[PREFIX] == nodes[PREFIX]:
            kept = doubles(other)
            kept[BOTH] = add_logs(kept[BOTH], values[BOTH])
            if values[PATH_BLANK] > kept[PATH_BLANK]:
                kept[PATH_BLANK] = values[PATH_BLANK]
                integers(other)[ALIGNED_BLANK] = nodes[ALIGNED_BLANK]
                integers(other)[SPEAKER] = nodes[SPEAKER]
            return True
    return False


@compiled()
def _settled_places(desk, records, pool, news, count, width, place, taken):
    """Gives every new hypothesis a place: a prefix that was alive keeps its own, the others are predicted.

    ``taken``: a word for each place.
    """
    used = integers(taken)
    for k in range(width):
        used[k] = 0
    for w in range(count):
        new = integers(record_of(news, w))
        former = np.int64(node(pool, new[PREFIX])[LIVE])
        if former != NONE:
            new[PLACE] = integers(record_of(records, former))[PLACE]
            used[new[PLACE]] = 1
    free = 0
    for w in range(count):
        new = integers(record_of(news, w))
        prefix = node(pool, new[PREFIX])
        if prefix[LIVE] == NONE:
            while used[free]:
                free += 1
            used[free] = 1
            _predict(desk, np.int64(prefix[TOKEN]), place + new[PLACE], place + free)
            new[PLACE] = free


@compiled()
def _frame(rows, desk, place, state, scratch, search, scorers):
    """One frame, of which every living hypothesis has a row of scores.

    Fails, before anything is changed, where the pool may be too small or the language model asks for arcs.
    """
    settings = integers(search)
    width, vocabulary = settings[WIDTH], settings[VOCABULARY]
    if integers(state)[NODES_FREE] < 2 * width:
        return FAILED
    living, frame = integers(state)[LIVING], integers(state)[FRAMES]
    records = state + HEAD * 8
    pool = record_of(records, width)
    offers, news = scratch, record_of(scratch, width)
    ranks = record_of(news, width)
    scores, keys = doubles(ranks), integers(ranks + width * 8)
    kept, top = 0, NOTHING
    for j in range(living):
        row = rows + j * vocabulary * 4
        kept, top = _offer(search, record_of(records, j), row, j, scores, keys, kept, top, scorers)
    if settings[FUSED] and is_asking(scorers[0]):
        return FAILED
    best_first(scores, keys, kept)
    while kept > 0 and scores[kept - 1] < top + doubles(search)[PRUNE]:
        kept -= 1
    count = 0
    for w in range(kept):
        j, token = keys[w] // vocabulary, keys[w] % vocabulary
        logp = np.float64(floats(rows)[j * vocabulary + token])
        new = record_of(offers, count)
        _become(search, state, pool, record_of(records, j), new, j, token, logp, scorers)
        if not _merged(offers, count, new):
            count += 1
    kept = 0
    for w in range(count):
        values = doubles(record_of(offers, w))
        kept = keep_best(scores, keys, kept, width, values[BOTH] + values[ADDED], w)
    best_first(scores, keys, kept)
    for w in range(count):
        source, target = integers(record_of(offers, keys[w])), integers(record_of(news, w))
        for k in range(RECORD):
            target[k] = source[k]
        if target[SPEAKER] != NONE:
            token = np.int64(node(pool, target[PREFIX])[TOKEN])
            logp = floats(rows)[target[SPEAKER] * vocabulary + token]
            target[ALIGNED_BLANK] = aligned(state, pool, target[ALIGNED_BLANK], token, frame, logp)
        target[ALIGNED_TOKEN] = target[ALIGNED_BLANK]
        target[SPEAKER] = NONE
        hold_all(pool, record_of(news, w))
    _settled_places(desk, records, pool, news, count, width, place, ranks)
    replace(state, records, pool, news, living, count)
    end_frame(search, state, records, pool)
    return DONE


@compiled()
def transducer_beam(
    y, desk, first, frames, start, place, state, scratch, search, model, labels, words, hotwords, spelling
):
    """Modified beam search for one stream: at most one token a frame. Numbers as in ``transducer_path``.

    Fails before anything is changed.
    """
    head, table, settings = integers(state), integers(desk), integers(search)
    if head[ASKED_ROWS] > 0:
        rows = y + table[TAKEN] * settings[VOCABULARY] * 4
        scorers = (model, labels, words, hotwords, spelling)
        if _frame(rows, desk, place, state, scratch, search, scorers) == FAILED:
            return FAILED
        table[TAKEN] += head[ASKED_ROWS]
        head[ASKED_ROWS] = 0
    if head[LIVING] == 0:
        head[FRAMES] = start + frames
    if head[FRAMES] < start + frames:
        for j in range(head[LIVING]):
            where = integers(record_of(state + HEAD * 8, j))[PLACE]
            _join(desk, first + head[FRAMES] - start, place + where)
        head[ASKED_ROWS] = head[LIVING]
    return DONE
