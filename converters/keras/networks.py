"""Networks of layers as a configuration has them: the models of a file, and models within models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from tinyseq.converters.keras import calls
from tinyseq.converters.keras.calls import Call, Reference
from tinyseq.converters.keras.files import KerasFile, Variables
from tinyseq.converters.keras.layers import LAYERS, POINTWISE
from tinyseq.converters.keras.masks import handed_on
from tinyseq.converters.keras.operations import OPERATIONS
from tinyseq.converters.keras.settings import BOOL, FLOAT, WHOLE, Settings, Tensor, cast
from tinyseq.converters.keras.signatures import INITIAL_STATE, KEEPS_TYPES, signature
from tinyseq.converters.keras.tensorflow import translated

from tinyseq.common.text import nearest, shown
from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir.graph import Graph

MODELS = ("Sequential", "Functional", "Model")


class Converter(Protocol):
    """What all layers of one file share."""

    file: KerasFile
    graph: Graph


class Network:
    """A Sequential or functional model: the file's own, or one that is a layer of another."""

    def __init__(self, converter: Converter, kind: str, config: Any) -> None:
        self.converter = converter
        self.sequential = kind == "Sequential"
        self.config = {"layers": config} if isinstance(config, list) else config
        self.layers = [Layer(converter, entry) for entry in self.config["layers"]]

    def all_layers(self) -> Iterator[Layer]:
        """Its layers, and those within them."""
        for layer in self.layers:
            yield from layer.with_inner()

    def inputs(self) -> list[tuple[str, Sequence[int | None], np.dtype]]:
        """Name, shape and type of each input."""
        if not self.sequential:
            layers = {layer.name: layer for layer in self.layers}
            names = [name for name, _, _ in calls.references(self.config["input_layers"])]
            return [(name, layers[name].shape(), self._dtype(layers[name])) for name in names]
        first, *rest = self.layers
        if first.kind == "InputLayer":
            whole = bool(rest) and rest[0].reads_whole()
            return [(first.name, first.shape(), first.input_dtype(whole))]
        shape = first.shape() or self.config.get("build_input_shape")
        if shape is None and first.network is not None:
            ((_, shape, _),) = first.network.inputs()
        if shape is None:
            raise ModelError(
                f"{self.converter.file.where} does not say its input's shape; call model.build before saving"
            )
        return [("input", shape, WHOLE if first.reads_whole() else FLOAT)]

    def _dtype(self, layer: Layer) -> np.dtype:
        readers = [reader for reader in self.layers if layer.name in reader.sources()]
        return layer.input_dtype(bool(readers) and all(reader.reads_whole() for reader in readers))

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
            tensors = layer.build([list(tensors) if len(tensors) > 1 else tensors[0]], {})
        return [(self.layers[-1].name, index, tensor) for index, tensor in enumerate(tensors)]

    def _functional(self, inputs: Sequence[Tensor]) -> list[tuple[str, int, Tensor]]:
        names = [name for name, _, _ in self.inputs()]
        if len(names) != len(inputs):
            raise ModelError(f"a model of inputs {', '.join(names)} is called with {len(inputs)} tensors")
        results = {(name, 0): [tensor] for name, tensor in zip(names, inputs)}
        waiting = self._calls()
        while waiting:
            ready = [
                (layer, call)
                for layer, call in waiting
                if all((read.layer, read.call) in results for read in call.references())
            ]
            if not ready:
                raise ModelError(
                    f"{self.converter.file.where}: {waiting[0][0]} reads what no layer gives; it is damaged"
                )
            for layer, call in ready:
                results[layer.name, call.index] = layer.build(*call.given(results))
            waiting = [entry for entry in waiting if entry not in ready]
        outputs = []
        for name, call, index in self._outputs():
            before = [len(found) for (other, n), found in results.items() if other == name and n < call]
            outputs.append((name, index + sum(before), results[name, call][index]))
        return outputs

    def _outputs(self) -> Iterator[Reference]:
        """The outputs. Keras 3 counts the making of a functional model as its first call, here only."""
        made = {layer.name for layer in self.layers if layer.kind in ("Functional", "Model")}
        for name, call, index in calls.references(self.config["output_layers"]):
            yield Reference(name, call - (name in made and self.converter.file.version >= (3, 0)), index)

    def _calls(self) -> list[tuple[Layer, Call]]:
        """All calls of layers. Those of a model within count from 1 where its making counts as a call of it,
        in Keras 2."""
        made = [(layer, call) for layer in self.layers for call in layer.calls()]
        read = [reference for _, call in made for reference in call.references()]
        last: dict[str, int] = {}
        for name, number, _ in (*read, *self._outputs()):
            last[name] = max(number, last.get(name, 0))
        return [
            (layer, replace(call, index=call.index + layer.first_call(last.get(layer.name, 0))))
            for layer, call in made
        ]


