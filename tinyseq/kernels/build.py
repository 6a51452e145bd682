"""Builds the kernels ahead of time: one freestanding shared library per ISA.

``python -m tinyseq.kernels.build`` does it for the ISAs of this machine's processor; with ``--isa native``,
for the one that this machine picks, which is quicker, with ``--target`` for another machine. Numba turns
the machine and all that it calls into LLVM IR, once; then, for each ISA, its tiles are linked in, LLVM
optimises for its CPU and zig's linker makes a library without a single undefined symbol. zig's C compiler
makes the call from Python, see ``call``, and the team of threads, see ``team``. Needs numba, llvmlite and
ziglang (``pip install 'tinyseq[build]'``); using the libraries needs none of them.

The C function of every library, and what those of x86-64 have besides::

    int64_t tinyseq_run(const int64_t *context);   the machine, see machine.py
    int64_t tinyseq_cpu_level(void);               which ISAs the CPU has, see llvm/architecture.py
    int64_t tinyseq_matrix_unit(void);             switches one on, see llvm/architecture.py
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinyseq.errors import BuildError
from tinyseq.export import linker
from tinyseq.export.targets import OWN, TARGETS, WHEELS, Target
from tinyseq.kernels import call, team
from tinyseq.kernels.library import (
    EMBEDDED_FILE,
    FINGERPRINT_FILE,
    FOLDER,
    SOURCES,
    fingerprint,
    library_file,
)
from tinyseq.kernels.llvm.architecture import HERE, ISAS, of
from tinyseq.kernels.llvm.isa import Isa

BUILT = Path(FOLDER)
"""Where the package has its libraries."""

STAGES = "stages"
"""The folder of what lies between sources and libraries: what the front end gave, and each ISA's bitcode.
Builds for other ISAs and systems begin there; it is no part of an installation."""

KERNELS_FILE = "kernels.bc"

CALL = Path(SOURCES) / "call" / "call.c"
"""The source of the call from Python."""

TEAM = Path(SOURCES) / "team" / "team.c"
"""The source of the team of threads."""

NEEDLESS_PASSES = (
    "InlineClosureLikes",
    "InlineInlinables",
    "InlineOverloads",
    "NopythonRewrites",
    "IRLegalization",
)
"""Passes of Numba's for what kernels have none of: functions in functions, arrays, and objects that are
counted, which have to be let go."""

FUNCTIONS = ("tinyseq_run", "tinyseq_cpu_level", "tinyseq_matrix_unit")
"""What others see of a library."""

C_FUNCTIONS = (*FUNCTIONS, "memset", "memcpy")

C_INTERFACE = """
declare i32 @{machine}(ptr, ptr, ptr)
declare i32 @{agree}(ptr, ptr)
define i64 @tinyseq_run(ptr %context) {{
  %result = alloca i64
  %error = alloca ptr
  %status = call i32 @{machine}(ptr %result, ptr %error, ptr %context)
  %failed = load i64, ptr %result
  ret i64 %failed
}}
define i64 @tinyseq_matrix_unit_agrees() {{
  %result = alloca i64
  %error = alloca ptr
  %status = call i32 @{agree}(ptr %result, ptr %error)
  %agree = load i64, ptr %result
  ret i64 %agree
}}
"""

PARTS = """
declare i32 @{run}(ptr, ptr, i64, i64, i64)
define i64 @"{name}"(i64 %task, i64 %part, i64 %parts) {{
  %result = alloca i64
  %error = alloca ptr
  %status = call i32 @{run}(ptr %result, ptr %error, i64 %task, i64 %part, i64 %parts)
  ret i64 0
}}
"""

NESTING = """
declare i64 @tinyseq_run(ptr)
define i64 @"{name}"(i64 %context) {{
  %pointer = inttoptr i64 %context to ptr
  %failed = call i64 @tinyseq_run(ptr %pointer)
  ret i64 %failed
}}
"""

# LLVM turns loops into calls of these; without them the library would need libc.
MEMORY = """
define hidden ptr @memset(ptr returned %target, i32 %value, i64 %count) #900 {
  %byte = trunc i32 %value to i8
  %some = icmp ne i64 %count, 0
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
  %at = getelementptr i8, ptr %target, i64 %i
  store i8 %byte, ptr %at
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret ptr %target
}
define hidden ptr @memcpy(ptr noalias returned %target, ptr noalias %source, i64 %count) #900 {
  %some = icmp ne i64 %count, 0
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
  %from = getelementptr i8, ptr %source, i64 %i
  %byte = load i8, ptr %from
  %to = getelementptr i8, ptr %target, i64 %i
  store i8 %byte, ptr %to
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret ptr %target
}
attributes #900 = { "no-builtins" noinline }
"""


def front_end() -> tuple[bytes, bytes]:
    """Bitcode of the machine and all kernels, the same for every ISA; and the kernels by themselves, see
    ``embedded.py``."""
    from numba import types

    from tinyseq.kernels.embedded import parts
    from tinyseq.kernels.llvm.intrinsics import PART, compiled

    # Numba keeps nearly all that it makes.
    gc.disable()
    texts = _translated()
    from tinyseq.kernels.compute.matrix_unit import unit_agrees
    from tinyseq.kernels.compute.parts import run_part
    from tinyseq.kernels.machine import machine

    (run,) = run_part.overloads.values()
    names = {"run": run.fndesc.mangled_name}
    for name, entry, signature in (
        ("machine", machine, types.int64(types.CPointer(types.int64))),
        ("agree", unit_agrees, types.int64()),
    ):
        names[name] = compiled(signature)(entry).overloads[signature.args].fndesc.mangled_name
    # Who calls, then what is called: so most of it is alike what lies near, and is compressed best.
    kernels = _linked(texts[::-1])
    embedded = parts(kernels.clone())
    kernels.link_in(_linked([MEMORY, C_INTERFACE.format(**names), PARTS.format(name=PART, **names)]))
    return kernels.as_bitcode(), embedded


def _translated() -> list[str]:
    """Where LLVM's code of each function gathers that Numba compiles from now on. Numba itself would link it
    to all that the function calls, again for each that calls it, and ready it for this process."""
    from numba.core.cgutils import normalize_ir_text
    from numba.core.codegen import CPUCodeLibrary
    from numba.core.compiler_machinery import PassManager
    from numba.core.cpu import CPUContext

    texts: list[str] = []
    complete = PassManager.finalize

    def shorten(manager):
        manager.passes = [row for row in manager.passes if row[0].__name__ not in NEEDLESS_PASSES]
        complete(manager)

    PassManager.finalize = shorten
    CPUCodeLibrary.add_ir_module = lambda library, module: texts.append(normalize_ir_text(str(module)))
    CPUCodeLibrary.finalize = lambda library: None
    # Numba tells functions apart by what Python would call: one of C's, each time another.
    CPUContext.get_executable = lambda context, library, function, environment: [].append
    return texts


def _linked(texts: Sequence[str]):
    """One module of all: made of halves, for LLVM goes through the whole of both that it links."""
    import llvmlite.binding as llvm

    if len(texts) == 1:
        return llvm.parse_assembly(texts[0])
    middle = len(texts) // 2
    module = _linked(texts[:middle])
    module.link_in(_linked(texts[middle:]))
    return module


def optimised(isa: Isa, kernels: bytes) -> bytes:
    """Bitcode of the kernels for one ISA, the same for every system, from what the front end gave."""
    from tinyseq.kernels.llvm.intrinsics import NESTED
    from tinyseq.kernels.llvm.tiles import definitions

    llvm, own = _llvm(), of(isa)
    target = next(target for target in WHEELS.values() if isa.name in target.isas)
    machine = _machine(llvm, isa, target)
    module = llvm.parse_bitcode(kernels)
    control = own.CONTROL.replace("internal", "")
    unit = own.MATRIX_UNIT if isa.matrix_unit else ""
    for definition in (definitions(isa), control, own.CPU_LEVEL, unit, NESTING.format(name=NESTED)):
        module.link_in(llvm.parse_assembly(definition))
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    for function in module.functions:
        if not function.is_declaration and function.name not in C_FUNCTIONS:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    # Once more after the first run has inlined the tiles and the cells.
    for _ in range(2):
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    module.verify()
    return module.as_bitcode()


def object_file(isa: Isa, bitcode: bytes, target: Target) -> bytes:
    """The object file of optimised kernels under a system."""
    llvm = _llvm()
    machine, module = _machine(llvm, isa, target), llvm.parse_bitcode(bitcode)
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    for function in module.functions:
        if target.export and function.name in FUNCTIONS:
            function.storage_class = target.export
        if target.definitions and not function.is_declaration:
            function.add_function_attribute(target.definitions)
    return machine.emit_object(module)


def _llvm():
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    return llvm


def _machine(llvm, isa: Isa, target: Target):
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3, reloc=target.relocation, codemodel="default"
    )


def _run(stage: str, *arguments: object) -> None:
    """A stage in a process of its own, where Numba neither optimises nor uses SVML, and names things as in
    any other process."""
    settings = {"NUMBA_OPT": "0", "NUMBA_DISABLE_INTEL_SVML": "1", "NUMBA_DISABLE_JIT": "0"}
    command = [sys.executable, "-m", "tinyseq.kernels.build", "--stage", stage, *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | settings | {"PYTHONHASHSEED": "0"})


def _libraries(isa: str, targets: Sequence[Target], stages: Path) -> None:
    """Compiles one ISA; leaves a library in each target's folder, beside that of the stages."""
    bitcode = stages / f"{isa}.bc"
    if not bitcode.is_file():
        _run("optimised", isa, stages / KERNELS_FILE, bitcode)
    for target in targets:
        made = stages / f"{isa}.{target.name}.o"
        _run("object_file", isa, bitcode, target.name, made)
        linker.shared(target, made, stages.parent / target.name / library_file(isa, target.system), FUNCTIONS)
        made.unlink()


