"""CTC prefix beam search on the kernels: how chunks become calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.decode.frames.prefix_search import BeamState, PrefixSearch
from tinyseq.decode.frames.rows import check_rows, groups
from tinyseq.kernels.program import Buffer, Program

if TYPE_CHECKING:
    from tinyseq.decode.ctc.options import CtcBeamSearch


class CtcPrefixSearch(PrefixSearch):
    """The search of ``CtcBeamSearch`` over rows of ``size`` numbers."""

    def __init__(self, options: CtcBeamSearch, size: int) -> None:
        limit = options.tokens_per_frame
        limited = limit is not None and limit < size
        super().__init__(options, size, limit if limited else None, limited)
        self.size = size

    def step(self, beams: list[BeamState], chunks: list[np.ndarray]) -> list[BeamState]:
        """Feeds a chunk to each stream; the same streams.

        Raises:
            FeedError: a row cannot be used; no stream has changed.
        """
        rows = [Buffer(chunk) for chunk in chunks]
        check_rows(rows)
        for group in groups(len(beams)):
            self._advance(beams[group], rows[group])
        return beams

    def _advance(self, beams: list[BeamState], chunks: list[Buffer]) -> None:
        program, scratch, places = Program(), self.scratch(beams), {}
        rooms = [beam.unsettled + len(chunk.array) for beam, chunk in zip(beams, chunks)]
        for beam, chunk in zip(beams, chunks):
            sizes = len(chunk.array), self.frames(beam)
            operands = beam.state, scratch, *beam.scoring.operands
            places[program.add("ctc_beam", chunk, *sizes, *operands)] = beam
        keep = self.settling(program, beams, rooms)
        self.run(program, places)
        keep()
