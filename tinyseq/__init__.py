"""tinyseq: a small runtime for recurrent sequence models."""

from importlib import import_module

from tinyseq.errors import (
    FeedError,
    KernelsError,
    MissingPackageError,
    ModelError,
    StateError,
    TinyseqError,
    UnsupportedError,
)
from tinyseq.session import Session, Stream, load
from tinyseq.state import State

__version__ = "0.1.0"

__all__ = [
    "FeedError",
    "Graph",
    "InferenceSession",
    "KernelsError",
    "MissingPackageError",
    "ModelError",
    "Session",
    "State",
    "StateError",
    "Stream",
    "TinyseqError",
    "UnsupportedError",
    "load",
]

_LATER = {"Graph": "tinyseq.graph", "InferenceSession": "tinyseq.inference_session"}


def __getattr__(name: str):
    """Imports what not everybody uses when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'tinyseq' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
