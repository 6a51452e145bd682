"""Where models lie: files by name and version, in the configuration or in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinyseq.errors import ModelError
from tinyseq.runtime.loading import READERS
from tinyseq.serve.config import ModelSource, checked_name


def stamp(source: ModelSource) -> Any:
    """What differs when a model's files have changed; None while they cannot be read."""
    try:
        return stamps(files_of(source).values())
    except (OSError, ModelError):
        return None


def stamps(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """What differs when one of some files has changed.

    Raises:
        OSError: one cannot be looked at.
    """
    return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(paths)]


def files_of(source: ModelSource) -> dict[str, Path]:
    """The files of a model's versions: of a file version 1, of a folder one for each folder in it that has a
    number for its name and one model inside.

    Raises:
        ModelError: the folder has no such file.
    """
    if not source.path.is_dir():
        return {"1": source.path}
    found = {}
    for folder in sorted(source.path.iterdir()):
        if folder.name.isascii() and folder.name.isdigit() and folder.is_dir():
            files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS]
            if len(files) != 1:
                raise ModelError(
                    f"{folder} has {len(files)} files of models and must have one: {', '.join(READERS)}"
                )
            found[folder.name] = files[0]
    if not found:
        raise ModelError(f"{source.path} has no versions: a file as {source.path}/1/model.onnx is looked for")
    return found


def repository(folder: Path) -> list[ModelSource]:
    """The models of a folder: ``NAME.onnx`` or another file that can be loaded, or a folder of versions.

    Raises:
        ModelError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ModelError(f"cannot read the repository {folder}: {error}") from error
    sources = []
    for path in entries:
        is_model = path.is_file() and path.suffix.lower() in READERS
        if path.name.startswith(".") or not (is_model or path.is_dir()):
            continue
        sources.append(ModelSource(checked_name(path.stem if is_model else path.name), path))
    return sources


def order(version: str) -> tuple[int, str]:
    return (int(version) if version.isdigit() else -1, version)
