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
from tinyseq.kernels.library import SUFFIXES, SYSTEM
from tinyseq.kernels.llvm.architecture import ARCHITECTURES, HERE
from tinyseq.kernels.llvm.isa import Isa


class Target(NamedTuple):
    """A processor under a system. ``triple`` is what LLVM calls it, ``linker`` what zig does; ``shared`` and
    ``archive`` are what its libraries are called. ``runners`` are programs by one of which its programs run
    elsewhere; ``checks``: whether they run here at all. ``runtime`` links the functions that LLVM calls where
    the processor has no instructions. ``tags`` are the platforms that a wheel with its libraries is for."""

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
    checks: bool = True
    runtime: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def system(self) -> str:
        """The system, or what stands in its place."""
        return self.name.rpartition("-")[2]

    @property
    def isas(self) -> dict[str, Isa]:
        """The instruction sets that the package's own kernels are built for, by name."""
        return ARCHITECTURES[self.processor.name].ISAS

    @property
    def choices(self) -> dict[str, Isa]:
        """Those among which a library can choose, by what ``cpu_level`` says."""
        return self.isas if self.cpu_level else {}

    @property
    def cpu_level(self) -> str:
        """LLVM IR of the function ``tinyseq_cpu_level``, where instructions tell which ISAs there are."""
        own = ARCHITECTURES.get(self.processor.name)
        return "" if own is None else own.CPU_LEVEL

    @property
    def is_web(self) -> bool:
        """Whether its libraries are WebAssembly, which JavaScript calls."""
        return self.triple.startswith("wasm")

    def of(self, isa: Isa) -> Target:
        """The target with another one of its processor's instruction sets."""
        own = self.processor
        bits = own.bits_of if isa.fma == own.isa.fma else isa.name
        return self._replace(processor=own._replace(isa=isa, bits_of=bits))


TARGETS = {
    target.name: target
    for target in (
        Target(
            "x86_64-linux",
            X86_64,
            "x86_64-unknown-linux-gnu",
            "x86_64-linux-gnu.2.17",
            "lib{}" + SUFFIXES["linux"],
            tags=("manylinux2014_x86_64", "manylinux_2_17_x86_64", "musllinux_1_1_x86_64"),
        ),
        Target(
            "aarch64-linux",
            AARCH64,
            "aarch64-unknown-linux-gnu",
            "aarch64-linux-gnu.2.17",
            "lib{}" + SUFFIXES["linux"],
            tags=("manylinux2014_aarch64", "manylinux_2_17_aarch64", "musllinux_1_1_aarch64"),
            runners=("qemu-aarch64", "qemu-aarch64-static"),
        ),
        Target(
            "armv7-linux",
            ARMV7,
            "armv7-unknown-linux-gnueabihf",
            "arm-linux-gnueabihf.2.17",
            "lib{}" + SUFFIXES["linux"],
            runners=("qemu-arm", "qemu-arm-static"),
            runtime=("-lcompiler_rt", "-Wl,--gc-sections"),
        ),
        Target(
            "riscv64-linux",
            RISCV64,
            "riscv64-unknown-linux-gnu",
            "riscv64-linux-gnu.2.27",
            "lib{}" + SUFFIXES["linux"],
            runners=("qemu-riscv64", "qemu-riscv64-static"),
        ),
        Target(
            "x86_64-windows",
            X86_64,
            "x86_64-pc-windows-gnu",
            "x86_64-windows-gnu",
            "{}" + SUFFIXES["windows"],
            tags=("win_amd64",),
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
            "lib{}" + SUFFIXES["macos"],
            checks=False,
            tags=("macosx_11_0_arm64",),
        ),
        Target(
            "x86_64-macos",
            X86_64,
            "x86_64-apple-macosx11.0.0",
            "x86_64-macos.11.0",
            "lib{}" + SUFFIXES["macos"],
            checks=False,
            tags=("macosx_11_0_x86_64",),
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
"""What a library can be built for, by name."""

WHEELS = {target.name: target for target in TARGETS.values() if target.tags}
"""Those that the package itself is built for."""

OWN = f"{next(name for name, own in ARCHITECTURES.items() if own is HERE)}-{SYSTEM}"

DEFAULT = OWN if OWN in TARGETS else "x86_64-linux"
"""This machine, where libraries are made for it."""


def chosen(name: object) -> Target:
    """The target of a name.

    Raises:
        OptionError: there is none.
    """
    if type(name) is not str or name not in TARGETS:
        raise OptionError(f"target={shown(name)} is unknown; choose {', '.join(map(repr, TARGETS))}")
    return TARGETS[name]
