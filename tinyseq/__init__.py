"""tinyseq: a small runtime for recurrent sequence models."""

from importlib import import_module

from tinyseq.errors import (
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
    "Decoder",
    "FeedError",
    "Graph",
    "Greedy",
    "InferenceSession",
    "KernelsError",
    "MissingPackageError",
    "ModelError",
    "OptionError",
    "Sampling",
    "Session",
    "State",
    "StateError",
    "Stream",
    "TinyseqError",
    "UnsupportedError",
    "generate",
    "load",
]

_LATER = {
    "Beam": "tinyseq.decode.options",
    "Decoder": "tinyseq.decode.decoder",
    "Graph": "tinyseq.graph",
    "Greedy": "tinyseq.decode.options",
    "InferenceSession": "tinyseq.inference_session",
    "Sampling": "tinyseq.decode.options",
    "generate": "tinyseq.decode.generate",
}


def __getattr__(name: str):
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
