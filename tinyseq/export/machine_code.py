"""From the kernels and the code of a library to an object file, by LLVM."""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import KernelsError, MissingPackageError
from tinyseq.export.code import Code, byte_text
from tinyseq.export.dispatch import Dispatch, own_name
from tinyseq.export.linker import INSTALL
from tinyseq.export.targets import Target
from tinyseq.kernels import library
from tinyseq.kernels.build import MEMORY
from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    import llvmlite.binding as llvm

ATTRIBUTES = 900000
"""The number of a group of attributes that no module has itself."""

# Loops that LLVM finds to be copies call these; nobody else's are used, and nobody else uses them.
KEPT = """
@llvm.compiler.used = appending global [2 x ptr] [ptr @memset, ptr @memcpy], section "llvm.metadata"
"""


def binding() -> llvm:
    """llvmlite, with the back ends of all processors.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise MissingPackageError(
            f"libraries are made by the package llvmlite, which is not installed: {INSTALL}"
        ) from error
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


def object_file(
    codes: Sequence[Code], functions: Sequence[str], target: Target, dispatch: Dispatch | None = None
) -> bytes:
    """The object file of libraries, of whose functions others see those that are named."""
    llvm = binding()
    isa = target.processor.isa
    if dispatch is None:
        module = _optimised(llvm, codes, functions, target, isa)
    else:
        isa = min(target.choices.values(), key=lambda one: one.level)
        module = _dispatched(llvm, codes, functions, target, isa, dispatch)
    # Not before: numbers of the model are none that LLVM computes with.
    weights = llvm.parse_assembly(
        "\n".join(_constant(*one) for code in codes for one in code.weights.items())
    )
    weights.triple, weights.data_layout = module.triple, module.data_layout
    module.link_in(weights)
    _hide(module, functions)
    module.verify()
    return _machine(llvm, target, isa).emit_object(module)


def _machine(llvm, target: Target, isa: Isa):
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=isa.cpu,
        features=isa.features,
        opt=2,
        reloc=target.relocation,
        codemodel="default",
        abiname=target.processor.abi,
    )


def _optimised(llvm, codes: Sequence[Code], functions: Sequence[str], target: Target, isa: Isa, memory=True):
    """All but the weights, ready for one instruction set."""
    machine = _machine(llvm, target, isa)
    module = _linked(llvm, codes, target, isa, memory)
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    _hide(module, functions)
    _choose(llvm, module, machine)
    _attribute(module, target)
    for _ in range(2):
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = True
        options.loop_unrolling = options.loop_interleaving = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    return module


def _attribute(module, target: Target) -> None:
    for function in module.functions:
        if target.definitions and not function.is_declaration:
            function.add_function_attribute(target.definitions)


def _dispatched(
    llvm, codes: Sequence[Code], functions: Sequence[str], target: Target, least: Isa, dispatch: Dispatch
):
    """``_optimised`` for each instruction set, and for the least of the processor what chooses between them
    and all else."""
    llvm.initialize_native_asmparser()
    common = [name for name in functions if name not in dispatch.functions]
    module = _optimised(llvm, codes, common, target, least)
    for isa in dispatch.isas:
        own = _optimised(llvm, codes, [*dispatch.functions], target, isa, memory=False)
        module.link_in(_part(llvm, own, dispatch, isa))
    chooser = llvm.parse_assembly(dispatch.code(target.cpu_level))
    chooser.triple, chooser.data_layout = module.triple, module.data_layout
    _attribute(chooser, target)
    module.link_in(chooser)
    return module


def _part(llvm, module, dispatch: Dispatch, isa: Isa):
    """A module whose functions say which instruction set they are for."""
    for function in dispatch.functions:
        module.get_function(function).name = own_name(function, isa)
    told = f'attributes #{ATTRIBUTES} = {{ "target-cpu"="{isa.cpu}" "target-features"="{isa.features}" }}'
    defined = re.sub(r"^(define .*) \{$", rf"\1 #{ATTRIBUTES} {{", str(module), flags=re.MULTILINE)
    return llvm.parse_assembly(f"{defined}\n{told}\n")


def _linked(llvm, codes: Sequence[Code], target: Target, isa: Isa, with_memory: bool):
    """Kernels, what differs between processors, and the library's own functions."""
    path = Path(library.FOLDER, library.EMBEDDED_FILE)
    if not path.is_file():
        raise KernelsError(f"there is no {path}, of which libraries are made: {library.REBUILD}")
    processor = target.processor
    memory = MEMORY if processor.pointer_bits == 64 else MEMORY.replace("i64", f"i{processor.pointer_bits}")
    memory = [memory + KEPT] if with_memory else []
    module = llvm.parse_bitcode(lzma.decompress(path.read_bytes()))
    own = processor.denormals.replace("internal", "")
    for text in (_tiles(isa), own, *memory, *map(str, codes)):
        part = llvm.parse_assembly(text)
        part.triple, part.data_layout = module.triple, module.data_layout
        module.link_in(part)
    return module


@cache
def _tiles(isa: Isa) -> str:
    """What differs between instruction sets; it takes as long to write as a small library to compile."""
    from tinyseq.kernels.llvm.tiles import definitions

    return definitions(isa)


def _hide(module, functions: Sequence[str]) -> None:
    seen = set(functions)
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in seen and not value.name.startswith("llvm."):
            value.linkage = "internal"


def _choose(llvm, module, machine) -> None:
    """Drops all kernels that the library does not call; of those that a code chooses, the others."""
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_sccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)


def _constant(name: str, array: np.ndarray) -> str:
    return f'@"{name}" = hidden constant [{array.nbytes} x i8] {byte_text(array.tobytes())}, align 64'
