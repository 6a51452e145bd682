"""Where things lie in the memory of CTC searches: what Python prepares and the kernels walk.

Everything is counted in int64 words, some of which hold a float64, but for nodes, which are int32.
"""

from __future__ import annotations

NONE = -1
"""No node, no state, no label."""

HEARD, LAST, EMITTED, TOTAL = range(4)
"""A best path's state: frames heard, the last row's token, tokens written, and float64 ln p."""

LIVING, FRAMES, NODES, DEEPEST, NODES_FREE, NODES_USED, FREE, SETTLED = range(8)
HEAD = 16
"""The head of a beam's state: hypotheses alive, frames heard, nodes in the pool, length of the longest
hypothesis, nodes left, the first node never used, the last one given back, and tokens settled."""

ENDS_BLANK, ENDS_TOKEN, BOTH, ADDED, PATH_BLANK, PATH_TOKEN = range(6)
PREFIX, ALIGNED_BLANK, ALIGNED_TOKEN, STATES = range(6, 10)
RECORD = 12
"""A hypothesis: float64 logarithms; then its nodes, and the three states of what is added."""

UP, REFERENCES, TOKEN, DEPTH = range(4)
"""A node: its parent, how many point to it, its token, and how many tokens it is long."""
CHILD, NEXT, PREVIOUS, LIVE = range(4, 8)
"""Of a prefix: its first child, its siblings, and its place among the living hypotheses or -1."""
FRAME, LOGP, KIND = 4, 5, 7
"""Of an alignment: its frame, the row's float32 there, and ``ALIGNMENT`` in the place of ``LIVE``."""
ALIGNMENT = -2
NODE_BYTES = 32

VOCABULARY, BLANK, WIDTH, MOST, LIMITED, FUSED = range(6)
LEAST, PRUNE, GAIN, ALPHA, BETA, UNKNOWN_OFFSET = range(6, 12)
UNKNOWN, CLOSED, END_LABEL, HORIZON = range(12, 16)
SEARCH = 16
"""The settings: tokens of a row, the blank, hypotheses that go on, tokens looked at in a frame, whether the
user limited them, and what takes part. Float64: the least logarithm of a token, how far below the best a
hypothesis may be, the most that a token can add, and the weights. Then the language model's label of
unknown words, whether no others are allowed, its label of the end, and the frames behind which nothing is
in doubt."""

TOKEN_MODEL, WORDS, WORD_MODEL, HOTWORDS = 1, 2, 4, 8
"""Bits of ``FUSED``."""

SEPARATOR = 0
"""The symbol that ends a word."""

MASK, KEYS, ARCS, STATE_TABLE, EMITS, WANTED, ROOM, ASKED = range(8)
AUTOMATON = 8
"""The head of an automaton; see ``automata.py``."""

MULTIPLIER = -7046029254386353131
"""2**64 divided by the golden ratio, odd: spreads keys over the table of arcs."""
