"""Without the package, the driver or a device: an error that says which is missing and what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tinyseq
from tests.cuda.test_backend import accumulator
from tinyseq.kernels.cuda import driver

WITHOUT = """
import sys
sys.modules[{package!r}] = None
import tinyseq
graph = tinyseq.Graph()
graph.output("y", graph.add(graph.input("x", [2]), 1.0))
try:
    tinyseq.load(graph, device="cuda")
except tinyseq.MissingPackageError as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["cuda.bindings", "numba", "llvmlite"])
def test_no_package(package):
    command = [sys.executable, "-c", WITHOUT.format(package=package)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"needs the package {package}" in said
    assert "pip install 'tinyseq[cuda]'" in said


NEWER_NUMPY = """
import numpy
del numpy.row_stack  # as in NumPy 2.5
from tinyseq.kernels.cuda import compiler
from tinyseq.kernels.cuda.elementwise import _filling
print(compiler.compiled(_filling, (9, 0)).code[:4], hasattr(numpy, "row_stack"))
"""


def test_numpy_without_a_name_that_numba_asks_for():
    command = [sys.executable, "-c", NEWER_NUMPY]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == "b'\\x7fELF' False\n"


@pytest.fixture
def nothing_open():
    driver.opened.cache_clear()
    yield
    driver.opened.cache_clear()


def test_no_driver(monkeypatch, nothing_open):
    def absent(flags: int) -> None:
        raise RuntimeError("libcuda.so.1 cannot be found")

    monkeypatch.setattr(driver.cu, "cuInit", absent)
    with pytest.raises(tinyseq.DeviceError, match=r"^CUDA needs .*driver, which was not found; .*libcuda"):
        tinyseq.load(accumulator(), device="cuda:1")


def test_no_device(monkeypatch, nothing_open):
    code = driver.cu.CUresult.CUDA_ERROR_NO_DEVICE
    monkeypatch.setattr(driver.cu, "cuInit", lambda flags: (code,))
    with pytest.raises(tinyseq.DeviceError, match="finds no device; run `nvidia-smi -L`"):
        tinyseq.load(accumulator(), device="cuda")
