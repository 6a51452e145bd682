"""Zip archives of weights: entries are stored as they are, so that none takes more memory than the file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO

from tinyseq.errors import ModelError

DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, KeyError, IndexError, RuntimeError,
    NotImplementedError, OverflowError,
)  # fmt: skip
"""What Python's zipfile raises on damaged archives."""


def opened(file: BinaryIO, where: str) -> zipfile.ZipFile:
    """The archive in a file.

    Raises:
        ModelError: it is damaged, or its entries are larger together than the file.
    """
    size = file.seek(0, 2)
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGE as error:
        raise ModelError(f"{where} is damaged: its archive cannot be read: {error}") from error
    if sum(entry.compress_size for entry in archive.infolist()) > size:
        raise ModelError(f"{where} is damaged: its entries are larger together than the file")
    return archive


def member(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """An entry's bytes.

    Raises:
        ModelError: there is no such entry, or it is damaged or compressed.
    """
    if name not in archive.NameToInfo:
        raise ModelError(f"{where} is damaged: the archive holds no {name!r}")
    entry = archive.NameToInfo[name]
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ModelError(
            f"{where}: the entry {name!r} is compressed, which the format's own writers never do; "
            "unpack the archive and store it anew"
        )
    try:
        return archive.read(name)
    except DAMAGE as error:
        raise ModelError(f"{where} is damaged: the entry {name!r} cannot be read: {error}") from error