def native() -> str:
    """The ISA that this machine picks."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    machine = llvm.Target.from_default_triple().create_target_machine()
    with llvm.create_mcjit_compiler(llvm.parse_assembly(HERE.CPU_LEVEL), machine) as engine:
        engine.finalize_object()
        level = HERE.cpu_level(lambda name: ctypes.CFUNCTYPE(ctypes.c_int)(engine.get_function_address(name)))
    return max((isa for isa in HERE.ISAS.values() if isa.level <= level), key=lambda isa: isa.level).name


def compiled_for(targets: Mapping[Target, Collection[str]], folder: Path) -> None:
    """Builds the libraries of the ISAs that are named for each target: a folder of each target's name, with
    all that the package needs of compiled things.

    Raises:
        BuildError: a tool failed.
    """
    made_from, stages = fingerprint(), folder / STAGES
    record = BUILT / FINGERPRINT_FILE
    if (BUILT / STAGES).is_dir() and record.is_file() and record.read_text(encoding="utf-8") == made_from:
        shutil.copytree(BUILT / STAGES, stages)
    else:
        stages.mkdir()
    by_isa: dict[str, list[Target]] = {}
    for target, names in targets.items():
        (folder / target.name).mkdir()
        for name in names:
            by_isa.setdefault(name, []).append(target)
    try:
        if not (stages / KERNELS_FILE).is_file():
            _run("front_end", stages / KERNELS_FILE, stages / EMBEDDED_FILE)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda name: _libraries(name, by_isa[name], stages), by_isa):
                pass
    except subprocess.CalledProcessError as error:
        raise BuildError(f"building the kernels failed: {error}") from error
    for target in targets:
        linker.extension(target, CALL, folder / target.name / call.FILES[target.system])
        linker.extension(target, TEAM, folder / target.name / team.FILES[target.system])
        shutil.copy(stages / EMBEDDED_FILE, folder / target.name)
        (folder / target.name / FINGERPRINT_FILE).write_text(made_from, encoding="utf-8")


def build(names: Collection[str] = tuple(HERE.ISAS), target: str = OWN, folder: Path = BUILT) -> None:
    """Builds the libraries of some ISAs, all of them or none, and records what they were built from.

    What lies in the folder is of one make: libraries of other ISAs are removed.
    """
    linker.zig()
    if target not in WHEELS:
        raise BuildError(f"kernels cannot be built for {target}; there are {', '.join(WHEELS)}")
    wanted = WHEELS[target]
    foreign = [name for name in names if name not in wanted.isas]
    if foreign:
        raise BuildError(f"{', '.join(foreign)}: not of {target}, which has {', '.join(wanted.isas)}")
    if target != OWN and folder == BUILT:
        raise BuildError(f"{target} is not this machine; say --output FOLDER")
    with tempfile.TemporaryDirectory() as scratch:
        compiled_for({wanted: names}, Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("tinyseq_*"):
            old.unlink()
        shutil.rmtree(folder / STAGES, ignore_errors=True)
        shutil.copytree(Path(scratch, STAGES), folder / STAGES)
        for made in sorted(Path(scratch, target).iterdir()):
            shutil.copy(made, folder / made.name)


def _stage(stage: str, *given: str) -> None:
    if stage == "front_end":
        for path, made in zip(given, front_end()):
            Path(path).write_bytes(made)
    elif stage == "optimised":
        isa, kernels, path = given
        Path(path).write_bytes(optimised(ISAS[isa], Path(kernels).read_bytes()))
    else:
        isa, bitcode, target, path = given
        Path(path).write_bytes(object_file(ISAS[isa], Path(bitcode).read_bytes(), TARGETS[target]))


def main() -> None:
    """The command; what it calls itself by is not shown."""
    parser = argparse.ArgumentParser(prog="python -m tinyseq.kernels.build", description="Build the kernels.")
    parser.add_argument("--isa", choices=["native", *ISAS], action="append", help="this one only; repeatable")
    parser.add_argument("--target", choices=[*WHEELS], default=OWN, help="the machine, if not this one")
    parser.add_argument("--output", type=Path, default=BUILT, help="the folder, if not the package's own")
    parser.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        _stage(*given.stage)
    else:
        names = given.isa or WHEELS[given.target].isas
        build({native() if name == "native" else name for name in names}, given.target, given.output)


if __name__ == "__main__":
    main()
