"""The code in the documents runs as it stands, and prints what they show."""

from __future__ import annotations

import contextlib
import io
import shlex
from importlib.util import find_spec
from itertools import pairwise

import pytest

import tinyseq
from tests.documents import ROOT, blocks, documents, write_files
from tests.serve.server import serving
from tinyseq.serve.command import config_of
from tinyseq.speech.voice_detector import MODEL
from tinyseq.tools import cli

PAGES = {path.relative_to(ROOT).as_posix(): path for path in documents()}
COMMANDS = ("tinyseq", "pip", "python", "python3", "pytest", "ruff", "mypy", "git")
"""What lines of shell blocks begin with."""

ADDRESS = "localhost:8000"
"""Of the server in the documents; where it is in use, the tests have another one."""


def there(needs: str) -> bool:
    """Whether this machine has what a block needs beside tinyseq."""
    wanted = needs.split(" and ") if needs else []
    assert {*wanted} <= {"PyTorch", "Ray", "a device", "tritonclient"}
    if {"tritonclient", "Ray"} & {*wanted}:
        # Those that have them do what the pages show: tests/serve/test_triton.py, tests/serve/test_ray.py.
        return False
    if "PyTorch" in wanted and find_spec("torch") is None:
        return False
    return "a device" not in wanted or has_device()


def has_device() -> bool:
    try:
        tinyseq.load(MODEL, device="cuda")
    except tinyseq.DeviceError:
        return False
    return True


@pytest.fixture
def folder(asset, tmp_path, monkeypatch):
    """A folder with the files that blocks read, where they run."""
    write_files(tmp_path, asset)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_python_runs_and_prints_what_is_shown(page, folder):
    """The blocks of a page in order, in one interpreter; a block of text shows what was printed."""
    names, printed = {}, ""
    with address(page, folder) as place:
        for block in blocks(PAGES[page]):
            if block.language == "python":
                code = compile(block.text.replace(ADDRESS, place), page, "exec")
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    if there(block.needs):
                        exec(code, names)
                printed = output.getvalue()
            elif block.language == "text":
                assert block.text == printed


@contextlib.contextmanager
def address(page, folder):
    """Where the server is that a page speaks to as ``ADDRESS``."""
    if ADDRESS not in PAGES[page].read_text():
        yield ADDRESS
        return
    with serving(folder) as server:
        yield f"localhost:{server.port}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_run(page, folder, capsys):
    """Those of tinyseq; of others, that the modules and files that they name are there."""
    for block in blocks(PAGES[page]):
        for line in block.text.splitlines() if block.language == "sh" else ():
            for words in commands(line):
                assert words[0] in COMMANDS, line
                if words[0] == "tinyseq" and words[1] == "serve":
                    config_of(cli._parser().parse_args(words[1:]))
                elif words[0] == "tinyseq" and words[1] != "demo":
                    assert cli.main(words[1:]) == cli.FINE, line
                for option, word in pairwise(words):
                    if option == "-m" and word != "venv":
                        assert find_spec(word), line
                for word in words[1:]:
                    assert not word.startswith(("tests/", "docs/")) or ROOT.joinpath(word).exists(), line


def commands(line: str) -> list[list[str]]:
    """The commands of a line, joined by ``&&``, without comments and ``.``, the shell's own."""
    found = [shlex.split(part, comments=True) for part in line.split("&&")]
    return [words for words in found if words and words[0] != "."]
