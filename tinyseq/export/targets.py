"""What libraries can be built for: processors and systems."""

from __future__ import annotations

from typing import NamedTuple

from tinyseq.common.text import shown
from tinyseq.errors import OptionError
from tinyseq.export.processors import Processor
from tinyseq.export.processors.aarch64 import AARCH64
from tinyseq.export.processors.armv7 import ARMV7
from tinyseq.export.processors.riscv64 import RISCV64
from tinyseq.export.processors.wasm32 import RELAXED_WASM32, WASM32
from tinyseq.export.processors.x86_64 import X86_64


class Target(NamedTuple):
    """A processor under a system. ``triple`` is what LLVM calls it, ``linker`` what zig does; ``shared`` and
    ``archive`` are what its libraries are called. ``runners`` are programs by one of which its programs run
    elsewhere, ``static`` is what zig calls it where those need no libraries; ``checks``: whether they run
    here at all. ``runtime`` links the functions that LLVM calls where the processor has no instructions."""

    name: str
    processor: Processor
    triple: str
    linker: str
    shared: str
    archive: str = "lib{}.a"
    program: str = "{}"
    relocation: str = "pic"
    export: str = ""
    definitions: str = ""
    runners: tuple[str, ...] = ()
    static: str = ""
    checks: bool = True
    runtime: tuple[str, ...] = ()

    @property
    def is_web(self) -> bool:
        """Whether its libraries are WebAssembly, which JavaScript calls."""
        return self.triple.startswith("wasm")


TARGETS = {
    target.name: target
    for target in (
        Target("x86_64-linux", X86_64, "x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", "lib{}.so"),
        Target(
            "aarch64-linux",
            AARCH64,
            "aarch64-unknown-linux-gnu",
            "aarch64-linux-gnu.2.17",
            "lib{}.so",
            runners=("qemu-aarch64", "qemu-aarch64-static"),
            static="aarch64-linux-musl",
        ),
        Target(
            "armv7-linux",
            ARMV7,
            "armv7-unknown-linux-gnueabihf",
            "arm-linux-gnueabihf.2.17",
            "lib{}.so",
            runners=("qemu-arm", "qemu-arm-static"),
            runtime=("-lcompiler_rt", "-Wl,--gc-sections"),
            static="arm-linux-musleabihf",
        ),
        Target(
            "riscv64-linux",
            RISCV64,
            "riscv64-unknown-linux-gnu",
            "riscv64-linux-gnu.2.27",
            "lib{}.so",
            runners=("qemu-riscv64", "qemu-riscv64-static"),
            static="riscv64-linux-musl",
        ),
        Target(
            "x86_64-windows",
            X86_64,
            "x86_64-pc-windows-gnu",
            "x86_64-windows-gnu",
            "{}.dll",
            program="{}.exe",
            export="dllexport",
            definitions="uwtable",
            runners=("wine64", "wine", "/usr/lib/wine/wine64"),
        ),
        Target(
            "aarch64-macos",
            AARCH64,
            "arm64-apple-macosx11.0.0",
            "aarch64-macos.11.0",
            "lib{}.dylib",
            checks=False,
        ),
        Target(
            "wasm32",
            WASM32,
            "wasm32-unknown-unknown",
            "wasm32-freestanding",
            "{}.wasm",
            relocation="static",
            runners=("node",),
        ),
        Target(
            "wasm32-relaxed",
            RELAXED_WASM32,
            "wasm32-unknown-unknown",
            "wasm32-freestanding",
            "{}.wasm",
            relocation="static",
            runners=("node",),
        ),
    )
}
"""By name."""

DEFAULT = "x86_64-linux"


def chosen(name: object) -> Target:
    """The target of a name.

    Raises:
        OptionError: there is none.
    """
    if type(name) is not str or name not in TARGETS:
        raise OptionError(f"target={shown(name)} is unknown; choose {', '.join(map(repr, TARGETS))}")
    return TARGETS[name]
