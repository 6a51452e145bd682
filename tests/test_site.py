"""The documents as a site: zensical.toml makes it of the Markdown that lies in the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

from tests.documents import ROOT, documents

PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "zensical.toml", "docs", "examples")
SOURCES = ("tinyseq", "converters")
FACES = (
    "tinyseq",
    "tinyseq.converters.keras",
    "tinyseq.converters.torch",
    "tinyseq.converters.weights",
    "tinyseq.export",
    "tinyseq.serve",
    "tinyseq.speech",
)
"""Modules whose public names the reference explains."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, str]:
    """The folder of the site, and what was said while it was built. It is built in a folder of its own:
    other tests may build it too, and what lies about in a checkout is no part of it."""
    folder = tmp_path_factory.mktemp("site")
    for name in (*PAGES, *SOURCES):
        source = ROOT / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "built", "data" if name in SOURCES else "")
            shutil.copytree(source, folder / name, ignore=left_out)
        else:
            shutil.copy(source, folder / name)
    for origin in ROOT.glob("tinyseq/*/data/ORIGIN.md"):
        copy = folder / origin.relative_to(ROOT)
        copy.parent.mkdir()
        shutil.copy(origin, copy)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "build" / "site", run.stdout + run.stderr


def test_nothing_is_wrong_with_links_and_docstrings(built):
    """Strict builds end at links to pages and headings that are not there; what is wrong with docstrings is
    only printed."""
    _, said = built
    assert "No issues found" in said and "griffe" not in said, said


def test_every_document_is_in_the_navigation(built):
    site, _ = built
    start = (site / "index.html").read_text()
    pages = [*documents(), *ROOT.glob("docs/*/*.md"), *ROOT.glob("examples/*/README.md")]
    for page in pages:
        place = page.relative_to(ROOT).with_suffix("").as_posix().removesuffix("README")
        assert f'href="./{place.rstrip("/")}/"' in start or page == ROOT / "README.md", place


@pytest.mark.parametrize("face", FACES)
def test_the_reference_has_every_public_name(built, face):
    site, _ = built
    module = import_module(face)
    text = "".join(page.read_text() for page in site.glob("docs/api/*/index.html"))
    shown = {id(found(name)) for name in re.findall(r'<h\d id="(tinyseq\.[\w.]+)"', text)}
    assert [name for name in module.__all__ if id(getattr(module, name)) not in shown] == []


def found(name: str) -> object:
    """What is imported by a dotted name."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            module = import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        return attrgetter(".".join(parts[split:]))(module) if parts[split:] else module
    raise ModuleNotFoundError(name)


def test_pages_ask_for_nothing_from_elsewhere(built):
    """No font, script, style or picture; links that a reader follows may lead away."""
    site, _ = built
    for page in site.rglob("*.html"):
        asked = re.findall(r'<(?:script|img|iframe|source)[^>]* src="?([^" >]+)', page.read_text())
        asked += re.findall(r'<link[^>]* href="?([^" >]+)', page.read_text())
        assert [address for address in asked if "//" in address] == [], page


def test_what_pages_link_to_is_part_of_the_site(built):
    """Strict builds look at pages only; ``exclude`` of zensical.toml says what else is taken."""
    site, _ = built
    for page in site.rglob("*/index.html"):
        for address in re.findall(r'(?:href|src)="([^":#?]+)["#?]', page.read_text()):
            target = page.parent / address
            assert (target / "index.html" if target.is_dir() else target).is_file(), f"{page}: {address}"
