"""Transducers: greedy search and modified beam search, a step of many streams at a time.

A search knows rows of scores, never models. It asks for them by a request queue: words that ``layout.py``
names, then five lists. A stream writes there for which of its frames and with which place's predictor output
it wants rows, and which tokens the predictor is to take; in the next run it finds the rows, behind those of
the streams before it.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers, integers32
from tinyseq.kernels.search.hypothesis_records import pool_of, record_of, records_of
from tinyseq.kernels.search.layout import (
    ACTIVE,
    ADDED,
    ALIGNED_BLANK,
    ALIGNED_TOKEN,
    BLANK,
    BOTH,
    CAPACITY,
    EMITTED,
    FRAMES,
    FUSED,
    GAIN,
    JOIN_FRAMES,
    JOIN_PLACES,
    JOINER_ROWS,
    LIVE,
    LIVING,
    LOOKAHEAD,
    NONE,
    PATH_BLANK,
    PLACE,
    PREDICT_SOURCES,
    PREDICT_TARGETS,
    PREDICT_TOKENS,
    PREDICTED,
    PREDICTOR_TOKENS,
    PREFIX,
    PROCESSED,
    PRUNE,
    QUEUE_HEADER,
    RECORD,
    REQUESTED,
    REQUESTED_ROWS,
    ROWS_READ,
    STATES,
    SYMBOLS,
    TOKEN,
    TOKEN_ROW,
    TOTAL,
    VOCABULARY,
    WAITING,
    WIDTH,
)
from tinyseq.kernels.search.prefix_search import frame_of, news_of, ranking_of
from tinyseq.kernels.search.prefixes import aligned, child_of, node
from tinyseq.kernels.search.ranking import (
    BLOCK,
    DONE,
    LOG_ZERO,
    add_logs,
    best_first,
    entry_bound,
    keep_best,
    row_peak,
)
from tinyseq.kernels.search.shallow_fusion import fused


@compiled()
def _entry(queue, which, index):
    """The address of an entry of one of the request queue's lists."""
    return queue + (QUEUE_HEADER + which * integers(queue)[CAPACITY] + index) * 8


@compiled()
def _join(queue, frame, place):
    """Asks for a row of scores."""
    head = integers(queue)
    integers(_entry(queue, JOIN_FRAMES, head[JOINER_ROWS]))[0] = frame
    integers(_entry(queue, JOIN_PLACES, head[JOINER_ROWS]))[0] = place
    head[JOINER_ROWS] += 1


@compiled()
def _predict(queue, token, source, target):
    """Gives the predictor a token."""
    head = integers(queue)
    integers(_entry(queue, PREDICT_TOKENS, head[PREDICTOR_TOKENS]))[0] = token
    integers(_entry(queue, PREDICT_SOURCES, head[PREDICTOR_TOKENS]))[0] = source
    integers(_entry(queue, PREDICT_TARGETS, head[PREDICTOR_TOKENS]))[0] = target
    head[PREDICTOR_TOKENS] += 1


@compiled()
def transducer_path(
    y, vocabulary, blank, most, queue, first, frames, start, place, state, tokens, places, logps
):
    """Greedy search for one stream, whose chunk of ``frames`` begins at its frame ``start``; of all streams'
    frames it is the one numbered ``first``.

    It asks for several frames at once, as if all of them but the last were blank, and uses their rows
    up to the first that is not: then it waits until the predictor has had the token. After ``most`` symbols a
    frame is over.
    """
    head, total, table = integers(state), doubles(state), integers(queue)
    asked = head[REQUESTED]
    rows = y + table[ROWS_READ] * vocabulary * 4
    table[ROWS_READ] += asked
    head[REQUESTED] = 0
    if table[PREDICTED]:
        head[WAITING] = 0
    for r in range(asked):
        row = rows + r * vocabulary * 4
        token = row_peak(row, vocabulary)[1]
        value = floats(row)[token]
        total[TOTAL] += np.float64(value)
        if token != blank:
            written = head[EMITTED]
            integers32(tokens)[written] = token
            integers32(places)[written] = head[PROCESSED]
            floats(logps)[written] = value
            head[EMITTED] += 1
            head[SYMBOLS] += 1
            head[WAITING] = 1
            _predict(queue, token, place, place)
        if token == blank or head[SYMBOLS] == most:
            head[PROCESSED] += 1
            head[SYMBOLS] = 0
        if token != blank:
            break
    if not head[WAITING] and head[PROCESSED] < start + frames:
        count = min(table[LOOKAHEAD], start + frames - head[PROCESSED])
        for k in range(count):
            _join(queue, first + head[PROCESSED] - start + k, place)
        head[REQUESTED] = count
        table[ACTIVE] += 1


@compiled()
def _rank_row(search, scorers, record, row, j, scores, keys, kept, top):
    """Enters what a hypothesis may become; key: j * vocabulary + token."""
    settings, limits = integers(search), doubles(search)
    width, vocabulary, blank = settings[WIDTH], settings[VOCABULARY], settings[BLANK]
    values, x = doubles(record), floats(row)
    base = values[BOTH] + values[ADDED]
    by_blank = base + np.float64(x[blank])
    if by_blank > LOG_ZERO:
        kept = keep_best(scores, keys, kept, width, by_blank, j * vocabulary + blank)
        top = max(top, by_blank)
    for block in range(0, vocabulary, BLOCK):
        end = min(block + BLOCK, vocabulary)
        bound = entry_bound(scores, kept, width, top + limits[PRUNE])
        above = 0
        for token in range(block, end):
            above += 1 if base + np.float64(x[token]) + limits[GAIN] >= bound else 0
        if above == 0:
            continue
        for token in range(block, end):
            logp = np.float64(x[token])
            bound = entry_bound(scores, kept, width, top + limits[PRUNE])
            if token == blank or logp == LOG_ZERO or base + logp + limits[GAIN] < bound:
                continue
            score = base + logp
            if settings[FUSED]:
                added = fused(search, scorers, record, token)[0]
                score = values[BOTH] + logp + (values[ADDED] + added)
            if score > LOG_ZERO:
                kept = keep_best(scores, keys, kept, width, score, j * vocabulary + token)
                top = max(top, score)
    return kept, top


