"""A CPython for 64-bit ARM, run by qemu: Debian's, unpacked into the tests' cache, not installed.

``python -m tests.aarch64 FILE ...`` runs it like ``python FILE ...``. It has the version of the Python that
asks, and finds packages on PYTHONPATH alone; ``install`` puts them into a folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.assets import UnavailableError, cache

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = f"""
libc6 libgcc-s1 libstdc++6 zlib1g libbz2-1.0 liblzma5 libexpat1 libffi8 libssl3 libuuid1 libcrypt1
libpython{VERSION}-minimal libpython{VERSION}-stdlib python{VERSION}-minimal
""".split()
QEMU = ("qemu-aarch64", "qemu-aarch64-static")

SETTINGS = """APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""


def qemu() -> str:
    """The program that runs those of 64-bit ARM.

    Raises:
        UnavailableError: it is not installed.
    """
    found = next((path for name in QEMU if (path := shutil.which(name))), None)
    if found is None:
        raise UnavailableError(f"{' or '.join(QEMU)} is not installed (apt install qemu-user-static)")
    return found


def python() -> list[str]:
    """The command that runs the Python, which is fetched first if the cache does not hold it.

    Raises:
        UnavailableError: there is no qemu or no apt, or Debian's packages cannot be had.
    """
    root = cache() / f"python{VERSION}-aarch64"
    command = [qemu(), "-L", str(root), str(root / "usr" / "bin" / f"python{VERSION}")]
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
            made = _unpacked(Path(scratch))
            try:
                made.rename(root)
            except OSError as error:  # another process was quicker
                if not root.is_dir():
                    raise UnavailableError(f"cannot write {root}: {error.strerror}") from error
    return command


def _unpacked(folder: Path) -> Path:
    for name in ("state/lists/partial", "cache/archives/partial", "packages", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "apt.conf").write_text(SETTINGS.format(folder=folder))
    environment = os.environ | {"APT_CONFIG": str(folder / "apt.conf")}
    _run(["apt-get", "update", "-qq"], environment, folder)
    _run(["apt-get", "download", "-qq", *PACKAGES], environment, folder / "packages")
    for package in sorted((folder / "packages").iterdir()):
        _run(["dpkg-deb", "--extract", str(package), str(folder / "root")], environment, folder)
    return folder / "root"


def _run(command: list[str], environment: dict[str, str], folder: Path) -> None:
    try:
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    except OSError as error:
        raise UnavailableError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise UnavailableError(f"{' '.join(command[:2])} for Debian's Python of arm64: {reason}")


def packages(*names: str) -> Path:
    """A folder with packages, and what they need; fetched if the cache does not hold it.

    Raises:
        UnavailableError: pip says why.
    """
    folder = cache() / f"python{VERSION}-aarch64-{'-'.join(sorted(names))}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            install(made := Path(scratch, "made"), *names)
            with suppress(OSError):  # another process was quicker
                made.rename(folder)
    return folder


def install(folder: Path, *packages: str) -> None:
    """Puts wheels for this Python, and what they need, into a folder.

    Raises:
        UnavailableError: pip says why.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"--target={folder}"]
    command += ["--implementation=cp", f"--python-version={VERSION}"]
    command += [
        f"--platform={name}_aarch64" for name in ("manylinux2014", "manylinux_2_27", "manylinux_2_28")
    ]
    _run([*command, *packages], dict(os.environ), Path.cwd())


def environment(*folders: Path) -> dict[str, str]:
    """What the Python is run in, to find what lies in folders and nothing else of this machine's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    sys.exit(subprocess.run([*python(), *sys.argv[1:]]).returncode)
