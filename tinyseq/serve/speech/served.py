"""Recognisers and voice detectors that are served, and their live streams: many are stepped together."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import FeedError, StateError, TinyseqError
from tinyseq.runtime.state import State
from tinyseq.serve.batcher import Batcher, Done
from tinyseq.serve.errors import UnknownModelError
from tinyseq.serve.speech.steps import Heard, Noticed, RecognizerSteps, Sound, VoiceSteps
from tinyseq.serve.tokens import message_bytes
from tinyseq.speech.endpoint import Endpointing
from tinyseq.speech.recognizer import Recognizer
from tinyseq.speech.stream import RecognizerStream
from tinyseq.speech.voice_detector import VoiceStream

if TYPE_CHECKING:
    from tinyseq.serve.models import Models
    from tinyseq.serve.speech.sources import Engine, SpeechSource

log = logging.getLogger("tinyseq.serve")

PIECE_SECONDS = 0.5
"""Of sound that is stepped at once: longer messages take several turns, so that others get theirs."""

MOST_LIMITED = 16
"""Sets of words to which a recogniser is limited for clients at one time, and kept for the next client."""

MOST_HOTWORDS = 1000
"""Hotwords that a stream may have of its own."""


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
        self.served, self.endpointing = served, endpointing
        self.live: Any = live
        self.sequence = 0
        """Messages of sound that were taken."""
        self._hotwords = hotwords
        self.told_to_end: Callable[[], None] | None = None
        """What is called when the recogniser was replaced long ago: to close the stream, now or soon."""
        self._line = served.batcher.line(self)
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._busy = self._closed = False

    def end_soon(self) -> None:
        """Tells who uses the stream that it is to end."""
        told, self.told_to_end = self.told_to_end, None
        if told is not None:
            told()

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
            self._ask(partial(self._step, sound, piece_done), piece.nbytes)
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
        self._source = source
        self.name, self.aliases, self.language = source.name, source.aliases, source.language
        self.kind = source.kind
        self.engine: Any = engine
        """A Recognizer or a VoiceDetector."""
        self.streams: set[SpeechStream] = set()
        self._models = models
        self.metrics = models.metrics.of_model(source.name, "")
        self.steps = RecognizerSteps(engine) if isinstance(engine, Recognizer) else VoiceSteps(engine)
        self.admission = models.admission
        self.batcher = Batcher(
            self.steps, models.config.limits, self.admission, self.metrics, models.pace, models.executor
        )
        self._limited: OrderedDict[frozenset[str], ServedSpeech] = OrderedDict()

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from others: equal where a stream may go on."""
        return _fingerprint(self.engine)

    @property
    def sample_rate(self) -> int:
        """Hz that the model hears; sound of other rates is resampled."""
        return int(getattr(self.engine, "sample_rate", 16_000))

    @cached_property
    def token_bytes(self) -> int:
        """What a message with a state token may have."""
        live = self.engine.create_stream() if isinstance(self.engine, Recognizer) else self.engine.stream()
        try:
            first = live.snapshot()
        except StateError:  # which every token of such a stream will say, too
            return 0
        return message_bytes(len(first.to_bytes())) + self._models.config.limits.token_bytes

    def limited_to(self, words: Collection[str]) -> ServedSpeech:
        """The same recogniser, which recognises no other words. Few of those that were asked for are kept.

        Raises:
            OptionError: it cannot be so limited.
        """
        chosen = frozenset(words)
        found = self._limited.pop(chosen, None)
        if found is None:
            found = ServedSpeech(self._source, self.engine.limited_to(chosen), self._models)
            # What is counted, and ended when this is replaced.
            found.streams = self.streams
            if len(self._limited) >= MOST_LIMITED:
                self._limited.popitem(last=False)
        self._limited[chosen] = found
        return found

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
        self._served: dict[str, ServedSpeech] = {}
        self._stamps: dict[str, Any] = {}
        self._retired: WeakKeyDictionary[ServedSpeech, float] = WeakKeyDictionary()

    def __iter__(self) -> Iterator[ServedSpeech]:
        yield from self._served.values()

    async def load_all(self) -> None:
        """Loads all that the configuration names.

        Raises:
            TinyseqError: a file cannot be read, or something does not fit.
        """
        for source in self._models.config.speech:
            self._served[source.name] = await self._loaded(source)

    async def replace(self, sources: Sequence[SpeechSource], all_anew: bool) -> None:
        """Serves these and no others: new streams are of them, streams that are live go on with theirs. What
        cannot be loaded is served on as it was, and the log says why.

        Args:
            all_anew: loads those, too, whose tables and files are as they were.
        """
        found: dict[str, ServedSpeech] = {}
        for source in sources:
            before = self._served.get(source.name)
            if not all_anew and self._stamps.get(source.name) == source.stamp():
                fitting = before
            else:
                fitting = await self._loaded_or(source, before)
            if fitting is not None:
                found[source.name] = fitting
        now = monotonic()
        self._retired.update((served, now) for served in self if found.get(served.name) is not served)
        self._served = found

    async def _loaded_or(self, source: SpeechSource, before: ServedSpeech | None) -> ServedSpeech | None:
        try:
            return await self._loaded(source)
        except TinyseqError as error:
            log.error("%s; it is served as it was", error)
            return before

    async def _loaded(self, source: SpeechSource) -> ServedSpeech:
        self._stamps[source.name] = source.stamp()
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._models.executor, source.load)
        served = ServedSpeech(source, engine, self._models)
        # Worked out here, and not when the first client comes.
        served.fingerprint, served.token_bytes  # noqa: B018
        return served

    def tick(self, now: float) -> None:
        """Called every second or so: streams of what was replaced long ago are ended."""
        limit = now - self._models.config.limits.retire_seconds
        for served, since in list(self._retired.items()):
            for stream in list(served.streams) if since < limit else ():
                stream.end_soon()

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
