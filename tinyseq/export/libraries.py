"""A model as a C library: weights and kernels inside, no runtime, state that its caller owns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tinyseq.common.given import as_path, is_whole
from tinyseq.common.text import shown
from tinyseq.errors import BuildError, OptionError
from tinyseq.export import check as checking
from tinyseq.export import linker
from tinyseq.export.entries import Entries
from tinyseq.export.header import cmake, header, pkg_config
from tinyseq.export.interface import Interface, interface
from tinyseq.export.javascript import types, wrapper
from tinyseq.export.machine_code import binding, object_file
from tinyseq.export.names import checked_name
from tinyseq.export.npm import Package, check_folder, package_files, package_of
from tinyseq.export.steps import MOST_FRAMES, MOST_ROWS, Request, stepping
from tinyseq.export.targets import DEFAULT, Target, chosen
from tinyseq.kernels import library
from tinyseq.runtime.session import Session, loaded


class CLibrary(NamedTuple):
    """What was built: the ``files`` by kind (``header``, ``archive``, ``shared``, ``object``, ``pkg_config``,
    ``cmake``; for WebAssembly ``javascript`` and ``types`` too; of a package of npm only these two and
    ``shared``, ``package``, ``readme`` and ``license``), and sizes in bytes of a stream's state and of the
    scratch of a step."""

    name: str
    target: str
    files: Mapping[str, Path]
    state_bytes: int
    scratch_bytes: int
    weight_bytes: int
    checked_steps: int


def c_library(
    model: Session,
    output: str | Path,
    *,
    name: str,
    sizes: Mapping[str, int] | None = None,
    inputs: Mapping[str, object] | None = None,
    frames: int | None = None,
    rows: int = 1,
    target: str = DEFAULT,
    check: bool = False,
    npm: str | None = None,
) -> CLibrary:
    """Writes a model's streams as a C library without dependencies, and a header.

    Args:
        model: a loaded model that can be streamed.
        output: the folder to write to, which is made if need be. Its files appear once all are made.
        name: what the files are called and all names in them begin with.
        sizes: of the dimensions that the model leaves open, by name; 1 where none is given.
        inputs: values of inputs that never change, which are then no arguments.
        frames: the most frames that a step may take, their number being an argument; without it a step takes
            as many as ``sizes`` says.
        rows: streams that are stepped together by one call.
        target: one of ``tinyseq.export.TARGETS``.
        check: whether to run the library on random chunks and compare its bits with Python's.
        npm: for WebAssembly: makes the folder a package of npm of this name, ``NAME`` or ``NAME@VERSION``,
            without the files for C.

    Raises:
        ModelError: the model cannot be streamed, or not so; says why.
        FeedError: sizes or inputs do not fit the model; says which.
        OptionError: an option is unknown or out of its range.
        MissingPackageError: llvmlite or ziglang is not installed; says what to install.
        BuildError: a tool failed, a file cannot be written, or the check found other bits.
    """
    session = loaded(model, "the model to build")
    request = Request(
        _checked_sizes(sizes),
        {} if inputs is None else _mapping(inputs, "inputs"),
        None if frames is None else _whole(frames, "frames", MOST_FRAMES),
        _whole(rows, "rows", MOST_ROWS),
    )
    own_name, system = checked_name(name), chosen(target)
    folder = _folder(output)
    package = None if npm is None else package_of(npm)
    if package is not None:
        if not system.is_web:
            raise OptionError(f"npm={shown(npm)} is for target='wasm32', not {shown(target)}")
        check_folder(folder, package)
    binding()
    linker.zig()
    with library.using(_planned_by(system)):
        own = interface(own_name, stepping(session, request))
        entries = Entries(own, system.processor.flushes, system.export)
        code = entries.define()
        with tempfile.TemporaryDirectory() as scratch:
            made = _made(
                own, system, entries, object_file([code], entries.functions(), system), Path(scratch)
            )
            steps = checking.check(own, system, Path(scratch)) if check else 0
            if package is not None:
                made = _packaged(made, own, system, package)
            files = _placed(made, folder)
    weights = sum(array.nbytes for array in code.weights.values())
    return CLibrary(own_name, system.name, files, own.state_bytes, own.scratch_bytes, weights, steps)


def _planned_by(target: Target) -> str | None:
    """The ISA that computes what is computed while planning; None where the one at hand has the same bits."""
    same = (library.chosen() != "baseline") == target.processor.isa.fma
    return None if same else target.processor.bits_of


def _made(own: Interface, target: Target, entries: Entries, code: bytes, folder: Path) -> dict[str, Path]:
    """All files, in a folder of their own."""
    from tinyseq import __version__

    name, about = own.name, _about(own, "C library")
    files = {
        "header": folder / f"{name}.h",
        "object": folder / f"{name}.o",
        "archive": folder / target.archive.format(name),
        "shared": folder / target.shared.format(name),
        "pkg_config": folder / f"{name}.pc",
        "cmake": folder / f"{name}.cmake",
    }
    files["header"].write_text(header(own, about))
    files["object"].write_bytes(code)
    files["pkg_config"].write_text(pkg_config(own, about, __version__))
    files["cmake"].write_text(cmake(own, files["archive"].name))
    if target.is_web:
        files |= {"javascript": folder / f"{name}.mjs", "types": folder / f"{name}.d.mts"}
        files["javascript"].write_text(wrapper(own))
        files["types"].write_text(types(own))
    linker.archive(target, files["object"], files["archive"])
    linker.shared(target, files["object"], files["shared"], entries.functions())
    return files


def _packaged(made: dict[str, Path], own: Interface, target: Target, package: Package) -> dict[str, Path]:
    """The files of a package of npm."""
    kept = {kind: made[kind] for kind in ("shared", "javascript", "types")}
    relaxed = target.processor.isa.fma
    return kept | package_files(own, package, _about(own, "package of npm"), relaxed, made["shared"].parent)


def _about(own: Interface, what: str) -> str:
    from tinyseq import __version__

    origin = own.stepping.session.model.origin or "built in Python"
    return f"{own.name}: a model ({origin}) made a {what} by tinyseq {__version__}"


def _folder(output: str | Path) -> Path:
    folder = as_path(output, "the folder of a library")
    if folder.exists() and not folder.is_dir():
        raise BuildError(f"cannot write to {folder}: it is no folder; give another name")
    return folder


def _placed(made: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Moves files to where they belong, each whole."""
    placed, token = {}, os.urandom(8).hex()
    fresh: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in made.values():
            fresh.append(folder / f".tinyseq-{token}-{path.name}")
            fresh[-1].write_bytes(path.read_bytes())
            fresh[-1].chmod(0o755 if path.suffix in (".so", ".dll", ".dylib") else 0o644)
        for (kind, path), temporary in zip(made.items(), fresh):
            placed[kind] = temporary.replace(folder / path.name)
    except OSError as error:
        for temporary in fresh:
            temporary.unlink(missing_ok=True)
        raise BuildError(
            f"cannot write to {folder}: {error.strerror}; check the name and its permissions"
        ) from error
    return placed


def _whole(given: object, what: str, most: int) -> int:
    if not is_whole(given) or not 1 <= given <= most:
        raise OptionError(f"{what} is a whole number from 1 to {most:,}, not {shown(given)}")
    return int(given)


def _mapping(given: object, what: str) -> Mapping[str, object]:
    if not isinstance(given, Mapping):
        raise OptionError(f"{what} is a dict by name, not {type(given).__name__}")
    return given


def _checked_sizes(sizes: object) -> dict[str, int]:
    found = {}
    for name, size in ({} if sizes is None else _mapping(sizes, "sizes")).items():
        if not is_whole(size) or not 1 <= size < 2**31:
            raise OptionError(f"size {shown(name)} is a whole number from 1 on, not {shown(size)}")
        found[name] = int(size)
    return found
