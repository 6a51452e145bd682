"""The linker and the C compiler of all targets: zig, from PyPI's package of that name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tinyseq.errors import BuildError, MissingPackageError
from tinyseq.export.targets import Target

INSTALL = "pip install 'tinyseq[build]'"

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
    program = folder and shutil.which("zig", path=folder)
    if not program:
        raise MissingPackageError(
            f"libraries are linked by the package ziglang, which is not installed: {INSTALL}"
        )
    return program


def run(command: Sequence[str | Path]) -> None:
    """Runs a tool.

    Raises:
        BuildError: it fails; says what it said.
    """
    # Libraries for Windows hold a time, which makes each of them another.
    environment = {"SOURCE_DATE_EPOCH": "0"} | os.environ
    given = [*map(str, command)]
    try:
        subprocess.run(
            given, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split()) or f"exit status {error.returncode}"
        raise BuildError(f"{Path(str(command[0])).name} {command[1]} failed: {said}") from error
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error}; {INSTALL} again") from error


def archive(target: Target, made: Path, path: Path) -> None:
    """Makes a static library of an object file."""
    kind = {"macos": "darwin", "windows": "coff"}.get(target.system, "gnu")
    run([zig(), "ar", f"--format={kind}", "rcsD", path, made])


def shared(target: Target, made: Path, path: Path, functions: Sequence[str]) -> None:
    """Makes a shared library of an object file; of ``functions`` others can see."""
    flags: list[str] = ["-target", target.linker, "-nostdlib", "-s"]
    if target.is_web:
        flags += ["-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,--export-memory"]
        flags += [f"-Wl,--export={name}" for name in functions]
    elif target.system == "macos":
        flags += ["-shared", f"-Wl,-install_name,@rpath/{path.name}"]
    elif target.system == "linux":
        flags += ["-shared", f"-Wl,-soname,{path.name}", "-Wl,-z,noexecstack", "-Wl,-z,defs"]
    else:
        flags += ["-shared"]
    # Linked in a folder of its own: for Windows, a file comes out beside the library.
    with tempfile.TemporaryDirectory() as scratch:
        given, linked = [made], Path(scratch, path.name)
        if target.system == "windows":
            given.append(Path(scratch, "entry.c"))
            given[-1].write_text(DLL_ENTRY, encoding="utf-8")
        run([zig(), "cc", *flags, "-o", linked, *given, *target.runtime])
        shutil.move(linked, path)


def extension(target: Target, source: Path, path: Path) -> None:
    """Makes a library of C that is loaded into Python. What it needs is found in the process that loads it;
    for Windows it declares it by ``MARKS``."""
    flags = [
        "-target",
        target.linker,
        "-std=c11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fvisibility=hidden",
    ]
    flags += ["-fno-sanitize=undefined", "-fno-stack-protector", "-nostdlib", "-shared", "-s"]
    if target.system == "macos":
        flags += ["-Wl,-undefined,dynamic_lookup", f"-Wl,-install_name,@rpath/{path.name}"]
    elif target.system == "linux":
        flags += [f"-Wl,-soname,{path.name}", "-Wl,-z,noexecstack"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = [source]
        if target.system == "windows":
            given += [folder / "entry.c", *_import_libraries(source.parent, folder)]
            given[1].write_text(DLL_ENTRY, encoding="utf-8")
        run([zig(), "cc", *flags, "-o", folder / path.name, *given])
        shutil.move(folder / path.name, path)


MARKS = {
    "FROM_PYTHON": "python3.dll",
    "FROM_C": "msvcrt.dll",
    "FROM_KERNEL32": "kernel32.dll",
    "FROM_SYNCH": "api-ms-win-core-synch-l1-2-0.dll",
}
"""By what headers declare a function that is of another library of Windows."""


def _import_libraries(headers: Path, folder: Path) -> list[Path]:
    """What a library for Windows finds the functions of others by."""
    text = "".join(header.read_text(encoding="utf-8") for header in sorted(headers.glob("*.h")))
    made = []
    for mark, library in MARKS.items():
        names = re.findall(rf"^{mark} .*?(\w+)\(", text, re.MULTILINE)
        if not names:
            continue
        definitions, path = folder / f"{library}.def", folder / f"{library}.lib"
        lines = [f"LIBRARY {library}", "EXPORTS", *names]
        definitions.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run([zig(), "dlltool", "-m", "i386:x86-64", "-D", library, "-d", definitions, "-l", path])
        made.append(path)
    return made


def program(target: Target, sources: Sequence[Path], path: Path) -> None:
    """Compiles and links a program in C that needs no C library; it begins at ``_start``, for macOS at
    ``main``."""
    flags = ["-target", target.linker, "-ffreestanding", "-fno-stack-protector"]
    flags += ["-fno-sanitize=undefined", "-std=c11", "-O1", "-s", "-Wall", "-Wextra", "-Werror"]
    if target.name.endswith("windows"):
        own = ["-nostdlib", "-Wl,--entry=_start", "-Wl,--subsystem,console", "-lkernel32"]
    elif target.name.endswith("macos"):
        own = []
    else:
        own = ["-nostdlib", "-static"]
    run([zig(), "cc", *flags, "-o", path, *sources, *own, *target.runtime])
