"""What an installation holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_installed():
    folders = {
        ".".join((package, *path.parent.relative_to(ROOT / folder).parts))
        for package, folder in PYPROJECT["package-dir"].items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(PYPROJECT["packages"]) == folders


def test_what_a_demonstration_brings_along_is_installed():
    """All but its page, and what only its page shows."""
    kept = {".py", ".pyc", ".png", ".svg"}
    for folder in (ROOT / "examples").iterdir():
        if not (folder / "__init__.py").is_file():
            continue
        listed = PYPROJECT["package-data"].get(f"tinyseq.demo.{folder.name}", [])
        installed = {path for pattern in listed for path in folder.glob(pattern)}
        files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in kept}
        assert installed == files - {folder / "README.md"}, folder.name
