"""Libraries: what they are made of, what they refuse, and what others see of them."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import tinyseq
from tests.export.models import HIDDEN, layer
from tests.export.together import compiled
from tests.models import lstm_with_state, model, value
from tinyseq.errors import BuildError, FeedError, MissingPackageError, ModelError, OptionError
from tinyseq.export import TARGETS, c_library, libraries, linker
from tinyseq.export.dispatch import chosen_isas
from tinyseq.export.entries import Entries
from tinyseq.export.header import header
from tinyseq.export.interface import interface
from tinyseq.export.machine_code import object_file
from tinyseq.export.names import identifiers
from tinyseq.export.steps import Request, Stepping, stepping
from tinyseq.export.targets import Target
from tinyseq.kernels.llvm.isa import Isa

SILERO = Path(tinyseq.__file__).parent / "speech" / "data" / "silero_vad_16k.tinyseq"

DISPATCHED = ["avx2", "avx512vnni"]

CODE_BYTES, LIBRARY_BYTES = 35_000, 1_100_000
"""The most that the voice detector's code for an instruction set, and all of its library, may take."""

STACK_BYTES = 8192
"""The most that a step may take of its caller's stack."""


def lines(*command: str | Path) -> list[str]:
    return subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True
    ).stdout.splitlines()


@pytest.fixture(scope="module")
def detecting() -> Stepping:
    return stepping(tinyseq.load(SILERO), Request({"sequence": 576}, {"sr": 16000}))


def voice_detector(steps: Stepping, target: Target, isas: Sequence[Isa] = ()) -> tuple[bytes, int, str]:
    """The object file of the voice detector, the bytes of its weights, and its header."""
    entries = Entries(interface("vad", steps), isas=isas)
    code = entries.define()
    data = object_file([code], entries.functions(), target, entries.dispatch())
    weights = sum(array.nbytes for array in code.weights.values())
    return data, weights, header(entries.interface, "test")


@pytest.fixture(scope="module")
def detector(detecting, tmp_path_factory) -> tuple[Path, int]:
    """The voice detector's object file beside its header, and the bytes of its weights."""
    folder = tmp_path_factory.mktemp("detector")
    data, weights, text = voice_detector(detecting, TARGETS["x86_64-linux"])
    (folder / "vad.o").write_bytes(data)
    (folder / "vad.h").write_text(text)
    return folder / "vad.o", weights


def test_an_object_needs_nothing_and_offers_its_functions_only(detector):
    path, _ = detector
    assert lines("nm", "--undefined-only", path) == []
    offered = {line.split()[-1] for line in lines("nm", "--extern-only", "--defined-only", path)}
    assert offered == {"vad_reset", "vad_step", "vad_error", "vad_fingerprint"}
    assert not [line for line in lines("objdump", "-d", path) if "syscall" in line]


def test_an_object_is_small(detector):
    path, weights = detector
    text = int(lines("size", path)[1].split()[0])
    assert text - weights < CODE_BYTES
    assert path.stat().st_size < LIBRARY_BYTES


@pytest.mark.parametrize(("target", "names"), [("aarch64-linux", None), ("x86_64-linux", DISPATCHED)])
def test_an_object_is_small_elsewhere(detecting, target, names):
    if names and platform.machine() != "x86_64":
        pytest.skip("such libraries are built on x86-64")
    system = TARGETS[target]
    data, weights, _ = voice_detector(detecting, system, chosen_isas(system, names))
    assert len(data) - weights < CODE_BYTES * len(names or [target])
    assert len(data) < LIBRARY_BYTES


@pytest.mark.parametrize(
    "compiler",
    [
        *("gcc -std=c11 -pedantic", "gcc -std=c2x -pedantic", "g++ -std=c++11 -pedantic", "g++ -std=c++20"),
        *("clang cc -std=c11 -pedantic", "clang c++ -std=c++11 -pedantic"),
    ],
)
def test_a_header_compiles_without_a_warning(detector, tmp_path, compiler):
    command, *flags = compiler.split()
    if command == "clang":
        command = pytest.importorskip("ziglang") and linker.zig()
    elif shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
    source = tmp_path / ("use.cpp" if "++" in compiler else "use.c")
    source.write_text(
        '#include "vad.h"\nint use(vad_state *s);\nint use(vad_state *s) { vad_reset(s); return 0; }\n'
    )
    flags += ["-Wall", "-Wextra", "-Werror", f"-I{detector[0].parent}"]
    lines(command, *flags, "-c", source, "-o", tmp_path / "use.o")


