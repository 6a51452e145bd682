"""What an installation holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tinyseq").rglob("__init__.py")}
    assert set(listed) == {".".join(folder.parts) for folder in folders} | {"tinyseq.converters"}
