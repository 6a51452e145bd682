"""Connectionist temporal classification: from rows of log-probabilities to tokens, whole or live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinyseq.decode.ctc.beam_search import CtcPrefixSearch
from tinyseq.decode.ctc.best_path import BestPathSearch
from tinyseq.decode.ctc.options import CtcBeamSearch, CtcGreedy
from tinyseq.decode.frames.decoder import LiveDecoder
from tinyseq.decode.frames.rows import are_probabilities, logarithms
from tinyseq.decode.frames.search import FrameSearch
from tinyseq.decode.frames.stream import DecoderStream
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.decode.lm.options import check_tokens, settings
from tinyseq.errors import FeedError, OptionError


class CtcDecoder(LiveDecoder):
    """Decodes rows of log-probabilities ``logp[T, V]``, or of what else ``scores`` says; see ``LiveDecoder``.

    A row must hold a finite number, may hold ``-inf`` and neither NaN nor infinity. A stream whose first row
    can be nothing but probabilities is refused, unless ``scores`` says that they are.
    """

    def __init__(self, options: CtcGreedy | CtcBeamSearch | None = None) -> None:
        super().__init__()
        self.options = CtcBeamSearch() if options is None else options
        if not isinstance(self.options, (CtcGreedy, CtcBeamSearch)):
            raise OptionError(f"options are a CtcGreedy or a CtcBeamSearch, not {type(options).__name__}")

    def _like(self, options: CtcGreedy | CtcBeamSearch) -> CtcDecoder:
        return CtcDecoder(options)

    def _search(self, size: int) -> FrameSearch:
        if size not in self._searches:
            check_tokens(self.options, size)
            kind: type[Any] = BestPathSearch if isinstance(self.options, CtcGreedy) else CtcPrefixSearch
            self._searches[size] = kind(self.options, size)
        return self._searches[size]

    def _scored(self, streams: list[DecoderStream], rows: list[np.ndarray]) -> list[np.ndarray]:
        scores = self.options.scores
        if scores != "logp":
            return [logarithms(chunk, scores) for chunk in rows]
        for number, (stream, chunk) in enumerate(zip(streams, rows)):
            if stream._search is None and len(chunk) and are_probabilities(chunk[0]):
                raise FeedError(
                    f"row 0 of sequence {number} holds probabilities, which are at least 0 and add up to 1; "
                    "say scores='probabilities', or give their logarithms. Nothing was decoded"
                )
        return rows

    @property
    def _kind(self) -> Iterable[bytes]:
        return settings(self.options)

    @property
    def _any_size(self) -> int:
        return self.options.fewest_tokens

    @property
    def _known_size(self) -> int | None:
        return None if self.options.vocabulary is None else len(self.options.vocabulary)


def ctc_greedy(
    logp: np.ndarray, blank: int = 0, *, lengths: Sequence[int] | None = None, **options: Any
) -> list[Hypothesis] | list[list[Hypothesis]]:
    """Best path decoding.

    Args:
        logp: natural logarithms of probabilities, or what ``scores`` says, float32 [T, V], of T frames and V
            tokens; or a batch [N, T, V].
        blank: the token that stands for none.
        lengths: of a batch, how many frames of each sequence count; all, if left out.
        options: further ones of ``CtcGreedy``, as ``vocabulary``.

    Returns:
        A list of one hypothesis, or of a batch a list of such lists.

    Raises:
        FeedError: the shape, the lengths, an option or a row (NaN, no finite number) is refused.
    """
    return CtcDecoder(CtcGreedy(blank, **options)).decode(logp, lengths)


def ctc_beam_search(
    logp: np.ndarray,
    beam_width: int = 10,
    blank: int = 0,
    *,
    lengths: Sequence[int] | None = None,
    **options: Any,
) -> list[Hypothesis] | list[list[Hypothesis]]:
    """Prefix beam search. Language models, lexicons and many hotwords are made ready once in a ``CtcDecoder``
    that is kept, here in each call.

    Args:
        logp: natural logarithms of probabilities, or what ``scores`` says, float32 [T, V], of T frames and V
            tokens; or a batch [N, T, V].
        beam_width: hypotheses that go on from frame to frame.
        blank: the token that stands for none.
        lengths: of a batch, how many frames of each sequence count; all, if left out.
        options: further ones of ``CtcBeamSearch``, which says what the score is.

    Returns:
        Hypotheses, best first, or of a batch a list of such lists; an empty one where a lexicon or a language
        model allows no end.

    Raises:
        FeedError: the shape, the lengths, an option or a row (NaN, no finite number) is refused.
    """
    return CtcDecoder(CtcBeamSearch(beam_width, blank, **options)).decode(logp, lengths)
