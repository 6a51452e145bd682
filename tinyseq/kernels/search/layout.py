"""Where things lie in the memory of searches over frames: what Python prepares and the kernels walk.

Everything is counted in int64 words, some of which hold a float64, but for nodes, which are int32.
"""

from __future__ import annotations

NONE = -1
"""No node, no state, no label."""

PROCESSED, LAST, EMITTED, TOTAL = range(4)
"""A best path's state: frames processed, the last row's token, tokens written, and float64 ln p."""

REQUESTED, SYMBOLS, WAITING = 4, 1, 5
PATH = 8
"""A transducer's path likewise, and: rows of scores it has asked for, symbols of the frame so far (in the
place of ``LAST``), whether its predictor has yet to take its last token."""

LIVING, FRAMES, NODES, DEEPEST, NODES_FREE, NODES_USED, FREE, SETTLED, REQUESTED_ROWS = range(9)
HEADER = 16
"""The head of a beam's state: hypotheses alive, frames processed, nodes in the pool, length of the longest
hypothesis, nodes left, the first node never used, the last one given back, tokens settled, and rows of scores
that a transducer has asked for."""

ENDS_BLANK, ENDS_TOKEN, BOTH, ADDED, PATH_BLANK, PATH_TOKEN = range(6)
PREFIX, ALIGNED_BLANK, ALIGNED_TOKEN, STATES = range(6, 10)
RECORD = 12
"""A hypothesis: float64 logarithms; then its nodes, and the three states of what is added."""
PLACE, TOKEN_ROW = 0, 1
"""Of a transducer's hypothesis, which has no two ways to end, in their place: where its predictor's state
lies, and while a frame is worked on, the row that its last token comes from or -1."""

UP, REFERENCES, TOKEN, DEPTH = range(4)
"""A node: its parent, how many point to it, its token, and how many tokens it is long."""
CHILD, NEXT, PREVIOUS, LIVE = range(4, 8)
"""Of a prefix: its first child, its siblings, and its place among the living hypotheses or -1."""
FRAME, LOGP, KIND = 4, 5, 7
"""Of an alignment: its frame, the row's float32 there, and ``IS_ALIGNMENT`` in the place of ``LIVE``."""
IS_ALIGNMENT = -2
NODE_BYTES = 32

VOCABULARY, BLANK, WIDTH, MAX_TOKENS, LIMITED, FUSED = range(6)
MIN_LOGP, PRUNE, GAIN, ALPHA, BETA, UNKNOWN_OFFSET = range(6, 12)
UNKNOWN_LABEL, CLOSED, END_LABEL, HORIZON, NORM = range(12, 17)
SEARCH = 17
"""The settings: tokens of a row, the blank, hypotheses that go on, tokens looked at in a frame, whether the
user limited them, and what takes part. Float64: the least logarithm of a token, how far below the best a
hypothesis may be, the most that a token can add, and the weights. Then the language model's label of
unknown words, whether no others are allowed, its label of the end, the frames behind which nothing is in
doubt, and how many tokens a hypothesis without any counts as where scores are shares of a token, else 0."""

TOKEN_MODEL, WORDS, WORD_MODEL, HOTWORDS = 1, 2, 4, 8
"""Bits of ``FUSED``."""

SEPARATOR = 0
"""The symbol that ends a word."""

MASK, KEYS, ARCS, STATE_TABLE, EMITS, WANTED, ROOM, ASKED = range(8)
AUTOMATON = 8
"""The head of an automaton; see ``automata.py``."""

MULTIPLIER = -7046029254386353131
"""2**64 divided by the golden ratio, odd: spreads keys over the table of arcs."""

JOINER_ROWS, PREDICTOR_TOKENS, ROWS_READ, LOOKAHEAD, PREDICTED, ACTIVE, CAPACITY = range(7)
QUEUE_HEADER = 8
"""The head of the request queue, by which a transducer search asks for rows; see ``transducer.py``: rows of
scores asked for of the joiner, tokens for the predictor, rows of scores used up, frames that a stream may ask
for at once, whether the predictor has had its tokens, streams that have asked, and the room of each of the
lists behind it."""

JOIN_FRAMES, JOIN_PLACES, PREDICT_TOKENS, PREDICT_SOURCES, PREDICT_TARGETS = range(5)
"""The lists: of each row of scores the frame and the place of the predictor's output; of each token for the
predictor it, the place whose state is read and the place where the new one goes."""
