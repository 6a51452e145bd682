"""What a recognizer has heard of an utterance, with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tinyseq.decode.hypothesis import Hypothesis, Partial, joined
from tinyseq.decode.words import Word, timed

if TYPE_CHECKING:
    from tinyseq.decode.lm.spelling import WordReader


@dataclass(frozen=True)
class Timeline:
    """Where an utterance lies within its stream: seconds of its frames."""

    frame_seconds: float
    start: float = 0.0
    """Seconds of the stream at which frames are counted from."""
    before: int = 0
    """Frames between there and the utterance."""

    def seconds(self, frame: int) -> float:
        """When a frame of the utterance begins."""
        return self.start + (self.before + frame) * self.frame_seconds

    def after(self, frames: int) -> Timeline:
        """That of the next utterance."""
        return Timeline(self.frame_seconds, self.start, self.before + frames)


class RecognizerResult:
    """What was heard of an utterance at one moment: a value, which nothing that is heard later changes.

    All times are in seconds of the stream: they count from its first sample, through all utterances.
    The lists are made when they are first asked for.

    Attributes:
        start: when the utterance began.
        end: up to when its sound is decoded.
        frames_heard: how many frames that is.
        is_final: whether the utterance is over, or all of the sound given and decoded.
    """

    def __init__(
        self,
        found: Partial | Hypothesis,
        vocabulary: Sequence[str] | None,
        timeline: Timeline,
        frames: int,
        is_final: bool,
        word_mark: str | int | None = None,
        reader: WordReader | None = None,
    ) -> None:
        self._found, self._vocabulary, self._timeline = found, vocabulary, timeline
        self._word_mark, self._reader = word_mark, reader
        self.start, self.end, self.is_final = timeline.seconds(0), timeline.seconds(frames), is_final
        self.frames_heard = frames

    @cached_property
    def hypothesis(self) -> Hypothesis:
        """The best hypothesis, as the decoder gives it: its frames count from the start of the utterance."""
        if isinstance(self._found, Hypothesis):
            return self._found
        settled, tentative, score = self._found
        return joined([settled, tentative]).hypothesis(
            score, self._vocabulary, reader=self._reader, is_over=False
        )

    @property
    def tokens(self) -> list[int]:
        """Their ids, without blanks."""
        return self.hypothesis.tokens

    @property
    def text(self) -> str | None:
        """The words of a lexicon, or the tokens' strings, joined; None without both."""
        return self.hypothesis.text

    @cached_property
    def stable_text(self) -> str | None:
        """What ``text`` begins with and, of the same utterance, the text of every later result too: of a
        lexicon the words that are over, otherwise the strings of the tokens that are certain."""
        if self.text is None or isinstance(self._found, Hypothesis):
            return self.text
        settled = self._found.settled
        if self._reader is not None:
            return " ".join(word for word, _, _ in self._reader.ended(settled.words[0].tolist()))
        return settled.hypothesis(self.score, self._vocabulary).text

    @property
    def tentative_text(self) -> str | None:
        """What ``text`` has behind ``stable_text``: how it goes on at this moment."""
        return None if self.text is None else self.text[len(self.stable_text) :]

    @property
    def score(self) -> float:
        """What the search ranked by, see ``Hypothesis``."""
        return self._found.score

    @property
    def confidences(self) -> list[float]:
        """For each token its probability in the frame that it stands at."""
        return self.hypothesis.confidences

    @property
    def frames(self) -> list[int]:
        """For each token the frame that it stands at, counted from the start of the utterance."""
        return self.hypothesis.frames

    @cached_property
    def starts(self) -> list[float]:
        """For each token the second at which the frame that it stands at begins."""
        return [self._timeline.seconds(frame) for frame in self.frames]

    @cached_property
    def ends(self) -> list[float]:
        """For each token the second at which that frame ends."""
        return [self._timeline.seconds(frame + 1) for frame in self.frames]

    @cached_property
    def words(self) -> list[Word] | None:
        """Its words and when they were said; None without a lexicon and a vocabulary, or if nothing in it
        parts words: see ``word_times``. The last one may go on, unless the result is final."""
        return timed(self.hypothesis, self._vocabulary, self._word_mark, self._timeline.seconds)

    @property
    def stable(self) -> int:
        """How many tokens, from the first, are certain: later results of the utterance have them too."""
        return len(self.tokens) if isinstance(self._found, Hypothesis) else len(self._found.settled)

    @property
    def last_frame(self) -> int | None:
        """That of the last token; None without tokens. Takes no longer, however many there are."""
        if isinstance(self._found, Hypothesis):
            return self._found.frames[-1] if self._found.frames else None
        for part in (self._found.tentative, self._found.settled):
            if len(part):
                return int(part.words[1, -1])
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecognizerResult):
            return NotImplemented
        return self._compared == other._compared

    __hash__ = None

    @property
    def _compared(self) -> tuple:
        return self.hypothesis, self._timeline, self.end, self.stable, self.is_final

    def __repr__(self) -> str:
        said = f"tokens={self.tokens}" if self.text is None else f"text={self.text!r}"
        return f"RecognizerResult({said}, start={self.start:g}, end={self.end:g}, is_final={self.is_final})"
