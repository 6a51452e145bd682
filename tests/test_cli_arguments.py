"""Every option of every command with what is wrong: an exit status, one line that says why, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, value
from tinyseq import __main__ as command_line
from tinyseq.__main__ import INTERRUPTED
from tinyseq.tools.cli import _parser, main
from tinyseq.tools.console import FINE, UNREADABLE, USAGE, file_name

VALUES = (
    "", "x", "-1", "nan", "1e400", "9" * 5000, "a=b", "=", "x=[1", "x=1e300", "x=missing.npy", "x=/dev/null",
    "frames=" + "9" * 30, "\x1b[31m=\x1b", "\udcff=1", "[[1]]", "null", "{}", "a\0b", "[" * 5000,
)  # fmt: skip
SUFFIXES = (".onnx", ".tinyseq", ".npz", ".npy", ".pt", ".safetensors", ".arpa", ".arpa.gz", ".json", "")
ENOUGH = (".npz", ".json")
"""Where the suffix is not what tells the command what to do."""
NEEDED = {"generate": ["--decoder-start-token-id", "0"], "convert": ["out.tinyseq"]}


def commands() -> dict[str, ArgumentParser]:
    """All but the demonstrations, whose options are each one's own."""
    found = _parser()._subparsers._group_actions[0].choices
    return {name: command for name, command in found.items() if name != "demo"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder to be in, with whole files and broken ones of every kind. Servers end at once."""
    monkeypatch.chdir(tmp_path)
    for name in ("serve", "serve_all"):
        monkeypatch.setattr(f"tinyseq.serve.workers.{name}", lambda config, sock, ready: sock.close() or FINE)
    parser = _parser()
    monkeypatch.setattr("tinyseq.tools.cli._parser", lambda: parser)
    tinyseq.load(lstm_with_state()).save("m.tinyseq")
    np.save("rows.npy", np.log(np.full((5, 3), 1 / 3)))
    for suffix in SUFFIXES:
        Path(f"empty{suffix}").write_bytes(b"")
        Path(f"garbage{suffix}").write_bytes(np.random.default_rng(0).bytes(500))
        Path(f"folder{suffix}").mkdir()
        Path(f"loop{suffix}").symlink_to(f"loop{suffix}")
    return tmp_path


def files(suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    names = (
        "empty",
        "garbage",
        "folder",
        "loop",
        "missing",
        "missing/file",
        "x" * 5000,
        "a\0b",
        "\udcff",
        "\x1b",
    )
    return [*(name + suffix for suffix in suffixes for name in names), "/dev/null", "/"]


def check(arguments: list[str], capsys) -> None:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    shown = [argument[:40] for argument in arguments]
    assert status in (FINE, USAGE, UNREADABLE), (shown, status)
    assert "\x1b" not in out, shown
    if status != FINE:
        said = [line for line in err.splitlines() if line.startswith("tinyseq")]
        assert len(said) == 1 and "Traceback" not in err, (shown, err[-500:])
    if status == UNREADABLE:
        assert "\x1b" not in err, shown


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", commands())
def test_no_wrong_option_ends_in_a_traceback(command, folder, capsys):
    model = ["rows.npy"] if command == "decode" else ["m.tinyseq"]
    for action in commands()[command]._actions:
        if not action.option_strings or action.nargs == 0:
            continue
        named = action.type is file_name
        for text in (*VALUES, *(files(ENOUGH) if named else ())):
            arguments = [command, *model, *NEEDED.get(command, []), f"{action.option_strings[0]}={text}"]
            check(arguments, capsys)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", commands())
def test_no_wrong_file_ends_in_a_traceback(command, folder, capsys):
    for name in files():
        check([command, name, *NEEDED.get(command, [])], capsys)
        if command == "convert":
            check([command, "m.tinyseq", name], capsys)


def test_numbers_that_are_not_finite_are_words_in_json(folder, capsys):
    (folder / "r.onnx").write_bytes(
        model([helper.make_node("Log", ["x"], ["y"])], [value("x", shape=("n",))], [value("y", shape=("n",))])
    )
    assert main(["run", "r.onnx", "--input", "x=[-1, 0, 1, Infinity]", "--json"]) == FINE

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"y": ["NaN", "-Infinity", 0.0, "Infinity"]}
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert '"NaN"' in capsys.readouterr().out


def hostile(path: Path) -> str:
    """A model whose names hold a terminal's commands."""
    name = "\x1b[2J\x9b\u2028\nfake: fine"
    path.write_bytes(
        model(
            [named_node(name)],
            [value(name, shape=(name, 3))],
            [value("y" + name, shape=(name, 3))],
        )
    )
    return name


def named_node(name: str):
    return helper.make_node("Relu", [name], ["y" + name], name)


def test_names_do_not_command_a_terminal(folder, capsys):
    name = hostile(folder / "h.onnx")
    session = tinyseq.load("h.onnx")
    said = [str(session), repr(session), str(session.inputs[0]), str(session.model.graph.nodes[0])]
    for feeds in ({}, {name: np.zeros((1, 2), np.float32)}, {"z\x1b": 1}):
        with pytest.raises(tinyseq.FeedError) as caught:
            session.run(feeds)
        said.append(str(caught.value))
    said.append(repr(tinyseq.State({name: np.zeros(1)})))
    for command in ("inspect", "run", "verify"):
        assert main([command, "h.onnx"]) == FINE
        said.append(capsys.readouterr().out)
    assert main(["run", "h.onnx", "--input", "q=1"]) == USAGE
    said.append(capsys.readouterr().err)
    for text in said:
        assert not set(text) & {"\x1b", "\x9b", "\u2028"} and "\nfake" not in text
        assert r"\x1b" in text or "'q" in text


def run(arguments: list[str], folder: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "tinyseq", *arguments]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, **options)


