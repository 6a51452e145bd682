"""The public name of tinyseq as a backend of the onnx package; see ``tinyseq.dropin.onnx_backend``."""

from tinyseq.dropin.onnx_backend import (
    Backend,
    Prepared,
    ReferenceBackend,
    is_compatible,
    prepare,
    run_model,
    run_node,
    supports_device,
)

__all__ = [
    "Backend",
    "Prepared",
    "ReferenceBackend",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]
