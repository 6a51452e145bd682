"""A drop-in for ``onnxruntime.InferenceSession``, as far as running models goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.model import Value
from tinyseq.session import load

TYPE_NAMES = {
    "float32": "float", "float64": "double", "float16": "float16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


class NodeArg(NamedTuple):
    """An input or output as onnxruntime describes it."""

    name: str
    type: str
    shape: list[int | str]


class InferenceSession:
    """Runs an ONNX model on the CPU with onnxruntime's calls.

    ``sess_options``, ``providers`` and the options that follow are accepted so that existing code runs
    unchanged; tinyseq always runs on one thread of the CPU.
    """

    def __init__(
        self,
        path_or_bytes: str | Path | bytes,
        sess_options: object = None,
        providers: Sequence | None = None,
        provider_options: Sequence | None = None,
        **kwargs: object,
    ) -> None:
        self._session = load(path_or_bytes)

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, np.ndarray],
        run_options: object = None,
    ) -> list[np.ndarray]:
        """The named outputs in order, or all of them for None.

        Raises:
            FeedError: an output is unknown, or the inputs do not fit the model.
        """
        known = [value.name for value in self._session.outputs]
        names = [output_names] if isinstance(output_names, str) else output_names or known
        for name in names:
            if name not in known:
                raise FeedError(f"no output {name!r}; the model gives {', '.join(known)}")
        results = self._session.run(input_feed)
        return [results[name] for name in names]

    def get_inputs(self) -> list[NodeArg]:
        """The model's inputs."""
        return [_node_arg(value) for value in self._session.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """The model's outputs."""
        return [_node_arg(value) for value in self._session.outputs]

    def get_providers(self) -> list[str]:
        """Always the CPU."""
        return ["CPUExecutionProvider"]


def _node_arg(value: Value) -> NodeArg:
    name = TYPE_NAMES.get(value.dtype.name, value.dtype.name)
    return NodeArg(value.name, f"tensor({name})", list(value.shape or ()))
