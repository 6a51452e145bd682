"""Live recognition of speech: a front end, a model and a decoder behind sherpa-onnx's verbs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

import numpy as np

from tinyseq.claim import Claim, claiming, put_back, take_all
from tinyseq.decode.endpoint import Endpointing
from tinyseq.decode.frames.decoder import LiveDecoder
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.errors import FeedError
from tinyseq.given import as_array, is_number, is_whole
from tinyseq.session import Session, loaded
from tinyseq.text import shown
from tinyseq.together import Together

Feeds = Mapping[str, np.ndarray]


class FrontEnd(Protocol):
    """Turns sound into what the model takes; one for each stream, for it may keep what is left over."""

    def push(self, samples: np.ndarray) -> list[Feeds]:
        """The steps that are complete with these samples, float32[n]."""
        ...

    def finish(self) -> list[Feeds]:
        """The steps that are left at the end of the sound."""
        ...


class Chunks:
    """A front end that gives the model each so many samples, the last ones with silence behind them."""

    def __init__(self, size: int, feeds: Callable[[np.ndarray], Feeds]) -> None:
        if not is_whole(size) or size < 1:
            raise FeedError(f"a chunk has a whole number of samples from 1 on, not {shown(size)}")
        if not callable(feeds):
            raise FeedError(f"feeds is a function of samples, not {shown(feeds)}")
        self._size, self._feeds = size, feeds
        self._left = np.empty(0, np.float32)

    def __repr__(self) -> str:
        return f"Chunks({self._size} samples, {len(self._left)} left over)"

    def push(self, samples: np.ndarray) -> list[Feeds]:
        """A step for each whole chunk."""
        sound = np.concatenate([self._left, _sound(samples)])
        whole = len(sound) - len(sound) % self._size
        self._left = sound[whole:].copy()
        return [self._feeds(chunk) for chunk in sound[:whole].reshape(-1, self._size)]

    def finish(self) -> list[Feeds]:
        """The last step, if samples are left."""
        missing = -len(self._left) % self._size
        return self.push(np.zeros(missing, np.float32))


class Utterance:
    """One live signal: what was heard and not yet decoded, the model's state and the decoder's.

    One thread may take sound in while another decodes; of either there can be one at a time, a second one is
    refused by a StateError.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._rate = recognizer.sample_rate
        self._front_end = recognizer.begun_front_end()
        self._steps: deque[Feeds | None] = deque()  # None: the model ends, and gives what it held back.
        self._model = recognizer.model.stream()
        self._search = recognizer.decoder.stream()
        self._is_finished = False
        self._claim, self._decoding = Claim("signal"), Claim("signal")

    def __repr__(self) -> str:
        end = ", no more sound to come" if self._is_finished else ""
        return f"Utterance({self._rate} Hz, {len(self._steps)} steps ready{end})"

    @claiming
    def accept_waveform(self, sample_rate: int, waveform: np.ndarray) -> None:
        """Takes sound in.

        Args:
            sample_rate: Hz; the recognizer's, nothing is resampled.
            waveform: float32[samples]; what range is the model's affair, mostly -1 to 1.
        """
        if self._is_finished:
            raise FeedError("the sound of this stream was declared finished; reset it or create another")
        if not is_number(sample_rate) or sample_rate != self._rate:
            raise FeedError(
                f"sound of {shown(sample_rate)} Hz; this recognizer takes {self._rate} Hz, resample it"
            )
        samples = _sound(waveform)
        if not np.isfinite(samples).all():
            raise FeedError(
                "a waveform holds NaN or infinity, which the model would remember; nothing was taken"
            )
        self._take(self._front_end.push(samples))

    @claiming
    def input_finished(self) -> None:
        """Says that no more sound will come: what the front end holds back becomes ready."""
        if not self._is_finished:
            self._take(self._front_end.finish())
            if not self._recognizer.model.steps_alike:
                self._steps.append(None)
            self._is_finished = True

    def _take(self, steps: list[Feeds]) -> None:
        if not isinstance(steps, Sequence):
            raise FeedError(f"a front end gives a list of dicts, not {type(steps).__name__}")
        for feeds in steps:
            if not isinstance(feeds, Mapping):
                raise FeedError(f"a front end gives dicts from input to array, not {type(feeds).__name__}")
        self._steps += steps


