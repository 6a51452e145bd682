"""What a prefix beam search has found: the tokens that are settled, and the best hypotheses."""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers, integers32
from tinyseq.kernels.search.automata import is_asking
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
    BOTH,
    DEPTH,
    FRAME,
    FUSED,
    LIVING,
    LOGP,
    NODE_BYTES,
    NORM,
    PATH_TOKEN,
    PREFIX,
    SETTLED,
    TOKEN,
    UP,
    VOCABULARY,
    WIDTH,
)
from tinyseq.kernels.search.prefixes import common_ancestor, cut, node
from tinyseq.kernels.search.ranking import DONE, LOG_ZERO, best_first, keep_best
from tinyseq.kernels.search.shallow_fusion import fused


@compiled()
def _write(pool, alignment, until, tokens, frames, logps):
    """The tokens of an alignment behind those of depth ``until``, in order; their count."""
    count = np.int64(node(pool, alignment)[DEPTH]) - until
    for place in range(count - 1, -1, -1):
        it = node(pool, alignment)
        integers32(tokens)[place] = it[TOKEN]
        integers32(frames)[place] = it[FRAME]
        floats(logps)[place] = floats(pool + alignment * NODE_BYTES)[LOGP]
        alignment = np.int64(it[UP])
    return count


@compiled()
def _is_open(records, living, alignment):
    """Whether a hypothesis may still find a stronger frame for the last token of an alignment."""
    for j in range(living):
        record = record_of(records, j)
        if integers(record)[ALIGNED_TOKEN] == alignment and doubles(record)[PATH_TOKEN] > LOG_ZERO:
            return True
    return False


@compiled()
def settle(state, width, count, tokens, frames, logps):
    """Writes what all hypotheses have in common, for good, behind what was settled before, and forgets it.

    ``count`` is one word, the number of tokens[count], frames[count], logps[count]; there is room for all
    tokens of the longest hypothesis that are not settled.
    """
    head = integers(state)
    records, pool = records_of(state), pool_of(state, width)
    living = head[LIVING]
    integers(count)[0] = 0
    if living == 0:
        return
    common = integers(records)[ALIGNED_BLANK]
    for j in range(living):
        nodes = integers(record_of(records, j))
        common = common_ancestor(pool, common, nodes[ALIGNED_BLANK])
        common = common_ancestor(pool, common, nodes[ALIGNED_TOKEN])
    if node(pool, common)[DEPTH] > head[SETTLED] and _is_open(records, living, common):
        common = np.int64(node(pool, common)[UP])
    depth = np.int64(node(pool, common)[DEPTH])
    if depth == head[SETTLED]:
        return
    integers(count)[0] = _write(pool, common, head[SETTLED], tokens, frames, logps)
    prefix = integers(records)[PREFIX]
    while node(pool, prefix)[DEPTH] > depth:
        prefix = np.int64(node(pool, prefix)[UP])
    cut(state, pool, common)
    cut(state, pool, prefix)
    head[SETTLED] = depth


@compiled()
def hypotheses(
    state, scratch, search, ended, best, room, count, scores, tokens, frames, logps,
    model, labels, words, hotwords, spelling,
):  # fmt: skip
    """The ``best`` hypotheses, best first; with ``ended`` as the end of all ranks them.

    scores[best] float64, tokens[best, room], frames[best, room], logps[best, room] hold what is not settled;
    count[0] hypotheses, then the number of tokens of each. If the settings have a ``NORM``, scores are a
    token's share, that many tokens more counted. Fails where the language model asks for arcs.
    """
    settings = integers(search)
    scorers = (model, labels, words, hotwords, spelling)
    width = settings[WIDTH]
    records, pool = records_of(state), pool_of(state, width)
    ranking, keys = doubles(scratch), integers(scratch + width * 8)
    kept = 0
    for j in range(integers(state)[LIVING]):
        record = record_of(records, j)
        score = doubles(record)[BOTH] + doubles(record)[ADDED]
        if ended and settings[FUSED]:
            added = fused(search, scorers, record, settings[VOCABULARY])[0]
            score = doubles(record)[BOTH] + (doubles(record)[ADDED] + added)
        if settings[NORM] > 0:
            score /= np.float64(node(pool, integers(record)[PREFIX])[DEPTH] + settings[NORM])
        if score > LOG_ZERO:
            kept = keep_best(ranking, keys, kept, best, score, j)
    if settings[FUSED] and is_asking(model):
        return FAILED
    best_first(ranking, keys, kept)
    integers(count)[0] = kept
    for k in range(kept):
        alignment = best_alignment(record_of(records, keys[k]))[1]
        doubles(scores)[k] = ranking[k]
        place = k * room * 4
        integers(count)[1 + k] = _write(
            pool, alignment, integers(state)[SETTLED], tokens + place, frames + place, logps + place
        )
    return DONE
