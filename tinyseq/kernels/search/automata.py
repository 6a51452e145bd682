"""Weighted automata that score what a search emits: language models, words, hotwords.

An automaton is one block of memory; its head of int64 words holds:

* ``mask``: arcs are a hash table of mask + 1 slots;
* ``keys``: the byte offset of the slots' keys, int64: ``state << 32 | label``, -1 where empty;
* ``arcs``: of their (int32 target, float32 weight);
* ``states``: of the states' (int32 where to fall back to or -1, float32 what that weighs);
* ``emits``: of the label, int32, that each state stands for when a word ends there;
* ``wanted``, ``room``, ``asked``: where there is room, the automaton is still being made, and a label that no
  state on the way back knows is asked for, as (state, label) at the byte offset ``asked``, and counted in
  ``wanted``. Elsewhere such a label weighs nothing and leads to the first state.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, integers32
from tinyseq.kernels.search.layout import (
    ARCS,
    ASKED,
    EMITS,
    KEYS,
    MASK,
    MULTIPLIER,
    NONE,
    ROOM,
    STATE_TABLE,
    WANTED,
)
from tinyseq.kernels.search.ranking import LOG_ZERO


@compiled()
def slot_of(automaton, state, label):
    """The slot of the arc of a label, or -1."""
    head = integers(automaton)
    keys = integers(automaton + head[KEYS])
    key = state << 32 | label
    slot = ((key * np.int64(MULTIPLIER)) >> 32) & head[MASK]
    while keys[slot] != key:
        if keys[slot] == NONE:
            return -1
        slot = (slot + 1) & head[MASK]
    return slot


@compiled()
def _asked(automaton, state, label):
    """Asks for an arc; until it is there, nothing goes that way."""
    head = integers(automaton)
    if head[WANTED] < head[ROOM]:
        question = integers(automaton + head[ASKED])
        question[2 * head[WANTED]] = state
        question[2 * head[WANTED] + 1] = label
        head[WANTED] += 1
    return LOG_ZERO


@compiled()
def is_asking(automaton):
    """Whether arcs are asked for."""
    return integers(automaton)[WANTED] > 0


@compiled()
def advance(automaton, state, label):
    """(weight, next state): falls back, adding what that weighs, until a state has an arc of the label."""
    head = integers(automaton)
    states = automaton + head[STATE_TABLE]
    weight = 0.0
    while True:
        slot = slot_of(automaton, state, label)
        if slot >= 0:
            arc = automaton + head[ARCS] + slot * 8
            return weight + floats(arc)[1], np.int64(integers32(arc)[0])
        back = np.int64(integers32(states + state * 8)[0])
        if back < 0:
            return (_asked(automaton, state, label) if head[ROOM] else weight), np.int64(0)
        weight += floats(states + state * 8)[1]
        state = back


@compiled()
def target_of(automaton, state, label):
    """The state that the arc of a label leads to, or -1."""
    slot = slot_of(automaton, state, label)
    if slot < 0:
        return np.int64(-1)
    return np.int64(integers32(automaton + integers(automaton)[ARCS] + slot * 8)[0])


@compiled()
def emitted(automaton, state):
    """What a word that ends in this state stands for, or -1."""
    return np.int64(integers32(automaton + integers(automaton)[EMITS] + state * 4)[0])
