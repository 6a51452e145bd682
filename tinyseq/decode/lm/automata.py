"""Weighted automata with failure arcs, as blocks of memory that the kernels walk.

From a state, a label that has an arc leads on and weighs something; a label that has none falls back to
another state, which weighs something too, and is looked up there; one that is known nowhere weighs nothing
and leads to the first state. Back-off of n-grams, the failure links of Aho and Corasick's automaton and the
trie of a lexicon are all of this form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyseq.kernels.program import Buffer
from tinyseq.kernels.search.layout import (
    ARCS,
    ASKED,
    AUTOMATON,
    KEYS,
    MASK,
    MULTIPLIER,
    NONE,
    ROOM,
    WANTED,
)

ARC = np.dtype([("target", np.int32), ("weight", np.float32)])
STATE = np.dtype([("fall", np.int32), ("weight", np.float32)])

START = 0
"""Every automaton's first state."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """An automaton as a block of int64 words, and the most that one label can add to a score."""

    buffer: Buffer
    most: float


Arcs = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of each arc the state it starts from, its label, the state it leads to, its weight."""


def automaton(
    arcs: Arcs,
    falls: np.ndarray,
    fall_weights: np.ndarray | None = None,
    emits: np.ndarray | None = None,
    most: float = 0.0,
    room: int = 0,
    slots: int = 0,
) -> Automaton:
    """Builds a block.

    Args:
        falls: of each state the one to fall back to, or -1.
        fall_weights: what falling back weighs.
        emits: of each state what it stands for as the end of a word, or -1.
        most: an upper bound of what one label can add.
        room: for so many questions, of an automaton that is still being made.
        slots: the least number of slots of the table of arcs.
    """
    size = 1 << max(1, max(slots, 2 * len(arcs[0]) + 1).bit_length())
    states = np.zeros(len(falls), STATE)
    states["fall"] = falls
    states["weight"] = 0.0 if fall_weights is None else fall_weights
    emitted = np.full(len(falls), NONE, np.int32) if emits is None else np.asarray(emits, np.int32)
    head = np.zeros(AUTOMATON, np.int64)
    asked = np.zeros(2 * room, np.int64)
    parts = [head, np.full(size, NONE, np.int64), np.zeros(size, ARC), states, emitted, asked]
    offsets = np.cumsum([0] + [-(-part.nbytes // 8) * 8 for part in parts])
    head[:5] = size - 1, *offsets[1:5]
    head[ROOM:] = room, offsets[5]
    block = np.zeros(offsets[-1] // 8, np.int64)
    for part, offset in zip(parts, offsets):
        block.view(np.uint8)[offset : offset + part.nbytes] = part.view(np.uint8).reshape(-1)
    made = Automaton(Buffer(block), most)
    insert(made, arcs)
    return made


def insert(made: Automaton, arcs: Arcs) -> None:
    """Adds arcs that are not there yet; the table has room for them."""
    sources, labels, targets, weights = arcs
    block = made.buffer.array
    size = int(block[MASK]) + 1
    keys = block[block[KEYS] // 8 :][:size]
    values = block[block[ARCS] // 8 :][:size].view(ARC)
    slots = _slots(keys, np.asarray(sources, np.int64) << 32 | np.asarray(labels, np.int64))
    values["target"][slots], values["weight"][slots] = targets, weights


def questions(made: Automaton) -> set[tuple[int, int]]:
    """The (state, label) that were asked for since the last time."""
    block = made.buffer.array
    asked = block[block[ASKED] // 8 :][: 2 * block[WANTED]].reshape(-1, 2)
    block[WANTED] = 0
    return set(map(tuple, asked.tolist()))


def _slots(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Enters different keys into an open hash table, all at once; the slot of each.

    In each round, of the keys that want one free slot the first gets it and the others go on to the next.
    """
    mask = table.size - 1
    slots = (keys * np.int64(MULTIPLIER) >> 32) & mask
    left = np.arange(keys.size)
    while left.size:
        free = left[table[slots[left]] == NONE]
        wanted, first = np.unique(slots[free], return_index=True)
        table[wanted] = keys[free[first]]
        left = left[table[slots[left]] != keys[left]]
        slots[left] = (slots[left] + 1) & mask
    return slots
