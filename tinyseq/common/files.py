"""How tinyseq reads and writes files.

What is read is a file, not a pipe or a device, which may never end or never begin, and there is memory for
it; all refusals are OSErrors, which readers turn into errors of their own. What is written takes its name
when it is whole: a name holds the old file or the new one, never a part of either.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from tinyseq.common import memory
from tinyseq.errors import TinyseqError

if TYPE_CHECKING:
    from pathlib import Path

# Windows would change line ends, and knows no file that is opened without waiting.
BYTES = getattr(os, "O_BINARY", 0)
READ = os.O_RDONLY | BYTES | getattr(os, "O_NONBLOCK", 0)
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | BYTES

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


def check(path: str | Path) -> int:
    """Refuses what is no regular file, or larger than the memory that is free; gives its size in bytes.

    Raises:
        OSError: it is missing, no regular file or too large.
    """
    try:
        return _checked(os.stat(path))
    except ValueError as error:
        raise OSError(errno.EINVAL, f"the name is none that a file may have: {error}") from error


def _checked(found: os.stat_result) -> int:
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
    """The file, to be read from its beginning; what is opened is what was looked at.

    Raises:
        OSError: as ``check``, or it cannot be read.
    """
    try:
        # A pipe is opened without waiting for who writes to it.
        number = os.open(path, READ)
    except PermissionError:
        check(path)  # what Windows calls so may be a folder
        raise
    except ValueError as error:
        raise OSError(errno.EINVAL, f"the name is none that a file may have: {error}") from error
    try:
        _checked(os.fstat(number))
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read(path: str | Path) -> bytes:
    """All of the file: no more than its size when it is opened.

    Raises:
        OSError: as ``opened``.
    """
    with opened(path) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def text(path: str | Path) -> str:
    """All of the file as UTF-8, its lines ending as Python has them.

    Raises:
        OSError: as ``opened``.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read(path).decode().replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def writing(path: str | os.PathLike, error: type[TinyseqError], suffix: str = "") -> Iterator[BinaryIO]:
    """A file that takes its name once all was written to it; before that, and on any failure, the name holds
    what it held.

    Links are followed and stay links. A file that is replaced keeps its mode.

    Raises:
        error: the name has another suffix, stands for something other than a file, or cannot be written to.
    """
    target, mode = writable(path, error, suffix)
    # Random, so that two writers never meet; new, so that nobody's file or link is written to.
    temporary = target.with_name(f".tinyseq-{os.urandom(8).hex()}")

    def create(name: str, _: int) -> int:
        return os.open(name, NEW, 0o666 if mode is None else mode)

    try:
        with open(temporary, "wb", opener=create) as file:
            if mode is not None and hasattr(os, "fchmod"):  # Windows keeps no mode
                os.fchmod(file.fileno(), mode)
            yield file
        temporary.replace(target)
    except BaseException as failure:
        if not isinstance(failure, FileExistsError):  # then it is somebody else's
            with suppress(OSError):
                temporary.unlink()
        if isinstance(failure, OSError):
            raise _refusal(path, failure, error) from failure
        raise


def writable(path: str | os.PathLike, error: type[TinyseqError], suffix: str = "") -> tuple[Path, int | None]:
    """The file that a name stands for, links followed, and its mode; None where there is no file yet.

    Raises:
        error: the name has another suffix, or stands for something that files are not written to.
    """
    # Imported here: who only reads need not wait for it.
    from pathlib import Path

    try:
        name = Path(path)
        found = _found(name)
        target = Path(os.path.realpath(name))
    except (OSError, ValueError, TypeError) as failure:
        raise _refusal(path, failure, error) from failure
    if found is not None and not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise error(f"cannot write {path}: it is {kind}; give the name of a file")
    if suffix and name.suffix.lower() != suffix:
        raise error(f"cannot write {path}: what is written is a {suffix} file; give a name that ends so")
    if found is not None and not os.access(target, os.W_OK):
        raise error(f"cannot write {path}: the file there is write-protected; give another name")
    if not target.parent.is_dir():
        raise error(f"cannot write {path}: there is no folder {target.parent}; check the name, or make it")
    return target, None if found is None else found.st_mode & 0o777


def same(one: Path, other: Path) -> bool:
    """Whether two names, or what their links lead to, are one file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _found(name: Path) -> os.stat_result | None:
    try:
        return name.stat()
    except FileNotFoundError:
        return None


def _refusal(path: object, failure: Exception, error: type[TinyseqError]) -> TinyseqError:
    why = getattr(failure, "strerror", None) or failure
    return error(f"cannot write {path}: {why}; check the name, the folder and its permissions")
