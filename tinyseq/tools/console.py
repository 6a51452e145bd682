"""What all commands share: how files are named, arrays read and written, and what is printed."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from math import isfinite
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from tinyseq.common import files, memory
from tinyseq.common.given import as_path
from tinyseq.common.text import printable
from tinyseq.errors import ModelError, TinyseqError

FINE, FAILED, USAGE, UNREADABLE = 0, 1, 2, 3
"""Exit statuses: fine, a check failed, wrong usage, a model or file that cannot be read or used."""

JSON_HELP = 'print JSON instead of text; numbers that are not finite are "NaN", "Infinity" and "-Infinity"'
"""What ``--json`` does, in every command."""


def file_name(text: str) -> Path:
    """The name of a file, for argparse."""
    try:
        return as_path(text, "a file")
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_arrays(path: Path):
    """The array of an .npy file or the arrays of an .npz file; pickles are refused.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    try:
        with files.opened(path) as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.ndarray):
                memory.check(sum(entry.file_size for entry in loaded.zip.infolist()))
            array = loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, BadZipFile, MemoryError) as error:
        raise ModelError(f"cannot read {path}: {error}; give an .npy or .npz file of numbers") from error
    others = [] if isinstance(array, np.ndarray) else array.items()
    for name, other in others:
        if not isinstance(other, np.ndarray):
            raise ModelError(f"cannot read {path}: {name!r} is no array; give a file of numpy.savez")
    if isinstance(array, np.ndarray) != (path.suffix == ".npy"):
        raise ModelError(
            f"{path} is not what its suffix says; rename it to .npy (one array) or .npz (several)"
        )
    return array


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Arrays of any names to an .npz file of just this name, which numpy.savez would not do."""
    with files.writing(path, TinyseqError) as file, ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array(entry, array, allow_pickle=False)


def say(*lines: str) -> None:
    """Prints lines, safe for a terminal whatever names in files hold."""
    for line in lines:
        print(printable(line))


def say_json(value: Any, indent: int | None = None) -> None:
    """Prints JSON as its standard has it, which knows no numbers but finite ones."""
    try:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, allow_nan=False)
    print(text)


def _finite(value: Any) -> Any:
    """Plain values with words for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if not isinstance(value, float) or isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def prepare() -> None:
    """Lets standard output take every letter; what its encoding lacks is written out."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Writes out what was printed; where standard output is closed, there is nothing."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Gives up standard output, which nobody reads or nothing takes, so that Python does not try again."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
