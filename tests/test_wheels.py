"""Wheels for all platforms, made on this machine: what is in them, and how those of other machines run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo import audio
from tinyseq.demo.vad.run import CLIP

import tinyseq
from tests import aarch64, foreign
from tests.assets import UnavailableError
from tinyseq.backends.cpu import CpuBackend
from tinyseq.errors import BuildError
from tinyseq.export import TARGETS, linker
from tinyseq.export.check import Runner
from tinyseq.export.targets import OWN, WHEELS
from tinyseq.kernels import call, library, team
from tinyseq.kernels.build import BUILT, CALL, FUNCTIONS, STAGES, TEAM, build
from tinyseq.kernels.llvm.architecture import ISAS
from tinyseq.kernels.wheels import packed, python_files
from tinyseq.speech.voice_detector import MODEL

lief = pytest.importorskip("lief", reason="lief, which reads libraries of all systems, is not installed")
wheelfile = pytest.importorskip("wheel.wheelfile", reason="wheel, which makes wheels, is not installed")
tags = pytest.importorskip(
    "packaging.utils", reason="packaging, which reads names of wheels, is not installed"
)

MOST = 7_600_000
"""Bytes of a wheel with the kernels of all instruction sets and the models of all demonstrations."""

STREAM = """
import sys
import sysconfig
import time
import numpy as np
import tinyseq
from tinyseq.kernels import call
from tinyseq.speech.voice_detector import MODEL
stream, sr = tinyseq.load(MODEL).stream(), np.array(16000)
results = [stream.step({"input": chunk[None], "sr": sr})["output"] for chunk in np.load(sys.argv[1])]
np.savez(sys.argv[2], output=np.concatenate(results), state=stream.snapshot()["state"])
assert call.extension() is not None
assert not {"numba", "llvmlite", "ziglang"} & set(sys.modules)
"""
"""Streams chunks of a file through the voice detector; its results, and the state in the end, to another."""

SYSTEM_FUNCTIONS = {"macos": {"dyld_stub_binder", "___bzero", "_bzero"}}
"""What libraries ask a system for, where they ask for anything."""

FUSED = [name for name in library.available() if ISAS[name].fma]

fused = pytest.mark.skipif(not FUSED, reason="this machine has no fused multiply-add: its bits are others")


@pytest.fixture(scope="module")
def kernels() -> Path:
    try:
        return foreign.kernels()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def python_wheel(tmp_path_factory) -> Path:
    return python_files(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def wheels(kernels, python_wheel, tmp_path_factory) -> Mapping[str, Path]:
    """A wheel for each target; that of this machine with all instruction sets that are built."""
    folder, folders = tmp_path_factory.mktemp("wheels"), {name: kernels / name for name in WHEELS}
    if OWN in folders:
        folders[OWN] = BUILT
    return {name: packed(python_wheel, folders[name], WHEELS[name].tags, folder) for name in WHEELS}


@pytest.fixture(scope="module")
def chunks() -> np.ndarray:
    """The clip of the demonstration as the voice detector takes it."""
    samples = audio.read(CLIP).samples
    padded = np.concatenate([np.zeros(64, np.float32), samples])
    return np.lib.stride_tricks.sliding_window_view(padded, 576)[::512].copy()


@pytest.fixture(scope="module")
def expected(chunks, tmp_path_factory) -> Mapping[str, np.ndarray]:
    """What this process makes of them with fused multiply-add."""
    with library.using(FUSED[-1]):
        stream = tinyseq.load(MODEL).stream()
        results = [stream.step({"input": chunk[None], "sr": np.array(16000)})["output"] for chunk in chunks]
    return {"output": np.concatenate(results), "state": stream.snapshot()["state"]}


def listing(path: Path) -> dict[str, int]:
    """The sizes in a wheel of its files, whose checksums are looked at."""
    with wheelfile.WheelFile(path) as wheel:
        assert wheel.testzip() is None
        return {info.filename: info.compress_size for info in wheel.infolist()}


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_is_tagged_small_and_whole(wheels, python_wheel, name):
    target, path = WHEELS[name], wheels[name]
    *_, found = tags.parse_wheel_filename(path.name)
    assert {str(tag) for tag in found} == {f"py3-none-{tag}" for tag in target.tags}
    files = listing(path)
    with wheelfile.WheelFile(path) as wheel:
        about = wheel.read(f"{wheel.dist_info_path}/WHEEL").decode()
    assert "Root-Is-Purelib: false" in about and all(f"Tag: {tag}" in about for tag in map(str, found))

    built = {Path(file).name: size for file, size in files.items() if "/built/" in file}
    compiled = {library.library_file(isa, target.system) for isa in target.isas}
    libraries = [size for file, size in built.items() if file in compiled]
    others = {library.EMBEDDED_FILE, library.FINGERPRINT_FILE}
    others |= {call.FILES[target.system], team.FILES[target.system]}
    assert libraries and built.keys() - compiled == others
    missing = len(compiled) - len(libraries)
    assert path.stat().st_size + missing * max(libraries) < MOST

    assert {file for file in files if "/built/" not in file} == listing(python_wheel).keys()
    assert sum("licenses/" in file and "LICENSE" in file for file in files) == 6
    assert not [file for file in files if {"__pycache__", "tests", STAGES} & set(Path(file).parts)]


@pytest.mark.parametrize("name", WHEELS)
def test_the_call_asks_for_what_it_declares(kernels, name):
    system = WHEELS[name].system
    made = lief.parse(str(kernels / name / call.FILES[system]))
    prefix = "_" if system == "macos" else ""
    declared = re.findall(r"^FROM_\w+ .*?(\w+)\(", CALL.with_name("python.h").read_text(), re.MULTILINE)
    # LLVM compares for equality by bcmp where a system has it.
    allowed = {f"{prefix}{name}" for name in (*declared, "bcmp")} | SYSTEM_FUNCTIONS.get(system, set())
    assert {symbol.name for symbol in made.imported_functions} <= allowed
    assert f"{prefix}PyInit__call" in {symbol.name for symbol in made.exported_functions}


@pytest.mark.parametrize("name", WHEELS)
def test_the_team_asks_for_what_it_declares(kernels, name):
    system = WHEELS[name].system
    made = lief.parse(str(kernels / name / team.FILES[system]))
    prefix = "_" if system == "macos" else ""
    declared = re.findall(r"^\w.*?(\w+)\(.*\);$", TEAM.with_name("system.h").read_text(), re.MULTILINE)
    allowed = {f"{prefix}{name}" for name in declared} | SYSTEM_FUNCTIONS.get(system, set())
    assert {symbol.name for symbol in made.imported_functions} <= allowed
    exported = {symbol.name for symbol in made.exported_functions}
    assert {f"{prefix}tinyseq_team{what}" for what in ("", "_threads", "_shares", "_forked")} <= exported


def test_archives_are_the_same_each_time(python_wheel, kernels, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    again = python_files(tmp_path)
    made = []
    for plain in (python_wheel, again):
        folder = tmp_path / str(len(made))
        shutil.copytree(kernels / "x86_64-windows", folder / "kernels", copy_function=shutil.copyfile)
        made.append(packed(plain, folder / "kernels", ["win_amd64"], folder).read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("name", WHEELS)
def test_libraries_ask_a_system_for_nothing_that_it_lacks(kernels, name):
    target = WHEELS[name]
    path = kernels / name / library.library_file(foreign.ISA[target.processor.name], target.system)
    made = lief.parse(str(path))
    prefix = "_" if target.system == "macos" else ""
    own = {prefix + function for function in FUNCTIONS[: 2 if target.processor.name == "x86_64" else 1]}
    functions = {symbol.name for symbol in made.exported_functions}
    assert own == {name for name in functions if "tinyseq" in name} and len(functions - own) <= 2
    assert {symbol.name for symbol in made.imported_functions} <= SYSTEM_FUNCTIONS.get(target.system, set())
    needed = [str(getattr(one, "name", one)) for one in made.libraries]
    if target.system == "macos":
        assert needed == [f"@rpath/{path.name}", "/usr/lib/libSystem.B.dylib"]
        assert list(made.build_version.minos) == [11, 0, 0] and made.has_uuid
        assert made.has_code_signature or target.processor.name == "x86_64"
    else:
        assert needed == []
    if target.system == "windows":
        flags = lief.PE.Header.CHARACTERISTICS
        assert made.header.has_characteristic(flags.DLL) and made.has_exceptions
    if target.system == "linux":
        stack = next(one for one in made.segments if one.type == lief.ELF.Segment.TYPE.GNU_STACK)
        assert not stack.has(lief.ELF.Segment.FLAGS.X)


def test_a_library_for_windows_is_the_same_each_time(tmp_path):
    made = []
    for name in ("one", "other"):
        source, path = tmp_path / f"{name}.c", tmp_path / name / "own.dll"
        source.write_text("__declspec(dllexport) int own(void) { return 1; }")
        path.parent.mkdir()
        linker.shared(TARGETS["x86_64-windows"], source, path, ["own"])
        made.append(path.read_bytes())
        time.sleep(1.1)  # of which the time in a library has whole ones
    assert made[0] == made[1]


def same(found: Path, expected: Mapping[str, np.ndarray]) -> None:
    with np.load(found) as results:
        for name, array in expected.items():
            assert results[name].tobytes() == array.tobytes()


@pytest.mark.skipif(OWN not in WHEELS, reason="there are no wheels for this machine")
@fused
def test_the_wheel_of_this_machine_installs_without_a_compiler(wheels, chunks, expected, tmp_path):
    venv.create(tmp_path / "fresh", with_pip=False)
    python = tmp_path / "fresh" / "bin" / "python"
    environment = {"PATH": str(python.parent), "HOME": str(tmp_path), "TINYSEQ_ISA": FUSED[-1]}
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, str(wheels[OWN])], check=True, env=os.environ | {"PATH": str(python.parent)})
    np.save(tmp_path / "chunks.npy", chunks)
    command = [python, "-c", STREAM, "chunks.npy", "results.npz"]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    same(tmp_path / "results.npz", expected)


@fused
def test_the_wheel_of_64_bit_arm_streams_with_the_same_bits(wheels, chunks, expected, tmp_path):
    try:
        python = aarch64.python()
        needed = aarch64.packages("numpy", "safetensors")
        aarch64.install(tmp_path / "site", "--no-deps", str(wheels["aarch64-linux"]))
    except UnavailableError as error:
        pytest.skip(str(error))
    np.save(tmp_path / "chunks.npy", chunks)
    command = [*python, "-c", STREAM, "chunks.npy", "results.npz"]
    subprocess.run(command, check=True, env=aarch64.environment(tmp_path / "site", needed), cwd=tmp_path)
    same(tmp_path / "results.npz", expected)


@fused
def test_the_library_for_windows_runs_a_plan_with_the_same_bits(
    kernels, chunks, expected, tmp_path, monkeypatch
):
    target = TARGETS["x86_64-windows"]
    try:
        run = Runner(target)
    except BuildError as error:
        pytest.skip(str(error))
    plans = []
    executor = CpuBackend.executor

    def noted(self, plan, state, known):
        plans.append((plan, state))
        return executor(self, plan, state, known)

    monkeypatch.setattr(CpuBackend, "executor", noted)
    with library.using(FUSED[-1]):
        stream = tinyseq.load(MODEL).stream()
        for chunk in chunks:
            stream.step({"input": chunk[None], "sr": np.array(16000)})
    ((plan, state),) = plans
    head = [plan.program.size, plan.arena_bytes, state.nbytes, len(plan.weights)]
    head += [plan.inputs["input"].offset, chunks[0].nbytes, plan.outputs["output"].offset, 4, len(chunks)]
    head += [len(plan.homes), *plan.homes]
    with (tmp_path / "plan").open("wb") as file:
        file.write(np.array(head, np.int64).tobytes() + plan.program.tobytes())
        for weight in plan.weights:
            file.write(np.int64(weight.nbytes).tobytes() + weight.tobytes())
        file.write(chunks.tobytes())
    source, program = Path(__file__).with_name("machine.c"), tmp_path / "machine.exe"
    zig, made = [linker.zig(), "cc", "-target", target.linker], tmp_path / "machine.o"
    linker.run([*zig, "-c", "-O1", "-Wall", "-Wextra", "-Werror", "-o", made, source])
    linker.run([*zig, "-nostdlib", "-Wl,--entry,mainCRTStartup", "-s", "-o", program, made, "-lkernel32"])
    shutil.copy(kernels / target.name / library.library_file("avx2", target.system), tmp_path / "kernels.dll")
    monkeypatch.chdir(tmp_path)
    run([program], tmp_path / "plan", tmp_path / "said")
    assert (tmp_path / "results").read_bytes() == expected["output"].tobytes() + state.tobytes()


def test_a_build_for_another_machine_says_where_to(tmp_path):
    other = next(name for name in WHEELS if name != OWN)
    with pytest.raises(BuildError, match="--output"):
        build(WHEELS[other].isas, other)
    with pytest.raises(BuildError, match="not of x86_64-linux"):
        build(["neon"], "x86_64-linux", tmp_path)
    with pytest.raises(BuildError, match="there are x86_64-linux"):
        build(["neon"], "vax-vms", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_the_packaging_backend_makes_a_wheel_for_this_machine(monkeypatch, tmp_path):
    backend = pytest.importorskip("tinyseq.kernels.pep517", reason="setuptools is not installed")
    monkeypatch.setattr(backend, "build", lambda: None)  # what is there already
    name = backend.build_wheel(str(tmp_path))
    *_, found = tags.parse_wheel_filename(name)
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert {str(tag) for tag in found} == {f"py3-none-{platform}"}
    built = {Path(file).name for file in listing(tmp_path / name) if "/built/" in file}
    assert {path.name for path in BUILT.iterdir() if path.is_file()} == built
