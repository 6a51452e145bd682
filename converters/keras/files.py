"""Keras' model files: the configuration of the layers and their weights.

A ``.keras`` file (Keras 3) is an archive of ``config.json``, ``metadata.json`` and
``model.weights.h5``; an ``.h5`` file (Keras 2) holds the configuration as an attribute. Nothing in
either is run: a Lambda layer's code is refused with the layer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tinyseq.converters.keras import hdf5
from tinyseq.converters.keras.hdf5 import Contents
from tinyseq.converters.weights import archives, as_float32

from tinyseq.common import files
from tinyseq.common.given import as_path
from tinyseq.errors import ModelError, UnsupportedError

TRAINING = ("optimizer", "optimizer_weights", "seed_generator", "top_level_model_weights")
"""Parts of paths in a file that hold what only training needs."""


WEIGHTS = "model.weights.h5"
"""The archive's entry that holds the weights."""


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A model's configuration, its weights and the version of the Keras that wrote it, major and minor."""

    config: dict[str, Any]
    variables: Store
    version: tuple[int, int]
    where: str


class Store:
    """The datasets of a file and a record of those that were taken."""

    def __init__(self, contents: Contents, root: str, where: str) -> None:
        self.where = where
        self.root = root
        self.contents = contents
        paths = (*contents.datasets, *contents.strange)
        self.left = dict.fromkeys(path for path in paths if not set(path.split("/")) & set(TRAINING))

    def attribute(self, group: str, name: str) -> Any:
        """An attribute of a group, a word or a list of words; None if there is no such thing."""
        return self.contents.attributes.get(group, {}).get(name)

    def take(self, path: str) -> np.ndarray:
        """A dataset's numbers; floating ones as float32.

        Raises:
            ModelError: it is missing, or the file holds fewer bytes of it than its shape needs.
        """
        if path in self.contents.strange:
            raise ModelError(
                f"{self.where}: weight {path!r} is not in the file as plain numbers but compressed, linked "
                "or cut off; save the model anew with Keras"
            )
        if path not in self.contents.datasets:
            raise ModelError(f"{self.where} holds no weight {path!r}; it is damaged or of another Keras")
        self.left.pop(path, None)
        return as_float32(self.contents.datasets[path], self.where)

    def finish(self) -> None:
        """Refuses weights that no layer took."""
        if self.left:
            raise ModelError(
                f"{self.where}: no layer uses the weight {next(iter(self.left))!r} ({len(self.left)} such); "
                "tinyseq has built these layers wrong or the file is damaged: please report it"
            )


class Variables(Protocol):
    """The weights of one layer, in Keras' order."""

    def take(self, *shape: int | None) -> np.ndarray:
        """The next weight; its shape must be this one, None standing for any size."""
        ...

    def child(self, name: str) -> Variables:
        """The weights of a part of the layer."""
        ...

    def listed(self, group: str, kind: str, count: int) -> Variables:
        """The weights of a part in a list of parts: the ``count``-th of its class, from 0."""
        ...

    def layer(self, kind: str, count: int, name: str) -> Variables:
        """The weights of a layer of this model: the ``count``-th of its class, from 0."""
        ...


def _checked(array: np.ndarray, shape: tuple[int | None, ...], path: str, where: str) -> np.ndarray:
    fits = len(shape) == array.ndim and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape)
    )
    if not fits:
        wanted = ", ".join("?" if size is None else str(size) for size in shape)
        raise ModelError(
            f"{where}: weight {path!r} is {list(array.shape)} where the configuration means [{wanted}]"
        )
    return array


class NestedVariables:
    """Keras 3: groups named after the layers' classes and parts, each with its ``vars``."""

    def __init__(self, store: Store, path: str) -> None:
        self.store = store
        self.path = path
        self.taken = 0

    def take(self, *shape: int | None) -> np.ndarray:
        path = f"{self.path}/vars/{self.taken}"
        self.taken += 1
        return _checked(self.store.take(path), shape, path, self.store.where)

    def child(self, name: str) -> Variables:
        return NestedVariables(self.store, f"{self.path}/{name}")

    def listed(self, group: str, kind: str, count: int) -> NestedVariables:
        stem = snake_case(kind) + (f"_{count}" if count else "")
        return NestedVariables(self.store, "/".join(filter(None, (self.path, group, stem))))

    def layer(self, kind: str, count: int, name: str) -> Variables:
        found = self.listed("layers", kind, count)
        path = found.path
        written = self.store.attribute(f"{path}/vars", "name")
        if written not in (None, name):
            raise ModelError(
                f"{self.store.where}: the weights at {path!r} are of layer {written!r}, not {name!r}; "
                "the file is damaged or of another Keras"
            )
        return found


