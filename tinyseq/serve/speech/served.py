"""Recognisers and voice detectors that are served, and their live streams: many are stepped together."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import FeedError, TinyseqError
from tinyseq.runtime.state import State
from tinyseq.serve.batcher import Batcher, Done
from tinyseq.serve.errors import DrainingError, UnknownModelError
from tinyseq.serve.kinds import MOST_KINDS, Kind
from tinyseq.speech.endpoint import Endpointing
from tinyseq.speech.recognizer import Recognizer
from tinyseq.speech.result import RecognizerResult
from tinyseq.speech.segments import VoiceEvent
from tinyseq.speech.stream import RecognizerStream
from tinyseq.speech.voice_detector import VoiceDetector, VoiceStream

if TYPE_CHECKING:
    from tinyseq.serve.models import Models
    from tinyseq.serve.speech.sources import Engine, SpeechSource

PIECE_SECONDS = 0.5
"""Of sound that is stepped at once: longer messages take several turns, so that others get theirs."""

MOST_HOTWORDS = 1000
"""Hotwords that a stream may have of its own."""


class Heard(NamedTuple):
    """What a recogniser has heard: final results of utterances that are over, and how this one goes on."""

    over: tuple[RecognizerResult, ...]
    now: RecognizerResult


class Noticed(NamedTuple):
    """What a voice detector has heard: events, and how probable speech is in the latest 32 ms."""

    events: tuple[VoiceEvent, ...]
    probability: float


class Sound(NamedTuple):
    """What a stream is given: samples and their rate, and whether the utterance, or the sound, ends there."""

    rate: float
    samples: np.ndarray
    ends: bool = False


class RecognizerSteps:
    """Steps streams of a recogniser: those that are ready are decoded together, until none is."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer, self._kind = recognizer, Kind()

    def kind(self, given: Sound) -> Kind:
        """All sound is stepped together."""
        return self._kind

    def step(self, kind: Kind, streams: Sequence[SpeechStream], given: Sequence[Sound]) -> list[Any]:
        """What each has heard, or why its sound or a step is refused."""
        recognizer = self._recognizer
        refused: dict[SpeechStream, TinyseqError] = {}
        over: dict[SpeechStream, list[RecognizerResult]] = {stream: [] for stream in streams}
        for stream, sound in zip(streams, given):
            try:
                if len(sound.samples):
                    stream.live.accept_waveform(sound.rate, sound.samples)
                if sound.ends:
                    stream.live.input_finished()
            except TinyseqError as error:
                refused[stream] = error
        owners = {stream.live: stream for stream in streams}
        while ready := [live for live in owners if recognizer.is_ready(live)]:
            for live, error in recognizer.advance(ready).items():
                refused.setdefault(owners[live], error)
            for live in ready:
                self._end_at_pause(owners[live], over[owners[live]])
        for stream, sound in zip(streams, given):
            if sound.ends:
                over[stream].append(recognizer.end_utterance(stream.live))
        return [
            refused[stream]
            if stream in refused
            else Heard(tuple(over[stream]), recognizer.get_result(stream.live))
            for stream in streams
        ]

    def _end_at_pause(self, stream: SpeechStream, over: list[RecognizerResult]) -> None:
        rules = stream.endpointing
        if rules is None:
            return
        result, seconds = self._recognizer.get_result(stream.live), self._recognizer.frame_seconds
        last = None if result.last_frame is None else (result.last_frame + 1) * seconds
        if rules.is_endpoint(result.frames_heard * seconds, last):
            over.append(self._recognizer.end_utterance(stream.live))


class VoiceSteps:
    """Steps streams of a voice detector, those of one sample rate together."""

    def __init__(self, detector: VoiceDetector) -> None:
        self._detector = detector
        self._kinds: dict[tuple[float, bool], Kind] = {}

    def kind(self, given: Sound) -> Kind:
        """Sound of one rate is stepped together."""
        if len(self._kinds) > MOST_KINDS:
            self._kinds.clear()
        return self._kinds.setdefault((given.rate, given.ends), Kind())

    def step(self, kind: Kind, streams: Sequence[SpeechStream], given: Sequence[Sound]) -> list[Any]:
        """What each has heard, or why its sound is refused."""
        try:
            live = [stream.live for stream in streams]
            found = self._detector.accept_waveforms(live, given[0].rate, [own.samples for own in given])
        except TinyseqError as error:
            if len(streams) == 1:
                return [error]
            return [self.step(kind, [stream], [own])[0] for stream, own in zip(streams, given)]
        if given[0].ends:
            found = [events + stream.live.finish() for stream, events in zip(streams, found)]
        return [Noticed(tuple(own), stream.live.probability) for stream, own in zip(streams, found)]


