"""Connectionist temporal classification: prefix beam search, frame by frame.

A hypothesis (``records.py``) is a prefix with the logarithms of its two probabilities, ended by the blank or
by its last token (Hannun et al., 2014), and of the most probable alignment of either kind. ``search`` holds
the settings, which all streams share; ``scratch`` is working memory, of no value between calls.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.automata import is_asking
from tinyseq.kernels.fusion import fused
from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.intrinsics import compiled, doubles, floats, integers
from tinyseq.kernels.layout import (
    ADDED,
    ALIGNED_BLANK,
    ALIGNED_TOKEN,
    BLANK,
    BOTH,
    ENDS_BLANK,
    ENDS_TOKEN,
    FRAMES,
    FUSED,
    GAIN,
    HEAD,
    LEAST,
    LIMITED,
    LIVE,
    LIVING,
    LOGP,
    MOST,
    NODE_BYTES,
    NODES_FREE,
    NONE,
    PATH_BLANK,
    PATH_TOKEN,
    PREFIX,
    PRUNE,
    RECORD,
    STATES,
    TOKEN,
    UP,
    VOCABULARY,
    WIDTH,
)
from tinyseq.kernels.prefixes import aligned, child_of, node
from tinyseq.kernels.ranking import (
    DONE,
    NOTHING,
    add_logs,
    best_first,
    keep_best,
    row_peak,
    strongest,
)
from tinyseq.kernels.records import best_alignment, end_frame, hold_all, record_of, replace

RENEWED, FIRST_LONGER, NEXT_LONGER = 9, 10, 11
"""Words of a hypothesis that gets no token, in place of the states: whether its last token's alignment is a
new one behind ``ALIGNED_TOKEN``, and the list of those hypotheses that are one token longer."""


@compiled()
def _source(record, repeats):
    """(all, best, alignment) of what may be followed by one more token: before a repeated one, a blank."""
    values, nodes = doubles(record), integers(record)
    if repeats:
        return values[ENDS_BLANK], values[PATH_BLANK], nodes[ALIGNED_BLANK]
    best, before = best_alignment(record)
    return values[BOTH], best, before


@compiled()
def _stay(pool, record, stay, silent, again):
    """What a hypothesis becomes without a new token: by a blank, or by its last token once more."""
    values, nodes = doubles(record), integers(record)
    kept, places = doubles(stay), integers(stay)
    best, path = best_alignment(record)
    kept[ENDS_BLANK] = values[BOTH] + silent
    kept[PATH_BLANK] = best + silent
    kept[ENDS_TOKEN] = values[ENDS_TOKEN] + again
    kept[PATH_TOKEN] = values[PATH_TOKEN] + again
    kept[ADDED] = values[ADDED]
    places[PREFIX], places[ALIGNED_BLANK] = nodes[PREFIX], path
    places[ALIGNED_TOKEN], places[RENEWED] = nodes[ALIGNED_TOKEN], 0
    if kept[PATH_TOKEN] > NOTHING and again > floats(pool + nodes[ALIGNED_TOKEN] * NODE_BYTES)[LOGP]:
        places[ALIGNED_TOKEN] = np.int64(node(pool, nodes[ALIGNED_TOKEN])[UP])
        places[RENEWED] = 1


@compiled()
def _merge(pool, shorter, record, stay, again):
    """Adds to ``stay`` that the hypothesis one token shorter got just that token."""
    last = node(pool, integers(record)[PREFIX])[TOKEN]
    repeats = node(pool, integers(shorter)[PREFIX])[TOKEN] == last
    everything, best, before = _source(shorter, repeats)
    kept, places = doubles(stay), integers(stay)
    kept[ENDS_TOKEN] = add_logs(kept[ENDS_TOKEN], everything + again)
    if best + again > kept[PATH_TOKEN]:
        kept[PATH_TOKEN] = best + again
        places[ALIGNED_TOKEN], places[RENEWED] = before, 1


@compiled()
def _counted(x, token, least, last, last_token):
    """The row's number of a token; nothing if it is below ``least`` or ranks behind the last that counts."""
    value = x[token]
    if value < least or value < last or (value == last and token > last_token):
        return NOTHING
    return np.float64(value)


