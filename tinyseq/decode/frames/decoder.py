"""Decoders and their streams: what searches over frames have in common, whole or live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Self
from zlib import crc32

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.calls import CALL_SECONDS
from tinyseq.decode.frames.rows import as_chunk, as_floats, as_lengths, check_rows
from tinyseq.decode.frames.snapshots import ensure, field
from tinyseq.decode.hypothesis import Hypothesis, Partial
from tinyseq.decode.lm.options import Hotwords, limited_to, own_hotwords
from tinyseq.errors import FeedError, StateError
from tinyseq.kernels.program import Buffer
from tinyseq.runtime.claim import Claim, claiming, put_back, take_all
from tinyseq.runtime.state import State

if TYPE_CHECKING:
    from tinyseq.decode.lm.spelling import WordReader

Position = Any
"""Where a stream is; what is in it is its search's affair."""

Scoring = Any
"""What is added to the scores of a stream; likewise."""

LONG = 2**26
"""Numbers, times the hypotheses that they are added to, from which on chunks may take too long for a call."""

MOST_SIZE = 2**22
"""Numbers of a row that a saved stream may be for, before a search is made for it."""


class FrameSearch(Protocol):
    """A search over frames of ``size`` numbers; what it is given is never changed."""

    size: int
    width: int
    """Hypotheses that go on from frame to frame."""
    reader: WordReader | None
    """Reads a lexicon's words."""

    def scoring(self, hotwords: Hotwords) -> Scoring:
        """What is added to the scores of a stream that has hotwords of its own.

        Raises:
            OptionError: some cannot be spelt.
        """

    def begin(self, scoring: Scoring) -> Position:
        """A stream at its start."""

    def step(self, states: list[Position], chunks: list[np.ndarray]) -> list[Position]:
        """The streams after a chunk float32[T, size] each; refuses all or none."""

    def copy(self, state: Position) -> Position:
        """The same state, to go its own way."""

    def frames(self, state: Position) -> int:
        """Frames processed."""

    def fields(self, state: Position) -> dict[str, np.ndarray]:
        """The state as arrays by name."""

    def restored(self, fields: Mapping[str, np.ndarray], scoring: Scoring) -> Position:
        """The state that ``fields`` gave.

        Raises:
            StateError: it is not of this search, or damaged.
        """

    def partial(self, state: Position) -> Partial:
        """What is certain, and how it goes on at this moment, at a cost that does not depend on how long ago
        the stream began."""

    def finish(self, state: Position) -> list[Hypothesis]:
        """The best hypotheses."""


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
            with _room():
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


class DecoderStream:
    """One live stream: feed chunks, read what is certain and what is likely, finish.

    All of it raises a StateError while another thread, or the call that it is part of, uses the stream.
    """

    def __init__(self, decoder: LiveDecoder, hotwords: Hotwords) -> None:
        self._decoder, self._hotwords = decoder, hotwords
        self._scorings: dict[FrameSearch, Scoring] = {}
        self._claim = Claim("stream")
        self._search: FrameSearch | None = None
        self._state: Position = None

    def __repr__(self) -> str:
        return f"DecoderStream({self._decoder!r})"

    def _fresh(self) -> DecoderStream:
        """A stream with the same hotwords, at its start."""
        twin = DecoderStream(self._decoder, self._hotwords)
        twin._scorings = self._scorings
        return twin

    def step(self, rows: np.ndarray) -> None:
        """Feeds a chunk [T, size]; see ``LiveDecoder.step``."""
        self._decoder.step([self], [rows])

    @claiming
    def partial(self) -> tuple[Hypothesis, Hypothesis]:
        """The stable and the tentative part of what was fed.

        The stable part, which only grows, is what all living hypotheses begin with: no result can begin
        otherwise. The tentative part is how the best one goes on at this moment.
        """
        settled, tentative, score = self._partial()
        vocabulary = self._decoder.options.vocabulary
        goes_on = tentative.hypothesis(score, vocabulary, begins=not len(settled))
        return settled.hypothesis(score, vocabulary), goes_on

    @claiming
    def partial_tokens(self) -> Partial:
        """Both parts as the search has them: it takes no longer, however much is stable."""
        return self._partial()

    def _partial(self) -> Partial:
        search, state = self._begun()
        return search.partial(state)

    @claiming
    def finish(self) -> list[Hypothesis]:
        """The hypotheses for everything that was fed, best first. The stream can go on all the same."""
        search, state = self._begun()
        return search.finish(state)

    @property
    def reader(self) -> WordReader | None:
        """Reads a lexicon's words; None without one."""
        return None if self._search is None else self._search.reader

    def _begun(self) -> tuple[FrameSearch, Position]:
        """The search and the state; of a stream that was fed nothing, whose rows' size is not known, any."""
        if self._search is not None:
            return self._search, self._state
        with _room():
            search = self._decoder._search(self._decoder._any_size)
            return search, search.begin(search.scoring({}))

    def _scoring(self, search: FrameSearch) -> Scoring:
        if search not in self._scorings:
            self._scorings[search] = search.scoring(self._hotwords)
        return self._scorings[search]

    @property
    def _settings(self) -> bytes:
        """What decides results of this stream beside its decoder."""
        return repr(sorted(self._hotwords.items(), key=repr)).encode() if self._hotwords else b""

    @property
    @claiming
    def frames(self) -> int:
        """How many rows were fed since the start."""
        return 0 if self._search is None else self._search.frames(self._state)

    @claiming
    def reset(self) -> None:
        """Goes back to the start."""
        self._search = self._state = None

    @claiming
    def snapshot(self) -> State:
        """A copy of the state, for streams of decoders with the same options, and with the same hotwords of
        their own; ``State.to_bytes`` saves it.

        Raises:
            StateError: the search asks a language model that ``read_kenlm`` has read, whose states have
                numbers in this process only.
        """
        if self._search is None:
            return State({"size": np.array(0)})
        size = self._search.size
        kind = {"size": np.array(size), "search": np.array(self._decoder.digest(size, self._settings))}
        return State(kind | self._search.fields(self._state))

    @claiming
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot, of this or of another stream.

        Raises:
            StateError: it is of other options or models, or damaged; the stream is as before.
        """
        if not isinstance(saved, Mapping):
            raise StateError(f"a state is a dict from name to array, not {type(saved).__name__}")
        size = int(field(saved, "size", np.int64, ()))
        if size == 0:
            self._search = self._state = None
            return
        ensure(0 < size <= MOST_SIZE)
        if int(field(saved, "search", np.int64, ())) != self._decoder.digest(size, self._settings):
            raise StateError("the saved stream is damaged, or of other options or models, or hotwords")
        try:
            with _room():
                search = self._decoder._search(size)
        except FeedError as error:
            raise StateError(f"the saved stream is of another search: {error}") from error
        self._state = search.restored(saved, self._scoring(search))
        self._search = search

    @claiming
    def fork(self) -> DecoderStream:
        """A stream in the same state, independent of this one."""
        twin = self._fresh()
        if self._search is not None:
            twin._search, twin._state = self._search, self._search.copy(self._state)
        return twin


@contextmanager
def _room() -> Iterator[None]:
    """Says what to do where there is not enough memory."""
    try:
        yield
    except MemoryError as error:
        raise FeedError(f"{error}; fewer streams at once or a smaller beam_width need less") from error


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
