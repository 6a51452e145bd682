"""Packages that only some of the faces need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tinyseq.errors import MissingPackageError


def package(name: str, user: str, extra: str | None) -> ModuleType:
    """The module of that name, imported.

    Args:
        user: who needs it, for the message.
        extra: the extra of tinyseq that installs it; None where none does.

    Raises:
        MissingPackageError: it, or a library that it needs, is not installed.
    """
    try:
        return import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        what = name if extra is None else f"'tinyseq[{extra}]'"
        raise MissingPackageError(
            f"{user} needs {name}, which cannot be imported ({error}): pip install {what}"
        ) from error
