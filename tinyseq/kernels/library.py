"""Finds, checks and loads the kernels that the build made; the only door to compiled code."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial

from tinyseq.errors import KernelsError
from tinyseq.kernels.llvm.architecture import HERE

SOURCES = os.path.dirname(__file__)
FOLDER = os.path.join(SOURCES, "built")
FINGERPRINT_FILE = "sources.crc32"
EMBEDDED_FILE = "kernels.bc.xz"
"""The kernels as LLVM has them before it knows of a processor; see ``embedded.py``."""
NOT_COMPILED = (
    "__init__.py",
    "library.py",
    "pep517.py",
    "program.py",
    "wheels.py",
    "cuda/",
    "call/__init__.py",
    "team/__init__.py",
)
ENDINGS = (".py", ".c", ".h")
ISA_VARIABLE = "TINYSEQ_ISA"
REBUILD = (
    "rebuild them with `python -m tinyseq.kernels.build` (pip install 'tinyseq[build]') or reinstall tinyseq"
)

SUFFIXES = {"linux": ".so", "macos": ".dylib", "windows": ".dll"}
"""How the names of shared libraries end, by system."""

SYSTEM = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")
"""The system at hand; one that is none of the three is taken for Linux."""


def library_file(isa: str, system: str = SYSTEM) -> str:
    """The file name of an ISA's library."""
    return f"tinyseq_{isa}{SUFFIXES[system]}"


def source_files() -> list[str]:
    """The names of all files of this package, in Python and in C, from ``SOURCES``."""
    names = []
    for folder, _, files in os.walk(SOURCES):
        inside = folder[len(SOURCES) :].replace(os.sep, "/")
        names += [f"{inside}/{name}"[1:] if inside else name for name in files if name.endswith(ENDINGS)]
    return sorted(names, key=lambda name: name.split("/"))


def sources() -> list[str]:
    """The names of the files that decide what the libraries hold."""
    return [name for name in source_files() if not name.startswith(NOT_COMPILED)]


def _bytes(name: str) -> bytes:
    with open(f"{SOURCES}/{name}", "rb", buffering=0) as file:
        return file.read()


def checksum(names: Iterable[str], read: Callable[[str], bytes] = _bytes) -> str:
    """A checksum of what ``read`` gives of files; against edits, not against malice."""
    # Imported here: users of a wheel never need it.
    from zlib import crc32

    total = 0
    for name in names:
        total = crc32(name.encode() + b"\0" + read(name), total)
    return f"{total:08x}"


def _meaning(name: str) -> bytes:
    """A source without its comments, docstrings and layout."""
    import ast

    if not name.endswith(".py"):
        return _bytes(name)
    tree = ast.parse(_bytes(name))
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [one for one in node.body if not _is_text(one)]
    return ast.dump(tree).encode()


def _is_text(statement: object) -> bool:
    value = getattr(statement, "value", None)
    return type(statement).__name__ == "Expr" and isinstance(getattr(value, "value", None), str)


def fingerprint() -> str:
    """What a build records of its sources: checksums of their bytes and of their meaning."""
    return f"{checksum(sources())} {checksum(sources(), _meaning)}"


def _as_recorded(record: str) -> bool:
    """Whether the sources are those of a record, but for comments and docstrings."""
    names = sources()
    with open(record, encoding="utf-8") as file:
        recorded = file.read().split()
    # Bytes first: to parse all sources takes a tenth of a second.
    return checksum(names) in recorded[:1] or checksum(names, _meaning) in recorded[1:]


@cache
def _check_sources() -> None:
    """Refuses what was built from other sources, as can be in a checkout: a wheel brings both together."""
    record = os.path.join(FOLDER, FINGERPRINT_FILE)
    if not os.path.isfile(record):
        raise KernelsError(f"no compiled kernels in {FOLDER}: {REBUILD}")
    root = os.path.dirname(os.path.dirname(SOURCES))
    checkout = os.path.isfile(os.path.join(root, "pyproject.toml"))
    if checkout and not _as_recorded(record):
        raise KernelsError(
            f"the kernels in {FOLDER} were built from other sources than those in {SOURCES}: {REBUILD}"
        )


@cache
def _open(isa: str) -> ctypes.CDLL:
    _check_sources()
    path = os.path.join(FOLDER, library_file(isa))
    try:
        library = ctypes.CDLL(path)
        library.tinyseq_run.argtypes = (ctypes.c_void_p,)
        library.tinyseq_run.restype = ctypes.c_int64
        if HERE.ISAS[isa].matrix_unit and HERE.ask_for_matrix_unit():
            library.tinyseq_matrix_unit()
    except (OSError, AttributeError) as error:
        raise KernelsError(f"cannot load the kernels {path}: {error}; {REBUILD}") from error
    return library


@cache
def available() -> tuple[str, ...]:
    """The ISAs that this machine's CPU can run, slowest first; a build may have been of some of them."""
    _check_sources()
    built = [isa for isa in HERE.ISAS.values() if os.path.isfile(f"{FOLDER}/{library_file(isa.name)}")]
    if not built:
        raise KernelsError(f"no compiled kernels in {FOLDER}: {REBUILD}")
    level = HERE.cpu_level(partial(getattr, _open(built[0].name)))
    return tuple(isa.name for isa in built if isa.level <= level)


@contextmanager
def using(isa: str | None) -> Iterator[None]:
    """Lets ``chosen`` give an ISA meanwhile, in this thread; None leaves it as it is."""
    former = _using.set(isa)
    try:
        yield
    finally:
        _using.reset(former)


_using: ContextVar[str | None] = ContextVar("isa", default=None)


def chosen() -> str:
    """The ISA that ``using`` or else the environment variable ``TINYSEQ_ISA`` forces, else the best
    available."""
    wanted = _using.get()
    if wanted and wanted not in available():
        raise KernelsError(
            f"the kernels for {wanted} are needed, and are not built or not for this machine: {REBUILD}"
        )
    forced = wanted or os.environ.get(ISA_VARIABLE)
    if not forced:
        return available()[-1]
    if forced not in available():
        raise KernelsError(
            f"{ISA_VARIABLE}={forced}: this machine can run {', '.join(available())}; "
            f"set one of them or unset {ISA_VARIABLE}"
        )
    return forced


def load(isa: str | None = None) -> ctypes.CDLL:
    """The library of an ISA (default: ``chosen()``), checked against its sources."""
    return _open(isa or chosen())
