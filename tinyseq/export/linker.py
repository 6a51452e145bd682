"""The linker and the C compiler of all targets: zig, from PyPI's package of that name."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tinyseq.errors import BuildError, MissingPackageError
from tinyseq.export.machine_code import INSTALL
from tinyseq.export.targets import Target

DLL_ENTRY = """int DllMainCRTStartup(void *library, unsigned reason, void *reserved) {
    (void)library, (void)reason, (void)reserved;
    return 1;
}
"""
"""What Windows calls when it loads a library, where there is no C runtime to do it."""


def zig() -> str:
    """The path of the program.

    Raises:
        MissingPackageError: it is not installed.
    """
    found = find_spec("ziglang")
    folder = None if found is None or found.origin is None else Path(found.origin).parent
    if folder is None or not (folder / "zig").is_file():
        raise MissingPackageError(
            f"libraries are linked by the package ziglang, which is not installed: {INSTALL}"
        )
    return str(folder / "zig")


def run(command: Sequence[str | Path]) -> None:
    """Runs a tool.

    Raises:
        BuildError: it fails; says what it said.
    """
    try:
        subprocess.run(
            [*map(str, command)], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split()) or f"exit status {error.returncode}"
        raise BuildError(f"{Path(str(command[0])).name} {command[1]} failed: {said}") from error
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error}; {INSTALL} again") from error


def archive(target: Target, made: Path, path: Path) -> None:
    """Makes a static library of an object file."""
    kind = {"macos": "darwin", "windows": "coff"}.get(target.name.split("-")[-1], "gnu")
    run([zig(), "ar", f"--format={kind}", "rcsD", path, made])


def shared(target: Target, made: Path, path: Path, functions: Sequence[str]) -> None:
    """Makes a shared library of an object file; of ``functions`` others can see."""
    flags: list[str] = ["-target", target.linker, "-nostdlib", "-s"]
    if target.is_web:
        flags += ["-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,--export-memory"]
        flags += [f"-Wl,--export={name}" for name in functions]
    elif target.name.endswith("macos"):
        flags += ["-shared", f"-Wl,-install_name,@rpath/{path.name}"]
    elif target.name.endswith("linux"):
        flags += ["-shared", f"-Wl,-soname,{path.name}", "-Wl,-z,noexecstack", "-Wl,-z,defs"]
    else:
        entry = made.with_name("entry.c")
        entry.write_text(DLL_ENTRY)
        flags += ["-shared", str(entry)]
    run([zig(), "cc", *flags, "-o", path, made, *target.runtime])


def program(target: Target, sources: Sequence[Path], path: Path) -> None:
    """Compiles and links a program in C."""
    flags = ["-target", target.static or target.linker, *(["-static"] if target.static else [])]
    flags += ["-std=c11", "-O1", "-s", "-Wall", "-Wextra", "-Werror"]
    run([zig(), "cc", *flags, "-o", path, *sources])
