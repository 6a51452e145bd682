"""tinyseq: a small runtime for recurrent sequence models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tinyseq.errors import (
    BroadcastWarning,
    ChunkWarning,
    ConversionWarning,
    DeviceError,
    FeedError,
    KernelsError,
    MissingPackageError,
    ModelError,
    OptionError,
    StateError,
    TinyseqError,
    UnsupportedError,
    VocabularyWarning,
)
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session
from tinyseq.runtime.state import State
from tinyseq.runtime.stream import Stream

if TYPE_CHECKING:
    from tinyseq.decode.ctc.decoder import CtcDecoder, ctc_beam_search, ctc_greedy
    from tinyseq.decode.ctc.options import CtcBeamSearch, CtcGreedy
    from tinyseq.decode.frames.stream import DecoderStream
    from tinyseq.decode.generation.decoder import Decoder
    from tinyseq.decode.generation.generate import generate
    from tinyseq.decode.generation.options import Beam, Greedy, Sampling
    from tinyseq.decode.hypothesis import Hypothesis, Word
    from tinyseq.decode.lm.arpa import read_arpa
    from tinyseq.decode.lm.kenlm import read_kenlm
    from tinyseq.decode.lm.language_model import LanguageModel
    from tinyseq.decode.transducer.decoder import TransducerDecoder, transducer_beam_search, transducer_greedy
    from tinyseq.decode.transducer.models import Transducer
    from tinyseq.decode.transducer.options import TransducerBeamSearch, TransducerGreedy
    from tinyseq.decode.vocabulary import read_lexicon, read_vocabulary
    from tinyseq.decode.words import word_times
    from tinyseq.dropin.onnxruntime import InferenceSession
    from tinyseq.ir.graph import Graph
    from tinyseq.runtime.pool import Pool
    from tinyseq.speech.endpoint import Endpointing
    from tinyseq.speech.front_end import Chunks, FrontEnd
    from tinyseq.speech.recognizer import Recognizer
    from tinyseq.speech.result import RecognizerResult
    from tinyseq.speech.stream import RecognizerStream
    from tinyseq.tools.stream_check import StreamReport, check_stream

__version__ = "0.1.0"

__all__ = [
    "Beam",
    "BroadcastWarning",
    "ChunkWarning",
    "Chunks",
    "ConversionWarning",
    "CtcBeamSearch",
    "CtcDecoder",
    "CtcGreedy",
    "Decoder",
    "DecoderStream",
    "DeviceError",
    "Endpointing",
    "FeedError",
    "FrontEnd",
    "Graph",
    "Greedy",
    "Hypothesis",
    "InferenceSession",
    "KernelsError",
    "LanguageModel",
    "MissingPackageError",
    "ModelError",
    "OptionError",
    "Pool",
    "Recognizer",
    "RecognizerResult",
    "RecognizerStream",
    "Sampling",
    "Session",
    "State",
    "StateError",
    "Stream",
    "StreamReport",
    "TinyseqError",
    "Transducer",
    "TransducerBeamSearch",
    "TransducerDecoder",
    "TransducerGreedy",
    "UnsupportedError",
    "VocabularyWarning",
    "Word",
    "check_stream",
    "ctc_beam_search",
    "ctc_greedy",
    "generate",
    "load",
    "read_arpa",
    "read_kenlm",
    "read_lexicon",
    "read_vocabulary",
    "transducer_beam_search",
    "transducer_greedy",
    "word_times",
]

_LATER = {
    "Beam": "decode.generation.options",
    "Chunks": "speech.front_end",
    "CtcBeamSearch": "decode.ctc.options",
    "CtcDecoder": "decode.ctc.decoder",
    "CtcGreedy": "decode.ctc.options",
    "DecoderStream": "decode.frames.stream",
    "Decoder": "decode.generation.decoder",
    "Endpointing": "speech.endpoint",
    "FrontEnd": "speech.front_end",
    "Graph": "ir.graph",
    "Greedy": "decode.generation.options",
    "Hypothesis": "decode.hypothesis",
    "InferenceSession": "dropin.onnxruntime",
    "LanguageModel": "decode.lm.language_model",
    "Pool": "runtime.pool",
    "Recognizer": "speech.recognizer",
    "RecognizerResult": "speech.result",
    "RecognizerStream": "speech.stream",
    "Sampling": "decode.generation.options",
    "StreamReport": "tools.stream_check",
    "Transducer": "decode.transducer.models",
    "TransducerBeamSearch": "decode.transducer.options",
    "TransducerDecoder": "decode.transducer.decoder",
    "TransducerGreedy": "decode.transducer.options",
    "Word": "decode.hypothesis",
    "check_stream": "tools.stream_check",
    "ctc_beam_search": "decode.ctc.decoder",
    "ctc_greedy": "decode.ctc.decoder",
    "generate": "decode.generation.generate",
    "read_arpa": "decode.lm.arpa",
    "read_kenlm": "decode.lm.kenlm",
    "read_lexicon": "decode.vocabulary",
    "read_vocabulary": "decode.vocabulary",
    "transducer_beam_search": "decode.transducer.decoder",
    "transducer_greedy": "decode.transducer.decoder",
    "word_times": "decode.words",
}


def __getattr__(name: str) -> object:
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq' has no attribute {name!r}")
    return getattr(import_module(f"tinyseq.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