def test_an_output_that_nobody_reads_is_no_error(folder):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(["inspect", "m.tinyseq"], folder, stdout=writing)
    os.close(writing)
    assert (done.communicate()[1], done.returncode) == ("", FINE)


def test_an_output_that_takes_nothing_is_told(folder):
    with Path("/dev/full").open("w") as full:
        done = run(["inspect", "m.tinyseq"], folder, stdout=full)
        err = done.communicate()[1]
    assert err.startswith("tinyseq: ") and err.count("\n") == 1 and done.returncode == UNREADABLE


def test_letters_that_an_output_lacks_are_written_out(folder):
    hostile(folder / "h.onnx")
    (folder / "u.onnx").write_bytes(model([named_node("é")], [value("é")], [value("yé")]))
    done = run(
        ["inspect", "u.onnx"], folder, stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    out, err = done.communicate()
    assert done.returncode == FINE and r"\xe9" in out and not err


def test_an_interrupted_command_says_nothing(folder, heeding):
    """A run that takes far longer than the test waits."""
    g = tinyseq.Graph()
    weights = [np.full((2048, 8), 0.1, np.float32), np.full((2048, 512), 1e-3, np.float32)]
    y, *_ = g.lstm(g.input("x", ["t", 1, 8]), weights, layout="torch")
    g.output("y", g.apply("ReduceSum", y, keepdims=0))
    tinyseq.load(g).save(folder / "long.tinyseq")
    done = run(["run", "long.tinyseq", "--size", "t=30000"], folder, stdout=subprocess.PIPE)
    time.sleep(3)
    done.send_signal(signal.SIGINT)
    _, err = done.communicate(timeout=60)
    assert (err, done.returncode) == ("", INTERRUPTED)


def test_a_command_that_is_interrupted_while_it_is_imported_says_nothing(monkeypatch):
    class Interrupted:
        @staticmethod
        def find_spec(name, *others):
            if name == "tinyseq.tools.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "tinyseq.tools.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert command_line.main() == INTERRUPTED
