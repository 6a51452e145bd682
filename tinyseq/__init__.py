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
    "Beam": "decode.generation.options",
    "Chunks": "recognizer",
    "CtcBeamSearch": "decode.ctc.options",
    "CtcDecoder": "decode.ctc.decoder",
    "CtcGreedy": "decode.ctc.options",
    "DecoderStream": "decode.frames.decoder",
    "Decoder": "decode.generation.decoder",
    "Endpointing": "decode.endpoint",
    "Graph": "graph",
    "Greedy": "decode.generation.options",
    "Hypothesis": "decode.hypothesis",
    "InferenceSession": "inference_session",
    "Recognizer": "recognizer",
    "Sampling": "decode.generation.options",
    "Transducer": "decode.transducer.models",
    "TransducerBeamSearch": "decode.transducer.options",
    "TransducerDecoder": "decode.transducer.decoder",
    "TransducerGreedy": "decode.transducer.options",
    "check_stream": "stream_check",
    "ctc_beam_search": "decode.ctc.decoder",
    "ctc_greedy": "decode.ctc.decoder",
    "generate": "decode.generation.generate",
    "read_arpa": "decode.lm.arpa",
    "read_kenlm": "decode.lm.kenlm",
    "transducer_beam_search": "decode.transducer.decoder",
    "transducer_greedy": "decode.transducer.decoder",
}


def __getattr__(name: str):
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq' has no attribute {name!r}")
    return getattr(import_module(f"tinyseq.{_LATER[name]}"), name)
