"""Libraries for every target, linked and, where this machine can, run."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec

import pytest

from tests.export.models import layer
from tests.strategies.streams import Layers
from tinyseq.errors import BuildError
from tinyseq.export import TARGETS, c_library
from tinyseq.export.check import Runner
from tinyseq.kernels import library
from tinyseq.tools.cli import main

pytestmark = pytest.mark.skipif(
    find_spec("ziglang") is None, reason="ziglang, which links libraries, is not installed"
)

KINDS = {"header", "object", "archive", "shared", "pkg_config", "cmake"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_library_is_made_and_has_the_bits_of_python(tmp_path, target):
    made = TARGETS[target]
    check = made.checks
    try:
        Runner(made)
    except BuildError as error:
        if check:
            pytest.skip(str(error))
    if not made.processor.isa.fma and "baseline" not in library.available():
        pytest.skip("the kernels that compute with its bits are not built")
    # Frames are held back, so that the state has a place and the stream an end.
    model = Layers().conv(3, pads=(1, 1)).lstm("GRU").model()
    built = c_library(model, tmp_path, name="own", frames=3, target=target, check=check)
    assert built.files.keys() == KINDS | ({"javascript", "types"} if made.is_web else set())
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in built.files.values()}
    assert built.checked_steps == (120 if check else 0)


def test_a_check_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BuildError, match="leave the check out"):
        c_library(layer(), tmp_path / "new", name="own", target="aarch64-macos", check=True)
    assert not (tmp_path / "new").exists()


def test_the_command_says_what_it_made(tmp_path, capsys):
    layer("LSTM").save(tmp_path / "model.tinyseq")
    given = [str(tmp_path / "model.tinyseq"), "--name", "own", "--output", str(tmp_path / "out")]
    assert main(["build", *given, "--check"]) == 0
    assert "the bits are Python's" in capsys.readouterr().out
    assert main(["build", *given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["target"] == "x86_64-linux" and told["files"].keys() == KINDS


def test_the_command_refuses_with_words(tmp_path, capsys):
    layer("LSTM").save(tmp_path / "model.tinyseq")
    given = [str(tmp_path / "model.tinyseq"), "--name", "own", "--output", str(tmp_path / "out")]
    assert main(["build", *given, "--target", "vax"]) == 2
    assert "choose 'x86_64-linux'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="pkg-config is not installed")
def test_pkg_config_finds_a_library(tmp_path):
    c_library(layer(), tmp_path, name="own")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", str(tmp_path / "own.pc")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert f"-I{tmp_path}" in flags and "-lown" in flags
