"""Libraries for several instruction sets: each has the bits of the others, and the first call chooses."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.export.models import layer
from tests.strategies.streams import Layers
from tinyseq.errors import OptionError
from tinyseq.export import TARGETS, c_library, check
from tinyseq.export.dispatch import chosen_isas
from tinyseq.export.entries import Entries
from tinyseq.export.header import header
from tinyseq.export.interface import interface
from tinyseq.export.machine_code import object_file
from tinyseq.export.steps import Request, stepping

NAMES = ["avx2", "avx512vnni"]
LINUX = TARGETS["x86_64-linux"]

pytestmark = [
    pytest.mark.skipif(
        find_spec("ziglang") is None, reason="ziglang, which links programs, is not installed"
    ),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="such libraries are built on x86-64"),
]


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Path:
    """A folder with a library for two instruction sets, and the program and the bytes of its check."""
    folder = tmp_path_factory.mktemp("several")
    # Frames are held back, so that both step and finish choose.
    steps = stepping(Layers().conv(3, pads=(1, 1)).lstm("LSTM").model(), Request(frames=3))
    isas = chosen_isas(LINUX, NAMES)
    entries = Entries(interface("own", steps), isas=isas)
    code = entries.define()
    data = object_file([code], entries.functions(), LINUX.of(isas[0]), entries.dispatch())
    (folder / "own.o").write_bytes(data)
    (folder / "own.h").write_text(header(entries.interface, "test"))
    assert check.check(entries.interface, LINUX, folder, 20) == 24
    return folder


def emulated(folder: Path, processor: str) -> bytes:
    """What the check's program gives on another processor."""
    found = [name for name in ("qemu-x86_64", "qemu-x86_64-static") if shutil.which(name)]
    if not found:
        pytest.skip("qemu-x86_64, which runs programs on older processors, is not installed")
    with (folder / "check.in").open("rb") as given:
        command = [found[0], "-cpu", processor, str(folder / "check")]
        return subprocess.run(command, stdin=given, check=True, capture_output=True).stdout


def test_an_older_processor_gives_the_same_bits(several):
    assert emulated(several, "Haswell") == (several / "check.out").read_bytes()


def test_a_processor_that_lacks_all_of_them_is_told_so(several):
    codes = np.frombuffer(emulated(several, "Nehalem")[:8], np.int64)
    assert codes[0] == -1
    assert b"none of the instruction sets" in (several / "own.o").read_bytes()


def test_both_are_there_and_nothing_of_them_is_seen(several):
    shown = subprocess.run(["nm", several / "own.o"], check=True, capture_output=True, text=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in shown.splitlines()}
    assert "U" not in kinds.values()
    assert {name for name, kind in kinds.items() if kind == "T"} == {
        f"own_{kind}" for kind in ("reset", "step", "finish", "error", "fingerprint")
    }
    assert {f"own_{kind}.{isa}" for kind in ("step", "finish") for isa in NAMES} <= kinds.keys()
    code = subprocess.run(["objdump", "-d", several / "own.o"], check=True, capture_output=True, text=True)
    assert "%zmm" in code.stdout and "%ymm" in code.stdout


def test_a_library_may_be_for_one_other_instruction_set(tmp_path):
    built = c_library(layer(), tmp_path, name="own", isas=["avx512"])
    assert built.isas == ("avx512",)


@pytest.mark.parametrize(
    ("target", "isas", "words"),
    [
        ("x86_64-linux", ["sse9"], "choose of 'baseline', 'avx2'"),
        ("x86_64-linux", ["baseline", "avx2"], "other bits"),
        ("x86_64-linux", [], "give names"),
        ("x86_64-linux", "avx2", "give names"),
        ("riscv64-linux", ["avx2"], "has no instruction set 'avx2'"),
    ],
)
def test_what_there_is_not_is_refused(target, isas, words):
    with pytest.raises(OptionError, match=words):
        chosen_isas(TARGETS[target], isas)
