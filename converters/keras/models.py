"""Keras models, of Keras 2 (``.h5``) and Keras 3 (``.keras`` and ``.h5``), without Keras."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tinyseq.converters.keras import files
from tinyseq.converters.keras.files import KerasFile
from tinyseq.converters.keras.networks import MODELS, Network
from tinyseq.converters.keras.settings import NOTED, Tensor
from tinyseq.converters.weights.archives import DAMAGE

from tinyseq.errors import ConversionWarning, ModelError, TinyseqError, UnsupportedError
from tinyseq.ir.graph import Graph
from tinyseq.ir.model import Model


def load(path: str | Path) -> Model:
    """The Model of a ``.keras`` or ``.h5`` file that holds a Sequential or functional model.

    Inputs and outputs are named after their layers. An input of whole numbers, or that only embeddings
    read, is int64, one of booleans bool, others are float32. Every field of a layer's configuration is
    honoured or refused. What Keras computes in halves or doubles is computed in float32, with a note.

    Masks are heeded within what one call is given: in a stream, hidden frames at the start of a chunk give
    zeros where Keras would repeat the frame before them.

    Raises:
        MissingPackageError: the h5py package is not installed.
        UnsupportedError: a layer, or one of its fields, that tinyseq does not run; names it.
        ModelError: the file is missing or damaged, or a weight was not used.
    """
    try:
        file = files.opened(path)
        model = _Converter(file).model()
        file.variables.finish()
        return model
    except TinyseqError:
        raise
    except (*DAMAGE, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged, or no model of Keras: {error!r}") from error


class _Converter:
    """What all layers of one file share."""

    def __init__(self, file: KerasFile) -> None:
        self.file = file
        self.graph = Graph()

    def model(self) -> Model:
        """Builds the graph."""
        kind, config = self.file.config.get("class_name"), self.file.config.get("config")
        if kind not in MODELS:
            raise UnsupportedError(
                f"{self.file.where} is a {kind}; tinyseq reads Sequential and functional models, not classes"
            )
        network = Network(self, kind, config)
        self._check_states(network)
        self._note_precision(network)
        inputs = [self._input(*given) for given in network.inputs()]
        for name, tensor in _named(network.build(files.root(self.file), inputs)).items():
            self.graph.output(name, tensor.name)
        return self.graph.model(f"Keras {self.file.version[0]}")

    def _check_states(self, network: Network) -> None:
        """A stream carries the state of every layer, so all or none must be stateful, each called once."""
        own = [layer for layer in network.all_layers() if "stateful" in layer.config]
        self.stateful = any(bool(layer.config["stateful"]) for layer in own)
        if self.stateful and not all(layer.config["stateful"] for layer in own):
            raise UnsupportedError(
                f"{self.file.where}: some layers are stateful and some are not; set all or none of them so"
            )
        for layer in network.all_layers() if self.stateful else ():
            count = layer.call_count()
            if count > 1 and any(inner.config.get("stateful") for inner in layer.with_inner()):
                raise UnsupportedError(
                    f"{layer} is stateful and called {count} times, so that one state would be "
                    "carried through several places; call it once"
                )
            if layer.kind == "TimeDistributed" and any(
                inner.config.get("stateful") for inner in layer.with_inner()
            ):
                raise UnsupportedError(
                    f"{layer} carries a state from frame to frame of one sequence; call the layer within it "
                    "on the sequence itself"
                )

    def _note_precision(self, network: Network) -> None:
        found = {layer.precision() for layer in network.all_layers()} & set(NOTED)
        if found:
            warnings.warn(
                f"{self.file.where}: what Keras computes in {' and '.join(sorted(found))} is computed in "
                "float32",
                ConversionWarning,
                stacklevel=4,
            )

    def _input(self, name: str, shape: Sequence[int | None], dtype: np.dtype) -> Tensor:
        """An input. Only stateful layers hold Keras to the number of rows that the file says."""
        shape = tuple(shape) if self.stateful else (None, *shape[1:])
        sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
        sizes[0] = "rows" if shape[0] is None else shape[0]
        self.graph.input(name, sizes, dtype)
        return Tensor(name, shape, dtype)


def _named(outputs: Sequence[tuple[str, int, Tensor]]) -> dict[str, Tensor]:
    """Outputs named after their layers; a layer's further results get numbers, and so does what is given
    twice, behind a colon where the name is another layer's."""
    taken = {name for name, index, _ in outputs if not index}
    named: dict[str, Tensor] = {}
    for name, index, tensor in outputs:
        own, number = f"{name}_{index}" if index else name, 2
        if index and own in taken:
            own = f"{name}:{index}"
        stem = own
        while own in named:
            own, number = f"{stem}:{number}", number + 1
        named[own] = tensor
    return named
