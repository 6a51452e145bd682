"""Live recognition of speech: a front end, a model and a decoder behind sherpa-onnx's verbs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from math import inf

import numpy as np

from tinyseq.common.given import is_number
from tinyseq.common.text import shown
from tinyseq.decode.frames.decoder import LiveDecoder
from tinyseq.decode.hypothesis import Hypothesis, Partial
from tinyseq.decode.words import word_mark
from tinyseq.errors import FeedError
from tinyseq.runtime.batching import Together
from tinyseq.runtime.claim import put_back, take_all
from tinyseq.runtime.session import Session, loaded
from tinyseq.speech.endpoint import Endpointing
from tinyseq.speech.front_end import Feeds, FrontEnd
from tinyseq.speech.result import RecognizerResult
from tinyseq.speech.stream import END, RecognizerStream


class Recognizer:
    """Recognises any number of live streams with one model and one decoder.

    Args:
        model: a model that can be streamed, whose output is rows of log-probabilities, or the encoder of a
            transducer.
        front_end: makes a stream's front end: ``lambda: tinyseq.Chunks(512, feeds)``, say.
        decoder: turns rows into tokens: a ``CtcDecoder`` or a ``TransducerDecoder``.
        frame_seconds: how much sound a row stands for.
        output: the model's output; None if it has just one that carries no state.
        sample_rate: Hz that the front end takes; sound of another rate is resampled.
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

    @cached_property
    def _word_mark(self) -> str | int | None:
        options = self.decoder.options
        return word_mark(options.vocabulary, getattr(options, "word_separator", None))

    @property
    def parts_words(self) -> bool:
        """Whether results have words, by a lexicon or by what parts them in the vocabulary."""
        return self._word_mark is not None or getattr(self.decoder.options, "lexicon", None) is not None

    def limited_to(self, words: Collection[str]) -> Recognizer:
        """A recognizer like this one that recognises no other words. Where the decoder has a lexicon they are
        words of that.

        Raises:
            OptionError: the decoder's search knows no lexicon, or the lexicon has not all of the words.
        """
        return Recognizer(
            self.model,
            self.front_end,
            self.decoder.limited_to(words),
            self.frame_seconds,
            self._output,
            self.sample_rate,
            self.endpointing,
        )

    def create_stream(
        self,
        hotwords: Collection[str | Sequence[int]] | Mapping[str | tuple[int, ...], float] = (),
        hotword_weight: float | None = None,
    ) -> RecognizerStream:
        """A new stream, at its start.

        Args:
            hotwords: words and phrases that are likelier in this stream, beside the decoder's; strings or
                sequences of tokens, or from each to its weight.
            hotword_weight: of those without a weight of their own; None for that of the decoder's options.

        Raises:
            OptionError: the decoder's search knows no hotwords, or some cannot be spelt: says which.
        """
        return RecognizerStream(self, self.decoder.stream(hotwords, hotword_weight))

    def is_ready(self, stream: RecognizerStream) -> bool:
        """Whether enough was heard for a step."""
        return bool(self._own(stream)._steps)

    def decode(self, streams: RecognizerStream | Sequence[RecognizerStream]) -> None:
        """Goes one step on in one stream, or in each of several that are ready, all of them together: models
        whose rows keep apart in one call, and all searches in one. Results are those of each stream alone.

        Raises:
            FeedError: the model refuses what the front end made of the sound, or the decoder what the model
                made of it, as NaN. That stream has lost the step, all others have taken theirs.
            StateError: a stream is in use by another thread; none has lost anything.
        """
        try:
            streams = [streams] if isinstance(streams, RecognizerStream) else list(streams)
        except TypeError as error:
            raise FeedError(f"streams are those of create_stream, not {shown(streams)}") from error
        for stream, error in self.advance(streams).items():
            raise FeedError(
                f"stream {streams.index(stream)}: {error}. It has lost this step, others have taken theirs"
            ) from error

    def advance(self, streams: Iterable[RecognizerStream]) -> dict[RecognizerStream, FeedError]:
        """``decode`` for programs that go on without a stream whose step is refused: gives those and why,
        where ``decode`` raises."""
        own = list(dict.fromkeys(map(self._own, streams)))
        held = take_all([stream._decoding for stream in own])
        try:
            return self._step([stream for stream in own if stream._steps])
        finally:
            put_back(held)

    def _step(self, ready: list[RecognizerStream]) -> dict[RecognizerStream, FeedError]:
        """A step of each of several streams; says whose was refused."""
        feeds = [stream._steps.popleft() for stream in ready]
        results = self._outputs(ready, feeds)
        rows = {}
        refused = {}
        for stream, result in zip(ready, results):
            try:
                rows[stream] = self._rows(result)
            except FeedError as error:
                refused[stream] = error
        return refused | self._search(rows)

    def _outputs(
        self, streams: list[RecognizerStream], steps: list[Feeds | None]
    ) -> list[Mapping[str, np.ndarray] | FeedError]:
        """What the model gives for a step of each stream, or why it refuses it."""
        going = [(stream._model, feeds) for stream, feeds in zip(streams, steps) if feeds is not END]
        results = iter(self._together.step(*zip(*going)) if going else ())
        return [next(results) if feeds is not END else stream.end() for stream, feeds in zip(streams, steps)]

    def _search(self, rows: dict[RecognizerStream, np.ndarray]) -> dict[RecognizerStream, FeedError]:
        """Steps the searches of several streams; says whose rows were refused."""
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

    def _own(self, stream: object) -> RecognizerStream:
        if not isinstance(stream, RecognizerStream) or stream._recognizer is not self:
            what = "another recognizer's" if isinstance(stream, RecognizerStream) else type(stream).__name__
            raise FeedError(f"a stream is what create_stream of this recognizer gives, not {what}")
        return stream

    def _rows(self, outputs: Mapping[str, np.ndarray] | FeedError) -> np.ndarray:
        if isinstance(outputs, FeedError):
            raise outputs
        array = outputs[self._output]
        size = array.shape[-1] if array.ndim else 0
        if array.ndim < 2 or sum(length != 1 for length in array.shape[:-1]) > 1 or size == 0:
            raise FeedError(f"output {self._output!r} is rows [T, V] of one stream, not {list(array.shape)}")
        return array.reshape(-1, size)

    def get_result(self, stream: RecognizerStream) -> RecognizerResult:
        """The best hypothesis at this moment, with times; when all sound is decoded, the final one.

        It takes no longer, however long ago the utterance began.
        """
        own = self._own(stream)
        return self._result(own, own._is_finished and not own._steps)

    def end_utterance(self, stream: RecognizerStream) -> RecognizerResult:
        """The final result of an utterance that ends here, as at an endpoint; then ``reset``."""
        result = self._result(self._own(stream), True)
        self.reset(stream)
        return result

    def _result(self, own: RecognizerStream, is_over: bool) -> RecognizerResult:
        own._decoding.take()
        try:
            found = self._found(own, is_over)
            options, timeline = self.decoder.options, own._timeline
            frames, mark = own._search.frames, self._word_mark
            reader = own._search.reader
            return RecognizerResult(found, options.vocabulary, timeline, frames, is_over, mark, reader)
        finally:
            own._decoding.free.append(None)

    def _found(self, stream: RecognizerStream, is_over: bool) -> Partial | Hypothesis:
        """The best hypothesis of a stream; the final one, if nothing follows in this utterance."""
        if is_over and stream._final is None:
            stream._final = next(iter(stream._search.finish()), None)
        found = stream._final if is_over else None
        return stream._search.partial_tokens() if found is None else found

    def is_endpoint(self, stream: RecognizerStream) -> bool:
        """Whether the utterance is over; see ``Endpointing``."""
        found = self.get_result(stream)
        last = None if found.last_frame is None else (found.last_frame + 1) * self.frame_seconds
        return self.endpointing.is_endpoint(found.frames_heard * self.frame_seconds, last)

    def reset(self, stream: RecognizerStream) -> None:
        """Begins a stream's next utterance: tokens and frames start anew, the seconds of its results go on.

        What the model remembers stays, unless the sound was declared finished and the model holds frames
        back: it has given them then, and begins anew.
        """
        self._own(stream).begin_utterance()