@compiled()
def _rank(rows, state, scratch, search, scorers):
    """Enters what all hypotheses may become; each has a row of scores."""
    scores, keys, _ = ranking_of(scratch, search)
    kept, top = 0, LOG_ZERO
    for j in range(integers(state)[LIVING]):
        row = rows + j * integers(search)[VOCABULARY] * 4
        record = record_of(records_of(state), j)
        kept, top = _rank_row(search, scorers, record, row, j, scores, keys, kept, top)
    return kept, top, 0


@compiled()
def _become(search, state, pool, record, new, j, token, logp, scorers):
    """Writes what a hypothesis becomes: as long as before by the blank, else one token longer."""
    values, nodes = doubles(new), integers(new)
    for k in range(RECORD):
        nodes[k] = integers(record)[k]
    values[BOTH] = doubles(record)[BOTH] + logp
    values[PATH_BLANK] = doubles(record)[PATH_BLANK] + logp
    nodes[TOKEN_ROW] = NONE
    if token == integers(search)[BLANK]:
        return
    nodes[TOKEN_ROW] = j
    if integers(search)[FUSED]:
        added, nodes[STATES], nodes[STATES + 1], nodes[STATES + 2] = fused(search, scorers, record, token)
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
                integers(other)[TOKEN_ROW] = nodes[TOKEN_ROW]
            return True
    return False


@compiled()
def _settled_places(queue, records, pool, news, count, width, place, taken):
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
            _predict(queue, np.int64(prefix[TOKEN]), place + new[PLACE], place + free)
            new[PLACE] = free


@compiled()
def _align(state, pool, rows, vocabulary, new):
    """Gives a hypothesis that has got a token the alignment that ends with it."""
    nodes = integers(new)
    if nodes[TOKEN_ROW] != NONE:
        token = np.int64(node(pool, nodes[PREFIX])[TOKEN])
        logp = floats(rows)[nodes[TOKEN_ROW] * vocabulary + token]
        frame = integers(state)[FRAMES]
        nodes[ALIGNED_BLANK] = aligned(state, pool, nodes[ALIGNED_BLANK], token, frame, logp)
    nodes[ALIGNED_TOKEN] = nodes[ALIGNED_BLANK]
    nodes[TOKEN_ROW] = NONE


@compiled()
def _write(rows, state, scratch, search, scorers, kept, number, place):
    """Makes hypotheses of what ``_rank`` has entered, equal ones put together.

    ``place`` is the request queue, for predictions, and the stream's first place.
    """
    width, vocabulary = integers(search)[WIDTH], integers(search)[VOCABULARY]
    records, pool, news = records_of(state), pool_of(state, width), news_of(scratch, search)
    scores, keys, _ = ranking_of(scratch, search)
    count = 0
    for w in range(kept):
        j, token = keys[w] // vocabulary, keys[w] % vocabulary
        logp = np.float64(floats(rows)[j * vocabulary + token])
        new = record_of(scratch, count)
        _become(search, state, pool, record_of(records, j), new, j, token, logp, scorers)
        if not _merged(scratch, count, new):
            count += 1
    kept = 0
    for w in range(count):
        values = doubles(record_of(scratch, w))
        kept = keep_best(scores, keys, kept, width, values[BOTH] + values[ADDED], w)
    best_first(scores, keys, kept)
    for w in range(count):
        source, target = integers(record_of(scratch, keys[w])), integers(record_of(news, w))
        for k in range(RECORD):
            target[k] = source[k]
        _align(state, pool, rows, vocabulary, record_of(news, w))
    _settled_places(place[0], records, pool, news, count, width, place[1], record_of(news, width))
    return count


_frame = frame_of(_rank, _write)


@compiled()
def transducer_beam(
    y, queue, first, frames, start, place, state, scratch, search, model, labels, words, hotwords, spelling
):
    """Modified beam search for one stream: at most one token a frame. Numbers as in ``transducer_path``.

    Fails before anything is changed.
    """
    head, table, settings = integers(state), integers(queue), integers(search)
    if head[REQUESTED_ROWS] > 0:
        rows = y + table[ROWS_READ] * settings[VOCABULARY] * 4
        scorers = (model, labels, words, hotwords, spelling)
        if _frame(rows, state, scratch, search, scorers, (queue, place)) == FAILED:
            return FAILED
        table[ROWS_READ] += head[REQUESTED_ROWS]
        head[REQUESTED_ROWS] = 0
    if head[LIVING] == 0:
        head[FRAMES] = start + frames
    if head[FRAMES] < start + frames:
        for j in range(head[LIVING]):
            where = integers(record_of(records_of(state), j))[PLACE]
            _join(queue, first + head[FRAMES] - start, place + where)
        head[REQUESTED_ROWS] = head[LIVING]
    return DONE
