"""tinyseq: a small runtime for recurrent sequence models."""

from tinyseq.errors import (
    FeedError,
    KernelsError,
    MissingPackageError,
    ModelError,
    StateError,
    TinyseqError,
    UnsupportedError,
)
from tinyseq.graph import Graph
from tinyseq.inference_session import InferenceSession
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
