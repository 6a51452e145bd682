"""A frame of a prefix beam search: what hypotheses may become is ranked, and the best go on.

CTC and transducers differ in what a hypothesis may become and in how that is written down:

* ``rank(rows, state, scratch, search, scorers)`` enters into the ranking all that may come into the beam, and
  changes nothing else. It gives how many are in it, the best score, and a number for ``write``;
* ``write(rows, state, scratch, search, scorers, kept, number, place)`` makes hypotheses of the ``kept`` best
  entries, in ``news_of`` the working memory, and gives their number. ``place`` is handed on as it is.
"""

from __future__ import annotations

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, integers
from tinyseq.kernels.search.automata import is_asking
from tinyseq.kernels.search.hypothesis_records import (
    forget_now_and_then,
    pool_of,
    record_of,
    records_of,
    replace,
)
from tinyseq.kernels.search.layout import FRAMES, FUSED, LIVING, NODES_FREE, PRUNE, WIDTH
from tinyseq.kernels.search.ranking import DONE, best_first


@compiled()
def news_of(scratch, search):
    """Room for the hypotheses after the frame, behind room for as many that a search uses as it likes."""
    return record_of(scratch, integers(search)[WIDTH])


@compiled()
def ranking_of(scratch, search):
    """(scores, keys) of the ranking, of ``width`` entries, and the address behind it."""
    width = integers(search)[WIDTH]
    ranks = record_of(scratch, 2 * width)
    return doubles(ranks), integers(ranks + width * 8), ranks + width * 16


def frame_of(rank, write):
    """A kernel that takes one frame of a search.

    It fails, before anything is changed, where the pool may be too small or the language model asks for arcs.
    """

    @compiled()
    def frame(rows, state, scratch, search, scorers, place):
        settings, head = integers(search), integers(state)
        if head[NODES_FREE] < 2 * settings[WIDTH]:
            return FAILED
        scores, keys, _ = ranking_of(scratch, search)
        kept, top, number = rank(rows, state, scratch, search, scorers)
        if settings[FUSED] and is_asking(scorers[0]):
            return FAILED
        best_first(scores, keys, kept)
        while kept > 0 and scores[kept - 1] < top + doubles(search)[PRUNE]:
            kept -= 1
        kept = write(rows, state, scratch, search, scorers, kept, number, place)
        records, pool = records_of(state), pool_of(state, settings[WIDTH])
        replace(state, records, pool, news_of(scratch, search), head[LIVING], kept)
        head[FRAMES] += 1
        forget_now_and_then(search, state, records, pool)
        return DONE

    return frame