class SpeechStream:
    """One live stream of sound. What is asked of it is done in order; ``done`` gets the answer, a value or a
    TinyseqError, in the thread of the event loop."""

    def __init__(
        self,
        served: ServedSpeech,
        live: RecognizerStream | VoiceStream,
        hotwords: Mapping[str, float] | None,
        endpointing: Endpointing | None,
    ) -> None:
        self.served, self.live, self.endpointing = served, live, endpointing
        self.sequence = 0
        """Messages of sound that were taken."""
        self._hotwords = hotwords
        self._line = served.batcher.line(self)
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._busy = self._closed = False

    def hear(self, rate: float, samples: np.ndarray, done: Done) -> None:
        """Takes sound in: ``done`` gets a Heard or a Noticed.

        Raises:
            FeedError: it holds NaN or infinity; nothing was taken.
        """
        self._give(rate, samples, False, done)

    def end(self, rate: float, done: Done) -> None:
        """Ends the utterance, and of a voice detector all sound: ``done`` gets what is still due."""
        self._give(rate, np.empty(0, np.float32), True, done)

    def _give(self, rate: float, samples: np.ndarray, ends: bool, done: Done) -> None:
        if samples.dtype == np.float32 and not np.isfinite(samples).all():
            raise FeedError(
                "the sound holds NaN or infinity, which the model would remember; nothing was taken"
            )
        size = max(1, int(rate * PIECE_SECONDS))
        pieces = [samples[at : at + size] for at in range(0, len(samples), size)] or [samples]
        answers: list[Any] = []

        def piece_done(result: Any) -> None:
            answers.append(result)
            if len(answers) == len(pieces):
                done(_put_together(answers))

        for number, piece in enumerate(pieces):
            sound = Sound(rate, piece, ends and number == len(pieces) - 1)
            self._ask(lambda sound=sound: self._step(sound, piece_done), piece.nbytes)
        self.sequence += 1

    def _step(self, sound: Sound, done: Done) -> None:
        self._line.step(self.served.steps.kind(sound), sound, self._answered(done), sound.samples.nbytes)

    def call(self, function: Callable[[], Any], done: Done) -> None:
        """Calls a function behind all that was asked before; ``done`` gets what it gives."""
        self._ask(lambda: self._line.call(function, self._answered(done)), 0)

    def _ask(self, begin: Callable[[], None], size: int) -> None:
        """Has something done behind all that was asked before. What waits for others of the same client is
        not in the line: how long steps take is told by what waits for the server."""
        self.served.admission.queued_bytes += size
        self._waiting.append((begin, size))
        if not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        self._busy = bool(self._waiting) and not self._closed
        if self._busy:
            begin, size = self._waiting.popleft()
            self.served.admission.queued_bytes -= size
            begin()

    def _answered(self, done: Done) -> Done:
        def answered(result: Any) -> None:
            try:
                done(result)
            finally:
                self._go_on()

        return answered

    def snapshot(self, extra: Callable[[], Any], done: Done) -> None:
        """``done`` gets how many messages were taken, and bytes from which ``ServedSpeech.open_stream`` goes
        on behind them; ``extra`` gives JSON that lies with these."""
        sequence = self.sequence

        def saved() -> tuple[int, bytes]:
            head = json.dumps({"hotwords": self._hotwords, "extra": extra()}).encode()
            return sequence, len(head).to_bytes(4, "little") + head + self.live.snapshot().to_bytes()

        self.call(saved, done)

    def close(self, reason: str = "finished") -> None:
        """Gives the stream up, whatever is still to be answered. ``reason`` is counted."""
        if not self._closed:
            self._closed = True
            self.served.admission.queued_bytes -= sum(size for _, size in self._waiting)
            self._waiting.clear()
            self._line.close(lambda: None)
            self.served.closed(self, reason)


def _put_together(answers: Sequence[Any]) -> Any:
    """The answer to a message from those to its pieces."""
    for answer in answers:
        if isinstance(answer, TinyseqError):
            return answer
    if isinstance(answers[0], Noticed):
        return Noticed(sum([each.events for each in answers], ()), answers[-1].probability)
    return Heard(sum([each.over for each in answers], ()), answers[-1].now)


