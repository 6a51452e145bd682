"""Hotwords: words and phrases whose occurrence raises a hypothesis' score.

Aho and Corasick's automaton (1975) finds all of them at once, overlapping ones too. On the way into a
hotword a share of its weight is granted in advance, as much as of its length has been read, and taken back
when it goes on otherwise; so what a hypothesis has at its end is the sum of the weights of the
occurrences in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from tinyseq.decode.lm.automata import START, Automaton, automaton
from tinyseq.kernels.search.layout import NONE


def hotwords_automaton(
    weights: Mapping[Sequence[int], float],
) -> tuple[Automaton, dict[int, tuple[int, float]]]:
    """The automaton of hotwords, given as sequences of symbols with their weights.

    Beside it, for each symbol that begins a hotword, the state behind it and what it grants.
    """
    children: list[dict[int, int]] = [{}]
    earned, granted = [0.0], [0.0]
    for symbols, weight in weights.items():
        state = START
        for read, symbol in enumerate(symbols, start=1):
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                earned.append(0.0)
                granted.append(0.0)
            state = children[state][symbol]
            if read < len(symbols):
                granted[state] = _larger(granted[state], weight * read / len(symbols))
        earned[state] += weight
    falls = [NONE] * len(children)
    arcs: list[tuple[int, int, int, float]] = []
    queue = deque([START])
    while queue:
        state = queue.popleft()
        for symbol, child in children[state].items():
            falls[child] = _fall(children, falls, falls[state], symbol)
            earned[child] += earned[falls[child]]
            arcs.append((state, symbol, child, granted[child] - granted[state] + earned[child]))
            queue.append(child)
    fall_weights = [0.0 if back < 0 else granted[back] - granted[state] for state, back in enumerate(falls)]
    most = max(earned) + max(granted) - min(granted)
    columns = tuple(np.array(column) for column in zip(*arcs))
    first = {symbol: (target, weight) for source, symbol, target, weight in arcs if source == START}
    return automaton(columns, np.array(falls), np.array(fall_weights), most=most), first


def _larger(a: float, b: float) -> float:
    """The one farther from zero."""
    return b if abs(b) > abs(a) else a


def _fall(children: list[dict[int, int]], falls: list[int], state: int, symbol: int) -> int:
    while state != NONE and symbol not in children[state]:
        state = falls[state]
    return START if state == NONE else children[state][symbol]