@compiled()
def _stays(records, pool, stays, living, x, blank, least, last, last_token):
    """All hypotheses without a new token, those merged that reach the same prefix."""
    for j in range(living):
        integers(record_of(stays, j))[FIRST_LONGER] = NONE
    silent = _counted(x, blank, least, last, last_token)
    for j in range(living):
        record, stay = record_of(records, j), record_of(stays, j)
        prefix = node(pool, integers(record)[PREFIX])
        again = NOTHING
        if prefix[TOKEN] != NONE:
            again = _counted(x, np.int64(prefix[TOKEN]), least, last, last_token)
        _stay(pool, record, stay, silent, again)
        place = np.int64(NONE)
        if prefix[UP] != NONE:
            place = np.int64(node(pool, prefix[UP])[LIVE])
        if place != NONE and again > NOTHING:
            _merge(pool, record_of(records, place), record, stay, again)
            shorter = integers(record_of(stays, place))
            integers(stay)[NEXT_LONGER] = shorter[FIRST_LONGER]
            shorter[FIRST_LONGER] = j
        doubles(stay)[BOTH] = add_logs(doubles(stay)[ENDS_BLANK], doubles(stay)[ENDS_TOKEN])


@compiled()
def _is_merged(stays, pool, i, token):
    """Whether hypothesis i with one more token is alive already."""
    longer = integers(record_of(stays, i))[FIRST_LONGER]
    while longer != NONE:
        if node(pool, integers(record_of(stays, longer))[PREFIX])[TOKEN] == token:
            return True
        longer = integers(record_of(stays, longer))[NEXT_LONGER]
    return False


@compiled()
def _ranked(search, records, pool, stays, living, token_scores, tokens, count, scores, keys, scorers):
    """Ranks the best of everything that a frame offers; the count.

    Key j < living: hypothesis j as it is; living + i * count + r: hypothesis i and the token of rank r.
    """
    settings, limits = integers(search), doubles(search)
    width, blank = settings[WIDTH], settings[BLANK]
    model, labels, words, hotwords, spelling = scorers
    kept, top = 0, NOTHING
    for j in range(living):
        score = doubles(record_of(stays, j))[BOTH] + doubles(record_of(stays, j))[ADDED]
        if score > NOTHING:
            kept = keep_best(scores, keys, kept, width, score, j)
            top = max(top, score)
    for i in range(living):
        record = record_of(records, i)
        values = doubles(record)
        last = np.int64(node(pool, integers(record)[PREFIX])[TOKEN])
        for r in range(count):
            token = tokens[r]
            bound = max(scores[0] if kept == width else NOTHING, top + limits[PRUNE])
            if values[BOTH] + values[ADDED] + token_scores[r] + limits[GAIN] < bound:
                break
            if token == blank:
                continue
            before = values[ENDS_BLANK] if token == last else values[BOTH]
            score = before + token_scores[r] + values[ADDED]
            if score == NOTHING or _is_merged(stays, pool, i, token):
                continue
            if settings[FUSED]:
                states = record + STATES * 8
                added = fused(search, model, labels, words, hotwords, spelling, token, states)[0]
                score = before + token_scores[r] + (values[ADDED] + added)
                if score == NOTHING:
                    continue
            kept = keep_best(scores, keys, kept, width, score, living + i * count + r)
            top = max(top, score)
    best_first(scores, keys, kept)
    while kept > 0 and scores[kept - 1] < top + limits[PRUNE]:
        kept -= 1
    return kept


@compiled()
def _keep(state, pool, record, stay, new, row, frame):
    """Writes the hypothesis that ``stay`` describes."""
    source, nodes, places = integers(stay), integers(new), integers(record)
    for k in range(STATES):
        nodes[k] = source[k]
    for k in range(STATES, RECORD):
        nodes[k] = places[k]
    if source[RENEWED]:
        token = np.int64(node(pool, nodes[PREFIX])[TOKEN])
        logp = floats(row)[token]
        nodes[ALIGNED_TOKEN] = aligned(state, pool, nodes[ALIGNED_TOKEN], token, frame, logp)
    # Of a kind that has probability zero, no alignment is of use: it must not keep one alive.
    if doubles(new)[PATH_BLANK] == NOTHING:
        nodes[ALIGNED_BLANK] = nodes[ALIGNED_TOKEN]
    if doubles(new)[PATH_TOKEN] == NOTHING:
        nodes[ALIGNED_TOKEN] = nodes[ALIGNED_BLANK]


