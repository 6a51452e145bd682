"""Keras models, of Keras 2 (``.h5``) and Keras 3 (``.keras`` and ``.h5``), without Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tinyseq.converters import keras_files
from tinyseq.converters.archives import DAMAGE
from tinyseq.converters.keras_files import KerasFile, Variables
from tinyseq.converters.keras_layers import LAYERS
from tinyseq.converters.keras_settings import Settings, Tensor

from tinyseq.errors import ModelError, TinyseqError, UnsupportedError
from tinyseq.graph import Graph
from tinyseq.model import Model

MODELS = ("Sequential", "Functional", "Model")
Reference = tuple[str, int, int]
"""A tensor of a functional model: layer, which of its calls, which of its results."""


def load(path: str | Path) -> Model:
    """The Model of a ``.keras`` or ``.h5`` file that holds a Sequential or functional model.

    Inputs and outputs are named after their layers. An input that only embeddings read is int64, other
    inputs are float32. Every field of a layer's configuration is honoured or refused.

    Raises:
        MissingPackageError: the h5py package is not installed.
        UnsupportedError: a layer, or one of its fields, that tinyseq does not run; names it.
        ModelError: the file is missing or damaged, or a weight was not used.
    """
    try:
        file = keras_files.opened(path)
        model = _Converter(file).model()
        file.variables.finish()
        return model
    except TinyseqError:
        raise
    except (*DAMAGE, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged, or no model of Keras: {error!r}") from error


class _Converter:
    """Layers of one file, call by call."""

    def __init__(self, file: KerasFile) -> None:
        self.file = file
        self.graph = Graph()
        self.variables = keras_files.root(file)
        self.results: dict[tuple[str, int], list[Tensor]] = {}
        self.settings: list[Settings] = []

    def model(self) -> Model:
        """Builds the graph."""
        kind, config = self.file.config.get("class_name"), self.file.config.get("config")
        if kind not in MODELS:
            raise UnsupportedError(
                f"{self.file.where} is a {kind}; tinyseq reads Sequential and functional models, not classes"
            )
        if isinstance(config, list):
            config = {"layers": config}
        layers = [_Layer(self, entry) for entry in config["layers"]]
        self._number(layers)
        if kind == "Sequential":
            outputs = self._sequential(layers, config)
        else:
            outputs = self._functional(layers, config)
        self._check_states(layers)
        for name, tensor in outputs.items():
            self.graph.output(name, tensor.name)
        return self.graph.model(f"Keras {self.file.version}")

    def _number(self, layers: Sequence[_Layer]) -> None:
        """Finds each layer's weights by its class and its place among those of its class."""
        counts: dict[str, int] = {}
        for layer in layers:
            count = counts.setdefault(layer.kind, 0)
            counts[layer.kind] += 1
            layer.variables = self.variables.layer(layer.kind, count, layer.name)

    def _check_states(self, layers: Sequence[_Layer]) -> None:
        """A stream carries the state of every layer, so all or none must be stateful."""
        found = {bool(own["stateful"]) for layer in layers for own in layer.configs() if "stateful" in own}
        if len(found) > 1:
            raise UnsupportedError(
                f"{self.file.where}: some layers are stateful and some are not; set all or none of them so"
            )

    def _sequential(self, layers: Sequence[_Layer], config: dict[str, Any]) -> dict[str, Tensor]:
        layers = list(layers)
        if layers and layers[0].kind == "InputLayer":
            first = layers.pop(0)
            name, shape = first.name, first.shape()
        else:
            name, shape = "input", layers[0].shape() or config.get("build_input_shape")
        if shape is None:
            raise ModelError(
                f"{self.file.where} does not say its input's shape; call model.build before saving"
            )
        tensors = [self._input(name, shape, bool(layers) and layers[0].kind == "Embedding")]
        for layer in layers:
            tensors = layer.build(tensors)
        return _named([(layers[-1].name, index, tensor) for index, tensor in enumerate(tensors)])

    def _input(self, name: str, shape: Sequence[int | None], whole: bool) -> Tensor:
        sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
        sizes[0] = "rows" if shape[0] is None else shape[0]
        self.graph.input(name, sizes, np.int64 if whole else np.float32)
        return Tensor(name, tuple(shape), whole)

    def _functional(self, layers: Sequence[_Layer], config: dict[str, Any]) -> dict[str, Tensor]:
        for layer in layers:
            if layer.kind == "InputLayer":
                readers = [other.kind for other in layers if layer.name in other.sources()]
                whole = bool(readers) and set(readers) == {"Embedding"}
                self.results[layer.name, 0] = [self._input(layer.name, layer.shape(), whole)]
        waiting = [(layer, *call) for layer in layers for call in layer.calls()]
        while waiting:
            ready = [call for call in waiting if all(source[:2] in self.results for source in call[2])]
            if not ready:
                raise ModelError(
                    f"{self.file.where}: {waiting[0][0]} reads what no layer gives; it is damaged"
                )
            for layer, index, sources in ready:
                self.results[layer.name, index] = layer.build([self._at(source) for source in sources])
            waiting = [call for call in waiting if call not in ready]
        outputs = list(_references(config["output_layers"]))
        return _named([(name, self._place(name, call, index), self._at((name, call, index)))
                       for name, call, index in outputs])  # fmt: skip

    def _place(self, name: str, call: int, index: int) -> int:
        return index + sum(len(self.results[name, earlier]) for earlier in range(call))

    def _at(self, reference: Reference) -> Tensor:
        name, call, index = reference
        return self.results[name, call][index]


