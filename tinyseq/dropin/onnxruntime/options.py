"""onnxruntime's options, and what of them tinyseq refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, ClassVar, NoReturn

from tinyseq.common.text import shown
from tinyseq.errors import UnsupportedError

REFUSED_SESSION_OPTIONS = {
    "enable_profiling": "tinyseq writes no profiles; time session.run, or see python -m bench",
    "optimized_model_filepath": "tinyseq writes no ONNX files; tinyseq.load(...).save(...) writes its own",
}
"""Attributes of ``SessionOptions`` that ask for what tinyseq does not do. The others choose among ways to the
same result: threads, memory, logging, optimisation."""

REFUSED_RUN_OPTIONS = {
    "terminate": "a run of tinyseq cannot be ended from outside",
    "training_mode": "tinyseq does not train",
}
"""The same of ``RunOptions``."""


def check(options: Any, refused: Mapping[str, str], what: str) -> None:
    """Refuses options, onnxruntime's or ours, that ask for what tinyseq does not do.

    Raises:
        UnsupportedError: names the option.
    """
    if options is None:
        return
    for name, why in refused.items():
        value = getattr(options, name, None)
        if value:
            raise UnsupportedError(f"{what}.{name}={shown(value)}: {why}")


class GraphOptimizationLevel(IntEnum):
    """How much onnxruntime rewrites a graph; tinyseq always does all it can."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(IntEnum):
    """Whether onnxruntime runs parts of a graph at a time; tinyseq has one thread."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(IntEnum):
    """In which order onnxruntime runs nodes; tinyseq plans its own."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class _Options:
    """Attributes with onnxruntime's names and defaults; others there are not."""

    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        self._entries: dict[str, str] = {}
        for name, value in self._defaults.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._defaults and name != "_entries":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        super().__setattr__(name, value)

    def _entry(self, key: str) -> str:
        if key not in self._entries:
            raise RuntimeError(f"{type(self).__name__} has no configuration entry {shown(key)}")
        return self._entries[key]


class SessionOptions(_Options):
    """Options of a session. Those that change results or write files are refused when a session is made."""

    _defaults: ClassVar[Mapping[str, Any]] = {
        "enable_cpu_mem_arena": True,
        "enable_mem_pattern": True,
        "enable_mem_reuse": True,
        "enable_profiling": False,
        "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
        "execution_order": ExecutionOrder.DEFAULT,
        "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
        "inter_op_num_threads": 0,
        "intra_op_num_threads": 0,
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "optimized_model_filepath": "",
        "profile_file_prefix": "onnxruntime_profile_",
        "use_deterministic_compute": False,
        "use_per_session_threads": True,
    }

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keeps an entry; none of them changes results."""
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """An entry that was added.

        Raises:
            RuntimeError: there is none of this key.
        """
        return self._entry(key)

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Nothing: sizes are those of what is fed."""

    add_free_dimension_override_by_denotation = add_free_dimension_override_by_name

    def has_providers(self) -> bool:
        """False: providers are named when a session is made."""
        return False

    def add_provider(self, name: str, options: Mapping[str, str] | None = None) -> NoReturn:
        """Refused.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "name providers where a session is made: InferenceSession(path, providers=[...])"
        )

    def register_custom_ops_library(self, path: str) -> NoReturn:
        """Refused.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            f"tinyseq runs no ops of libraries, such as {shown(path)}; docs/ops.md lists its own"
        )

    def add_initializer(self, name: str, value: object) -> NoReturn:
        """Refused.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(f"tinyseq reads constants, such as {shown(name)}, from the model's file only")

    def add_external_initializers(self, names: Sequence[str], values: Sequence[object]) -> NoReturn:
        """Refused, as ``add_initializer``.

        Raises:
            UnsupportedError: always.
        """
        self.add_initializer(names[0] if names else "", None)


class RunOptions(_Options):
    """Options of a run."""

    _defaults: ClassVar[Mapping[str, Any]] = {
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "only_execute_path_to_fetches": False,
        "terminate": False,
        "training_mode": False,
    }

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Keeps an entry; none of them changes results."""
        self._entries[key] = value

    def get_run_config_entry(self, key: str) -> str:
        """An entry that was added.

        Raises:
            RuntimeError: there is none of this key.
        """
        return self._entry(key)
