"""The command ``tinyseq demo``: what it lists, and what every demonstration does with what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tinyseq.demo import command

from tests.test_cli_arguments import VALUES
from tinyseq.tools.cli import main
from tinyseq.tools.console import FINE, UNREADABLE, USAGE

EXAMPLES = Path(command.__file__).parent


def status_of(*arguments: str) -> int:
    try:
        return main(["demo", *arguments])
    except SystemExit as stop:
        return stop.code


def test_every_demonstration_is_listed_with_what_it_does(capsys):
    assert status_of("--help") == FINE
    text = capsys.readouterr().out
    for name in command.names():
        assert f"  {name}" in text and command.line(name) in text
        assert command.line(name).endswith(".")
    page = (EXAMPLES / "README.md").read_text()
    assert all(f"| [{name}]({name}/README.md) |" in page for name in command.names())


def test_an_unknown_name_is_refused_with_those_that_there_are(capsys):
    assert status_of("nonsense") == USAGE
    assert "'nonsense'; there are" in capsys.readouterr().err


def test_without_a_name_the_others_are_told(capsys, tmp_path):
    assert status_of("--plot", str(tmp_path / "own.png")) == FINE
    assert capsys.readouterr().out.splitlines()[-1].startswith("this was vad")


@pytest.mark.parametrize("name", command.names())
def test_help_tells_every_option(capsys, name):
    assert status_of(name, "--help") == FINE
    text = capsys.readouterr().out
    assert text.startswith(f"usage: tinyseq demo {name}") and "--plot" in text


@pytest.mark.parametrize("name", command.names())
@pytest.mark.parametrize("option", ["--nonsense", "--plot", "further"])
def test_a_wrong_option_is_one_line_and_an_exit_status(capsys, name, option):
    assert status_of(name, option) == USAGE
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tinyseq")]
    assert "error" in said


@pytest.mark.parametrize("name", command.names())
def test_a_name_that_no_picture_takes_is_refused_before_any_work(capsys, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong in (*VALUES, str(tmp_path / "none" / "a.png")):
        assert status_of(name, f"--plot={wrong}") in (USAGE, UNREADABLE)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tinyseq")]
        assert len(said) == 1
    assert list(tmp_path.iterdir()) == []


def test_listing_imports_nothing_that_only_a_run_needs():
    code = (
        "import sys\n"
        "from tinyseq.tools.cli import main\n"
        "main(['demo', '--help'])\n"
        "assert not {'soundfile', 'matplotlib', 'tqdm', 'onnx', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
