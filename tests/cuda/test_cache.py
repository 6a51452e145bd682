"""Compiled kernels are kept: found again by what they were made from, and by nothing else."""

from __future__ import annotations

import pytest

from tinyseq.kernels.cuda import compiler
from tinyseq.kernels.cuda.elementwise import _filling, _line_of, _space_of
from tinyseq.kernels.instructions import FUNCTIONS

CAPABILITY = (9, 0)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(compiler.CACHE_VARIABLE, str(tmp_path))
    compiler._folder.cache_clear()
    yield tmp_path
    compiler._folder.cache_clear()


@pytest.fixture
def compilations(monkeypatch) -> list:
    made = []
    compiled = compiler.compiled

    def counting(*given):
        made.append(given)
        return compiled(*given)

    monkeypatch.setattr(compiler, "compiled", counting)
    return made


def test_a_kernel_is_compiled_once(cache, compilations):
    first = compiler.binary(_filling, CAPABILITY)
    second = compiler.binary(_filling, CAPABILITY)
    assert (first.name, first.code) == (second.name, second.code)
    assert first.code.startswith(b"\x7fELF")
    assert len(compilations) == 1
    compiler.binary(_filling, (8, 0))
    assert len(compilations) == 2


def test_a_damaged_file_is_made_anew(cache, compilations):
    compiler.binary(_filling, CAPABILITY)
    (file,) = cache.rglob("*.cubin")
    whole = file.read_bytes()
    for damaged in (b"", whole[:-5], whole[:-5] + b"12345", b"\xff\n" + whole):
        file.write_bytes(damaged)
        assert compiler.binary(_filling, CAPABILITY).code.startswith(b"\x7fELF")
    assert len(compilations) == 5


def test_without_a_folder_nothing_is_kept(cache, compilations, monkeypatch):
    monkeypatch.setenv(compiler.CACHE_VARIABLE, "/proc/no-folder-can-be-made-here")
    compiler._folder.cache_clear()
    for _ in range(2):
        assert compiler.binary(_filling, CAPABILITY).code
    assert len(compilations) == 2


def test_other_versions_have_a_folder_of_their_own(cache, monkeypatch):
    one = compiler._folder()
    compiler._folder.cache_clear()
    monkeypatch.setattr(compiler, "_version", lambda package: "99")
    assert compiler._folder() != one


def test_every_kernel_has_a_name_of_its_own():
    kernels = [make(code) for code in range(len(FUNCTIONS)) for make in (_line_of, _space_of)]
    names = [(kernel.name, compiler._specialisation(kernel)) for kernel in kernels]
    assert len(set(names)) >= len(FUNCTIONS)
    twins = {compiler._specialisation(_line_of(code)) for code in range(len(FUNCTIONS))}
    assert len(twins) == len(FUNCTIONS)