def _named(outputs: Sequence[tuple[str, int, Tensor]]) -> dict[str, Tensor]:
    """Outputs named after their layers; a layer's further results get numbers."""
    return {f"{name}_{index}" if index else name: tensor for name, index, tensor in outputs}


class _Layer:
    """One layer's entry in the configuration."""

    variables: Variables

    def __init__(self, converter: _Converter, entry: dict[str, Any]) -> None:
        self.converter = converter
        self.entry = entry
        self.kind = entry["class_name"]
        self.config = entry["config"]
        self.name = str(entry.get("name") or self.config["name"])
        if self.kind not in LAYERS and self.kind != "InputLayer":
            raise UnsupportedError(
                f"{self}: tinyseq does not know this layer; it knows {', '.join(sorted(LAYERS))}: "
                "export the model to ONNX, or build it with tinyseq.Graph"
            )
        if entry.get("registered_name") not in (None, self.kind):
            raise UnsupportedError(f"{self} is a class of its own, {entry['registered_name']!r}, not Keras'")

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    def configs(self) -> Iterator[dict[str, Any]]:
        """The layer's configuration and those of the layers that it wraps."""
        yield self.config
        for inner in (self.config.get("layer"), self.config.get("backward_layer")):
            if inner is not None:
                yield inner["config"]

    def shape(self) -> Sequence[int | None] | None:
        """The shape of the layer's input, where it says it."""
        return self.config.get("batch_shape", self.config.get("batch_input_shape"))

    def build(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Adds the layer to the graph."""
        if self.kind == "InputLayer":
            return list(inputs)
        settings = Settings(self.kind, self.config, self.converter.file.version)
        results = LAYERS[self.kind](self.converter.graph, settings, self.variables, inputs)
        settings.finish()
        return results

    def calls(self) -> Iterator[tuple[int, list[Reference]]]:
        """The calls of a functional model's layer: their numbers and the tensors that each takes."""
        nodes = self.entry.get("inbound_nodes", [])
        if len(nodes) > 1 and self.kind in LAYERS:
            raise UnsupportedError(f"{self} is called {len(nodes)} times; tinyseq takes layers called once")
        for index, node in enumerate(nodes):
            yield index, list(self._tensors(node))

    def sources(self) -> set[str]:
        """The layers whose results this one reads."""
        return {name for _, sources in self.calls() for name, _, _ in sources}

    def _tensors(self, node: Any) -> Iterator[Reference]:
        """The tensors of a call; Keras 3 keeps them among arguments, Keras 2 in a list."""
        if isinstance(node, dict):
            yield from _references(node["args"])
            yield from self._keywords(node["kwargs"])
            return
        entries = [node] if node and isinstance(node[0], str) else node
        for name, call, index, *keywords in entries:
            yield name, call, index
            for given in keywords:
                yield from self._keywords(given)

    def _keywords(self, keywords: dict[str, Any]) -> Iterator[Reference]:
        for name, value in keywords.items():
            if name == "initial_state" and value is not None:
                yield from _references(value)
            elif value not in (None, False):
                raise UnsupportedError(f"{self} is called with {name}={value!r}, which tinyseq does not read")


def _references(structure: Any) -> Iterator[Reference]:
    """The tensors in nested lists, in order."""
    if isinstance(structure, dict) and structure.get("class_name") == "__keras_tensor__":
        name, call, index = structure["config"]["keras_history"]
        yield name, call, index
    elif isinstance(structure, dict) and "class_name" not in structure:
        for inner in structure.values():
            yield from _references(inner)
    elif isinstance(structure, (list, tuple)):
        if len(structure) == 3 and isinstance(structure[0], str) and isinstance(structure[1], int):
            yield structure[0], structure[1], structure[2]
            return
        for inner in structure:
            yield from _references(inner)
    else:
        raise UnsupportedError(f"a layer is called with {structure!r}, which is no tensor")
