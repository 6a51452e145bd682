"""tinyseq: a small runtime for recurrent sequence models."""

from importlib import import_module

from tinyseq.errors import (
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

__version__ = "0.1.0"

__all__ = [
    "Beam",
    "Chunks",
    "CtcBeamSearch",
    "CtcDecoder",
    "CtcGreedy",
    "Decoder",
    "DecoderStream",
    "DeviceError",
    "Endpointing",
    "FeedError",
    "Graph",
    "Greedy",
    "Hypothesis",
    "InferenceSession",
    "KernelsError",
    "MissingPackageError",
    "ModelError",
    "OptionError",
    "Recognizer",
    "Sampling",
    "Session",
    "State",
    "StateError",
    "Stream",
    "TinyseqError",
    "Transducer",
    "TransducerBeamSearch",
    "TransducerDecoder",
    "TransducerGreedy",
    "UnsupportedError",
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
    "Chunks": "speech.front_end",
    "CtcBeamSearch": "decode.ctc_options",
    "CtcDecoder": "decode.ctc",
    "CtcGreedy": "decode.ctc_options",
    "DecoderStream": "decode.live",
    "Decoder": "decode.decoder",
    "Endpointing": "speech.endpoint",
    "Graph": "graph",
    "Greedy": "decode.options",
    "Hypothesis": "decode.hypothesis",
    "InferenceSession": "inference_session",
    "Recognizer": "speech.recognizer",
    "Sampling": "decode.options",
    "Transducer": "decode.transducer_model",
    "TransducerBeamSearch": "decode.transducer_options",
    "TransducerDecoder": "decode.transducer",
    "TransducerGreedy": "decode.transducer_options",
    "check_stream": "stream_check",
    "ctc_beam_search": "decode.ctc",
    "ctc_greedy": "decode.ctc",
    "generate": "decode.generate",
    "read_arpa": "decode.arpa",
    "read_kenlm": "decode.kenlm",
    "transducer_beam_search": "decode.transducer",
    "transducer_greedy": "decode.transducer",
}


def __getattr__(name: str):
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq' has no attribute {name!r}")
    return getattr(import_module(f"tinyseq.{_LATER[name]}"), name)