def _sound(samples: object) -> np.ndarray:
    """Samples as float32[n].

    Raises:
        FeedError: they are no numbers in a row.
    """
    try:
        array = as_array(samples)
    except ValueError as error:
        raise FeedError(f"a waveform is numbers [samples]: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise FeedError(f"a waveform is numbers [samples], not {array.dtype}{list(array.shape)}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


class Recognizer:
    """Recognises any number of live signals with one model and one decoder.

    Args:
        model: a model that can be streamed, whose output is rows of log-probabilities, or the encoder of a
            transducer.
        front_end: makes a stream's front end: ``lambda: tinyseq.Chunks(512, feeds)``, say.
        decoder: turns rows into tokens: a ``CtcDecoder`` or a ``TransducerDecoder``.
        frame_seconds: how much sound a row stands for.
        output: the model's output; None if it has just one that carries no state.
        sample_rate: Hz of the sound.
        endpointing: when an utterance is over.
    """

    def __init__(
        self,
        model: Session,
        front_end: Callable[[], FrontEnd],
        decoder: LiveDecoder,
        frame_seconds: float,
        output: str | None = None,
        sample_rate: int = 16_000,
        endpointing: Endpointing | None = None,
    ) -> None:
        if not callable(front_end):
            raise FeedError(f"front_end is called for each stream, which a {type(front_end).__name__} is not")
        if not isinstance(decoder, LiveDecoder):
            raise FeedError(f"decoder is a CtcDecoder or TransducerDecoder, not a {type(decoder).__name__}")
        if not is_number(frame_seconds) or not 0 < frame_seconds < inf:
            raise FeedError(f"frame_seconds is how long a row lasts, not {shown(frame_seconds)}")
        if not is_number(sample_rate) or not 0 < sample_rate < inf:
            raise FeedError(f"sample_rate is a number of Hz, not {shown(sample_rate)}")
        if endpointing is not None and not isinstance(endpointing, Endpointing):
            raise FeedError(f"endpointing is an Endpointing, not {type(endpointing).__name__}")
        self.model, self.front_end, self.decoder = loaded(model, "model"), front_end, decoder
        self._together = Together(model)
        self.frame_seconds, self.sample_rate = frame_seconds, sample_rate
        self.endpointing = Endpointing() if endpointing is None else endpointing
        outputs = [value.name for value in model.stream_outputs]
        if output is None and len(outputs) != 1:
            raise FeedError(f"output says which of {', '.join(outputs) or 'no outputs'} holds the rows")
        if output is not None and not (isinstance(output, str) and output in outputs):
            raise FeedError(f"output={shown(output)}: the model gives {', '.join(outputs)}")
        self._output = outputs[0] if output is None else output

    def __repr__(self) -> str:
        return (
            f"Recognizer({self.sample_rate} Hz, a row of {self._output!r} every {self.frame_seconds} s, "
            f"{self.decoder!r})"
        )

    def create_stream(self) -> Utterance:
        """A new signal, at its start."""
        return Utterance(self)

    def begun_front_end(self) -> FrontEnd:
        """A front end for one signal."""
        made = self.front_end()
        if not (hasattr(made, "push") and hasattr(made, "finish")):
            raise FeedError(f"front_end gives what has push and finish, as Chunks, not {type(made).__name__}")
        return made

    def is_ready(self, stream: Utterance) -> bool:
        """Whether enough was heard for a step."""
        return bool(self._own(stream)._steps)

    def decode(self, streams: Utterance | Sequence[Utterance]) -> None:
        """Goes one step on in one signal, or in each of several that are ready, all of them together: models
        whose rows keep apart in one call, and all searches in one. Results are those of each signal alone.

        Raises:
            FeedError: the model refuses what the front end made of a signal, or the decoder what the model
                made of it, as NaN. That signal has lost the step, all others have taken theirs.
            StateError: a signal is in use by another thread; none has lost anything.
        """
        try:
            streams = [streams] if isinstance(streams, Utterance) else list(streams)
        except TypeError as error:
            raise FeedError(f"streams are those of create_stream, not {shown(streams)}") from error
        own = list(dict.fromkeys(map(self._own, streams)))
        held = take_all([stream._decoding for stream in own])
        try:
            refused = self._step([stream for stream in own if stream._steps])
        finally:
            put_back(held)
        for stream, refusal in refused.items():
            raise FeedError(
                f"signal {streams.index(stream)}: {refusal}. It has lost this step, others have taken theirs"
            ) from refusal

    def _step(self, ready: list[Utterance]) -> dict[Utterance, FeedError]:
        """A step of each of several signals; says whose was refused."""
        feeds = [stream._steps.popleft() for stream in ready]
        going = [(stream._model, own) for stream, own in zip(ready, feeds) if own is not None]
        given = iter(self._together.step(*map(list, zip(*going))) if going else ())
        results = [
            stream._model.finish() if own is None else next(given) for stream, own in zip(ready, feeds)
        ]
        rows = {}
        refused = {}
        for stream, result in zip(ready, results):
            try:
                rows[stream] = self._rows(result)
            except FeedError as error:
                refused[stream] = error
        return refused | self._search(rows)

    def _search(self, rows: dict[Utterance, np.ndarray]) -> dict[Utterance, FeedError]:
        """Steps the searches of several signals; says whose rows were refused."""
        refused = {}
        groups = [list(rows)]
        while groups:
            streams = groups.pop()
            try:
                self.decoder.step([stream._search for stream in streams], [rows[each] for each in streams])
            except FeedError as error:
                if len(streams) == 1:
                    refused[streams[0]] = error
                else:
                    groups += [[stream] for stream in streams]
        return refused

    def _own(self, stream: object) -> Utterance:
        if not isinstance(stream, Utterance) or stream._recognizer is not self:
            what = "another recognizer's" if isinstance(stream, Utterance) else type(stream).__name__
            raise FeedError(f"a stream is what create_stream of this recognizer gives, not {what}")
        return stream

    def _rows(self, outputs: Mapping[str, np.ndarray] | FeedError) -> np.ndarray:
        if isinstance(outputs, FeedError):
            raise outputs
        array = outputs[self._output]
        size = array.shape[-1] if array.ndim else 0
        if array.ndim < 2 or sum(length != 1 for length in array.shape[:-1]) > 1 or size == 0:
            raise FeedError(f"output {self._output!r} is rows [T, V] of one signal, not {list(array.shape)}")
        return array.reshape(-1, size)

    def get_result(self, stream: Utterance) -> Hypothesis:
        """The best hypothesis at this moment; when all sound is decoded, the final one.

        Its frames count from the start of the utterance.
        """
        return self._heard(self._own(stream))[0]

    def _heard(self, stream: Utterance) -> tuple[Hypothesis, int]:
        """The best hypothesis, and the frames of the utterance so far."""
        stream._decoding.take()
        try:
            return self._result(stream), stream._search.frames
        finally:
            stream._decoding.free.append(None)

    def _result(self, stream: Utterance) -> Hypothesis:
        if stream._is_finished and not stream._steps:
            found = stream._search.finish()
            if found:
                return found[0]
        stable, tentative = stream._search.partial()
        text = None if stable.text is None or tentative.text is None else stable.text + tentative.text
        return Hypothesis(
            stable.tokens + tentative.tokens,
            tentative.score,
            stable.frames + tentative.frames,
            stable.confidences + tentative.confidences,
            text,
        )

    def is_endpoint(self, stream: Utterance) -> bool:
        """Whether the utterance is over; see ``Endpointing``."""
        found, heard = self._heard(self._own(stream))
        last = None if not found.frames else (found.frames[-1] + 1) * self.frame_seconds
        return self.endpointing.is_endpoint(heard * self.frame_seconds, last)

    def reset(self, stream: Utterance) -> None:
        """Begins a signal's next utterance: tokens and time start anew, what the model remembers stays."""
        held = take_all([self._own(stream)._decoding, stream._claim])
        try:
            stream._search.reset()
            if stream._is_finished:
                stream._front_end = self.begun_front_end()
                stream._is_finished = False
                if not self.model.steps_alike:
                    stream._steps = deque(step for step in stream._steps if step is not None)
                    stream._model.reset()
        finally:
            put_back(held)