STACK = """
#include <stdio.h>
#include <string.h>
#include "vad.h"
static vad_state state;
static vad_scratch scratch;
static float input[VAD_INPUT_SIZE], output[VAD_OUTPUT_SIZE];
enum { ROOM = 65536 };
__attribute__((noinline)) static void paint(void) {
    volatile unsigned char room[ROOM];
    for (int i = 0; i < ROOM; i++) room[i] = 0xA5;
}
__attribute__((noinline)) static int used(void) {
    volatile unsigned char room[ROOM];
    int i = 0;
    while (i < ROOM && room[i] == 0xA5) i++;
    return ROOM - i;
}
int main(void) {
    vad_reset(&state);
    paint();
    vad_step(&state, &scratch, input, output);
    printf("%d\\n", used());
    return 0;
}
"""


def test_a_step_takes_little_of_the_stack(detector, tmp_path):
    source, program = tmp_path / "stack.c", tmp_path / "stack"
    source.write_text(STACK)
    lines("cc", "-O1", "-w", f"-I{detector[0].parent}", "-o", program, source, detector[0])
    assert 0 < int(lines(program)[0]) < STACK_BYTES


STEPS = """
#include <unistd.h>
#include "own.h"
static lib1_state state;
static lib1_scratch scratch;
static float x[LIB1_X_SIZE], y[LIB1_Y_SIZE];
int main(void) {
    lib1_reset(&state);
    if (write(1, "a", 1) != 1) return 1;
    for (int i = 0; i < 1000000; i++) lib1_step(&state, &scratch, x, y);
    return write(1, "b", 1) != 1;
}
"""


