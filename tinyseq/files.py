"""Files that somebody gives: opened only if they are files, read only if there is memory for them.

Pipes and devices may never end or never begin; they are refused before anything is read. All refusals are
OSErrors, which readers turn into errors of their own.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO

from tinyseq import memory


def check(path: str | Path) -> int:
    """Refuses what is no regular file, or larger than the memory that is free; gives its size in bytes.

    Raises:
        OSError: it is missing, no regular file or too large.
    """
    try:
        found = Path(path).stat()
    except ValueError as error:
        raise OSError(errno.EINVAL, f"the name is none that a file may have: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file; write what it gives to a file")
    try:
        memory.check(found.st_size)
    except MemoryError as error:
        raise OSError(errno.ENOMEM, f"it is too large for this machine: {error}") from error
    return found.st_size


def opened(path: str | Path) -> BinaryIO:
    """The file, to be read from its beginning.

    Raises:
        OSError: as ``check``, or it cannot be read.
    """
    check(path)
    return Path(path).open("rb")


def read(path: str | Path) -> bytes:
    """All of the file: no more than its size when it is asked.

    Raises:
        OSError: as ``opened``.
    """
    size = check(path)
    with Path(path).open("rb") as file:
        return file.read(size)


def text(path: str | Path) -> str:
    """All of the file as UTF-8, its lines ending as Python has them.

    Raises:
        OSError: as ``opened``.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read(path).decode().replace("\r\n", "\n").replace("\r", "\n")
