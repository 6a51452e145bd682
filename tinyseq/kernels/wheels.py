"""Makes wheels: of tinyseq for all platforms, on one machine, by ``python -m tinyseq.kernels.wheels``.

A wheel holds the Python files, which are the same everywhere, and the kernels and the call of one
platform, for any Python there. All wheels are made from one run of the front end; each ISA is optimised
once. What is made depends on the sources and on the versions of the tools alone. Runs in a checkout; needs
``pip install 'tinyseq[build]'``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from tinyseq.errors import BuildError
from tinyseq.export import linker
from tinyseq.export.targets import WHEELS
from tinyseq.kernels.build import BUILT, STAGES, compiled_for
from tinyseq.kernels.library import SOURCES
from tinyseq.kernels.llvm.architecture import ISAS

ROOT = Path(SOURCES).parents[1]
FILES = ("pyproject.toml", "README.md", "LICENSE", "tinyseq", "converters", "examples")

EPOCH = {"SOURCE_DATE_EPOCH": "315532800"}
"""What archives give as the time of their files, unless the environment says it: the first that they can."""

ABOUT = """Wheel-Version: 1.0
Generator: tinyseq.kernels.wheels
Root-Is-Purelib: false
"""


def python_files(folder: Path) -> Path:
    """Makes a wheel of the Python files and the metadata, without kernels."""
    sources = folder / "sources"
    sources.mkdir()
    for name in FILES:
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", BUILT.name)
            shutil.copytree(ROOT / name, sources / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, sources)
    command = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", command, str(folder)], cwd=sources, capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BuildError(f"setuptools cannot make a wheel: {reason}; {linker.INSTALL}")
    return folder / done.stdout.splitlines()[-1]


def packed(python_wheel: Path, kernels: Path, tags: Collection[str], output: Path) -> Path:
    """Makes a wheel for platforms of one without kernels, and a folder of kernels."""
    from wheel.wheelfile import WheelFile

    with tempfile.TemporaryDirectory() as scratch, WheelFile(python_wheel) as plain:
        content = Path(scratch)
        plain.extractall(content)
        name, version = plain.parsed_filename.group("name", "ver")
        (content / plain.record_path).unlink()
        lines = "".join(f"Tag: py3-none-{tag}\n" for tag in tags)
        (content / plain.dist_info_path / "WHEEL").write_text(ABOUT + lines, encoding="utf-8")
        left_out = shutil.ignore_patterns(STAGES)
        shutil.copytree(kernels, content / "tinyseq" / "kernels" / BUILT.name, ignore=left_out)
        for path in content.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        made = output / f"{name}-{version}-py3-none-{'.'.join(tags)}.whl"
        before = dict(os.environ)
        os.environ.update(EPOCH | before)
        try:
            with WheelFile(made, "w") as wheel:
                wheel.write_files(str(content))
        finally:
            if "SOURCE_DATE_EPOCH" not in before:
                del os.environ["SOURCE_DATE_EPOCH"]
    return made


def wheels(targets: Mapping[str, Collection[str]], output: Path) -> list[Path]:
    """Makes wheels for targets by name, each with kernels for some ISAs; puts them into a folder once all are
    there.

    Raises:
        MissingPackageError: a tool is not installed; says what to install.
        BuildError: a tool failed.
    """
    if not (ROOT / "pyproject.toml").is_file():
        raise BuildError(f"wheels are made in a checkout of tinyseq, which {ROOT} is not")
    linker.zig()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        compiled_for({WHEELS[name]: isas for name, isas in targets.items()}, folder)
        plain = python_files(folder)
        made = [packed(plain, folder / name, WHEELS[name].tags, folder) for name in targets]
        output.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(path, output / path.name)) for path in made]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tinyseq.kernels.wheels", description="Make wheels.")
    parser.add_argument(
        "--target", choices=[*WHEELS], action="append", help="this one only; repeatable (default: all)"
    )
    parser.add_argument("--output", type=Path, default=Path("dist"), help="the folder (default: dist)")
    parser.add_argument(
        "--isa", choices=[*ISAS], action="append", help="with these only, which are quicker to make"
    )
    given = parser.parse_args()
    targets = {
        name: [isa for isa in WHEELS[name].isas if isa in (given.isa or ISAS)]
        for name in given.target or WHEELS
    }
    for path in wheels(targets, given.output):
        print(f"{path.stat().st_size:>10,} {path}")


if __name__ == "__main__":
    main()
