"""What an installation holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for where in ("tinyseq", "converters")
        for path in (ROOT / where).rglob("__init__.py")
    }
    assert set(listed) == {f"tinyseq.{name}" if name.startswith("converters") else name for name in folders}
