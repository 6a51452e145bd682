"""onnxruntime's exceptions, which are those of tinyseq that are raised in their place."""

from tinyseq.errors import FeedError as InvalidArgument
from tinyseq.errors import ModelError as InvalidGraph
from tinyseq.errors import TinyseqError as Fail
from tinyseq.errors import UnsupportedError as NotImplemented

InvalidProtobuf = NoModel = NoSuchFile = InvalidGraph
EPFail = EngineError = RuntimeException = Fail

__all__ = [
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
]
