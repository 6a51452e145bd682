"""Connectionist temporal classification: from rows of log-probabilities to tokens, whole or live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyseq.decode.ctc_beam import Beams
from tinyseq.decode.ctc_options import CtcBeamSearch, CtcGreedy
from tinyseq.decode.ctc_path import BestPaths
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.errors import FeedError


class CtcDecoder:
    """A decoder: options, made ready once, and shared by any number of streams.

    ``decode`` begins, steps and finishes a stream for each sequence, so results of whole sequences and of
    chunks are the same in every bit. The threads of a program may use one decoder; a stream belongs to one
    thread at a time.
    """

    def __init__(self, options: CtcGreedy | CtcBeamSearch | None = None) -> None:
        self.options = CtcBeamSearch() if options is None else options
        if not isinstance(self.options, (CtcGreedy, CtcBeamSearch)):
            raise FeedError(f"options are a CtcGreedy or a CtcBeamSearch, not {type(options).__name__}")
        self._searches: dict[int, BestPaths | Beams] = {}

    def stream(self) -> CtcStream:
        """A new stream, at its start."""
        return CtcStream(self)

    def step(self, streams: Sequence[CtcStream], chunks: Sequence[np.ndarray]) -> None:
        """Feeds each of several streams a chunk ``logp[T, V]`` of its own, T from 0 on, in one native call.

        Raises:
            FeedError: a chunk is refused; all streams are as they were.
        """
        rows = [_rows(chunk) for chunk in chunks]
        if len(streams) != len(rows) or len(set(map(id, streams))) != len(streams):
            raise FeedError(f"{len(rows)} chunks are for as many different streams, not for {len(streams)}")
        sizes = {stream._search.tokens for stream in streams if stream._search is not None}
        sizes |= {chunk.shape[1] for chunk in rows}
        if len(sizes) > 1:
            raise FeedError(f"rows of all chunks have one size, not {', '.join(map(str, sorted(sizes)))}")
        if any(stream._decoder is not self for stream in streams):
            raise FeedError("a stream is stepped by the decoder that it belongs to")
        for size in sizes:
            search = self._search(size)
            try:
                states = [search.begin() if stream._search is None else stream._state for stream in streams]
                states = search.step(states, rows)
            except MemoryError as error:
                raise FeedError(
                    f"{error}; fewer streams at once or a smaller beam_width need less"
                ) from error
            for stream, state in zip(streams, states):
                stream._search, stream._state = search, state

    def _search(self, tokens: int) -> BestPaths | Beams:
        """The search over rows of so many numbers."""
        if tokens not in self._searches:
            if not 0 <= self.options.blank < tokens:
                raise FeedError(f"blank={self.options.blank} is no token of rows of {tokens} numbers")
            vocabulary = self.options.vocabulary
            if vocabulary is not None and len(vocabulary) != tokens:
                raise FeedError(f"the vocabulary has {len(vocabulary)} tokens, a row has {tokens} numbers")
            kind = BestPaths if isinstance(self.options, CtcGreedy) else Beams
            self._searches[tokens] = kind(self.options, tokens)
        return self._searches[tokens]

    def decode(
        self, logp: np.ndarray, lengths: Sequence[int] | None = None
    ) -> list[Hypothesis] | list[list[Hypothesis]]:
        """The hypotheses of ``logp[T, V]``, best first, or for a batch ``logp[N, T, V]`` a list of those.

        Args:
            lengths: how many rows of each of the N sequences count; the others are never looked at.

        Raises:
            FeedError: the shape, the lengths or a row is refused; a row must hold a finite number, may hold
                ``-inf`` and neither NaN nor infinity.
        """
        logp = _floats(logp)
        if logp.ndim == 2 and lengths is None:
            stream = self.stream()
            stream.step(logp)
            return stream.finish()
        if logp.ndim != 3:
            raise FeedError(f"logp is [T, V] or, with or without lengths, [N, T, V], not {list(logp.shape)}")
        chunks = [sequence[:length] for sequence, length in zip(logp, _lengths(lengths, logp.shape))]
        streams = [self.stream() for _ in chunks]
        self.step(streams, chunks)
        return [stream.finish() for stream in streams]


class CtcStream:
    """One live stream: feed chunks, read what is certain and what is likely, finish."""

    def __init__(self, decoder: CtcDecoder) -> None:
        self._decoder = decoder
        self.reset()

    def step(self, logp: np.ndarray) -> None:
        """Feeds a chunk ``logp[T, V]``; see ``CtcDecoder.step``."""
        self._decoder.step([self], [logp])

    def partial(self) -> tuple[Hypothesis, Hypothesis]:
        """The stable and the tentative part of what is heard.

        The stable part, which only grows, is what all living hypotheses begin with: no result can begin
        otherwise. The tentative part is how the best one goes on at this moment.
        """
        search, state = self._begun()
        return search.partial(state)

    def finish(self) -> list[Hypothesis]:
        """The hypotheses for everything that was fed, best first. The stream can go on all the same."""
        search, state = self._begun()
        return search.finish(state)

    def _begun(self):
        """The search and the state; of a stream that was fed nothing, whose rows' size is not known, any."""
        if self._search is not None:
            return self._search, self._state
        search = self._decoder._search(self._decoder.options.fewest_tokens)
        return search, search.begin()

    @property
    def frames(self) -> int:
        """How many rows were fed since the start."""
        return 0 if self._search is None else self._search.frames(self._state)

    def reset(self) -> None:
        """Goes back to the start."""
        self._search = self._state = None

    def fork(self) -> CtcStream:
        """A stream in the same state, independent of this one."""
        twin = CtcStream(self._decoder)
        if self._search is not None:
            twin._search, twin._state = self._search, self._search.copy(self._state)
        return twin


