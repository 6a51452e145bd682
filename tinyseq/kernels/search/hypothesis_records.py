"""The hypotheses of a stream's prefix search: records in a block, see ``layout.py``.

The state of a stream is one block of memory without a process address in it: a head of ``HEADER`` words,
``width`` hypotheses of ``RECORD`` words, the best one first, and the pool of nodes (``prefixes.py``).
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.llvm.intrinsics import compiled, doubles, integers
from tinyseq.kernels.search.layout import (
    ALIGNED_BLANK,
    ALIGNED_TOKEN,
    DEEPEST,
    DEPTH,
    FRAME,
    FRAMES,
    HEADER,
    HORIZON,
    LIVE,
    LIVING,
    NONE,
    PATH_BLANK,
    PATH_TOKEN,
    PREFIX,
    RECORD,
    SETTLED,
    STATES,
    UP,
)
from tinyseq.kernels.search.prefixes import drop, hold, node
from tinyseq.kernels.search.ranking import LOG_ZERO

FORGETS = 64
"""At most so many frames, or a quarter of the horizon if that is less, go by until hypotheses that still
doubt what is behind it are given up."""


@compiled()
def record_of(block, j):
    return block + j * RECORD * 8


@compiled()
def records_of(state):
    """The hypotheses of a stream."""
    return state + HEADER * 8


@compiled()
def pool_of(state, width):
    """The nodes of a stream, behind its hypotheses."""
    return record_of(records_of(state), width)


@compiled()
def best_alignment(record):
    """(score, alignment) of a hypothesis' most probable alignment."""
    values, nodes = doubles(record), integers(record)
    if values[PATH_BLANK] >= values[PATH_TOKEN]:
        return values[PATH_BLANK], nodes[ALIGNED_BLANK]
    return values[PATH_TOKEN], nodes[ALIGNED_TOKEN]


@compiled()
def replace(state, records, pool, news, living, count):
    """The new hypotheses take the place of the old ones, whose nodes are given back."""
    for j in range(count):
        for k in range(PREFIX, STATES):
            hold(pool, integers(record_of(news, j))[k])
    for j in range(living):
        nodes = integers(record_of(records, j))
        node(pool, nodes[PREFIX])[LIVE] = NONE
        for k in range(PREFIX, STATES):
            drop(state, pool, nodes[k])
    deepest = 0
    for j in range(count):
        source, target = integers(record_of(news, j)), integers(record_of(records, j))
        for k in range(RECORD):
            target[k] = source[k]
        prefix = node(pool, target[PREFIX])
        prefix[LIVE] = j
        deepest = max(deepest, np.int64(prefix[DEPTH]))
    integers(state)[LIVING] = count
    integers(state)[DEEPEST] = deepest


@compiled()
def _ancestor(pool, alignment, depth):
    while node(pool, alignment)[DEPTH] > depth:
        alignment = np.int64(node(pool, alignment)[UP])
    return alignment


@compiled()
def _agrees(state, pool, record, old):
    """Whether a hypothesis has an alignment that begins with ``old``; its other one, if not, is given up."""
    values, nodes = doubles(record), integers(record)
    depth = np.int64(node(pool, old)[DEPTH])
    by_blank = _ancestor(pool, nodes[ALIGNED_BLANK], depth) == old
    by_token = _ancestor(pool, nodes[ALIGNED_TOKEN], depth) == old
    if by_blank and not by_token:
        values[PATH_TOKEN] = LOG_ZERO
        hold(pool, nodes[ALIGNED_BLANK])
        drop(state, pool, nodes[ALIGNED_TOKEN])
        nodes[ALIGNED_TOKEN] = nodes[ALIGNED_BLANK]
    if by_token and not by_blank:
        values[PATH_BLANK] = LOG_ZERO
        hold(pool, nodes[ALIGNED_TOKEN])
        drop(state, pool, nodes[ALIGNED_BLANK])
        nodes[ALIGNED_BLANK] = nodes[ALIGNED_TOKEN]
    return by_blank or by_token


@compiled()
def _forget(state, records, pool, oldest):
    """Gives up the hypotheses that differ from the best one in what it has before frame ``oldest``."""
    head = integers(state)
    old = best_alignment(records)[1]
    while node(pool, old)[DEPTH] > head[SETTLED] and node(pool, old)[FRAME] >= oldest:
        old = np.int64(node(pool, old)[UP])
    if node(pool, old)[DEPTH] <= head[SETTLED]:
        return
    kept = 0
    for j in range(head[LIVING]):
        record = record_of(records, j)
        nodes = integers(record)
        agrees = _agrees(state, pool, record, old)
        node(pool, nodes[PREFIX])[LIVE] = kept if agrees else NONE
        for k in range(PREFIX, STATES):
            if not agrees:
                drop(state, pool, nodes[k])
        for k in range(RECORD):
            integers(record_of(records, kept))[k] = nodes[k]
        kept += 1 if agrees else 0
    head[LIVING] = kept


@compiled()
def forget_now_and_then(search, state, records, pool):
    """Each ``FORGETS`` frames, sooner where the horizon is near, gives up what doubts what is behind it."""
    head, horizon = integers(state), integers(search)[HORIZON]
    if horizon and head[FRAMES] % max(1, min(FORGETS, horizon // 4)) == 0 and head[LIVING] > 1:
        _forget(state, records, pool, head[FRAMES] - horizon)
