"""Keras models, of Keras 2 (``.h5``) and Keras 3 (``.keras`` and ``.h5``), without Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tinyseq.converters.keras import files
from tinyseq.converters.keras.files import KerasFile, Variables
from tinyseq.converters.keras.layers import LAYERS
from tinyseq.converters.keras.masks import OPERATIONS, handed_on
from tinyseq.converters.keras.settings import Settings, Tensor
from tinyseq.converters.weights.archives import DAMAGE

from tinyseq.errors import ModelError, TinyseqError, UnsupportedError
from tinyseq.ir.graph import Graph
from tinyseq.ir.model import Model

MODELS = ("Sequential", "Functional", "Model")
Reference = tuple[str, int, int]
"""A tensor of a functional model: layer, which of its calls, which of its results."""


def load(path: str | Path) -> Model:
    """The Model of a ``.keras`` or ``.h5`` file that holds a Sequential or functional model.

    Inputs and outputs are named after their layers. An input that only embeddings read is int64, other
    inputs are float32. Every field of a layer's configuration is honoured or refused.

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
        network = _Network(self, kind, config)
        self._check_states(network)
        inputs = [self._input(*given) for given in network.inputs()]
        for name, tensor in _named(network.build(files.root(self.file), inputs)).items():
            self.graph.output(name, tensor.name)
        return self.graph.model(f"Keras {self.file.version}")

    def _check_states(self, network: _Network) -> None:
        """A stream carries the state of every layer, so all or none must be stateful, each called once."""
        own = [(layer, config) for layer in network.all_layers() for config in layer.configs()]
        found = {bool(config["stateful"]) for _, config in own if "stateful" in config}
        if len(found) > 1:
            raise UnsupportedError(
                f"{self.file.where}: some layers are stateful and some are not; set all or none of them so"
            )
        for layer, config in own:
            if config.get("stateful") and layer.call_count() > 1:
                raise UnsupportedError(
                    f"{layer} is stateful and called {layer.call_count()} times, so that one state would be "
                    "carried through several places; call it once"
                )

    def _input(self, name: str, shape: Sequence[int | None], whole: bool) -> Tensor:
        sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
        sizes[0] = "rows" if shape[0] is None else shape[0]
        self.graph.input(name, sizes, np.int64 if whole else np.float32)
        return Tensor(name, tuple(shape), whole)


class _Network:
    """A Sequential or functional model: the file's own, or one that is a layer of another."""

    def __init__(self, converter: _Converter, kind: str, config: Any) -> None:
        self.converter = converter
        self.sequential = kind == "Sequential"
        self.config = {"layers": config} if isinstance(config, list) else config
        self.layers = [_Layer(converter, entry) for entry in self.config["layers"]]

    def all_layers(self) -> Iterator[_Layer]:
        """Its layers and those of the models within."""
        for layer in self.layers:
            yield layer
            if layer.network is not None:
                yield from layer.network.all_layers()

    def inputs(self) -> list[tuple[str, Sequence[int | None], bool]]:
        """Name, shape and whether only whole numbers are read from it, of each input."""
        if not self.sequential:
            layers = {layer.name: layer for layer in self.layers}
            names = [name for name, _, _ in _references(self.config["input_layers"])]
            return [(name, layers[name].shape(), self._whole(name)) for name in names]
        first, *rest = self.layers
        if first.kind == "InputLayer":
            return [(first.name, first.shape(), bool(rest) and rest[0].reads_whole())]
        shape = first.shape() or self.config.get("build_input_shape")
        if shape is None and first.network is not None:
            ((_, shape, _),) = first.network.inputs()
        if shape is None:
            raise ModelError(
                f"{self.converter.file.where} does not say its input's shape; call model.build before saving"
            )
        return [("input", shape, first.reads_whole())]

    def _whole(self, name: str) -> bool:
        readers = [layer for layer in self.layers if name in layer.sources()]
        return bool(readers) and all(layer.reads_whole() for layer in readers)

    def build(self, variables: Variables, inputs: Sequence[Tensor]) -> list[tuple[str, int, Tensor]]:
        """Adds the layers to the graph; gives the outputs, each with its layer and its number there."""
        counts: dict[str, int] = {}
        for layer in self.layers:
            count = counts.setdefault(layer.kind, 0)
            counts[layer.kind] += 1
            layer.variables = partial(variables.layer, layer.kind, count, layer.name)
        return self._in_sequence(inputs) if self.sequential else self._functional(inputs)

    def _in_sequence(self, tensors: Sequence[Tensor]) -> list[tuple[str, int, Tensor]]:
        for layer in self.layers:
            tensors = layer.build(tensors)
        return [(self.layers[-1].name, index, tensor) for index, tensor in enumerate(tensors)]

    def _functional(self, inputs: Sequence[Tensor]) -> list[tuple[str, int, Tensor]]:
        names = [name for name, _, _ in self.inputs()]
        if len(names) != len(inputs):
            raise ModelError(f"a model of inputs {', '.join(names)} is called with {len(inputs)} tensors")
        results = {(name, 0): [tensor] for name, tensor in zip(names, inputs)}
        waiting = self._calls()
        while waiting:
            ready = [call for call in waiting if all(read[:2] in results for read in (*call[2], *call[3]))]
            if not ready:
                raise ModelError(
                    f"{self.converter.file.where}: {waiting[0][0]} reads what no layer gives; it is damaged"
                )
            for layer, index, sources, masks in ready:
                given, hiding = (
                    [results[name, call][place] for name, call, place in read] for read in (sources, masks)
                )
                for place, mask in enumerate(hiding):
                    given[place] = replace(given[place], mask=mask.name)
                results[layer.name, index] = layer.build(given)
            waiting = [call for call in waiting if call not in ready]
        outputs = []
        for name, call, index in self._outputs():
            before = [len(found) for (other, n), found in results.items() if other == name and n < call]
            outputs.append((name, index + sum(before), results[name, call][index]))
        return outputs

    def _outputs(self) -> Iterator[Reference]:
        """The outputs. Keras 3 counts the making of a functional model as its first call, here only."""
        made = {layer.name for layer in self.layers if layer.kind in ("Functional", "Model")}
        for name, call, index in _references(self.config["output_layers"]):
            yield name, call - (name in made and self.converter.file.version == 3), index

    def _calls(self) -> list[tuple[_Layer, int, list[Reference], list[Reference]]]:
        """All calls of layers. Those of a model within count from 1 where its making counts as a call of it,
        in Keras 2."""
        calls = [(layer, *call) for layer in self.layers for call in layer.calls()]
        read = [reference for _, _, sources, masks in calls for reference in (*sources, *masks)]
        last: dict[str, int] = {}
        for name, call, _ in (*read, *self._outputs()):
            last[name] = max(call, last.get(name, 0))
        return [
            (layer, index + layer.first_call(last.get(layer.name, 0)), sources, masks)
            for layer, index, sources, masks in calls
        ]


