"""Builds the kernels ahead of time: one freestanding shared library per ISA.

``python -m tinyseq.kernels.build`` does it; with ``--isa native``, for the ISA that this machine picks and
no other, which is quicker. Numba turns the machine and all that it calls into LLVM IR, once;
then, for each ISA, its tiles are linked in, LLVM optimises for its CPU and the C compiler's linker makes a
library without a single undefined symbol. Needs numba, llvmlite and a C compiler;
using the libraries needs none of them.

The two C functions of a library::

    int64_t tinyseq_run(const int64_t *context);   the machine, see machine.py
    int64_t tinyseq_cpu_level(void);               which ISAs the CPU has, see llvm/architecture.py
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinyseq.errors import BuildError
from tinyseq.kernels.library import EMBEDDED_FILE, FINGERPRINT_FILE, FOLDER, fingerprint, library_file
from tinyseq.kernels.llvm.architecture import CONTROL, CPU_LEVEL, ISAS, TRIPLE
from tinyseq.kernels.llvm.isa import Isa

C_FUNCTIONS = ("tinyseq_run", "tinyseq_cpu_level", "memset", "memcpy")

C_INTERFACE = """
define i64 @tinyseq_run(ptr %context) {{
  %result = alloca i64
  %error = alloca ptr
  %status = call i32 @{machine}(ptr %result, ptr %error, ptr %context)
  %failed = load i64, ptr %result
  ret i64 %failed
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


def front_end(embedded: Path) -> str:
    """LLVM IR of the machine and all kernels, the same for every ISA; ``embedded`` is written beside it."""
    import llvmlite.binding as llvm
    from numba import types

    from tinyseq.kernels.embedded import parts
    from tinyseq.kernels.llvm import tiles
    from tinyseq.kernels.llvm.intrinsics import NESTED, compiled

    # Numba readies what it compiles for this process, where these do not exist; it is never called.
    for name in (*tiles.names(), NESTED):
        llvm.add_symbol(name, 1)

    from tinyseq.kernels.machine import machine

    signature = types.int64(types.CPointer(types.int64))
    entry = compiled(signature)(machine).overloads[signature.args]
    embedded.write_bytes(parts())
    return (
        entry.library.get_llvm_str()
        + C_INTERFACE.format(machine=entry.fndesc.mangled_name)
        + CPU_LEVEL
        + MEMORY
    )


def emit(isa: Isa, kernels: str) -> bytes:
    """The object file of the kernels for one ISA, from the front end's IR."""
    import llvmlite.binding as llvm

    from tinyseq.kernels.llvm.intrinsics import NESTED
    from tinyseq.kernels.llvm.tiles import definitions

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    target = llvm.Target.from_triple(TRIPLE).create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3, reloc="pic", codemodel="default"
    )
    module = llvm.parse_assembly(kernels)
    module.link_in(llvm.parse_assembly(definitions(isa)))
    for definition in (CONTROL.replace("internal", ""), NESTING.format(name=NESTED)):
        module.link_in(llvm.parse_assembly(definition))
    module.triple = TRIPLE
    module.data_layout = str(target.target_data)
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
        builder = llvm.create_pass_builder(target, options)
        builder.getModulePassManager().run(module, builder)
    module.verify()
    return target.emit_object(module)


def _run(*arguments: str) -> None:
    """This module in a process of its own, where Numba neither optimises nor uses SVML."""
    settings = {"NUMBA_OPT": "0", "NUMBA_DISABLE_INTEL_SVML": "1", "NUMBA_DISABLE_JIT": "0"}
    command = [sys.executable, "-m", "tinyseq.kernels.build", *arguments]
    subprocess.run(command, check=True, env=os.environ | settings)


def link(isa: Isa, kernels: Path) -> Path:
    """Compiles one ISA from the IR in ``kernels``; gives its library, beside it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BuildError("no C compiler to link the kernels with; install gcc or set CC")
    object_file = kernels.with_name(f"{isa.name}.o")
    _run("--emit", isa.name, str(kernels), str(object_file))
    library = kernels.with_name(library_file(isa.name))
    flags = ["-shared", "-nostdlib", "-Wl,-z,noexecstack,-s"]
    subprocess.run([compiler, *flags, "-o", str(library), str(object_file)], check=True)
    return library


def native() -> str:
    """The ISA that this machine picks."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    module = llvm.parse_assembly(CPU_LEVEL)
    with llvm.create_mcjit_compiler(
        module, llvm.Target.from_default_triple().create_target_machine()
    ) as engine:
        engine.finalize_object()
        address = engine.get_function_address("tinyseq_cpu_level")
        level = ctypes.CFUNCTYPE(ctypes.c_int64)(address)()
    return max((isa for isa in ISAS.values() if isa.level <= level), key=lambda isa: isa.level).name


def build(names: Collection[str] = tuple(ISAS)) -> None:
    """Builds the libraries of some ISAs, all of them or none, and records what they were built from.

    Libraries of other ISAs are removed: what lies in the folder is of one make.
    """
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        kernels, made_from = Path(scratch) / "kernels.ll", fingerprint()
        embedded = Path(scratch) / EMBEDDED_FILE
        try:
            _run("--front-end", str(kernels), str(embedded))
            libraries = list(pool.map(lambda name: link(ISAS[name], kernels), names))
        except subprocess.CalledProcessError as error:
            raise BuildError(f"building the kernels failed: {error}") from error
        folder = Path(FOLDER)
        folder.mkdir(exist_ok=True)
        for name in ISAS:
            (folder / library_file(name)).unlink(missing_ok=True)
        for made in (*libraries, embedded):
            shutil.copy(made, folder / made.name)
        (folder / FINGERPRINT_FILE).write_text(made_from)


def main() -> None:
    """The command; all but ``--isa`` is how it calls itself."""
    parser = argparse.ArgumentParser(prog="python -m tinyseq.kernels.build", description="Build the kernels.")
    parser.add_argument("--isa", choices=["native", *ISAS], action="append", help="this one only; repeatable")
    parser.add_argument("--front-end", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--emit", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.front_end:
        kernels, embedded = given.front_end
        kernels.write_text(front_end(embedded))
    elif given.emit:
        isa, kernels, target = given.emit
        Path(target).write_bytes(emit(ISAS[isa], Path(kernels).read_text()))
    else:
        build({native() if name == "native" else name for name in given.isa or ISAS})


if __name__ == "__main__":
    main()
