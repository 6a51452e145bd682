"""Connectionist temporal classification: prefix beam search, frame by frame.

A hypothesis (``hypothesis_records.py``) is a prefix with the logarithms of its two probabilities, ended
by the blank or by its last token (Hannun et al., 2014), and of the most probable alignment of either
kind. ``search`` holds the settings, which all streams share; ``scratch`` is working memory, of no value
between calls.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers
from tinyseq.kernels.llvm.vectors import greatest
from tinyseq.kernels.search.hypothesis_records import (
    best_alignment,
    pool_of,
    record_of,
    records_of,
)
from tinyseq.kernels.search.layout import (
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
    LIMITED,
    LIVE,
    LIVING,
    LOGP,
    MAX_TOKENS,
    MIN_LOGP,
    NODE_BYTES,
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
from tinyseq.kernels.search.prefix_search import frame_of, news_of, ranking_of
from tinyseq.kernels.search.prefixes import aligned, child_of, node
from tinyseq.kernels.search.ranking import (
    DONE,
    LOG_ZERO,
    add_logs,
    entry_bound,
    keep_best,
    strongest,
)
from tinyseq.kernels.search.shallow_fusion import fused

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
def _stay(pool, record, stay, blank_logp, repeat_logp):
    """What a hypothesis becomes without a new token: by a blank, or by its last token once more."""
    values, nodes = doubles(record), integers(record)
    kept, places = doubles(stay), integers(stay)
    best, path = best_alignment(record)
    kept[ENDS_BLANK] = values[BOTH] + blank_logp
    kept[PATH_BLANK] = best + blank_logp
    kept[ENDS_TOKEN] = values[ENDS_TOKEN] + repeat_logp
    kept[PATH_TOKEN] = values[PATH_TOKEN] + repeat_logp
    kept[ADDED] = values[ADDED]
    places[PREFIX], places[ALIGNED_BLANK] = nodes[PREFIX], path
    places[ALIGNED_TOKEN], places[RENEWED] = nodes[ALIGNED_TOKEN], 0
    if kept[PATH_TOKEN] > LOG_ZERO and repeat_logp > floats(pool + nodes[ALIGNED_TOKEN] * NODE_BYTES)[LOGP]:
        places[ALIGNED_TOKEN] = np.int64(node(pool, nodes[ALIGNED_TOKEN])[UP])
        places[RENEWED] = 1


@compiled()
def _merge(pool, shorter, record, stay, repeat_logp):
    """Adds to ``stay`` that the hypothesis one token shorter got just that token."""
    last = node(pool, integers(record)[PREFIX])[TOKEN]
    repeats = node(pool, integers(shorter)[PREFIX])[TOKEN] == last
    everything, best, before = _source(shorter, repeats)
    kept, places = doubles(stay), integers(stay)
    kept[ENDS_TOKEN] = add_logs(kept[ENDS_TOKEN], everything + repeat_logp)
    if best + repeat_logp > kept[PATH_TOKEN]:
        kept[PATH_TOKEN] = best + repeat_logp
        places[ALIGNED_TOKEN], places[RENEWED] = before, 1


@compiled()
def _counted(x, token, least, last, last_token):
    """The row's number of a token; nothing if it is below ``least`` or ranks behind the last that counts."""
    value = x[token]
    if value < least or value < last or (value == last and token > last_token):
        return LOG_ZERO
    return np.float64(value)


@compiled()
def _stays(records, pool, stays, living, x, blank, least, last, last_token):
    """All hypotheses without a new token, those merged that reach the same prefix."""
    for j in range(living):
        integers(record_of(stays, j))[FIRST_LONGER] = NONE
    blank_logp = _counted(x, blank, least, last, last_token)
    for j in range(living):
        record, stay = record_of(records, j), record_of(stays, j)
        prefix = node(pool, integers(record)[PREFIX])
        repeat_logp = LOG_ZERO
        if prefix[TOKEN] != NONE:
            repeat_logp = _counted(x, np.int64(prefix[TOKEN]), least, last, last_token)
        _stay(pool, record, stay, blank_logp, repeat_logp)
        place = np.int64(NONE)
        if prefix[UP] != NONE:
            place = np.int64(node(pool, prefix[UP])[LIVE])
        if place != NONE and repeat_logp > LOG_ZERO:
            _merge(pool, record_of(records, place), record, stay, repeat_logp)
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
def _strongest_of(scratch, search):
    """(scores, tokens) of the strongest tokens of a row, best first."""
    start = ranking_of(scratch, search)[2]
    return doubles(start), integers(start + integers(search)[MAX_TOKENS] * 8)