def test_a_million_steps_call_no_system(several, several_folder, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace, which sees what a program calls, is not installed")
    (tmp_path / "own.h").write_text(header(several[1].own, "test"))
    (tmp_path / "steps.c").write_text(STEPS)
    together = several_folder / "together.o"
    lines("cc", "-O1", f"-I{tmp_path}", "-o", tmp_path / "steps", tmp_path / "steps.c", together)
    lines("strace", "-f", "-o", tmp_path / "calls", tmp_path / "steps")
    calls = [line.split()[1] for line in (tmp_path / "calls").read_text().splitlines()]
    first = next(place for place, call in enumerate(calls) if call.startswith("write("))
    assert calls[first + 1].startswith("write(")


@pytest.fixture(scope="module")
def several_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def several(several_folder):
    """Libraries that are called in the tests: frames left open, one row, finite states."""
    made = [
        stepping(layer("LSTM", frames="frames"), Request(frames=6)),
        stepping(layer("GRU"), Request()),
        stepping(layer("LSTM", rows="rows"), Request(rows=3)),
    ]
    return compiled(made, several_folder)


def test_a_number_of_frames_beyond_the_most_is_refused(several):
    native = several[0]
    x = np.ones((6, 1, HIDDEN), np.float32)
    assert isinstance(native.step({"x": x}, 6), dict)
    before = native.state.copy()
    for frames in (0, 7, -1, 2**40, -(2**63)):
        code = native.step({"x": x}, frames)
        assert "frames must be from 1 to 6" in native.error(code)
        assert (native.state == before).all()


def test_what_python_refuses_is_refused_with_its_words(several):
    native = several[1]
    x = np.full((1, 1, HIDDEN), np.nan, np.float32)
    before = native.state.copy()
    code = native.step({"x": x})
    with pytest.raises(FeedError) as refused:
        layer("GRU").stream().step({"x": x})
    assert code < 0 and native.error(code) == str(refused.value)
    assert (native.state == before).all()


def test_codes_that_are_none_have_words_too(several):
    assert [several[0].error(code) for code in (0, 1, -1000, 2**31 - 1)] == [
        "no error",
        *["no error of this library"] * 3,
    ]


def test_denormal_numbers_are_the_callers_again(several):
    native = several[1]
    native.step({"x": np.ones((1, 1, HIDDEN), np.float32)})
    assert np.float32(1e-38) * np.float32(0.1) > 0
    native.step({"x": np.full((1, 1, HIDDEN), np.inf, np.float32)})
    assert np.float32(1e-38) * np.float32(0.1) > 0


def test_a_copy_of_a_state_is_a_fork(several):
    native = several[1]
    native.reset()
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((6, 1, 1, HIDDEN)).astype(np.float32)
    for x in xs[:3]:
        native.step({"x": x})
    fork = native.state.copy()
    first = [native.step({"x": x})["y"].tobytes() for x in xs[3:]]
    native.state[:] = fork
    assert [native.step({"x": x})["y"].tobytes() for x in xs[3:]] == first


def test_fingerprints_tell_models_apart(several):
    assert len({native.fingerprint for native in several}) == len(several)


def test_names_of_arguments_are_names_of_c():
    given = ["x", "a.b", "a/b", "int", "0", "", "state", "größe", "x_frames", "frames"]
    found = identifiers(given)
    assert len(set(found)) == len(given)
    assert all(name.isascii() and name.isidentifier() for name in found)
    assert found[0] == "x" and not {"int", "state", "frames"} & set(found)


WRONG = {
    "unknown size": (dict(sizes={"z": 3}), OptionError, "leaves open 'frames', 'rows'"),
    "no size": (dict(sizes={"frames": 0}), OptionError, "whole number from 1 on"),
    "frames twice": (dict(sizes={"frames": 3}, frames=3), OptionError, "same number"),
    "no frames": (dict(frames=0), OptionError, "from 1 to"),
    "frames of no number": (dict(frames="7"), OptionError, "from 1 to"),
    "rows": (dict(rows=-1), OptionError, "from 1 to"),
    "target": (dict(target="vax-vms"), OptionError, "choose 'x86_64-linux'"),
    "name": (dict(name="no-name"), OptionError, "letters"),
    "keyword": (dict(name="int"), OptionError, "letters"),
    "input": (dict(inputs={"q": 1}), FeedError, "unknown"),
    "shape of an input": (dict(inputs={"x": np.zeros(3, np.float32)}), FeedError, "dimensions"),
    "inputs": (dict(inputs=[1]), OptionError, "dict by name"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch, what):
    options, kind, words = WRONG[what]
    monkeypatch.setattr(linker, "zig", lambda: "zig")
    folder = tmp_path / "new"
    with pytest.raises(kind, match=words):
        c_library(layer(rows="rows", frames="frames"), folder, **{"name": "own", **options})
    assert not folder.exists()


def test_sizes_that_the_model_cannot_take_are_named():
    with pytest.raises(FeedError, match="sequence=N"):
        stepping(tinyseq.load(SILERO), Request({}, {"sr": 16000}))


def test_frames_of_a_model_that_leaves_none_open_are_refused():
    with pytest.raises(OptionError, match="no number of frames"):
        stepping(layer(), Request(frames=3))


def test_rows_are_no_other_size():
    session = tinyseq.load(lstm_with_state())
    with pytest.raises(OptionError, match="rows=3"):
        stepping(session, Request({"rows": 3}, frames=None))


def test_rows_of_a_model_for_one_row_are_refused():
    with pytest.raises(ModelError, match="one row"):
        stepping(layer(rows=1), Request(rows=2))


def test_a_model_that_cannot_be_streamed_is_refused():
    backward = tinyseq.Graph()
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((1, 4, 1), (1, 4, 1))]
    x = backward.input("x", ["frames", 1, 1])
    backward.output("y", backward.apply("LSTM", x, *weights, hidden_size=1, direction="reverse"))
    with pytest.raises(ModelError, match="reverse"):
        stepping(tinyseq.load(backward), Request())


def test_texts_are_no_inputs():
    from onnx import helper

    node = helper.make_node("Identity", ["s"], ["t"])
    text = model([node], [value("s", np.dtype(object), [1])], [value("t", np.dtype(object), [1])])
    with pytest.raises(tinyseq.TinyseqError):
        interface("own", stepping(tinyseq.load(text), Request()))


def test_states_that_are_inputs_and_outputs_of_the_model_are_no_arguments():
    own = interface("own", stepping(tinyseq.load(lstm_with_state()), Request()))
    assert [one.name for one in own.inputs] == ["x"]
    assert "hn" not in [one.name for one in own.outputs]


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(linker, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'tinyseq\[build\]'"):
        c_library(layer(), tmp_path / "new", name="own")
    assert not (tmp_path / "new").exists()


def test_a_tool_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(linker, "zig", lambda: "false")
    monkeypatch.setattr(libraries, "object_file", lambda *given: b"")
    with pytest.raises(BuildError, match="false"):
        c_library(layer(), tmp_path / "new", name="own")
    assert not (tmp_path / "new").exists()


def test_a_folder_where_a_file_belongs_is_refused(tmp_path):
    (tmp_path / "b.txt").mkdir()
    made = {name: tmp_path / "made" / f"{name}.txt" for name in "abc"}
    with pytest.raises(BuildError, match="it is a folder"):
        libraries._placed(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BuildError, match="no folder"):
        c_library(layer(), tmp_path / "file", name="own")
    assert (tmp_path / "file").read_text() == "mine"