def _named(outputs: Sequence[tuple[str, int, Tensor]]) -> dict[str, Tensor]:
    """Outputs named after their layers; a layer's further results get numbers."""
    return {f"{name}_{index}" if index else name: tensor for name, index, tensor in outputs}


class _Layer:
    """One layer's entry in the configuration; ``network`` where it is a model itself."""

    variables: Callable[[], Variables]
    """The weights of the layer, from its first on."""

    def __init__(self, converter: _Converter, entry: dict[str, Any]) -> None:
        self.converter = converter
        self.entry = entry
        self.kind = entry["class_name"]
        self.config = entry["config"]
        self.network = _Network(converter, self.kind, self.config) if self.kind in MODELS else None
        self.name = str(entry.get("name") or self.config["name"])
        self.of_mask = self.kind in OPERATIONS and "trainable" not in self.config
        if self.kind not in LAYERS and self.kind != "InputLayer" and not (self.network or self.of_mask):
            raise UnsupportedError(
                f"{self}: tinyseq does not know this layer; it knows {', '.join(sorted(LAYERS))}: "
                "export the model to ONNX, or build it with tinyseq.Graph"
            )
        if entry.get("registered_name") not in (None, self.kind):
            raise UnsupportedError(f"{self} is a class of its own, {entry['registered_name']!r}, not Keras'")

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    def configs(self) -> Iterator[dict[str, Any]]:
        """The layer's configuration and those of the layers that it wraps; none for a model."""
        if self.network is not None:
            return
        yield self.config
        for inner in (self.config.get("layer"), self.config.get("backward_layer")):
            if inner is not None:
                yield inner["config"]

    def shape(self) -> Sequence[int | None] | None:
        """The shape of the layer's input, where it says it."""
        return None if self.network else self.config.get("batch_shape", self.config.get("batch_input_shape"))

    def reads_whole(self) -> bool:
        """Whether all that it is given is whole numbers."""
        if self.network is not None:
            return all(whole for _, _, whole in self.network.inputs())
        return self.kind == "Embedding"

    def build(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Adds the layer to the graph, once for each call of it."""
        if self.kind == "InputLayer":
            return list(inputs)
        if self.network is not None:
            return [tensor for _, _, tensor in self.network.build(self.variables(), inputs)]
        settings = Settings(self.kind, self.config, self.converter.file.version)
        if self.of_mask:
            (node,) = self.entry["inbound_nodes"]
            return OPERATIONS[self.kind](self.converter.graph, settings, node["args"], inputs)
        results = LAYERS[self.kind](self.converter.graph, settings, self.variables(), inputs)
        settings.finish()
        return handed_on(self.kind, inputs, results)

    def call_count(self) -> int:
        """How often the layer is called."""
        return len(self.entry.get("inbound_nodes", []))

    def first_call(self, last: int) -> int:
        """The number of the first call, by that of the last."""
        return max(0, last - self.call_count() + 1) if self.network is not None else 0

    def calls(self) -> Iterator[tuple[int, list[Reference], list[Reference]]]:
        """The calls of a functional model's layer: their numbers, the tensors that each takes, and the masks
        that it is told to use for the first of them."""
        if self.kind != "InputLayer":
            for index, node in enumerate(self.entry.get("inbound_nodes", [])):
                yield index, list(self._tensors(node)), self._masks(node)

    def _masks(self, node: Any) -> list[Reference]:
        given = node["kwargs"].get("mask") if isinstance(node, dict) else None
        masks = given if isinstance(given, list) else [given]
        while masks and masks[-1] is None:
            masks = masks[:-1]
        if None in masks:
            raise UnsupportedError(
                f"{self} is called with masks for some tensors only, which tinyseq does not read"
            )
        return list(_references(masks))

    def sources(self) -> set[str]:
        """The layers whose results this one reads."""
        return {name for _, sources, _ in self.calls() for name, _, _ in sources if not self.of_mask}

    def _tensors(self, node: Any) -> Iterator[Reference]:
        """The tensors of a call; Keras 3 keeps them among arguments, Keras 2 in a list."""
        if isinstance(node, dict):
            numbers = (int, float) if self.of_mask else ()
            yield from _references([given for given in node["args"] if not isinstance(given, numbers)])
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
            elif value not in (None, False) and name != "mask":
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
