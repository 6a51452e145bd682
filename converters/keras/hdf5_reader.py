"""The process that reads HDF5 files: their bytes from standard input, what they hold to standard output.

It answers with the length of a JSON document in 8 bytes, the document (the attributes of the groups, and
which datasets are not in the file number by number), and a safetensors file of the other datasets.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

MEMORY = 2**29
"""Bytes of memory that reading may take beside several times the file."""

NO_PACKAGE = 5
"""The exit status where there is no h5py package."""


def main() -> int:
    """Reads and answers; gives the exit status."""
    try:
        import h5py
    except ImportError:
        return NO_PACKAGE
    from safetensors.numpy import save

    content = sys.stdin.buffer.read()
    _limit(len(content))
    attributes: dict[str, dict[str, Any]] = {}
    datasets: dict[str, np.ndarray] = {}
    strange: list[str] = []

    def visit(path: str, item: Any) -> None:
        if not hasattr(item, "shape"):
            attributes[path] = _words_of(item)
            return
        whole = not item.is_virtual and item.external is None and item.dtype.kind in "fiub"
        if whole and item.dtype.itemsize <= 8 and item.id.get_storage_size() >= item.nbytes:
            array = np.asarray(item[()])
            datasets[path] = array.astype(array.dtype.newbyteorder("="))
        else:
            strange.append(path)

    try:
        with h5py.File(BytesIO(content), "r") as file:
            visit("", file)
            # Follows no links to other places and files.
            file.visititems(visit)
            described = json.dumps({"attributes": attributes, "strange": strange}).encode()
            sys.stdout.buffer.write(len(described).to_bytes(8, "little") + described + save(datasets))
    except Exception as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    return 0


def _words_of(group: Any) -> dict[str, Any]:
    """The attributes that are words or lists of words."""
    found: dict[str, Any] = {}
    for name in group.attrs:
        value = group.attrs[name]
        if isinstance(value, (str, bytes)):
            found[name] = _word(value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
            found[name] = [_word(entry) for entry in value.ravel().tolist()]
    return found


def _word(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _limit(size: int) -> None:
    """No more memory than now and what a file of a size needs, where the system keeps such a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not Path("/proc/self/statm").is_file():  # macOS
        return
    now = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    most = now + MEMORY + 8 * size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    sys.exit(main())
