"""Decoders: what searches over frames have in common, whole or live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any, Self
from zlib import crc32

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.calls import CALL_SECONDS
from tinyseq.decode.frames.rows import as_chunk, as_floats, as_lengths, check_rows
from tinyseq.decode.frames.search import FrameSearch, Position, room
from tinyseq.decode.frames.stream import DecoderStream
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.decode.lm.options import limited_to, own_hotwords
from tinyseq.errors import FeedError
from tinyseq.kernels.program import Buffer
from tinyseq.runtime.claim import put_back, take_all

LONG = 2**26
"""Numbers, times the hypotheses that they are added to, from which on chunks may take too long for a call."""


class LiveDecoder(ABC):
    """A decoder: options, made ready once, and shared by any number of streams.

    ``decode`` begins, steps and finishes a stream for each sequence, so results of whole sequences and of
    chunks are the same in every bit. The threads of a program may use one decoder; a stream belongs to one
    thread at a time and refuses a second one.
    """

    options: Any
    """The options of the search."""

    def __init__(self) -> None:
        self._searches: dict[int, FrameSearch] = {}
        self._checksum: int | None = None

    @abstractmethod
    def _search(self, size: int) -> FrameSearch:
        """The search over frames of so many numbers."""

    def _scored(self, streams: list[DecoderStream], rows: list[np.ndarray]) -> list[np.ndarray]:
        """The rows as the search takes them.

        Raises:
            FeedError: they are none.
        """
        return rows

    @property
    @abstractmethod
    def _any_size(self) -> int:
        """A size of frames that there can be."""

    @property
    @abstractmethod
    def _known_size(self) -> int | None:
        """The size of frames, where it follows from options or models."""

    @property
    @abstractmethod
    def _kind(self) -> Iterable[bytes]:
        """What decides results: options and models."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.options)})"

    def digest(self, size: int, own: bytes = b"") -> int:
        """A checksum of what decides results over rows of a size, and of what a stream has of its ``own``:
        equal where streams may be exchanged."""
        if self._checksum is None:
            self._checksum = 0
            for part in self._kind:
                self._checksum = crc32(part, self._checksum)
        return crc32(str(size).encode() + own, self._checksum)

    def stream(
        self,
        hotwords: Collection[str | Sequence[int]] | Mapping[str | tuple[int, ...], float] = (),
        hotword_weight: float | None = None,
    ) -> DecoderStream:
        """A new stream, at its start.

        Args:
            hotwords: words and phrases of this stream, beside those of the options, which see; the weight of
                one that is in both is the stream's. Streams that have some are stepped with those that do
                not.
            hotword_weight: of those without a weight of their own; None for that of the options.

        Raises:
            OptionError: the search knows no hotwords, or some cannot be spelt: says which.
        """
        stream = DecoderStream(self, own_hotwords(self.options, hotwords, hotword_weight))
        if stream._hotwords and self._known_size is not None:
            stream._scoring(self._search(self._known_size))
        return stream

    @abstractmethod
    def _like(self, options: Any) -> Self:
        """The same decoder with other options."""

    def limited_to(self, words: Collection[str]) -> Self:
        """A decoder like this one that gives no other words. Where it has a lexicon they are words of that.

        Raises:
            OptionError: the search knows no lexicon, or the lexicon has not all of the words.
        """
        return self._like(limited_to(self.options, words))

    def step(self, streams: Sequence[DecoderStream], chunks: Sequence[np.ndarray]) -> None:
        """Feeds each of several streams a chunk [T, size] of its own, T from 0 on, all of them together.

        Raises:
            FeedError: a chunk is refused; all streams are as they were.
            StateError: a stream is in use elsewhere; all streams are as they were.
        """
        try:
            streams, chunks = list(streams), list(chunks)
        except TypeError as error:
            raise FeedError(
                f"a list of streams and a list of chunks are stepped, not {type(streams).__name__} and "
                f"{type(chunks).__name__}"
            ) from error
        strange = [stream for stream in streams if not isinstance(stream, DecoderStream)]
        if strange:
            raise FeedError(f"streams are what stream() gives, not {type(strange[0]).__name__}")
        rows = [as_chunk(chunk) for chunk in chunks]
        if len(streams) != len(rows) or len(set(map(id, streams))) != len(streams):
            raise FeedError(f"{len(rows)} chunks are for as many different streams, not for {len(streams)}")
        if any(stream._decoder is not self for stream in streams):
            raise FeedError("a stream is stepped by the decoder that it belongs to")
        held = take_all([stream._claim for stream in streams])
        try:
            self._step(streams, self._scored(streams, rows))
        finally:
            put_back(held)

    def _step(self, streams: list[DecoderStream], rows: list[np.ndarray]) -> None:
        sizes = {stream._search.size for stream in streams if stream._search is not None}
        sizes |= {chunk.shape[1] for chunk in rows}
        if len(sizes) > 1:
            raise FeedError(f"rows of all chunks have one size, not {', '.join(map(str, sorted(sizes)))}")
        for size in sizes:
            with room():
                search = self._search(size)
                states = [
                    search.begin(stream._scoring(search)) if stream._search is None else stream._state
                    for stream in streams
                ]
                states = _advanced(search, states, rows)
            for stream, state in zip(streams, states):
                stream._search, stream._state = search, state

    def decode(
        self, rows: np.ndarray, lengths: Sequence[int] | None = None
    ) -> list[Hypothesis] | list[list[Hypothesis]]:
        """The hypotheses of a whole sequence, best first, or for a batch a list of those.

        Args:
            rows: float32 [T, size], or a batch [N, T, size]; of CTC natural logarithms of probabilities, of a
                transducer the encoder's frames.
            lengths: how many rows of each of the N sequences count; the others are never looked at.

        Raises:
            FeedError: the shape, the lengths or a row is refused.
        """
        rows = as_floats(rows)
        if rows.ndim == 2 and lengths is None:
            stream = self.stream()
            stream.step(rows)
            return stream.finish()
        if rows.ndim != 3:
            raise FeedError(
                "a sequence is [T, size], a batch, with or without lengths, [N, T, size], not "
                f"{list(rows.shape)}"
            )
        chunks = [sequence[:length] for sequence, length in zip(rows, as_lengths(lengths, rows.shape))]
        streams = [self.stream() for _ in chunks]
        self.step(streams, chunks)
        return [stream.finish() for stream in streams]


def _advanced(search: FrameSearch, states: list[Position], chunks: list[np.ndarray]) -> list[Position]:
    """The streams after their chunks. Long ones are taken piece by piece, by copies of the streams: a signal
    waits for the end of a piece, and what it ends has changed nothing."""
    if sum(chunk.size for chunk in chunks) * search.width < LONG:
        return search.step(states, chunks)
    states = [search.copy(state) for state in states]
    start, count, longest = 0, 1, max(map(len, chunks))
    while start < longest:
        before = perf_counter()
        try:
            states = search.step(states, [chunk[start : start + count] for chunk in chunks])
        except FeedError:
            # Names the row by its place in the whole chunk, where it is a row that is to blame.
            check_rows([Buffer(chunk) for chunk in chunks])
            raise
        start += count
        count = max(1, min(2 * count, int(count * CALL_SECONDS / max(perf_counter() - before, 1e-9))))
    return states
