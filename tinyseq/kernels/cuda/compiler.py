"""From kernels to machine code of a device, by Numba and NVIDIA's linker; needs no device.

What was compiled once is kept in the user's cache folder, under a name that holds all that it was made
from: the sources, the compilers' versions and the device's architecture.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from types import FunctionType, ModuleType
from typing import NamedTuple
from zlib import crc32

import numpy as np

from tinyseq.common.files import writing
from tinyseq.errors import DeviceError
from tinyseq.kernels.cuda.arithmetic import TWINS
from tinyseq.kernels.cuda.launch import Kernel
from tinyseq.kernels.cuda.rebinding import Rebinding
from tinyseq.kernels.library import checksum, source_files

CACHE_VARIABLE = "TINYSEQ_CACHE"

Capability = tuple[int, int]
"""A device's compute capability: major and minor number."""

NEWEST_PTX: Capability = (9, 0)
"""What newer devices are given, too: of PTX made for them, the linker's code needs more registers."""


class Binary(NamedTuple):
    """A kernel's machine code and the name of its entry; ``report`` is what the linker says of it."""

    name: str
    code: bytes
    report: str


def binary(kernel: Kernel, capability: Capability) -> Binary:
    """The machine code of a kernel, compiled unless it has been."""
    path = _folder() / f"{kernel.name}-{_specialisation(kernel)}-sm{capability[0]}{capability[1]}.cubin"
    kept = _kept(path)
    if kept is None:
        kept = compiled(kernel, capability)
        _keep(path, kept)
    return kept


def compiled(kernel: Kernel, capability: Capability) -> Binary:
    """``binary``, compiled anew."""
    return linked(assembly(kernel, capability), capability)


def assembly(kernel: Kernel, capability: Capability) -> str:
    """A kernel in PTX, which this architecture and all later ones run."""
    capability = min(capability, NEWEST_PTX)
    # Imported here: with everything kept, nobody should wait for the compiler.
    from numba import types

    cuda = _numba_cuda()
    signature = types.void(*[types.int64] * (kernel.parameters + 1))
    options = {"device": False, "abi": "numba", "cc": capability}
    if "launch_bounds" in inspect.signature(cuda.compile).parameters:
        options["launch_bounds"] = kernel.threads, kernel.resident
    with _compiling_for(capability):
        text, _ = cuda.compile(_target(capability).bound(kernel.entry()), signature, **options)
    return text


def linked(text: str, capability: Capability) -> Binary:
    """Machine code of a kernel in PTX."""
    try:
        from cuda.core import Linker, LinkerOptions, ObjectCode
    except ImportError:  # Before its version 1.
        from cuda.core.experimental import Linker, LinkerOptions, ObjectCode
    name = re.search(r"\.entry\s+(\w+)", text).group(1)
    feature = "a" if capability >= (9, 0) else ""
    options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}{feature}", verbose=True)
    linker = Linker(ObjectCode.from_ptx(text.encode()), options=options)
    return Binary(name, bytes(linker.link("cubin").code), linker.get_info_log())


@contextmanager
def _compiling_for(capability: Capability) -> Iterator[None]:
    """Numba compiles what a kernel calls for the device at hand: here, for one that need not be there."""
    dispatcher = _numba_cuda().dispatcher
    with _compiling:
        former = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: _Device(capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = former


_compiling = Lock()


class _Device(NamedTuple):
    compute_capability: Capability


@cache
def _target(capability: Capability) -> Rebinding:
    cuda = _numba_cuda()
    return Rebinding(
        lambda one: TWINS.get(one.__name__, one), lambda function: cuda.jit(device=True)(function)
    )


@cache
def _numba_cuda() -> ModuleType:
    """``numba.cuda``. Parts of it ask NumPy for a name that 2.5 no longer has, while they are imported."""
    if hasattr(np, "row_stack"):
        return import_module("numba.cuda")
    np.row_stack = np.vstack
    try:
        import_module("numba.cuda.cudaimpl")
        return import_module("numba.cuda")
    finally:
        del np.row_stack


def _specialisation(kernel: Kernel) -> str:
    """Tells kernels of one name apart: a checksum of all that their functions are bound to."""
    return f"{crc32(repr(_bindings(kernel.function)).encode()):08x}"


def _bindings(value: object) -> object:
    value = getattr(value, "py_func", value)
    if isinstance(value, FunctionType):
        cells = [_bindings(cell.cell_contents) for cell in value.__closure__ or ()]
        return value.__module__, value.__qualname__, *cells
    if isinstance(value, (tuple, list)):
        return tuple(map(_bindings, value))
    if hasattr(value, "array"):
        return repr(value.array)
    if hasattr(value, "pending"):
        return "copied", value.pending
    return getattr(value, "__name__", None) or repr(value)


@cache
def _folder() -> Path:
    """Where binaries are kept: one folder for these sources and compilers."""
    base = os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "tinyseq"
    made_from = checksum(source_files())
    return Path(base) / "cuda" / f"{made_from}-{'-'.join(map(_version, COMPILERS))}"


COMPILERS = ("numba", "numba-cuda", "nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-nvjitlink")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _kept(path: Path) -> Binary | None:
    """What a file holds, unless there is none or it is damaged."""
    try:
        head, code = path.read_bytes().split(b"\n", 1)
        name, checksum = head.decode().split()
    except (OSError, ValueError):
        return None
    return Binary(name, code, "") if checksum == f"{crc32(code):08x}" else None


def _keep(path: Path, made: Binary) -> None:
    """Writes a file in one step; without a cache folder that can be written to, not at all."""
    with suppress(OSError, DeviceError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path, DeviceError) as file:
            file.write(f"{made.name} {crc32(made.code):08x}\n".encode() + made.code)
