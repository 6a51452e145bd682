"""The kernels one by one, as LLVM has them before it knows of a processor: what C libraries are made of.

``tinyseq.kernel.NAME`` is the kernel of an instruction: it takes the instruction's operands, each an int64,
addresses resolved, and gives what the kernel returns, 0 where that is nothing. What differs between
processors is called by name, see ``tiles.py``. Only what plans of streams are made of is there: neither
searches nor programs within programs, nor a team of threads.
"""

from __future__ import annotations

import lzma

from tinyseq.kernels.instructions import INSTRUCTIONS, Instruction

FIRST_OF_SEARCHES = "run"

EMBEDDED = INSTRUCTIONS[: [row.name for row in INSTRUCTIONS].index(FIRST_OF_SEARCHES)]
"""The instructions whose kernels are there."""

ENTRY = """
declare i32 @"{mangled}"(ptr, ptr, {types})
define i64 @"{name}"({parameters}) alwaysinline {{
  %result = alloca i64
  %error = alloca ptr
  store i64 0, ptr %result
  %status = call i32 @"{mangled}"(ptr %result, ptr %error, {arguments})
  {value}
}}
"""


def kernel_name(instruction: str) -> str:
    """The name of an instruction's kernel."""
    return f"tinyseq.kernel.{instruction}"


def parts(module) -> bytes:
    """Compressed bitcode of the kernels, from a module of all code, which it changes, once the machine has
    been compiled in this process."""
    import llvmlite.binding as llvm

    from tinyseq.kernels.compute.elementwise import _plane, _rows, _run
    from tinyseq.kernels.compute.recurrent import _multiply, _sequences, recurrent
    from tinyseq.kernels.compute.weighted import weighted
    from tinyseq.kernels.machine import KERNELS

    llvm.initialize_native_target()
    for row in EMBEDDED:
        mangled = _overload(KERNELS[row.name]).fndesc.mangled_name
        module.link_in(llvm.parse_assembly(_entry(row, mangled)))
    # Codes that are constants choose while compiling.
    chosen = (
        *(KERNELS["elementwise"], _plane, _rows, _run, KERNELS["linear"], weighted),
        *(recurrent, _sequences, _multiply),
    )
    for switch in chosen:
        function = module.get_function(_overload(switch).fndesc.mangled_name)
        function.add_function_attribute("alwaysinline")
    entries = {kernel_name(row.name) for row in EMBEDDED}
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in entries:
            value.linkage = "internal"
    _simplify(module)
    module.verify()
    return lzma.compress(module.as_bitcode(), preset=9)


def _overload(kernel):
    """A kernel as the machine calls it: no operand is a constant."""
    from numba import types

    (found,) = [
        one for args, one in kernel.overloads.items() if not any(isinstance(of, types.Literal) for of in args)
    ]
    return found


def _entry(row: Instruction, mangled: str) -> str:
    count = len(row.operands)
    return ENTRY.format(
        mangled=mangled,
        name=kernel_name(row.name),
        types=", ".join(["i64"] * (count + row.shares)),
        parameters=", ".join(f"i64 %{number}" for number in range(count)),
        arguments=", ".join([*(f"i64 %{number}" for number in range(count)), *["i64 0"] * row.shares]),
        value="%value = load i64, ptr %result\n  ret i64 %value" if row.returns else "ret i64 0",
    )


def _simplify(module) -> None:
    """Drops what nothing calls, and what only Numba needs."""
    import llvmlite.binding as llvm

    target = llvm.Target.from_default_triple().create_target_machine()
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=0))
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    # That a library has no team follows from function to function.
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_symbols_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, builder)
