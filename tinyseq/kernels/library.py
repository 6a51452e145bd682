"""Finds, checks and loads the kernels that the build made; the only door to compiled code."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from tinyseq.errors import KernelsError
from tinyseq.kernels.isa import ISAS

SOURCES = Path(__file__).parent
FOLDER = SOURCES / "built"
FINGERPRINT_FILE = "sources.crc32"
NOT_COMPILED = ("__init__.py", "library.py", "pep517.py", "program.py")
ISA_VARIABLE = "TINYSEQ_ISA"
REBUILD = (
    "rebuild them with `python -m tinyseq.kernels.build` (needs numba and a C compiler) or reinstall tinyseq"
)


def library_file(isa: str) -> str:
    """The file name of an ISA's library."""
    return f"tinyseq_{isa}.so"


def fingerprint() -> str:
    """A checksum of the sources that decide what the libraries hold; against edits, not against malice."""
    # Imported here: users of a wheel never need it.
    from zlib import crc32

    checksum = 0
    for path in sorted(set(SOURCES.glob("*.py")) - {SOURCES / name for name in NOT_COMPILED}):
        checksum = crc32(path.name.encode() + b"\0" + path.read_bytes(), checksum)
    return f"{checksum:08x}"


@cache
def _check_sources() -> None:
    """Refuses what was built from other sources, as can be in a checkout: a wheel brings both together."""
    record = FOLDER / FINGERPRINT_FILE
    if not record.is_file():
        raise KernelsError(f"no compiled kernels in {FOLDER}: {REBUILD}")
    if (SOURCES.parent.parent / "pyproject.toml").is_file() and record.read_text() != fingerprint():
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
        library.tinyseq_cpu_level.argtypes = ()
        library.tinyseq_cpu_level.restype = ctypes.c_int64
    except (OSError, AttributeError) as error:
        raise KernelsError(f"cannot load the kernels {path}: {error}; {REBUILD}") from error
    return library


@cache
def available() -> tuple[str, ...]:
    """The ISAs that this machine's CPU can run, slowest first."""
    level = _open("baseline").tinyseq_cpu_level()
    return tuple(isa.name for isa in ISAS.values() if isa.level <= level)


def chosen() -> str:
    """The ISA that the environment variable ``TINYSEQ_ISA`` forces, else the best available."""
    forced = os.environ.get(ISA_VARIABLE)
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
