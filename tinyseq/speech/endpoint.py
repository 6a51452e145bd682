"""When an utterance is over."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tinyseq.common.given import is_number
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, OptionError


@dataclass(frozen=True)
class Endpointing:
    """sherpa-onnx's three rules, of which any one ends an utterance; ``inf`` turns a rule off.

    Attributes:
        rule1_min_trailing_silence: seconds of silence, whether anything was said or not.
        rule2_min_trailing_silence: seconds of silence after something was said.
        rule3_min_utterance_length: seconds of the whole utterance.
    """

    rule1_min_trailing_silence: float = 2.4
    rule2_min_trailing_silence: float = 1.2
    rule3_min_utterance_length: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _check_seconds(field.name, value, OptionError)

    def is_endpoint(self, length: float, last: float | None) -> bool:
        """Whether an utterance is over.

        Args:
            length: its seconds so far.
            last: the second in which its last token ended; None if nothing was said.
        """
        _check_seconds("length", length)
        if last is not None:
            _check_seconds("last", last)
        silence = length if last is None else length - last
        return (
            silence >= self.rule1_min_trailing_silence
            or (last is not None and silence >= self.rule2_min_trailing_silence)
            or length >= self.rule3_min_utterance_length
        )


def _check_seconds(name: str, value: object, error: type[FeedError] = FeedError) -> None:
    if not is_number(value) or not value >= 0:
        raise error(f"{name} is a number of seconds from 0 on, not {shown(value)}")
