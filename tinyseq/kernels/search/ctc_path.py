"""Connectionist temporal classification: the most probable single alignment."""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers, integers32
from tinyseq.kernels.search.layout import EMITTED, LAST, PROCESSED, TOTAL
from tinyseq.kernels.search.ranking import DONE, row_peak


@compiled()
def ctc_best_path(logp, count, vocabulary, blank, state, tokens, frames, logps):
    """The strongest token of each row of logp[count, V], repetitions and blanks left out.

    Writes behind the ``EMITTED`` tokens that there are; a token stands at the strongest frame of its run. Of
    tokens equally strong the first counts. Fails at a row that ``usable_rows`` refuses.
    """
    head, total = integers(state), doubles(state)
    for t in range(count):
        row = logp + t * vocabulary * 4
        usable, token = row_peak(row, vocabulary)
        if not usable:
            return FAILED
        value = floats(row)[token]
        total[TOTAL] += np.float64(value)
        if token != blank:
            runs_on = token == head[LAST]
            head[EMITTED] += 0 if runs_on else 1
            place = head[EMITTED] - 1
            if not runs_on or value > floats(logps)[place]:
                integers32(tokens)[place] = token
                integers32(frames)[place] = head[PROCESSED]
                floats(logps)[place] = value
        head[LAST] = token
        head[PROCESSED] += 1
    return DONE
