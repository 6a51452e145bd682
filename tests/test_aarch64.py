"""64-bit ARM: kernels compiled here and run by qemu give the bits of this machine's."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo import audio
from tinyseq.demo.vad.run import CLIP

import tinyseq
from tests import aarch64, foreign, results
from tests.assets import UnavailableError
from tests.export.test_law import drawn
from tests.models import Case
from tests.strategies import CASES
from tests.test_bits import MODELS, sequence
from tests.test_ctc import peaked
from tinyseq.errors import KernelsError
from tinyseq.ir.narrow import PRECISIONS
from tinyseq.kernels import library
from tinyseq.kernels.build import BUILT
from tinyseq.kernels.llvm.architecture import ISAS
from tinyseq.speech.voice_detector import MODEL

EXAMPLES = 4
"""Models of an op that are drawn; the last one is taken, as the first are the simplest."""

FUSED = [name for name in library.available() if ISAS[name].fma]

pytestmark = [
    pytest.mark.skipif(not FUSED, reason="this machine has no fused multiply-add: its bits are others"),
    pytest.mark.filterwarnings("ignore::tinyseq.ConversionWarning", "ignore::tinyseq.BroadcastWarning"),
]

ARM = {"neon": "cortex-a53", "dotprod": "max"}
"""A processor that picks each ISA."""


def keep(
    folder: Path, name: str, model: object, feeds: Mapping[str, np.ndarray], precision: str = "float32"
) -> None:
    tinyseq.load(model, precision=precision).save(folder / f"{name}.tinyseq")
    np.savez(folder / f"{name}.npz", **feeds)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of models: one of each form of each op, and what streams."""
    folder = tmp_path_factory.mktemp("models")
    for number, form in enumerate(CASES):
        case: Case = drawn(CASES[form], EXAMPLES)[-1]
        keep(folder, f"run {number} {re.sub('[^A-Za-z0-9]+', ' ', form)}", case.model, case.feeds)
    for name, model in MODELS.items():
        plain = re.sub("[^a-z]+", " ", name)
        keep(folder, f"step {plain}", model, {"x": sequence(12)[:, None]})
        if "constant" not in name:
            keep(folder, f"pool {plain}", model, {"x": sequence(12, 3)[:, None]})
        for precision in PRECISIONS:
            keep(folder, f"step {plain} {precision}", model, {"x": sequence(12)[:, None]}, precision)
    np.save(folder / results.ROWS, peaked(200, 20, 0))
    samples = audio.read(CLIP).samples
    chunks = np.lib.stride_tricks.sliding_window_view(samples, 576)[:25600:512]
    keep(folder, "step silero", MODEL, {"input": chunks[:, None], "sr": np.full(len(chunks), 16000)})
    return folder


@pytest.fixture(scope="module")
def expected(models) -> dict[str, np.ndarray]:
    with library.using(FUSED[-1]):
        return results.results(models)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> list[Path]:
    """Folders with tinyseq for 64-bit ARM and what it needs."""
    folder = tmp_path_factory.mktemp("aarch64")
    try:
        kernels = foreign.kernels() / "aarch64-linux"
        aarch64.python()
        aarch64.install(folder / "site", "numpy", "safetensors")
    except UnavailableError as error:
        pytest.skip(str(error))
    root = Path(library.SOURCES).parents[1]
    left_out = shutil.ignore_patterns("__pycache__", BUILT.name)
    shutil.copytree(root / "tinyseq", folder / "tinyseq", ignore=left_out)
    shutil.copytree(root / "converters", folder / "tinyseq" / "converters", ignore=left_out)
    shutil.copytree(kernels, folder / "tinyseq" / "kernels" / BUILT.name)
    return [folder, folder / "site"]


def run(package: list[Path], isa: str, *arguments: str | Path, **environment: str) -> str:
    settings = aarch64.environment(*package) | {"QEMU_CPU": ARM[isa]} | environment
    done = subprocess.run([*aarch64.python(), "-P", *arguments], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(array: np.ndarray) -> tuple[object, ...]:
    """Type, shape and bits of an array, of which every not-a-number is one."""
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return array.dtype, array.shape, array.tobytes()


@pytest.mark.parametrize("isa", ARM)
def test_the_bits_are_those_of_this_machine(package, models, expected, tmp_path, isa):
    script = Path(results.__file__)
    run(package, isa, script, models, tmp_path / "found.npz", TINYSEQ_ISA=isa)
    with np.load(tmp_path / "found.npz") as file:
        found = dict(file)
    assert found.keys() == expected.keys()
    assert not [name for name, wanted in expected.items() if plain(found[name]) != plain(wanted)]


@pytest.mark.parametrize("isa", ARM)
def test_a_processor_picks_the_best_that_it_has(package, isa):
    command = "from tinyseq.kernels import library; print(library.chosen(), *library.available())"
    everything = list(ARM)
    expected = [isa, *everything[: everything.index(isa) + 1]]
    assert run(package, isa, "-c", command).split() == expected


@pytest.mark.skipif("neon" in library.available(), reason="this is a machine of 64-bit ARM")
def test_instruction_sets_of_other_processors_are_refused_by_name(monkeypatch):
    monkeypatch.setenv(library.ISA_VARIABLE, "neon")
    with pytest.raises(KernelsError, match="TINYSEQ_ISA=neon: this machine can run"):
        library.chosen()
