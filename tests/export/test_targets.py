"""Libraries for every target, linked and, where this machine can, run."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tinyseq
from tests.export.models import layer
from tests.strategies.streams import Layers
from tinyseq.errors import BuildError
from tinyseq.export import TARGETS, c_library
from tinyseq.export.check import PythonSteps, Runner
from tinyseq.kernels import library
from tinyseq.tools.cli import main

pytestmark = pytest.mark.skipif(
    find_spec("ziglang") is None, reason="ziglang, which links libraries, is not installed"
)

KINDS = {"header", "object", "archive", "shared", "pkg_config", "cmake"}


def need_a_runner(target: str) -> None:
    try:
        Runner(TARGETS[target])
    except BuildError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("target", TARGETS)
def test_a_library_is_made_and_has_the_bits_of_python(tmp_path, target):
    made = TARGETS[target]
    check = made.checks
    if check:
        need_a_runner(target)
    if not made.processor.isa.fma and "baseline" not in library.available():
        pytest.skip("the kernels that compute with its bits are not built")
    # Frames are held back, so that the state has a place and the stream an end.
    model = Layers().conv(3, pads=(1, 1)).lstm("GRU").model()
    built = c_library(model, tmp_path, name="own", frames=3, target=target, check=check)
    assert built.files.keys() == KINDS | ({"javascript", "types"} if made.is_web else set())
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in built.files.values()}
    assert built.checked_steps == (120 if check else 0)


@pytest.mark.parametrize(
    "target", [name for name, one in TARGETS.items() if one.processor.flushes and one.checks]
)
def test_denormal_numbers_are_zeros_where_one_of_two_is_selected(tmp_path, monkeypatch, target):
    need_a_runner(target)
    graph = tinyseq.Graph()
    x = graph.input("x", [1, 40])
    low, high = (np.array(bound, np.float32) for bound in (-1, 1e-40))
    graph.output("relu", graph.apply("Relu", x))
    graph.output("clip", graph.apply("Clip", x, low, high))

    def denormal(steps, one, frames):
        numbers = steps.rng.standard_normal(one.shapes[-1]) * 10.0 ** -steps.rng.integers(
            0, 45, one.shapes[-1]
        )
        return numbers.astype(np.float32)

    monkeypatch.setattr(PythonSteps, "_random", denormal)
    built = c_library(tinyseq.load(graph), tmp_path, name="own", target=target, check=True)
    assert built.checked_steps == 100


def test_a_check_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BuildError, match="leave the check out"):
        c_library(layer(), tmp_path / "new", name="own", target="aarch64-macos", check=True)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def commanded(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a library that the command made, and what it said."""
    folder, said = tmp_path_factory.mktemp("commanded"), io.StringIO()
    layer("LSTM").save(folder / "model.tinyseq")
    with redirect_stdout(said):
        given = [str(folder / "model.tinyseq"), "--name", "own", "--output", str(folder / "out")]
        assert main(["build", *given, "--check"]) == 0
    return folder / "out", said.getvalue()


def test_the_command_says_what_it_made(commanded, capsys):
    folder, said = commanded
    assert "the bits are Python's" in said
    model = str(folder.parent / "model.tinyseq")
    assert main(["build", model, "--name", "own", "--output", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["target"] == "x86_64-linux" and told["isas"] == ["avx2"] and told["files"].keys() == KINDS


def test_the_command_refuses_with_words(tmp_path, capsys):
    layer("LSTM").save(tmp_path / "model.tinyseq")
    given = [str(tmp_path / "model.tinyseq"), "--name", "own", "--output", str(tmp_path / "out")]
    assert main(["build", *given, "--target", "vax"]) == 2
    assert "choose 'x86_64-linux'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="pkg-config is not installed")
def test_pkg_config_finds_a_library(commanded):
    folder, _ = commanded
    command = ["pkg-config", "--cflags", "--libs", str(folder / "own.pc")]
    flags = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"-I{folder}" in flags and "-lown" in flags
