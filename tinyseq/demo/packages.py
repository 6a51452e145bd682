"""The packages that only the demo needs."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tinyseq.errors import MissingPackageError


def package(name: str) -> ModuleType:
    """The module of that name, imported.

    Raises:
        MissingPackageError: it, or a library that it needs, is not installed.
    """
    try:
        return import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        raise MissingPackageError(
            f"the demo needs {name}, which cannot be imported ({error}): pip install 'tinyseq[demo]'"
        ) from error
