"""Finds, checks and loads the kernels that the build made; the only door to compiled code."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path

from tinyseq.errors import KernelsError
from tinyseq.kernels.llvm.architecture import HERE

SOURCES = Path(__file__).parent
FOLDER = SOURCES / "built"
FINGERPRINT_FILE = "sources.crc32"
EMBEDDED_FILE = "kernels.bc.xz"
"""The kernels as LLVM has them before it knows of a processor; see ``embedded.py``."""
NOT_COMPILED = ("__init__.py", "library.py", "pep517.py", "program.py", "wheels.py", "cuda")
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


def python_files() -> list[str]:
    """The names of all files of this package, from ``SOURCES``."""
    # By words, not paths: every start of a checkout waits for it.
    root = os.fspath(SOURCES)
    names = []
    for folder, _, files in os.walk(root):
        inside = folder[len(root) :].replace(os.sep, "/")
        names += [f"{inside}/{name}"[1:] if inside else name for name in files if name.endswith(".py")]
    return sorted(names, key=lambda name: name.split("/"))


def sources() -> list[str]:
    """The names of the files that decide what the libraries hold."""
    return [name for name in python_files() if name.partition("/")[0] not in NOT_COMPILED]


def _bytes(name: str) -> bytes:
    with open(f"{SOURCES}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
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
    # Bytes first: to parse all sources takes a tenth of a second.
    return checksum(names) in record.split()[:1] or checksum(names, _meaning) in record.split()[1:]


@cache
def _check_sources() -> None:
    """Refuses what was built from other sources, as can be in a checkout: a wheel brings both together."""
    record = FOLDER / FINGERPRINT_FILE
    if not record.is_file():
        raise KernelsError(f"no compiled kernels in {FOLDER}: {REBUILD}")
    if (SOURCES.parent.parent / "pyproject.toml").is_file() and not _as_recorded(
        record.read_text(encoding="utf-8")
    ):
        raise KernelsError(
            f"the kernels in {FOLDER} were built from other sources than those in {SOURCES}: {REBUILD}"
        )


@cache
def _open(isa: str) -> ctypes.CDLL:
    _check_sources()
    path = FOLDER / library_file(isa)
    try:
        library = ctypes.CDLL(str(path))
        library.tinyseq_run.argtypes = (ctypes.c_void_p,)
        library.tinyseq_run.restype = ctypes.c_int64
    except (OSError, AttributeError) as error:
        raise KernelsError(f"cannot load the kernels {path}: {error}; {REBUILD}") from error
    return library


@cache
def available() -> tuple[str, ...]:
    """The ISAs that this machine's CPU can run, slowest first; a build may have been of some of them."""
    _check_sources()
    built = [isa for isa in HERE.ISAS.values() if (FOLDER / library_file(isa.name)).is_file()]
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
