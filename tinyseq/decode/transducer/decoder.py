"""Transducers: from an encoder's frames to tokens, whole or live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinyseq.decode.frames.decoder import LiveDecoder
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.decode.lm.options import settings
from tinyseq.decode.transducer.options import TransducerBeamSearch, TransducerGreedy
from tinyseq.decode.transducer.requests import TransducerModel
from tinyseq.decode.transducer.search import GreedySearch, ModifiedBeamSearch
from tinyseq.errors import FeedError, OptionError


class TransducerDecoder(LiveDecoder):
    """Decodes frames ``[T, C]`` of a transducer's encoder; see ``LiveDecoder``.

    Args:
        transducer: the models, a ``Transducer``.
        options: ``TransducerGreedy`` or ``TransducerBeamSearch``, which is the default.
    """

    def __init__(
        self, transducer: TransducerModel, options: TransducerGreedy | TransducerBeamSearch | None = None
    ) -> None:
        super().__init__()
        self.transducer = transducer
        self.options = TransducerBeamSearch() if options is None else options
        if not isinstance(self.options, (TransducerGreedy, TransducerBeamSearch)):
            raise OptionError(
                f"options are a TransducerGreedy or a TransducerBeamSearch, not {type(options).__name__}"
            )
        if not hasattr(transducer, "vocabulary_size"):
            raise OptionError(f"transducer is a Transducer, not {type(transducer).__name__}")
        kind: type[Any] = GreedySearch if isinstance(self.options, TransducerGreedy) else ModifiedBeamSearch
        self._only = kind(self.options, transducer)

    def _like(self, options: TransducerGreedy | TransducerBeamSearch) -> TransducerDecoder:
        return TransducerDecoder(self.transducer, options)

    def _search(self, size: int) -> GreedySearch | ModifiedBeamSearch:
        if size != self._only.size:
            raise FeedError(f"frames have {size} numbers, the joiner takes {self._only.size}")
        return self._only

    @property
    def _kind(self) -> Iterable[bytes]:
        yield from settings(self.options)
        yield from self.transducer.weights

    @property
    def _any_size(self) -> int:
        return self._only.size

    _known_size = _any_size


def transducer_greedy(
    transducer: TransducerModel,
    frames: np.ndarray,
    blank: int = 0,
    max_symbols: int = 10,
    *,
    lengths: Sequence[int] | None = None,
    **options: Any,
) -> list[Hypothesis] | list[list[Hypothesis]]:
    """Greedy search over an encoder's frames.

    Args:
        transducer: the models.
        frames: of the encoder, float32 [T, C], of T frames and C numbers each; or a batch [N, T, C].
        blank: the token that stands for none.
        max_symbols: the most tokens of one frame.
        lengths: of a batch, how many frames of each sequence count; all, if left out.
        options: further ones of ``TransducerGreedy``, as ``vocabulary``.

    Returns:
        A list of one hypothesis, or of a batch a list of such lists.

    Raises:
        FeedError: the shape, the lengths, an option or a frame (NaN, infinity) is refused.
    """
    return TransducerDecoder(transducer, TransducerGreedy(blank, max_symbols, **options)).decode(
        frames, lengths
    )


def transducer_beam_search(
    transducer: TransducerModel,
    frames: np.ndarray,
    beam_width: int = 4,
    blank: int = 0,
    *,
    lengths: Sequence[int] | None = None,
    **options: Any,
) -> list[Hypothesis] | list[list[Hypothesis]]:
    """Modified beam search over an encoder's frames. Language models and many hotwords are made ready once
    in a ``TransducerDecoder`` that is kept, here in each call.

    Args:
        transducer: the models.
        frames: of the encoder, float32 [T, C], of T frames and C numbers each; or a batch [N, T, C].
        beam_width: hypotheses that go on from frame to frame.
        blank: the token that stands for none.
        lengths: of a batch, how many frames of each sequence count; all, if left out.
        options: further ones of ``TransducerBeamSearch``, which says what the score is.

    Returns:
        Hypotheses, best first, or of a batch a list of such lists; an empty one where a lexicon or a language
        model allows no end.

    Raises:
        FeedError: the shape, the lengths, an option or a frame (NaN, infinity) is refused.
    """
    return TransducerDecoder(transducer, TransducerBeamSearch(beam_width, blank, **options)).decode(
        frames, lengths
    )