class FlatVariables:
    """Keras 2: one list of weights for each layer; those of its parts follow each other. Of a model within
    a model, all that is trained comes before the rest: there the layers' names in the paths tell."""

    def __init__(self, store: Store, paths: list[str], whole: bool = False) -> None:
        self.store = store
        self.paths = paths
        self.whole = whole
        self.taken = 0

    def take(self, *shape: int | None) -> np.ndarray:
        if self.taken >= len(self.paths):
            raise ModelError(f"{self.store.where}: a layer has fewer weights than its configuration means")
        path = self.paths[self.taken]
        self.taken += 1
        return _checked(self.store.take(path), shape, path, self.store.where)

    def child(self, name: str) -> Variables:
        return self

    def listed(self, group: str, kind: str, count: int) -> Variables:
        return self

    def layer(self, kind: str, count: int, name: str) -> Variables:
        if not self.whole:
            return FlatVariables(self.store, [path for path in self.paths if name in path.split("/")[2:]])
        root = "/".join(filter(None, (self.store.root, name)))
        names = self.store.attribute(root, "weight_names") or []
        return FlatVariables(self.store, [f"{root}/{name}" for name in names])


def root(file: KerasFile) -> Variables:
    """The weights of the whole model."""
    flat = file.variables.root
    return FlatVariables(file.variables, [], whole=True) if flat else NestedVariables(file.variables, "")


def snake_case(name: str) -> str:
    """A class name as Keras 3 names the groups of weights: ``SimpleRNN`` is ``simple_rnn``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def opened(path: str | Path) -> KerasFile:
    """A ``.keras`` or ``.h5`` file.

    Raises:
        MissingPackageError: the h5py package is not installed.
        ModelError: the file is missing, damaged or holds no model.
    """
    path = as_path(path, "a model")
    where = str(path)
    try:
        with files.opened(path) as raw:
            if raw.read(2) == b"PK":
                return _archived(raw, where)
            raw.seek(0)
            return _flat(hdf5.read(raw.read(), where), where)
    except OSError as error:
        raise ModelError(
            f"cannot read {where}: {error.strerror or error}; it is missing, damaged or not a Keras model"
        ) from error


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The weights in a ``.weights.h5``, ``.h5`` or ``.keras`` file by name, with or without a model; what
    only training needs is left out.

    Names are the paths in the file, with dots between their parts: ``layers.lstm.cell.vars.0`` of Keras 3,
    ``lstm.lstm_cell.kernel`` of Keras 2. Floating numbers become float32, with a ConversionWarning if they
    were not.

    Raises:
        MissingPackageError: the h5py package is not installed.
        ModelError: the file is missing or damaged.
    """
    path = as_path(path, "a file of weights")
    where = str(path)
    try:
        with files.opened(path) as raw:
            archive = archives.opened(raw, where) if raw.read(2) == b"PK" else None
            raw.seek(0)
            content = raw.read() if archive is None else archives.member(archive, WEIGHTS, where)
    except OSError as error:
        raise ModelError(f"cannot read {where}: {error.strerror or error}; check the path") from error
    store = Store(hdf5.read(content, where), "", where)
    return {_dotted(path): store.take(path) for path in list(store.left)}


def _dotted(path: str) -> str:
    """A path as a name; the layer's name that Keras 2 writes twice stands once."""
    parts = path.removesuffix(":0").split("/")
    parts = parts[1:] if parts[0] == "model_weights" else parts
    parts = parts[1:] if parts[:1] == parts[1:2] else parts
    return ".".join(parts)


def _archived(raw, where: str) -> KerasFile:
    archive = archives.opened(raw, where)
    config, metadata = (
        _json(archives.member(archive, name, where), where) for name in ("config.json", "metadata.json")
    )
    contents = hdf5.read(archives.member(archive, WEIGHTS, where), where)
    return KerasFile(
        config, Store(contents, "", where), _version(metadata.get("keras_version"), where), where
    )


def _flat(contents: Contents, where: str) -> KerasFile:
    store = Store(contents, "model_weights", where)
    if (config := store.attribute("", "model_config")) is None:
        raise UnsupportedError(
            f"{where} holds weights without a model; save the whole model with model.save, or build one with "
            "tinyseq.Graph of what tinyseq.converters.keras.read gives"
        )
    written = store.attribute("", "keras_version") or store.attribute("model_weights", "keras_version")
    return KerasFile(_json(config, where), store, _version(written, where), where)


def _json(text: str | bytes, where: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ModelError(f"{where} is damaged: its configuration is no object")
    return document


def _version(version: Any, where: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", str(version))
    if found is None or int(found[1]) not in (2, 3):
        raise UnsupportedError(f"{where} is of Keras {version}; tinyseq reads 2 and 3")
    return int(found[1]), int(found[2])
