"""Saved streams: what is read back is checked, for the kernels follow it without looking."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinyseq.common.given import as_array
from tinyseq.decode.hypothesis import Emitted
from tinyseq.errors import StateError
from tinyseq.kernels.search.layout import (
    BOTH,
    CHILD,
    DEEPEST,
    DEPTH,
    FRAMES,
    FREE,
    HEADER,
    IS_ALIGNMENT,
    LIVE,
    LIVING,
    NEXT,
    NODE_BYTES,
    NODES,
    NODES_FREE,
    NODES_USED,
    NONE,
    PREFIX,
    PREVIOUS,
    RECORD,
    REFERENCES,
    REQUESTED_ROWS,
    SETTLED,
    STATES,
    UP,
)

MOST_FRAMES = 2**48
"""Frames that a stream may have processed."""

NODE_INTS = NODE_BYTES // 4
"""int32 words of a node."""


def field(
    saved: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int | None, ...]
) -> np.ndarray:
    """A copy of a saved array.

    Raises:
        StateError: it is missing, or another than it must be; None stands for any size.
    """
    try:
        array = np.array(as_array(saved[name]), order="C") if name in saved else None
    except ValueError:
        array = None
    fits = array is not None and array.dtype == dtype and array.ndim == len(shape)
    if not fits or any(size not in (None, own) for size, own in zip(shape, array.shape)):
        raise StateError(f"the field {name!r} of the saved stream is missing or not of this search")
    return array


def emitted(saved: Mapping[str, np.ndarray], tokens: int) -> Emitted:
    """The tokens of a saved stream."""
    words = field(saved, "tokens", np.int32, (3, None))
    given = words[0]
    ensure(given.size == 0 or (given.min() >= 0 and given.max() < tokens and words[1].min() >= 0))
    ensure((words[2].view(np.float32) < np.inf).all())
    return Emitted(words)


def ensure(condition: object) -> None:
    """Refuses a stream of which something is not true."""
    if not condition:
        raise StateError("the saved stream is damaged, or of another search")


def check_block(words: np.ndarray, width: int, tokens: int, states: tuple[tuple[int, int], ...]) -> None:
    """Checks the state of a prefix search: every number that leads somewhere leads where it may.

    Args:
        states: the least and the most that each of the three states of what is added may be.

    Raises:
        StateError: something does not.
    """
    start = HEADER + RECORD * width
    ensure(words.size > start)
    living, nodes, used = (int(words[place]) for place in (LIVING, NODES, NODES_USED))
    ensure(nodes > 0 and words.size == start + nodes * NODE_BYTES // 8 and 0 <= living <= width)
    ensure(0 <= words[FRAMES] < MOST_FRAMES and words[REQUESTED_ROWS] == 0 and 0 <= used <= nodes < 2**31)
    ensure(0 <= words[SETTLED] < 2**31)
    pool = words[start:].view(np.int32).reshape(nodes, NODE_INTS).tolist()
    given_back = _given_back(int(words[FREE]), used, pool)
    ensure(words[NODES_FREE] == nodes - used + len(given_back))
    alive = [index for index in range(used) if index not in given_back]
    records = words[HEADER:start].reshape(width, RECORD)[:living]
    ensure((records[:, :PREFIX].view(np.float64)[:, BOTH:] < np.inf).all())
    heads = records[:, PREFIX:STATES].tolist()
    references = dict.fromkeys(alive, 0)
    for record in heads:
        for index in record:
            ensure(index in references)
            references[index] += 1
    for index in alive:
        up = pool[index][UP]
        ensure(up == NONE or up in references)
        if up != NONE:
            references[up] += 1
    ensure(all(pool[index][REFERENCES] == count > 0 for index, count in references.items()))
    prefixes = [index for index in alive if pool[index][LIVE] != IS_ALIGNMENT]
    for kind in (prefixes, [index for index in alive if pool[index][LIVE] == IS_ALIGNMENT]):
        _check_tree(kind, pool, tokens, int(words[SETTLED]), bool(living))
    _check_children(prefixes, pool)
    depths = []
    places = {record[0]: j for j, record in enumerate(heads)}
    ensure(len(places) == living)
    for prefix, by_blank, by_token in heads:
        depths.append(pool[prefix][DEPTH])
        ensure(prefix in prefixes and by_blank not in prefixes and by_token not in prefixes)
        ensure(pool[by_blank][DEPTH] == pool[by_token][DEPTH] == depths[-1] >= words[SETTLED])
    ensure(all(pool[index][LIVE] == places.get(index, NONE) for index in prefixes))
    ensure(words[DEEPEST] == max(depths, default=words[DEEPEST]) and 0 <= words[DEEPEST] < 2**31)
    for state, (least, most) in zip(records[:, STATES:].T, states):
        ensure(((state >= least) & (state <= most)).all())


def _given_back(index: int, used: int, pool: list[list[int]]) -> set[int]:
    found: set[int] = set()
    while index != NONE:
        ensure(0 <= index < used and index not in found)
        found.add(index)
        index = pool[index][UP]
    return found


def _check_tree(nodes: list[int], pool: list[list[int]], tokens: int, settled: int, lives: bool) -> None:
    """One tree, whose root is not longer than what is settled."""
    own, roots = set(nodes), 0
    for index in nodes:
        up, _, token, depth = pool[index][:4]
        root = up == NONE
        roots += root
        ensure(NONE <= token < tokens and (root or token != NONE))
        ensure(0 <= depth <= settled if root else up in own and depth == pool[up][DEPTH] + 1)
    ensure(roots == 1 if lives else roots <= 1)


def _check_children(prefixes: list[int], pool: list[list[int]]) -> None:
    """Every prefix is once among its parent's children."""
    seen: set[int] = set()
    for index in prefixes:
        before, child = NONE, pool[index][CHILD]
        while child != NONE:
            ensure(0 <= child < len(pool) and child not in seen)
            seen.add(child)
            ensure(pool[child][UP] == index and pool[child][PREVIOUS] == before)
            before, child = child, pool[child][NEXT]
    inner = {index for index in prefixes if pool[index][UP] != NONE}
    ensure(seen == inner)
    for index in set(prefixes) - inner:
        ensure(pool[index][NEXT] == pool[index][PREVIOUS] == NONE)
