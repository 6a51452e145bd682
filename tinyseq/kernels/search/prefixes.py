"""The pool of nodes that hypotheses are chains of; nothing in it is a process address.

A node is eight int32. It belongs to one of two trees, in each of which a child points up to its parent:

* prefixes: each different sequence of tokens is one node, found again through its parent's children;
* alignments: a token, the frame it was emitted in, and what came before.

A node counts who points to it, children and live hypotheses, and is free for use again when nobody does:
the pool holds what is live and nothing else, however long a stream runs.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, integers32
from tinyseq.kernels.search.layout import (
    CHILD,
    DEPTH,
    FRAME,
    FREE,
    IS_ALIGNMENT,
    KIND,
    LIVE,
    LOGP,
    NEXT,
    NODE_BYTES,
    NODES_FREE,
    NODES_USED,
    NONE,
    PREVIOUS,
    REFERENCES,
    TOKEN,
    UP,
)


@compiled()
def node(pool, index):
    """A node's eight words."""
    return integers32(pool + index * NODE_BYTES)


@compiled()
def _take(head, pool):
    integers(head)[NODES_FREE] -= 1
    index = integers(head)[FREE]
    if index == NONE:
        index = integers(head)[NODES_USED]
        integers(head)[NODES_USED] += 1
        return index
    integers(head)[FREE] = np.int64(node(pool, index)[UP])
    return index


@compiled()
def hold(pool, index):
    """One more points to a node."""
    node(pool, index)[REFERENCES] += 1


@compiled()
def _unlink(pool, it):
    """Takes a prefix out of its parent's children."""
    if it[PREVIOUS] != NONE:
        node(pool, it[PREVIOUS])[NEXT] = it[NEXT]
    elif it[UP] != NONE:
        node(pool, it[UP])[CHILD] = it[NEXT]
    if it[NEXT] != NONE:
        node(pool, it[NEXT])[PREVIOUS] = it[PREVIOUS]


@compiled()
def drop(head, pool, index):
    """One less points to a node; frees it, and those above it that nobody else needs."""
    while index != NONE:
        it = node(pool, index)
        it[REFERENCES] -= 1
        if it[REFERENCES] > 0:
            break
        up = np.int64(it[UP])
        if it[LIVE] != IS_ALIGNMENT:
            _unlink(pool, it)
        it[UP] = integers(head)[FREE]
        integers(head)[FREE] = index
        integers(head)[NODES_FREE] += 1
        index = up


@compiled()
def child_of(head, pool, parent, token):
    """The prefix that is one token longer than another; made if it is not there, held by nobody yet."""
    above = node(pool, parent)
    index = np.int64(above[CHILD])
    while index != NONE:
        it = node(pool, index)
        if it[TOKEN] == token:
            return index
        index = np.int64(it[NEXT])
    index = _take(head, pool)
    it = node(pool, index)
    it[UP], it[REFERENCES], it[TOKEN], it[DEPTH] = parent, 0, token, above[DEPTH] + 1
    it[CHILD], it[NEXT], it[PREVIOUS], it[LIVE] = NONE, above[CHILD], NONE, NONE
    if above[CHILD] != NONE:
        node(pool, above[CHILD])[PREVIOUS] = index
    above[CHILD] = index
    above[REFERENCES] += 1
    return index


@compiled()
def aligned(head, pool, before, token, frame, logp):
    """A new alignment: ``before``, then a token at a frame; held by nobody yet."""
    index = _take(head, pool)
    it = node(pool, index)
    it[UP], it[REFERENCES], it[TOKEN], it[KIND] = before, 0, token, IS_ALIGNMENT
    it[DEPTH] = node(pool, before)[DEPTH] + 1
    it[FRAME] = frame
    floats(pool + index * NODE_BYTES)[LOGP] = np.float32(logp)
    hold(pool, before)
    return index


@compiled()
def common_ancestor(pool, a, b):
    """The deepest node that is on the way up from both."""
    while a != b:
        deeper_a = node(pool, a)[DEPTH] >= node(pool, b)[DEPTH]
        deeper_b = node(pool, b)[DEPTH] >= node(pool, a)[DEPTH]
        if deeper_a:
            a = np.int64(node(pool, a)[UP])
        if deeper_b:
            b = np.int64(node(pool, b)[UP])
    return a


@compiled()
def cut(head, pool, index):
    """Makes a node the root of its tree; what is above it and nobody else needs is freed."""
    it = node(pool, index)
    up = np.int64(it[UP])
    if up == NONE:
        return
    if it[LIVE] != IS_ALIGNMENT:
        _unlink(pool, it)
        it[NEXT] = it[PREVIOUS] = NONE
    it[UP] = NONE
    drop(head, pool, up)
