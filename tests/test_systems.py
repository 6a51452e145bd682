"""What differs between systems is asked of them in one place, and missing where they lack it."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.test_layers import files
from tinyseq.common import files as common_files
from tinyseq.common import memory
from tinyseq.speech.voice_detector import MODEL

NOT_EVERYWHERE = {
    "fcntl", "grp", "msvcrt", "posix", "pwd", "resource", "termios", "winreg", "winsound",
}  # fmt: skip
"""Modules that some systems lack."""

OF_POSIX = {
    "chown", "fchmod", "fchown", "fork", "getuid", "geteuid", "killpg", "mkfifo", "nice", "pread", "pwrite",
    "register_at_fork", "sched_getaffinity", "sched_setaffinity", "setsid", "sysconf", "uname",
    "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_TMPFILE",
}  # fmt: skip
"""Names of ``os`` that Windows lacks."""

ASKED_IN = {"backends", "common.files", "common.memory", "converters.keras.hdf5_reader", "kernels.team"}
"""The modules that ask a system for what not every one has."""

WITHOUT = f"""
import builtins, os, sys
import numpy as np
import safetensors.numpy
for name in {sorted(OF_POSIX)}:
    if hasattr(os, name):
        delattr(os, name)
imported, opened = builtins.__import__, builtins.open
def without(name, *given, **named):
    if name in {sorted(NOT_EVERYWHERE)} and "tinyseq" in str(sys._getframe(1).f_globals.get("__name__")):
        raise ImportError(name)
    return imported(name, *given, **named)
def hidden(file, *given, **named):
    if str(file).startswith(("/proc", "/sys")):
        raise FileNotFoundError(str(file))
    return opened(file, *given, **named)
builtins.__import__, builtins.open = without, hidden
import tinyseq
from tinyseq.common import memory
from tinyseq.tools.cli import main
assert memory.available() is None
tinyseq.load({str(MODEL)!r}).save("model.tinyseq")
tinyseq.load({str(MODEL)!r}).save("model.tinyseq")
stream = tinyseq.load("model.tinyseq").stream()
stream.step({{"input": np.zeros((1, 576), np.float32), "sr": np.array(16000)}})
assert main(["inspect", "model.tinyseq"]) == 0
"""
"""A day with tinyseq where all that is missing."""


def asked(tree: ast.AST) -> set[str]:
    """What a module asks of a system that not every one has."""
    nodes = [*ast.walk(tree)]
    of_os = (node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os")
    names = {node.attr for node in of_os}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    words = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    paths = {word for word in words if word.startswith(("/proc", "/sys/", "/dev/"))}
    return names & (OF_POSIX | NOT_EVERYWHERE) | paths


def without_encoding(tree: ast.AST) -> list[int]:
    """The lines that read or write text in the encoding of the system's choice."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text")
        if "encoding" not in {keyword.arg for keyword in call.keywords}
    ]


def test_modules_ask_for_what_every_system_has_and_read_text_alike():
    trees = {name: ast.parse(path.read_text()) for name, path in files().items()}
    assert {name for name, tree in trees.items() if asked(tree)} == ASKED_IN
    assert {name: lines for name, tree in trees.items() if (lines := without_encoding(tree))} == {}


def test_a_day_without_what_some_systems_lack(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.tinyseq"]


def test_where_nothing_tells_what_is_free_all_memory_counts(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    before = memory.available()
    monkeypatch.setattr(memory, "_lines", missing)
    assert memory.available() >= before


def test_a_folder_is_called_one_where_opening_it_is_forbidden(tmp_path, monkeypatch):
    """As Windows has it."""

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").touch()
    monkeypatch.setattr("os.open", forbidden)
    with pytest.raises(IsADirectoryError):
        common_files.opened(tmp_path)
    with pytest.raises(PermissionError):
        common_files.opened(tmp_path / "file")
