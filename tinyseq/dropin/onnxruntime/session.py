"""A drop-in for ``onnxruntime.InferenceSession``, as far as running models goes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyseq import backends
from tinyseq.common.given import is_one_of, is_whole
from tinyseq.common.text import printable, shown
from tinyseq.dropin.onnxruntime.options import (
    REFUSED_RUN_OPTIONS,
    REFUSED_SESSION_OPTIONS,
    SessionOptions,
    check,
)
from tinyseq.dropin.onnxruntime.values import IOBinding, OrtValue, arrays_of, type_name
from tinyseq.errors import DeviceError, FeedError, MissingPackageError, UnsupportedError
from tinyseq.ir.model import Model, Value
from tinyseq.runtime.loading import read
from tinyseq.runtime.session import Session

PROVIDER = "CPUExecutionProvider"

DEVICES = {"CUDAExecutionProvider": "cuda", PROVIDER: "cpu"}
"""The devices that onnxruntime's providers name."""

HARMLESS_KEYWORDS = {"disabled_optimizers", "enable_fallback", "read_config_from_model"}
"""Further arguments of onnxruntime's constructor, none of which changes results."""


class NodeArg(NamedTuple):
    """An input or output as onnxruntime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


class ModelMetadata(NamedTuple):
    """What an ONNX file says of itself; ``custom_metadata_map`` are its author's keys and values. A version
    that is not set is the largest int64."""

    custom_metadata_map: dict[str, str]
    description: str = ""
    domain: str = ""
    graph_description: str = ""
    graph_name: str = ""
    producer_name: str = ""
    version: int = 2**63 - 1


class InferenceSession:
    """Runs an ONNX model with onnxruntime's calls.

    It runs on the first of ``providers`` that tinyseq has and that is there, CUDA or the CPU, where as many
    threads share a call as ``intra_op_num_threads`` asks for and there are processors, one if it is 0.
    Options that choose among ways to the same result are accepted, a provider that is not there draws a
    warning as it does from an onnxruntime without it, and what would change results or write files is
    refused.
    onnxruntime's options do not tell which initializers, adapters and libraries of ops were added to them:
    those have no effect here.

    Args:
        path_or_bytes: an ``.onnx`` file or its bytes, or any other file that ``tinyseq.load`` takes.
        sess_options: an ``onnxruntime.SessionOptions``.
        providers: names, or (name, options) pairs.
        provider_options: options of the providers; of them ``device_id`` of CUDA's has an effect.

    Raises:
        ModelError: the file cannot be read, or holds what tinyseq cannot run.
        MissingPackageError: the package that reads such files is not installed.
        UnsupportedError: an option asks for what tinyseq does not do.
    """

    def __init__(
        self,
        path_or_bytes: str | Path | bytes,
        sess_options: object = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        provider_options: Sequence[dict[str, Any]] | None = None,
        **kwargs: object,
    ) -> None:
        unknown = kwargs.keys() - HARMLESS_KEYWORDS
        if unknown:
            raise TypeError(f"InferenceSession takes no argument {sorted(unknown)[0]!r}")
        check(sess_options, REFUSED_SESSION_OPTIONS, "sess_options")
        self._options = SessionOptions() if sess_options is None else sess_options
        model = read(path_or_bytes)
        self._names = [value.name for value in model.graph.outputs]
        self._parts: tuple[Model, Model | None] = model, None
        self.set_providers(providers, provider_options)

    def __repr__(self) -> str:
        inputs, outputs = (
            ", ".join(map(str, part)) for part in (self._session.inputs, self._session.outputs)
        )
        return printable(f"InferenceSession(inputs {inputs}; outputs {outputs})")

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, np.ndarray],
        run_options: object = None,
    ) -> list[np.ndarray]:
        """The named outputs in order, or all of them for None and an empty list.

        Raises:
            FeedError: an output is unknown, or the inputs do not fit the model.
            UnsupportedError: an option asks for what tinyseq does not do.
        """
        check(run_options, REFUSED_RUN_OPTIONS, "run_options")
        # Code that runs on onnxruntime says "all of them" by whatever is false there.
        everything = isinstance(output_names, (int, str, list, tuple)) and not output_names
        given = None if everything else output_names
        names = [] if given is None else _listed(given, "output_names are words in a list")
        for name in names:
            if not is_one_of(name, self._names):
                raise FeedError(f"no output {shown(name)}; the model gives {', '.join(self._names)}")
        results = self._session.run(input_feed)
        return [results[name] for name in names or self._names]

    def get_inputs(self) -> list[NodeArg]:
        """The model's inputs."""
        return [_node_arg(value) for value in self._session.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """The model's outputs."""
        unnamed = {
            f"{value.name}.{axis}"
            for value in self._session.inputs
            for axis, size in enumerate(value.shape or ())
            if size == f"{value.name}.{axis}"
        }
        return [_node_arg(value, unnamed) for value in self._session.outputs]

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Inputs that have a value of their own in the file, which one that is fed replaces."""
        return [_node_arg(value) for value in self._session.model.defaults]

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        model = self._session.model
        said: dict[str, Any] = {
            name: model.header[name] for name in ModelMetadata._fields[1:] if name in model.header
        }
        return ModelMetadata(dict(model.metadata), **said)

    def get_session_options(self) -> object:
        """The options that the session was made with."""
        return self._options

    def get_providers(self) -> list[str]:
        """The provider that runs the model."""
        return [self._provider]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Its options: which of several devices it is, if that was said."""
        return {self._provider: self._provider_options}

    def set_providers(
        self,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        provider_options: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """Puts the model on the first provider that is there; warns of those before it that are not."""
        said = "providers are names or (name, options) pairs"
        given = [] if providers is None else _listed(providers, said)
        names = [each[0] if isinstance(each, (tuple, list)) and each else each for each in given]
        if not all(isinstance(name, str) for name in names):
            raise UnsupportedError(f"{said}, not {shown(providers)}")
        options = [] if provider_options is None else _listed(provider_options, "provider_options are dicts")
        if provider_options is not None and len(options) != len(names):
            raise UnsupportedError(f"{len(options)} provider_options for {len(names)} providers")
        options = options or [each[-1] if isinstance(each, (tuple, list)) else {} for each in given]
        absent = {}
        for name, own in (*zip(names, options), (PROVIDER, {})):
            if name not in DEVICES:
                absent[name] = "tinyseq has none"
                continue
            device, kept = DEVICES[name], {}
            if device == "cuda" and isinstance(own, Mapping) and "device_id" in own:
                kept = {"device_id": str(own["device_id"])}
                device = f"cuda:{kept['device_id']}"
            try:
                self._session = self._on(device)
            except (DeviceError, MissingPackageError) as error:
                absent[name] = str(error)
                continue
            self._provider, self._provider_options = name, kept
            break
        if absent:
            reasons = "; ".join(f"no {name}: {reason}" for name, reason in absent.items())
            warnings.warn(f"{reasons}; the model runs on {self._provider}", stacklevel=3)

    def _on(self, device: str) -> Session:
        """The model on a device; from then on it is known as that holds it."""
        model, simple = self._parts
        session = Session(model, device, simple, threads=self._threads(device))
        self._parts = session.model, session.computed
        return session

    def _threads(self, device: str) -> int:
        asked = getattr(self._options, "intra_op_num_threads", 0)
        if device != "cpu" or not is_whole(asked):
            return 1
        return max(1, min(asked, backends.most_threads()))

    def enable_fallback(self) -> None:
        """Nothing: there is no provider to fall back from."""

    disable_fallback = enable_fallback

    def io_binding(self) -> IOBinding:
        """Buffers of the CPU to bind, which ``run_with_iobinding`` reads and writes."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: object = None) -> None:
        """Runs on bound buffers.

        Raises:
            FeedError: the inputs do not fit the model, or an output its buffer.
        """
        if not isinstance(iobinding, IOBinding):
            raise FeedError(f"a binding is made by session.io_binding(), not {shown(iobinding)}")
        iobinding.run(self, run_options)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: object = None,
    ) -> list[OrtValue]:
        """``run`` of tensors to tensors.

        Raises:
            FeedError: an output is unknown, or the inputs do not fit the model.
        """
        results = self.run(output_names, arrays_of(input_dict_ort_values), run_options)
        return [OrtValue(array) for array in results]

    def run_with_ortvaluevector(self, *args: object, **kwargs: object) -> None:
        """Refused.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("tinyseq has no vectors of values; call session.run_with_ort_values")

    def run_async(self, *args: object, **kwargs: object) -> None:
        """Refused: tinyseq has no threads of its own.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "tinyseq has no threads; call session.run in one of yours, it releases the GIL"
        )

    def end_profiling(self) -> None:
        """Refused: there is no profile.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(REFUSED_SESSION_OPTIONS["enable_profiling"])


def _listed(given: Any, said: str) -> list[Any]:
    """What is in a sequence; a single word is a sequence of itself."""
    if isinstance(given, str):
        return [given]
    try:
        return list(given)
    except TypeError as error:
        raise FeedError(f"{said}, not {shown(given)}") from error


def _node_arg(value: Value, unnamed: Collection[str] = ()) -> NodeArg:
    """The description of a value; a size without a name of its own is None."""
    sizes = enumerate(value.shape or ())
    shape = [None if size == f"{value.name}.{axis}" or size in unnamed else size for axis, size in sizes]
    return NodeArg(value.name, type_name(value.dtype), shape)