class Layer:
    """One layer's entry in the configuration; ``network`` where it is a model itself, ``operation`` where it
    is a function of ``keras.ops``."""

    variables: Callable[[], Variables]
    """The weights of the layer, from its first on."""

    def __init__(self, converter: Converter, entry: dict[str, Any]) -> None:
        self.converter = converter
        self.entry = entry = translated(entry)
        self.kind = entry["class_name"]
        self.config = entry["config"]
        self.network = Network(converter, self.kind, self.config) if self.kind in MODELS else None
        self.name = str(entry.get("name") or self.config.get("name") or self.kind)
        named = self.kind in OPERATIONS or self.kind not in LAYERS
        self.operation = (
            named and self.kind != "InputLayer" and not self.network and "trainable" not in self.config
        )
        self.inner = {
            field: Layer(converter, inner)
            for field in ("layer", "backward_layer")
            if isinstance(inner := self.config.get(field), dict) and not self.network
        }
        self._check_known()

    def _check_known(self) -> None:
        known: Mapping[str, object] = OPERATIONS if self.operation else LAYERS
        what = "function of keras.ops" if self.operation else "layer"
        if self.kind not in known and self.kind != "InputLayer" and not self.network:
            near = nearest(self.kind, known)
            raise UnsupportedError(
                f"{self}: tinyseq does not know this {what}"
                + (f"; near it are {', '.join(near)}" if near else "")
                + ". Export the model to ONNX, or build it with tinyseq.Graph from its weights, which "
                "tinyseq.converters.keras.Weights hands out"
            )
        if self.entry.get("registered_name") not in (None, self.kind):
            raise UnsupportedError(
                f"{self} is a class of its own, {self.entry['registered_name']!r}, not Keras'"
            )

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    def with_inner(self) -> Iterator[Layer]:
        """The layer and all layers within it."""
        yield self
        for inner in self.inner.values():
            yield from inner.with_inner()
        if self.network is not None:
            yield from self.network.all_layers()

    def precision(self) -> str | None:
        """What the layer computes in."""
        dtype = self.config.get("dtype")
        dtype = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
        return dtype if isinstance(dtype, str) else None

    def shape(self) -> Sequence[int | None] | None:
        """The shape of the layer's input, where it says it."""
        return None if self.network else self.config.get("batch_shape", self.config.get("batch_input_shape"))

    def input_dtype(self, whole: bool) -> np.dtype:
        """The type of what is fed here; ``whole`` says that only embeddings read it."""
        declared = str(self.precision() or "float32")
        if declared == "bool":
            return BOOL
        if declared == "string":
            raise UnsupportedError(f"{self} is of words; tinyseq takes numbers: feed what the words become")
        return WHOLE if whole or "int" in declared else FLOAT

    def reads_whole(self) -> bool:
        """Whether all that it is given is whole numbers."""
        if self.network is not None:
            return all(dtype == WHOLE for _, _, dtype in self.network.inputs())
        return self.kind == "Embedding"

    def is_pointwise(self) -> bool:
        """Whether it treats every place before the last axis alike, however many axes there are."""
        if self.network is None:
            return self.kind in (*POINTWISE, "InputLayer")
        return self.network.sequential and all(layer.is_pointwise() for layer in self.network.layers)

    def build(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Tensor]:
        """Adds the layer to the graph, once for each call of it."""
        if self.kind == "InputLayer":
            return list(calls.leaves(arguments))
        if self.operation:
            settings = Settings(self.kind, self.config, self.converter.file.version, keywords)
            results = OPERATIONS[self.kind](self.converter.graph, settings, list(arguments))
            settings.finish()
            return results
        return self._built(*self._bound(arguments, keywords))

    def build_in(self, variables: Variables, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Adds a layer within another to the graph, with these weights."""
        self.variables = lambda: variables
        return self._built(list(inputs), {})

    def _built(self, inputs: list[Tensor], keywords: Mapping[str, Any]) -> list[Tensor]:
        if self.network is not None:
            unknown = [name for name, value in keywords.items() if value is not None and value is not False]
            if unknown:
                raise UnsupportedError(f"{self} is called with {', '.join(unknown)}, which is not known")
            return [tensor for _, _, tensor in self.network.build(self.variables(), inputs)]
        if self.config.get("lora_rank") and self.converter.file.variables.root:
            raise UnsupportedError(
                f"{self} has low-rank weights beside its own (LoRA), which an .h5 file keeps apart; save the "
                "model as .keras, where Keras adds them up"
            )
        graph = self.converter.graph
        if self.kind not in KEEPS_TYPES:
            inputs = [cast(graph, tensor, FLOAT) for tensor in inputs]
        settings = Settings(self.kind, self.config, self.converter.file.version, keywords, self.inner)
        results = LAYERS[self.kind](graph, settings, self.variables(), inputs)
        settings.finish()
        return handed_on(self.kind, inputs, results)

    def _bound(
        self, arguments: Sequence[Any], keywords: Mapping[str, Any]
    ) -> tuple[list[Tensor], dict[str, Any]]:
        """The tensors that a layer is called with, and what else it is by name."""
        names, tensors = signature(self.kind)
        if len(arguments) > len(names):
            raise UnsupportedError(f"{self} is called with {len(arguments)} arguments; it takes {names}")
        given = dict(zip(names, arguments)) | dict(keywords)
        if self.kind == "MultiHeadAttention" and given.get("key") is None:
            given.pop("key", None)
        found = [given.pop(name) for name in (*tensors, *INITIAL_STATE) if name in given]
        if not found and "inputs" in given:
            found = [given.pop("inputs")]
        inputs = [self._tensor(leaf) for leaf in calls.leaves(found) if leaf is not None]
        mask = given.get("mask")
        own = self.kind == "Softmax" or (
            self.kind == "TimeDistributed" and mask is not None and mask.rank != 2
        )
        if mask is not None and not own:
            masks = given["mask"] if isinstance(given["mask"], list) else [given["mask"]]
            for place, mask in enumerate(masks[: len(inputs)]):
                inputs[place] = replace(inputs[place], mask=self._mask(mask))
            del given["mask"]
        return inputs, given

    def _tensor(self, leaf: Any) -> Tensor:
        if isinstance(leaf, Tensor):
            return leaf
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "fiub":
            raise UnsupportedError(f"{self} is called with {shown(leaf)}, which is no tensor")
        dtype = {"f": FLOAT, "b": BOOL}.get(leaf.dtype.kind, WHOLE)
        return Tensor(self.converter.graph.constant(leaf.astype(dtype)), leaf.shape, dtype)

    def _mask(self, leaf: Any) -> str | None:
        if leaf is None:
            return None
        mask = self._tensor(leaf)
        if mask.rank != 2:
            raise UnsupportedError(
                f"{self} is called with a mask of {mask.rank} dimensions; tinyseq takes [rows, frames]"
            )
        return cast(self.converter.graph, mask, BOOL).name

    def call_count(self) -> int:
        """How often the layer is called."""
        return len(self.entry.get("inbound_nodes", []))

    def first_call(self, last: int) -> int:
        """The number of the first call, by that of the last."""
        return max(0, last - self.call_count() + 1) if self.network is not None else 0

    def calls(self) -> Iterator[Call]:
        """The calls of a functional model's layer."""
        if self.kind != "InputLayer":
            for index, node in enumerate(self.entry.get("inbound_nodes", [])):
                yield calls.read(index, node)

    def sources(self) -> set[str]:
        """The layers whose results this one computes with; masks are none of them."""
        if self.operation and self.kind == "NotEqual":
            return set()
        return {
            reference.layer
            for call in self.calls()
            for reference in replace(call, keywords=call.keywords | {"mask": None}).references()
        }