@compiled()
def _rank_longer(search, scorers, records, pool, stays, living, token_scores, tokens, count, ranking):
    """Enters every hypothesis with every token that counts; key: living + i * count + the token's rank."""
    settings, limits = integers(search), doubles(search)
    width, blank = settings[WIDTH], settings[BLANK]
    scores, keys, kept, top = ranking
    for i in range(living):
        record = record_of(records, i)
        values = doubles(record)
        last = np.int64(node(pool, integers(record)[PREFIX])[TOKEN])
        for r in range(count):
            token = tokens[r]
            bound = entry_bound(scores, kept, width, top + limits[PRUNE])
            if values[BOTH] + values[ADDED] + token_scores[r] + limits[GAIN] < bound:
                break
            if token == blank:
                continue
            before = values[ENDS_BLANK] if token == last else values[BOTH]
            score = before + token_scores[r] + values[ADDED]
            if score == LOG_ZERO or _is_merged(stays, pool, i, token):
                continue
            if settings[FUSED]:
                added = fused(search, scorers, record, token)[0]
                score = before + token_scores[r] + (values[ADDED] + added)
                if score == LOG_ZERO:
                    continue
            kept = keep_best(scores, keys, kept, width, score, living + i * count + r)
            top = max(top, score)
    return kept, top


@compiled()
def _rank(row, state, scratch, search, scorers):
    """Enters every hypothesis, alone and with every token that counts; the third result is their count.

    Key j < living: hypothesis j as it is; others as in ``_rank_longer``.
    """
    settings, x = integers(search), floats(row)
    vocabulary, most, living = settings[VOCABULARY], settings[MAX_TOKENS], integers(state)[LIVING]
    records, pool, stays = records_of(state), pool_of(state, settings[WIDTH]), scratch
    scores, keys, _ = ranking_of(scratch, search)
    token_scores, tokens = _strongest_of(scratch, search)
    least = min(np.float32(doubles(search)[MIN_LOGP]), greatest(row, vocabulary)[0])
    count = strongest(row, vocabulary, least, most, token_scores, tokens)
    last, last_token = np.float32(LOG_ZERO), vocabulary
    if settings[LIMITED] and count == most:
        last, last_token = np.float32(token_scores[count - 1]), tokens[count - 1]
    _stays(records, pool, stays, living, x, settings[BLANK], least, last, last_token)
    kept, top = 0, LOG_ZERO
    for j in range(living):
        score = doubles(record_of(stays, j))[BOTH] + doubles(record_of(stays, j))[ADDED]
        if score > LOG_ZERO:
            kept = keep_best(scores, keys, kept, settings[WIDTH], score, j)
            top = max(top, score)
    ranking = (scores, keys, kept, top)
    kept, top = _rank_longer(
        search, scorers, records, pool, stays, living, token_scores, tokens, count, ranking
    )
    return kept, top, count


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
    if doubles(new)[PATH_BLANK] == LOG_ZERO:
        nodes[ALIGNED_BLANK] = nodes[ALIGNED_TOKEN]
    if doubles(new)[PATH_TOKEN] == LOG_ZERO:
        nodes[ALIGNED_TOKEN] = nodes[ALIGNED_BLANK]


@compiled()
def _extend(search, state, pool, record, new, token, logp, frame, scorers):
    """Writes the hypothesis that is one token longer."""
    last = np.int64(node(pool, integers(record)[PREFIX])[TOKEN])
    everything, best, before = _source(record, last == token)
    values, nodes = doubles(new), integers(new)
    added = 0.0
    for k in range(STATES, RECORD):
        nodes[k] = integers(record)[k]
    if integers(search)[FUSED]:
        added, nodes[STATES], nodes[STATES + 1], nodes[STATES + 2] = fused(search, scorers, record, token)
    values[ENDS_BLANK] = values[PATH_BLANK] = LOG_ZERO
    values[ENDS_TOKEN] = values[BOTH] = everything + logp
    values[ADDED] = doubles(record)[ADDED] + added
    values[PATH_TOKEN] = best + logp
    nodes[PREFIX] = child_of(state, pool, integers(record)[PREFIX], token)
    nodes[ALIGNED_TOKEN] = aligned(state, pool, before, token, frame, logp)
    nodes[ALIGNED_BLANK] = nodes[ALIGNED_TOKEN]


@compiled()
def _write(row, state, scratch, search, scorers, kept, count, place):
    """Makes hypotheses of what ``_rank`` has entered."""
    living, frame = integers(state)[LIVING], integers(state)[FRAMES]
    records, pool = records_of(state), pool_of(state, integers(search)[WIDTH])
    news = news_of(scratch, search)
    keys = ranking_of(scratch, search)[1]
    token_scores, tokens = _strongest_of(scratch, search)
    for w in range(kept):
        new = record_of(news, w)
        if keys[w] < living:
            _keep(state, pool, record_of(records, keys[w]), record_of(scratch, keys[w]), new, row, frame)
        else:
            i, r = (keys[w] - living) // count, (keys[w] - living) % count
            record = record_of(records, i)
            _extend(search, state, pool, record, new, tokens[r], token_scores[r], frame, scorers)
    return kept


_frame = frame_of(_rank, _write)


@compiled()
def ctc_beam(logp, frames, start, state, scratch, search, model, labels, words, hotwords, spelling):
    """Prefix beam search over logp[frames, V], whose first row is frame ``start`` of the stream.

    Frames that the state has had already are passed over: what has failed between two frames can go on.
    """
    scorers = (model, labels, words, hotwords, spelling)
    vocabulary = integers(search)[VOCABULARY]
    while integers(state)[FRAMES] < start + frames:
        row = logp + (integers(state)[FRAMES] - start) * vocabulary * 4
        if _frame(row, state, scratch, search, scorers, 0) == FAILED:
            return FAILED
    return DONE