class ServedSpeech:
    """A recogniser or a voice detector that is served."""

    def __init__(self, source: SpeechSource, engine: Engine, models: Models) -> None:
        self.name, self.aliases, self.language = source.name, source.aliases, source.language
        self.kind, self.engine = source.kind, engine
        self.ready = True
        self.streams: set[SpeechStream] = set()
        self._models = models
        self.metrics = models.metrics.of_model(source.name, "")
        self.steps = RecognizerSteps(engine) if isinstance(engine, Recognizer) else VoiceSteps(engine)
        self.admission = models.admission
        self.batcher = Batcher(
            self.steps, models.config.limits, self.admission, self.metrics, models.pace, models.executor
        )
        self.fingerprint = _fingerprint(engine)

    @property
    def sample_rate(self) -> int:
        """Hz that the model hears; sound of other rates is resampled."""
        return int(getattr(self.engine, "sample_rate", 16_000))

    def open_stream(
        self,
        hotwords: Mapping[str, float] | Sequence[str] = (),
        endpointing: Endpointing | None = None,
        state: bytes | None = None,
    ) -> tuple[SpeechStream, Any]:
        """A new stream, at its start or from what ``snapshot`` gave, and the ``extra`` that lay with that.

        Args:
            hotwords: of this stream alone; of a recogniser.
            endpointing: when utterances are over; None for what the recogniser has.

        Raises:
            FullError: no stream more is taken.
            OptionError: some hotwords cannot be spelt: says which.
            StateError: the bytes are no state of it.
        """
        if not self.ready:
            after = self._models.config.limits.retry_after
            raise DrainingError(f"{self.name} is being replaced", after)
        extra = None
        if state is not None:
            length = int.from_bytes(state[:4], "little")
            head = json.loads(state[4 : 4 + length])
            hotwords, extra = head["hotwords"] or (), head["extra"]
        weights = _weights(hotwords, self.engine)
        if isinstance(self.engine, Recognizer):
            live: RecognizerStream | VoiceStream = self.engine.create_stream(weights or ())
            endpointing = self.engine.endpointing if endpointing is None else endpointing
        else:
            live = self.engine.stream()
        if state is not None:
            live.restore(State.from_bytes(state[4 + length :]))
        self.admission.open_stream()
        stream = SpeechStream(self, live, weights, endpointing)
        self.streams.add(stream)
        self.metrics.streams += 1
        self.metrics.opened += 1
        return stream, extra

    def closed(self, stream: SpeechStream, reason: str) -> None:
        """Counts a stream out."""
        self.streams.discard(stream)
        self.metrics.streams -= 1
        self.admission.close_stream()
        self._models.metrics.ended[reason] += 1


class Speech:
    """All recognisers and voice detectors of a worker."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._sources = {source.name: source for source in models.config.speech}
        self._served: dict[str, ServedSpeech] = {}

    def __iter__(self) -> Iterator[ServedSpeech]:
        yield from self._served.values()

    async def load_all(self) -> None:
        """Loads all that the configuration names.

        Raises:
            TinyseqError: a file cannot be read, or something does not fit.
        """
        for name in self._sources:
            await self.load(name)

    async def load(self, name: str) -> None:
        """Loads one anew: new streams are of this one, streams that are live go on with theirs.

        Raises:
            UnknownModelError: the configuration does not name it.
            TinyseqError: it cannot be loaded; what was served is served on.
        """
        source = self._sources.get(name)
        if source is None:
            raise UnknownModelError(f"the configuration has no table speech.{shown(name)}")
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._models.executor, source.load)
        self.add(ServedSpeech(source, engine, self._models))

    def add(self, served: ServedSpeech) -> None:
        """Serves something; what had its name takes no new streams."""
        before = self._served.get(served.name)
        if before is not None:
            before.ready = False
        self._served[served.name] = served

    def find(self, name: str | None, kind: str | None = None) -> ServedSpeech:
        """What is served under a name or an alias; without one the first of a kind.

        Raises:
            UnknownModelError: there is none.
        """
        fitting = [served for served in self if kind in (None, served.kind)]
        for served in fitting:
            if name is None or name == served.name or name in served.aliases:
                return served
        what = {"voice": "voice detector", "recognizer": "recogniser", None: "recogniser or voice detector"}[
            kind
        ]
        if name is None or not fitting:
            raise UnknownModelError(f"no {what} is served; serve.toml names them in tables speech.NAME")
        names = ", ".join(served.name for served in fitting)
        raise UnknownModelError(
            f"no {what} {shown(name)} is served; there are {names} (aliases gives more names)"
        )


def _fingerprint(engine: Engine) -> str:
    """What tells it from others: equal where a stream may go on."""
    if isinstance(engine, Recognizer):
        told = engine.decoder.digest(0), engine.frame_seconds, engine.sample_rate
    else:
        told = tuple(engine.options.numbers())
    return sha256(repr((engine.model.fingerprint, *map(float, told))).encode()).hexdigest()


def _weights(hotwords: Mapping[str, float] | Sequence[str], engine: Engine) -> dict[str, float] | None:
    """Hotwords with their weights."""
    if not hotwords:
        return None
    if not isinstance(engine, Recognizer):
        raise FeedError("a voice detector knows no hotwords; leave them out")
    if len(hotwords) > MOST_HOTWORDS:
        raise FeedError(f"{len(hotwords)} hotwords are more than the {MOST_HOTWORDS} that a stream may have")
    if isinstance(hotwords, Mapping):
        return dict(hotwords)
    weight = getattr(engine.decoder.options, "hotword_weight", 0.0)
    return {word: weight for word in hotwords}
