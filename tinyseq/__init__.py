"""tinyseq: a small runtime for recurrent sequence models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tinyseq.errors import (
    BroadcastWarning,
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
)
from tinyseq.session import Session, Stream, load
from tinyseq.state import State

if TYPE_CHECKING:
    from tinyseq.decode.arpa import read_arpa
    from tinyseq.decode.ctc import CtcDecoder, ctc_beam_search, ctc_greedy
    from tinyseq.decode.ctc_options import CtcBeamSearch, CtcGreedy
    from tinyseq.decode.decoder import Decoder
    from tinyseq.decode.endpoint import Endpointing
    from tinyseq.decode.generate import generate
    from tinyseq.decode.hypothesis import Hypothesis
    from tinyseq.decode.kenlm import read_kenlm
    from tinyseq.decode.language_model import LanguageModel
    from tinyseq.decode.live import DecoderStream
    from tinyseq.decode.options import Beam, Greedy, Sampling
    from tinyseq.decode.transducer import TransducerDecoder, transducer_beam_search, transducer_greedy
    from tinyseq.decode.transducer_model import Transducer
    from tinyseq.decode.transducer_options import TransducerBeamSearch, TransducerGreedy
    from tinyseq.graph import Graph
    from tinyseq.inference_session import InferenceSession
    from tinyseq.pool import Pool
    from tinyseq.recognizer import Chunks, FrontEnd, Recognizer, Utterance
    from tinyseq.stream_check import StreamReport, check_stream

__version__ = "0.1.0"

__all__ = [
    "Beam",
    "BroadcastWarning",
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
    "Utterance",
    "check_stream",
    "ctc_beam_search",
    "ctc_greedy",
    "generate",
    "load",
    "read_arpa",
    "read_kenlm",
    "transducer_beam_search",
    "transducer_greedy",
]

_LATER = {
    "Beam": "decode.options",
    "Chunks": "recognizer",
    "CtcBeamSearch": "decode.ctc_options",
    "CtcDecoder": "decode.ctc",
    "CtcGreedy": "decode.ctc_options",
    "Decoder": "decode.decoder",
    "DecoderStream": "decode.live",
    "Endpointing": "decode.endpoint",
    "FrontEnd": "recognizer",
    "Graph": "graph",
    "Greedy": "decode.options",
    "Hypothesis": "decode.hypothesis",
    "InferenceSession": "inference_session",
    "LanguageModel": "decode.language_model",
    "Pool": "pool",
    "Recognizer": "recognizer",
    "Sampling": "decode.options",
    "StreamReport": "stream_check",
    "Transducer": "decode.transducer_model",
    "TransducerBeamSearch": "decode.transducer_options",
    "TransducerDecoder": "decode.transducer",
    "TransducerGreedy": "decode.transducer_options",
    "Utterance": "recognizer",
    "check_stream": "stream_check",
    "ctc_beam_search": "decode.ctc",
    "ctc_greedy": "decode.ctc",
    "generate": "decode.generate",
    "read_arpa": "decode.arpa",
    "read_kenlm": "decode.kenlm",
    "transducer_beam_search": "decode.transducer",
    "transducer_greedy": "decode.transducer",
}


def __getattr__(name: str) -> object:
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq' has no attribute {name!r}")
    return getattr(import_module(f"tinyseq.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
