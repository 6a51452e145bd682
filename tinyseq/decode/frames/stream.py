"""One live stream of a decoder, whatever it searches over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.decode.frames.search import FrameSearch, Position, Scoring, room
from tinyseq.decode.frames.snapshots import ensure, field
from tinyseq.decode.hypothesis import Hypothesis, Partial
from tinyseq.decode.lm.options import Hotwords
from tinyseq.errors import FeedError, StateError
from tinyseq.runtime.claim import Claim, claiming
from tinyseq.runtime.state import State

if TYPE_CHECKING:
    from tinyseq.decode.frames.decoder import LiveDecoder
    from tinyseq.decode.lm.spelling import WordReader

MOST_SIZE = 2**22
"""Numbers of a row that a saved stream may be for, before a search is made for it."""


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
        with room():
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
            with room():
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
