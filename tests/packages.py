"""Code of PyPI packages run as it is, with tinyseq in place of onnxruntime's session.

What a package imports but a test does not need (dictionaries, resamplers, other frameworks) is stood in
for, so that nothing of it has to be installed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np


def stand_in(name: str, **members: object) -> dict[str, ModuleType]:
    """A module, and those around it, in which everything can be imported and ``members`` are real."""
    modules = {}
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        modules[".".join(parts[:count])] = MagicMock()
    for key, value in members.items():
        setattr(modules[name], key, value)
    for path in modules:
        parent, _, child = path.rpartition(".")
        if parent:
            setattr(modules[parent], child, modules[path])
    return modules


@contextmanager
def imported(folder: Path, module: str, stand_ins: Mapping[str, object]) -> Iterator[ModuleType]:
    """A module of an unpacked package. While the context lasts, what it imports is found among the
    stand-ins, in its folder, and elsewhere, in this order; then all is as before."""
    before = dict(sys.modules)
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name not in before]:
            if name in stand_ins or _lies_in(folder, sys.modules[name]):
                del sys.modules[name]
        sys.modules.update({name: before[name] for name in stand_ins if name in before})


def _lies_in(folder: Path, module: ModuleType) -> bool:
    """Whether a module, or a package without a file of its own, is the folder's."""
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(str(place).startswith(f"{folder}/") for place in places)


class Tensor(np.ndarray):
    """As much of a PyTorch tensor as the packages' code asks of it, on the CPU."""

    @staticmethod
    def of(array: np.ndarray) -> Tensor:
        return np.ascontiguousarray(array).reshape(np.shape(array)).view(Tensor)

    def same(self, *_) -> Tensor:
        return self

    to = cpu = detach = same

    def float(self) -> Tensor:
        return Tensor.of(self.astype(np.float32))

    def dim(self) -> int:
        return self.ndim

    def unsqueeze(self, axis: int) -> Tensor:
        return Tensor.of(np.expand_dims(self, axis))

    def numpy(self) -> np.ndarray:
        return np.asarray(self)


class NoGrad:
    """``torch.no_grad()``, as a context and as a decorator."""

    def __call__(self, function):
        return function

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_) -> None:
        pass


TORCH = stand_in(
    "torch",
    nn=SimpleNamespace(
        Module=object, functional=SimpleNamespace(pad=lambda x, around: Tensor.of(np.pad(x, around)))
    ),
    no_grad=NoGrad,
    from_numpy=Tensor.of,
    is_tensor=lambda value: isinstance(value, Tensor),
    zeros=lambda *shape: Tensor.of(np.zeros(shape[0] if isinstance(shape[0], tuple) else shape, np.float32)),
    cat=lambda tensors, dim=0: Tensor.of(np.concatenate(tensors, dim)),
)
"""A stand-in for PyTorch."""
