"""Packages of npm: made, packed, installed and stepped; what they are not made of, or over."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.export.models import HIDDEN, layer
from tests.export.test_javascript import expected
from tinyseq.errors import BuildError, OptionError
from tinyseq.export import c_library
from tinyseq.export.npm import package_of
from tinyseq.kernels import library

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    find_spec("ziglang") is None, reason="ziglang, which links libraries, is not installed"
)

USE = f"""
import {{ Model }} from "@me/own";
const stream = (await Model.load()).stream();
const x = Float32Array.from({{ length: 3 * {HIDDEN} }}, (_, i) => Math.fround(((i * 7) % 13) / 13 - 0.5));
console.log(JSON.stringify(Array.from(new Uint32Array(stream.step({{ x }}).y.buffer))));
"""


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm, which packs and installs, is not installed")
def test_a_package_is_packed_installed_and_stepped(tmp_path):
    session, made, project = layer("GRU", frames="frames"), tmp_path / "made", tmp_path / "project"
    files = c_library(session, made, name="own", frames=3, target="wasm32", npm="@me/own@2.1.0").files
    assert {path.name for path in made.iterdir()} == {path.name for path in files.values()}
    project.mkdir()
    (project / "package.json").write_text("{}")
    (project / "use.mjs").write_text(USE)

    def run(*command: str) -> str:
        quiet = ["--offline", "--no-audit", "--no-fund", f"--cache={tmp_path / 'cache'}"]
        line = [*command, *(quiet if command[0] == "npm" else [])]
        return subprocess.run(line, check=True, capture_output=True, text=True, cwd=project).stdout

    (packed,) = json.loads(run("npm", "pack", "--json", str(made)))
    assert packed["version"] == "2.1.0"
    inside = {"LICENSE", "README.md", "own.d.mts", "own.mjs", "own.wasm", "package.json"}
    assert {file["path"] for file in packed["files"]} == inside == {path.name for path in files.values()}
    run("npm", "install", packed["filename"].replace("@me/", "me-"))
    found = json.loads(run("node", "use.mjs"))
    if "baseline" in library.available():
        assert found == expected(session)[0]


def test_a_package_is_made_again_and_over_no_other(tmp_path):
    def make(folder: Path, npm: str) -> None:
        c_library(layer(), folder, name="own", target="wasm32", npm=npm)

    make(tmp_path / "own", "own@1.0.0")
    make(tmp_path / "own", "own@1.0.1")
    assert json.loads((tmp_path / "own" / "package.json").read_bytes())["version"] == "1.0.1"
    for name, text in {"package.json": "{}", "README.md": "mine"}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(BuildError, match="a folder of its own"):
            make(folder, "own")
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, text)]
    with pytest.raises(BuildError, match="another package than other"):
        make(tmp_path / "own", "other")


@pytest.mark.parametrize(
    "name", ["", "Upper", "@me", "@me/", "a b", "../a", "own@", "own@1.2", "own@latest", 3, "x" * 215]
)
def test_names_that_npm_has_not_are_refused(name):
    with pytest.raises(OptionError, match="@SCOPE/NAME"):
        package_of(name)


def test_a_package_is_made_for_webassembly_only(tmp_path):
    with pytest.raises(OptionError, match="target='wasm32'"):
        c_library(layer(), tmp_path / "new", name="own", npm="own")
    assert not (tmp_path / "new").exists()


def test_the_licence_in_packages_is_that_of_tinyseq():
    own = ROOT / "tinyseq" / "export" / "data" / "LICENSE"
    assert own.read_text() == (ROOT / "LICENSE").read_text()
