"""A live stream of sound that is being recognised."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq.decode.frames.snapshots import field
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.errors import FeedError, StateError
from tinyseq.runtime.claim import Claim, claiming, put_back, take_all
from tinyseq.runtime.state import State
from tinyseq.speech.front_end import Feeds, begun, kept, steps
from tinyseq.speech.parts import opened, packed
from tinyseq.speech.result import Timeline
from tinyseq.speech.sound import Sound

if TYPE_CHECKING:
    from tinyseq.decode.frames.stream import DecoderStream
    from tinyseq.speech.recognizer import Recognizer


END = None
"""The last step of sound, for a model that holds frames back: those that are still due."""


class RecognizerStream:
    """One live stream: what was heard and not yet decoded, the model's state and the decoder's.

    One thread may take sound in while another decodes; of either there can be one at a time, a second one is
    refused by a StateError. Made by ``Recognizer.create_stream``.
    """

    def __init__(self, recognizer: Recognizer, search: DecoderStream) -> None:
        self._recognizer = recognizer
        self._sound = Sound(recognizer.sample_rate)
        self._front_end = begun(recognizer.front_end)
        self._steps: deque[Feeds | None] = deque()
        self._model = recognizer.model.stream()
        self._search = search
        self._timeline = Timeline(recognizer.frame_seconds)
        self._taken_before = 0
        self._is_finished = False
        self._final: Hypothesis | None = None
        self._claim, self._decoding = Claim("stream"), Claim("stream")

    def __repr__(self) -> str:
        end = ", no more sound to come" if self._is_finished else ""
        return f"RecognizerStream({self._recognizer.sample_rate} Hz, {len(self._steps)} steps ready{end})"

    @claiming
    def accept_waveform(self, sample_rate: float, waveform: np.ndarray) -> None:
        """Takes sound in.

        Args:
            sample_rate: Hz; sound of another rate than the recognizer's is resampled, by the soxr package. It
                stays the same for all sound of a stream up to ``input_finished``.
            waveform: [samples], or [samples, channels], which are averaged: floats from -1 to 1, or int16,
                int32 or uint8, which are scaled to that.

        Raises:
            FeedError: it is no such sound, holds NaN or infinity, or comes after ``input_finished``.
            MissingPackageError: it must be resampled, and soxr is not installed.
        """
        if self._is_finished:
            raise FeedError("the sound of this stream was declared finished; reset it or create another")
        sound = self._sound.push(sample_rate, self._sound.checked(sample_rate, waveform))
        self._steps += steps(self._front_end.push(sound))

    @claiming
    def input_finished(self) -> None:
        """Says that no more sound will come: what resampling and the front end hold back becomes ready."""
        if not self._is_finished:
            left = self._sound.finish()
            if len(left):
                self._steps += steps(self._front_end.push(left))
            self._steps += steps(self._front_end.finish())
            if not self._recognizer.model.steps_alike:
                self._steps.append(END)
            self._is_finished = True

    def end(self) -> Mapping[str, np.ndarray] | FeedError:
        """The outputs that the model holds back, or why it refuses to give them; it begins anew."""
        try:
            return self._model.finish()
        except FeedError as error:
            return error
        finally:
            self._model.reset()

    def begin_utterance(self) -> None:
        """Begins the next utterance; see ``Recognizer.reset``."""
        held = take_all([self._decoding, self._claim])
        try:
            timeline = self._timeline.after(self._search.frames)
            self._search.reset()
            self._final = None
            if self._is_finished:
                self._taken_before += self._sound.taken
                if not self._steps:
                    # The last frames stand for more or less than what there was of sound.
                    start = self._timeline.start + self._taken_before / self._sound.rate
                    timeline, self._taken_before = Timeline(timeline.frame_seconds, start), 0
                self._sound = Sound(self._recognizer.sample_rate)
                self._front_end = begun(self._recognizer.front_end)
                self._is_finished = False
            self._timeline = timeline
        finally:
            put_back(held)

    def snapshot(self) -> State:
        """A copy of everything that the stream's future depends on: sound that is not decoded yet, front end,
        model, search and times. ``State.to_bytes`` saves it, for streams of recognizers like this one.
        Sound that is resampled goes on, behind it, within the rounding of float32; all else in the same bits.

        Raises:
            StateError: the front end cannot be saved, the search asks a language model that ``read_kenlm``
                has read, or another thread uses the stream.
        """
        held = take_all([self._decoding, self._claim])
        try:
            fields = {
                "rates": np.array(self._rates),
                "times": np.array([self._timeline.start, self._timeline.before, self._taken_before]),
                "sound": packed(self._sound.snapshot()),
                "finished": np.array(self._is_finished),
                "front_end": packed(kept(self._front_end)),
                "model": packed(self._model.snapshot()),
                "search": packed(self._search.snapshot()),
            }
            steps = (State({} if feeds is END else feeds) for feeds in self._steps)
            waiting = {f"step {number}": packed(feeds) for number, feeds in enumerate(steps)}
            return State(fields | waiting)
        finally:
            put_back(held)

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot, of this stream or of one of a recognizer like this one.

        Raises:
            StateError: it is of another model, decoder, front end, rate or hotwords, or damaged; says
                which part. The stream is as before.
        """
        twin = RecognizerStream(self._recognizer, self._search._fresh())
        twin._take_over(saved)
        self._become(twin)

    def fork(self) -> RecognizerStream:
        """A second stream that starts where this one is; from then on they are independent.

        Raises:
            StateError: as ``snapshot``.
        """
        held = take_all([self._decoding, self._claim])
        try:
            front_end = kept(self._front_end)
            twin = RecognizerStream(self._recognizer, self._search.fork())
            twin._sound.restore(self._sound.snapshot())
            twin._front_end.restore(front_end)
            twin._steps = self._steps.copy()
            twin._model = self._model.fork()
            twin._timeline, twin._is_finished = self._timeline, self._is_finished
            twin._taken_before = self._taken_before
            return twin
        finally:
            put_back(held)

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "a stream is not pickled or copied: fork() makes a second one, snapshot() a value to pickle"
        )

    @property
    def _rates(self) -> tuple[float, float]:
        """What snapshots of one recognizer have in common beside its parts' own marks."""
        return float(self._recognizer.sample_rate), float(self._recognizer.frame_seconds)

    def _take_over(self, saved: Mapping[str, np.ndarray]) -> None:
        """Takes a snapshot in, of which nothing is known; this stream is of no use if it is refused."""
        if not isinstance(saved, Mapping):
            raise StateError(f"a state is a dict from name to array, not {type(saved).__name__}")
        rates = tuple(field(saved, "rates", np.float64, (2,)).tolist())
        if rates != self._rates:
            raise StateError(
                f"the saved stream is of a recognizer of {rates[0]:g} Hz and frames of {rates[1]:g} s, not "
                f"of {self._rates[0]:g} Hz and {self._rates[1]:g} s"
            )
        start, *counts = field(saved, "times", np.float64, (3,)).tolist()
        if not (0 <= start < np.inf and all(0 <= count < 2**53 and count.is_integer() for count in counts)):
            raise StateError("the saved stream is damaged: its times are none")
        before, self._taken_before = map(int, counts)
        self._timeline = Timeline(self._timeline.frame_seconds, start, before)
        self._is_finished = bool(field(saved, "finished", np.bool_, ()))
        kept(self._front_end)  # refuses front ends that cannot restore
        for name, restore in (
            ("sound", self._sound.restore),
            ("front_end", self._front_end.restore),
            ("model", self._model.restore),
            ("search", self._search.restore),
        ):
            opened(saved, name, restore)
        waiting = sum(name.startswith("step ") for name in saved)
        for number in range(waiting):
            opened(saved, f"step {number}", lambda feeds: self._steps.append(dict(feeds) or END))

    def _become(self, other: RecognizerStream) -> None:
        """Takes the place of a stream that nobody else has."""
        held = take_all([self._decoding, self._claim])
        try:
            self._sound, self._front_end, self._steps = other._sound, other._front_end, other._steps
            self._model, self._search, self._final = other._model, other._search, None
            self._timeline, self._is_finished = other._timeline, other._is_finished
            self._taken_before = other._taken_before
        finally:
            put_back(held)
