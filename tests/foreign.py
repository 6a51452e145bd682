"""Kernels and wheels of other machines, for tests; what takes long is kept in the cache.

``python -m tests.foreign`` makes the kernels and says where they lie.
"""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.assets import UnavailableError, cache
from tinyseq.export import linker, processors, targets
from tinyseq.export.targets import WHEELS
from tinyseq.kernels import library

ISA = {"x86_64": "avx2", "aarch64": "neon"}
"""The instruction set that is tried of each processor."""

FURTHER = {"aarch64-linux": ["dotprod"]}
"""Those that are tried besides, by target."""


def kernels() -> Path:
    """A folder in which that of each target holds its kernels, for one ISA; compiled if the cache lacks it.

    Raises:
        UnavailableError: what compiles is not installed.
    """
    if any(find_spec(name) is None for name in ("numba", "ziglang", "wheel")):
        raise UnavailableError("what makes kernels is not installed (pip install 'tinyseq[build]')")
    from tinyseq.kernels.build import compiled_for

    described = [Path(one.__file__) for one in (linker, targets)]
    described += sorted(Path(processors.__file__).parent.glob("*.py"))
    known = library.fingerprint().encode() + b"".join(path.read_bytes() for path in described)
    folder = cache() / "kernels" / hashlib.sha256(known).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                made = Path(scratch, "made")
                made.mkdir()
                wanted = {
                    one: [ISA[one.processor.name], *FURTHER.get(name, [])] for name, one in WHEELS.items()
                }
                compiled_for(wanted, made)
                made.rename(folder)
    return folder


if __name__ == "__main__":
    print(kernels())
