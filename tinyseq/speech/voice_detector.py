"""Voice detection: silero's detector, from sound to the times at which speech starts and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import NoReturn

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.frames.snapshots import field
from tinyseq.errors import FeedError, ModelError, StateError
from tinyseq.runtime.batching import Together
from tinyseq.runtime.claim import Claim, claiming, put_back, take_all
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session, loaded
from tinyseq.runtime.state import State
from tinyseq.speech.parts import opened, packed
from tinyseq.speech.segments import (
    CHUNK,
    SAMPLE_RATE,
    Segment,
    Segmenter,
    VoiceEvent,
    VoiceOptions,
    segments,
)
from tinyseq.speech.sound import Sound

MODEL = Path(__file__).with_name("data") / "silero_vad_16k.tinyseq"

CONTEXT = 64
"""Samples of the previous chunk that the model sees in front of each chunk: 4 ms."""


class VoiceDetector:
    """Finds speech in any number of live streams, or in sound that is there already.

    Args:
        model: a loaded silero detector for 16 kHz, as ``silero_vad.onnx``; None for the one in the package.
        threshold: speech starts with the first chunk of 32 ms that is at least so probable.
        negative_threshold: it may end with the first one that is less probable; None for 0.15 below
            ``threshold``.
        min_speech_duration: what is shorter, in seconds, is no speech.
        min_silence_duration: what is shorter, in seconds, is part of the speech around it.
        speech_pad: seconds that are added to speech on both sides, as far as there is sound and no other
            speech.

    Raises:
        ModelError: the model is no such detector.
        OptionError: a threshold or a duration is out of its range.
    """

    def __init__(
        self,
        model: Session | None = None,
        *,
        threshold: float = 0.5,
        negative_threshold: float | None = None,
        min_speech_duration: float = 0.25,
        min_silence_duration: float = 0.1,
        speech_pad: float = 0.03,
    ) -> None:
        durations = min_speech_duration, min_silence_duration, speech_pad
        self.options = VoiceOptions(threshold, negative_threshold, *durations)
        self.model = load(MODEL) if model is None else loaded(model, "model")
        self._together = Together(self.model)
        carried = {pair.input for pair in self.model.state}
        names = {value.name for value in self.model.stream_inputs} - carried
        outputs = {value.name for value in self.model.outputs} - {pair.output for pair in self.model.state}
        if not carried or names not in ({"input"}, {"input", "sr"}) or len(outputs) != 1:
            raise ModelError(f"a voice detector is silero's for 16 kHz: {_WANTED}; this model is another")
        self._rate = {"sr": np.array(SAMPLE_RATE)} if "sr" in names else {}
        (self._output,) = outputs
        # Plans the step too, so that no chunk waits for it.
        try:
            self._given = self.model.stream().step(self._feeds(np.zeros((1, CONTEXT + CHUNK), np.float32)))
        except FeedError as error:
            raise ModelError(f"a voice detector is silero's for 16 kHz: {_WANTED}; {error}") from error
        if self._given[self._output].size != 1:
            raise ModelError(f"a voice detector gives one probability for a chunk: {_WANTED}")

    def stream(self) -> VoiceStream:
        """A new stream, at its start."""
        return VoiceStream(self)

    def accept_waveforms(
        self, streams: Sequence[VoiceStream], sample_rate: float, waveforms: Sequence[np.ndarray]
    ) -> list[list[VoiceEvent]]:
        """Takes in sound for each of several streams, which are stepped together, as rows of one pool: the
        events of each are those that ``VoiceStream.accept_waveform`` would give.

        Raises:
            FeedError: a waveform or a stream is refused; nothing was taken of any.
            StateError: a stream is in use by another thread; nothing was taken of any.
        """
        try:
            streams, waveforms = list(streams), list(waveforms)
        except TypeError as error:
            raise FeedError("streams and waveforms are lists, a waveform for each stream") from error
        for stream in streams:
            if not isinstance(stream, VoiceStream) or stream._detector is not self:
                raise FeedError(f"streams are what stream() of this detector gives, not {shown(stream)}")
        if len(streams) != len(waveforms) or len(set(map(id, streams))) != len(streams):
            raise FeedError(
                f"{len(waveforms)} waveforms are for as many different streams, not for {len(streams)}"
            )
        held = take_all([stream._claim for stream in streams])
        try:
            sounds = [stream._checked(sample_rate, given) for stream, given in zip(streams, waveforms)]
            for stream, sound in zip(streams, sounds):
                stream._take(stream._sound.push(sample_rate, sound))
            return self._advance(streams)
        finally:
            put_back(held)

    def segments(self, sample_rate: float, samples: np.ndarray) -> list[Segment]:
        """The speech in a whole sound; see ``VoiceStream.accept_waveform``."""
        stream = self.stream()
        return segments([*stream.accept_waveform(sample_rate, samples), *stream.finish()])

    def _feeds(self, window: np.ndarray) -> dict[str, np.ndarray]:
        return {"input": window, **self._rate}

    def _advance(self, streams: Sequence[VoiceStream]) -> list[list[VoiceEvent]]:
        """Steps streams through all their whole chunks; the events of each."""
        if len(streams) == 1:
            return [streams[0]._hear_alone()]
        events = {stream: [] for stream in streams}
        while ready := [stream for stream in streams if stream._next_window()]:
            models = [stream._model for stream in ready]
            for stream, result in zip(ready, self._together.step(models, [own._feeds for own in ready])):
                if isinstance(result, FeedError):
                    raise result
                events[stream] += stream._heard(result)
        return list(events.values())


_WANTED = (
    f"input float32[1, {CONTEXT + CHUNK}], perhaps sr, a state that is carried on, and one output, the "
    "probability of speech"
)


class VoiceStream:
    """One live stream of sound: what is left of it, the model's state, and the speech that is going on.

    All of it raises a StateError while another thread uses the stream. Made by ``VoiceDetector.stream``.
    """

    def __init__(self, detector: VoiceDetector) -> None:
        self._detector = detector
        self._claim = Claim("stream")
        self._model = detector.model.stream()
        self._window = np.zeros((1, CONTEXT + CHUNK), np.float32)
        self._feeds = detector._feeds(self._window)
        self._outputs = {name: np.array(array) for name, array in detector._given.items()}
        self._begin()

    def _begin(self) -> None:
        self.probability = nan
        """Of speech in the latest chunk of 32 ms; NaN before the first."""
        self._sound = Sound(SAMPLE_RATE)
        self._segmenter = Segmenter(self._detector.options)
        # The last samples of the chunk before, then what is not heard yet.
        self._samples = np.zeros(CONTEXT, np.float32)
        self._at = 0
        self._padding = 0
        self._is_finished = False

    @claiming
    def accept_waveform(self, sample_rate: float, waveform: np.ndarray) -> list[VoiceEvent]:
        """Takes sound in; gives what is certain with it, in the order of time. How the sound is cut changes
        no event.

        Args:
            sample_rate: Hz; sound of another rate than 16,000 is resampled, by the soxr package. It stays the
                same for all sound of a stream.
            waveform: [samples], or [samples, channels], which are averaged: floats from -1 to 1, or int16,
                int32 or uint8, which are scaled to that.

        Raises:
            FeedError: it is no such sound, holds NaN or infinity, or comes after ``finish``;
                nothing was taken.
            MissingPackageError: it must be resampled, and soxr is not installed.
        """
        self._take(self._sound.push(sample_rate, self._checked(sample_rate, waveform)))
        return self._hear_alone()

    @claiming
    def finish(self) -> list[VoiceEvent]:
        """Ends the sound, behind which silence is taken to follow: the events that are still due."""
        if self._is_finished:
            return []
        self._take(self._sound.finish())
        events = self._hear_alone()
        left = len(self._samples) - self._at - CONTEXT
        if left:
            self._padding = CHUNK - left
            self._take(np.zeros(self._padding, np.float32))
            events += self._hear_alone()
        self._is_finished = True
        return events + self._segmenter.finish()

    @claiming
    def reset(self) -> None:
        """Goes back to the start: other sound may follow, whose seconds count from its own first sample."""
        self._model.reset()
        self._begin()

    @claiming
    def snapshot(self) -> State:
        """A copy of everything that the stream's future depends on; ``State.to_bytes`` saves it, for streams
        of detectors with the same model and options. Sound that is resampled goes on, behind it, within the
        rounding of float32; all else in the same bits.
        """
        return State(
            {
                "options": self._detector.options.numbers(),
                "sound": packed(self._sound.snapshot()),
                "samples": self._samples[self._at :],
                "speech": self._segmenter.fields(),
                "probability": np.array(self.probability),
                "finished": np.array(self._is_finished),
                "model": packed(self._model.snapshot()),
            }
        )

    @claiming
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot, of this stream or of one of a detector with the same model and options.

        Raises:
            StateError: it is of another, or damaged; the stream is as before.
        """
        if not isinstance(saved, Mapping):
            raise StateError(f"a state is a dict from name to array, not {type(saved).__name__}")
        options = self._detector.options.numbers()
        if not np.array_equal(field(saved, "options", np.float64, options.shape), options):
            raise StateError("the saved stream is damaged, or of a voice detector with other options")
        sound = Sound(SAMPLE_RATE)
        opened(saved, "sound", sound.restore)
        samples = field(saved, "samples", np.float32, (None,))
        if not CONTEXT <= len(samples) < CONTEXT + CHUNK or not np.isfinite(samples).all():
            raise StateError("the saved stream is damaged: there cannot be such samples left of its sound")
        segmenter = Segmenter(self._detector.options)
        segmenter.restore(field(saved, "speech", np.int64, (5,)))
        probability = float(field(saved, "probability", np.float64, ()))
        is_finished = bool(field(saved, "finished", np.bool_, ()))
        opened(saved, "model", self._model.restore)
        self._sound, self._segmenter, self._samples, self._at = sound, segmenter, samples, 0
        self.probability, self._is_finished, self._padding = probability, is_finished, 0

    @claiming
    def fork(self) -> VoiceStream:
        """A second stream that starts where this one is; from then on they are independent."""
        twin = VoiceStream(self._detector)
        twin._sound.restore(self._sound.snapshot())
        twin._model, twin.probability = self._model.fork(), self.probability
        twin._segmenter.restore(self._segmenter.fields())
        twin._samples, twin._is_finished = self._samples[self._at :].copy(), self._is_finished
        return twin

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "a stream is not pickled or copied: fork() makes a second one, snapshot() a value to pickle"
        )

    def _checked(self, sample_rate: object, waveform: object) -> np.ndarray:
        if self._is_finished:
            raise FeedError("the sound of this stream was declared finished; reset it or create another")
        return self._sound.checked(sample_rate, waveform)

    def _take(self, sound: np.ndarray) -> None:
        if len(sound):
            self._samples, self._at = np.concatenate([self._samples[self._at :], sound]), 0

    def _next_window(self) -> bool:
        """Lays out the next chunk behind its context; False if it is not there yet."""
        at = self._at
        if len(self._samples) - at < CONTEXT + CHUNK:
            return False
        self._window[0] = self._samples[at : at + CONTEXT + CHUNK]
        self._at = at + CHUNK
        return True

    def _hear_alone(self) -> list[VoiceEvent]:
        """Steps through all whole chunks; the events."""
        events = []
        while self._next_window():
            events += self._heard(self._model.step(self._feeds, self._outputs))
        return events

    def _heard(self, outputs: Mapping[str, np.ndarray]) -> list[VoiceEvent]:
        """What is certain with the model's outputs for a chunk."""
        self.probability = outputs[self._detector._output].item()
        return self._segmenter.push(self.probability, CHUNK - self._padding)