def _floats(logp: object) -> np.ndarray:
    try:
        array = np.asarray(logp)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"of dtype {array.dtype}")
        return np.ascontiguousarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise FeedError(f"logp is an array of numbers: {error}") from error


def _rows(chunk: object) -> np.ndarray:
    array = _floats(chunk)
    if array.ndim != 2 or array.shape[1] == 0:
        raise FeedError(f"a chunk is logp[T, V] with V at least 1, not {list(array.shape)}")
    return array


def _lengths(lengths: Sequence[int] | None, shape: tuple[int, ...]) -> list[int]:
    if lengths is None:
        return [shape[1]] * shape[0]
    array = np.asarray(lengths)
    if array.shape != shape[:1] or (array.dtype.kind not in "iu" and array.size):
        raise FeedError(f"lengths are {shape[0]} whole numbers, one for each sequence")
    if array.size and not (array.min() >= 0 and array.max() <= shape[1]):
        raise FeedError(f"lengths lie between 0 and the {shape[1]} frames of logp")
    return array.tolist()


def ctc_greedy(
    logp: np.ndarray, blank: int = 0, *, lengths: Sequence[int] | None = None, **options
) -> list[Hypothesis] | list[list[Hypothesis]]:
    """Best path decoding of ``logp[T, V]`` or ``[N, T, V]``; see ``CtcGreedy`` and ``CtcDecoder.decode``."""
    return CtcDecoder(CtcGreedy(blank, **options)).decode(logp, lengths)


def ctc_beam_search(
    logp: np.ndarray,
    beam_width: int = 10,
    blank: int = 0,
    *,
    lengths: Sequence[int] | None = None,
    **options,
) -> list[Hypothesis] | list[list[Hypothesis]]:
    """Prefix beam search over ``logp[T, V]`` or ``[N, T, V]``.

    See ``CtcBeamSearch`` for the options and the score, and ``CtcDecoder.decode``. Language models, lexicons
    and many hotwords are made ready once in a ``CtcDecoder`` that is kept, here in each call.
    """
    return CtcDecoder(CtcBeamSearch(beam_width, blank, **options)).decode(logp, lengths)
