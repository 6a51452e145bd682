"""Loading: from what users have, a file or a graph, to a loaded model."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeGuard

from tinyseq import passes
from tinyseq.common.given import as_path_text, is_folder
from tinyseq.common.text import shown
from tinyseq.errors import ModelError
from tinyseq.ir import format
from tinyseq.ir.model import Model
from tinyseq.runtime.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from tinyseq.ir.graph import Graph


def load(
    path: str | Path | bytes | ModelProto | Graph,
    *,
    device: str = "cpu",
    state: Mapping[str, str] | None = None,
    finite: bool = True,
    precision: str | None = None,
    keep: Collection[str] = (),
    threads: int = 1,
) -> Session:
    """Loads a model.

    Args:
        path: an ``.onnx`` file (or its bytes, for which no other file is read, or an ``onnx.ModelProto``), a
            ``.keras`` or ``.h5`` file, a file that ``Session.save`` wrote, or a ``tinyseq.Graph``.
        device: ``"cpu"``; ``"cuda"`` for the first CUDA device, ``"cuda:1"`` for the second of several and so
            on; ``"reference"`` for the float64 interpreter.
        state: the outputs that carry state to inputs, ``{input: output}``; without it they are found by
            dataflow, and by name and shape where that leaves it open.
        finite: whether a step of a stream is refused that would leave NaN or infinity in its state, and so in
            all that comes after; False lets a state remember all numbers.
        precision: ``"float32"``, which rounds nothing, or to what weights are rounded and kept in. Of the
            CPU ``"bfloat16"`` (7 bits behind the point), ``"float16"`` (10, up to 65504), ``"int16"`` or
            ``"int8"`` (with a scale for each column; what they are multiplied with has 16 bits then). Of CUDA
            devices ``"tf32"`` (10 bits, products alone), ``"bfloat16"`` (recurrent layers too) or
            ``"float16"``: to what tensor cores round both factors. Sums, states and all that is done by
            element stay float32. What is not said is what the file was written in.
        keep: names of weights, or of nodes, whose weights stay float32: whole ones, or parts between slashes
            and dots, as ``"head"`` of ``/decoder/head/MatMul``.
        threads: how many threads of the CPU may share a call, the caller's own among them: the same bits,
            sooner where layers are large. All sessions share one team, of which one call at a time makes use;
            it sleeps between calls.

    Raises:
        ModelError: the file cannot be read, or holds what tinyseq cannot run; a weight has numbers that the
            precision does not hold, or ``keep`` names none.
        DeviceError: the device is unknown, the driver or the device that ``"cuda"`` needs is missing, or the
            device does not compute in that precision or with so many threads; says which.
        MissingPackageError: so is a package that it needs.
    """
    model = read(path)
    if state is not None and not isinstance(state, Mapping):
        raise ModelError(f"state names pairs as a dict, {{input: output}}, not {type(state).__name__}")
    if state is not None and not all(isinstance(name, str) for name in (*state, *state.values())):
        raise ModelError(f"state names pairs by words, {{input: output}}, not {shown(dict(state))}")
    if not isinstance(finite, bool):
        raise ModelError(f"finite is True or False, not {shown(finite)}")
    simple = passes.simplify(model)
    if keep != ():
        # Imported here: only narrow weights need it.
        from tinyseq.passes.narrow import check_kept

        check_kept(simple, keep)
    if state is not None or not (model.state or _is_own(path)):
        # Imported here: files that tell their state need no search for it.
        from tinyseq.passes.pairs import find_state, name_state

        file = model.graph
        simple = find_state(simple, file) if state is None else name_state(simple, file, dict(state))
    return Session(model.with_state(simple.state), device, simple, finite, precision, tuple(keep), threads)


def _is_own(path: object) -> bool:
    """Whether a file tells of its model's state all that was known when it was saved."""
    return isinstance(path, (str, os.PathLike)) and _suffix(os.fspath(path)) == format.SUFFIX


def _is_proto(given: object) -> TypeGuard[ModelProto]:
    """Whether it is a model of the onnx package, which need not be installed."""
    return type(given).__module__.startswith("onnx") and type(given).__name__ == "ModelProto"


def read(path: str | Path | bytes | ModelProto | Graph) -> Model:
    """The Model of a graph or of a file, by its suffix; bytes are taken for ONNX."""
    if isinstance(path, (bytearray, memoryview)):
        path = bytes(path)
    if isinstance(path, bytes):
        return _onnx(path)
    if _is_proto(path):
        return _onnx(path)
    if not isinstance(path, (str, os.PathLike)):
        return _built(path)
    path = as_path_text(path, "a model")
    suffix = _suffix(path)
    if suffix not in READERS:
        _check_there(path)
        if suffix in WEIGHT_FILES:
            raise ModelError(
                f"{path} holds weights without a model: build the model they belong to with tinyseq.Graph, "
                f"reading them with tinyseq.converters.weights.read; tinyseq inspect {path} lists them. "
                f"Models are read from {', '.join(READERS)}"
            )
        raise ModelError(
            f"{path}: the suffix tells the format; tinyseq reads models from {', '.join(READERS)} and "
            f"weights from {', '.join(WEIGHT_FILES)}"
        )
    return READERS[suffix](path)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _check_there(path: str) -> None:
    """Refuses names of nothing and of folders, whose suffix is not what is wrong with them."""
    if is_folder(path):
        raise ModelError(f"{path} is a folder; give the file of a model")
    if not os.path.exists(path):
        raise ModelError(f"cannot read {path}: there is no such file; check the name")


def _built(graph: object) -> Model:
    # Imported here: only those who build graphs should wait for the builder.
    from tinyseq.ir.graph import Graph

    if isinstance(graph, Graph):
        return graph.model()
    raise ModelError(f"a model is a path, bytes, an onnx.ModelProto or a Graph, not {type(graph).__name__}")


def _onnx(path: str | bytes | ModelProto) -> Model:
    from tinyseq.converters import onnx

    return onnx.load(path)


def _keras(path: str) -> Model:
    from tinyseq.converters import keras

    return keras.load(path)


WEIGHT_FILES = (".pt", ".pth", ".safetensors", ".npz")
"""Suffixes of files that hold weights without a model."""

READERS: dict[str, Callable[[str], Model]] = {
    format.SUFFIX: format.load,
    ".onnx": _onnx,
    ".keras": _keras,
    ".h5": _keras,
    ".hdf5": _keras,
}
"""What reads a file, by its suffix."""
