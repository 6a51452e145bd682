"""Live sound: recognition and voice detection, any number of streams at once.

The way of the data: ``sound`` makes one channel at one sample rate of what comes. For a ``recognizer``, a
``front_end`` makes of it what the model takes, and a search turns what comes out into a ``result``; in a
``voice_detector``, ``segments`` turns probabilities into events.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyseq.speech.endpoint import Endpointing
    from tinyseq.speech.front_end import Chunks
    from tinyseq.speech.recognizer import Recognizer
    from tinyseq.speech.result import RecognizerResult
    from tinyseq.speech.segments import Segment, VoiceEvent
    from tinyseq.speech.stream import RecognizerStream
    from tinyseq.speech.voice_detector import VoiceDetector, VoiceStream

__all__ = [
    "Chunks",
    "Endpointing",
    "Recognizer",
    "RecognizerResult",
    "RecognizerStream",
    "Segment",
    "VoiceDetector",
    "VoiceEvent",
    "VoiceStream",
]

_LATER = {
    "Chunks": "front_end",
    "Endpointing": "endpoint",
    "Recognizer": "recognizer",
    "RecognizerResult": "result",
    "RecognizerStream": "stream",
    "Segment": "segments",
    "VoiceDetector": "voice_detector",
    "VoiceEvent": "segments",
    "VoiceStream": "voice_detector",
}


def __getattr__(name: str):
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq.speech' has no attribute {name!r}")
    return getattr(import_module(f"tinyseq.speech.{_LATER[name]}"), name)