@compiled()
def _extend(search, state, pool, record, new, token, logp, frame, scorers):
    """Writes the hypothesis that is one token longer."""
    model, labels, words, hotwords, spelling = scorers
    last = np.int64(node(pool, integers(record)[PREFIX])[TOKEN])
    everything, best, before = _source(record, last == token)
    values, nodes = doubles(new), integers(new)
    added = 0.0
    for k in range(STATES, RECORD):
        nodes[k] = integers(record)[k]
    if integers(search)[FUSED]:
        added, nodes[STATES], nodes[STATES + 1], nodes[STATES + 2] = fused(
            search, model, labels, words, hotwords, spelling, token, record + STATES * 8
        )
    values[ENDS_BLANK] = values[PATH_BLANK] = NOTHING
    values[ENDS_TOKEN] = values[BOTH] = everything + logp
    values[ADDED] = doubles(record)[ADDED] + added
    values[PATH_TOKEN] = best + logp
    nodes[PREFIX] = child_of(state, pool, integers(record)[PREFIX], token)
    nodes[ALIGNED_TOKEN] = aligned(state, pool, before, token, frame, logp)
    nodes[ALIGNED_BLANK] = nodes[ALIGNED_TOKEN]


@compiled()
def _frame(row, state, scratch, search, scorers):
    """One row: every hypothesis with every token that counts, of which the best remain.

    Fails, before anything is changed, where the pool may be too small or the language model asks for arcs.
    """
    settings = integers(search)
    width, most = settings[WIDTH], settings[MOST]
    if integers(state)[NODES_FREE] < 2 * width:
        return FAILED
    living, frame = integers(state)[LIVING], integers(state)[FRAMES]
    records = state + HEAD * 8
    pool = record_of(records, width)
    stays, news = scratch, record_of(scratch, width)
    ranks = record_of(news, width)
    scores, keys = doubles(ranks), integers(ranks + width * 8)
    token_scores, tokens = doubles(ranks + width * 16), integers(ranks + width * 16 + most * 8)

    x = floats(row)
    strongest_token = row_peak(row, settings[VOCABULARY])[1]
    least = min(np.float32(doubles(search)[LEAST]), x[strongest_token])
    count = strongest(row, settings[VOCABULARY], least, most, token_scores, tokens)
    last, last_token = np.float32(NOTHING), settings[VOCABULARY]
    if settings[LIMITED] and count == most:
        last, last_token = np.float32(token_scores[count - 1]), tokens[count - 1]
    _stays(records, pool, stays, living, x, settings[BLANK], least, last, last_token)
    kept = _ranked(search, records, pool, stays, living, token_scores, tokens, count, scores, keys, scorers)
    if settings[FUSED] and is_asking(scorers[0]):
        return FAILED
    for w in range(kept):
        new = record_of(news, w)
        if keys[w] < living:
            _keep(state, pool, record_of(records, keys[w]), record_of(stays, keys[w]), new, row, frame)
        else:
            i, r = (keys[w] - living) // count, (keys[w] - living) % count
            _extend(
                search, state, pool, record_of(records, i), new, tokens[r], token_scores[r], frame, scorers
            )
        hold_all(pool, new)
    replace(state, records, pool, news, living, kept)
    end_frame(search, state, records, pool)
    return DONE


@compiled()
def ctc_beam(logp, frames, start, state, scratch, search, model, labels, words, hotwords, spelling):
    """Prefix beam search over logp[frames, V], whose first row is frame ``start`` of the stream.

    Frames that the state has heard already are passed over: what has failed between two frames can go on.
    """
    scorers = (model, labels, words, hotwords, spelling)
    vocabulary = integers(search)[VOCABULARY]
    while integers(state)[FRAMES] < start + frames:
        row = logp + (integers(state)[FRAMES] - start) * vocabulary * 4
        if _frame(row, state, scratch, search, scorers) == FAILED:
            return FAILED
    return DONE
