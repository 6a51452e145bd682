"""tinyseq behind onnxruntime's interface, as far as running models goes.

Code that makes its sessions through ``onnxruntime.InferenceSession`` runs on tinyseq after
``onnxruntime.InferenceSession = tinyseq.InferenceSession``, its ``SessionOptions`` and all. Packages that
import onnxruntime, which then need not be installed, take this module for it:

    import sys
    import tinyseq.onnxruntime
    sys.modules["onnxruntime"] = tinyseq.onnxruntime
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tinyseq.common.text import shown
from tinyseq.dropin.onnxruntime.options import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    RunOptions,
    SessionOptions,
)
from tinyseq.dropin.onnxruntime.session import DEVICES, PROVIDER, InferenceSession, ModelMetadata, NodeArg
from tinyseq.dropin.onnxruntime.values import IOBinding, OrtValue
from tinyseq.errors import DeviceError, MissingPackageError
from tinyseq.ir.model import Model, ModelGraph
from tinyseq.runtime.session import Session

__version__ = "1.23.0"
"""The version of onnxruntime whose calls these are."""

SessionIOBinding = IOBinding


def get_available_providers() -> list[str]:
    """The providers whose devices are there."""
    return [name for name, device in DEVICES.items() if name == PROVIDER or _is_there(device)]


def get_all_providers() -> list[str]:
    """The providers that sessions take."""
    return list(DEVICES)


@cache
def _is_there(device: str) -> bool:
    try:
        Session(Model(ModelGraph((), (), (), {})), device)
    except (DeviceError, MissingPackageError):
        return False
    return True


def get_device() -> str:
    """``GPU`` where a CUDA device is there, else ``CPU``."""
    return "GPU" if len(get_available_providers()) > 1 else "CPU"


def get_version_string() -> str:
    """The version of onnxruntime whose calls these are."""
    return __version__


def get_build_info() -> str:
    """That this is tinyseq."""
    return f"tinyseq behind the interface of onnxruntime {__version__}"


def preload_dlls(
    cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | Path | None = None
) -> None:
    """Nothing: the driver is loaded when a device is first asked for."""


def set_default_logger_severity(severity: int) -> None:
    """Nothing: tinyseq logs nothing, it warns and raises."""


set_default_logger_verbosity = set_default_logger_severity


def set_seed(seed: int) -> None:
    """Nothing: no op that tinyseq runs draws random numbers."""


def disable_telemetry_events() -> None:
    """Nothing: tinyseq sends nothing."""


enable_telemetry_events = disable_telemetry_events


def __getattr__(name: str) -> Any:
    """Says of what onnxruntime has and tinyseq has not that it is so."""
    raise AttributeError(
        f"tinyseq.onnxruntime has no {shown(name)}: of onnxruntime it has what runs models, "
        f"{', '.join(sorted(__all__))}"
    )


__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionIOBinding",
    "SessionOptions",
    "__version__",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "preload_dlls",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]
