"""Compiled dispatch: a code chosen at run time, functions chosen when building."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyseq.kernels.llvm.intrinsics import compiled
from tinyseq.kernels.llvm.values import INT64


def switch(
    name: str, functions: Sequence[Callable], parameters: tuple[str, ...], code: str = "code", *signature
):
    """A function ``name(code, *parameters)`` that calls ``functions[code]``; LLVM makes a jump table.

    ``code`` is what its first parameter is called; a ``signature`` says of which types all are. All functions
    take and give the same types.
    """
    given = "".join(f"{parameter}, " for parameter in parameters)
    source = f"def {name}({', '.join((code, *parameters))}):\n    return chosen({code}, ({given}))"
    namespace = {"chosen": _chosen(functions)}
    exec(source, namespace)
    return compiled(*signature)(namespace[name])


def _chosen(functions: Sequence[Callable]):
    """``chosen(code, arguments)``, in LLVM IR: calls of Numba's would each have a place of their own for what
    a function gives, which is cleared before any is called."""

    @intrinsic
    def chosen(typingctx, code, arguments):
        of = tuple(arguments.types)
        calls = [types.Dispatcher(function).get_call_type(typingctx, of, {}) for function in functions]
        result = types.unliteral(calls[0].return_type)
        if any(call.args != of or types.unliteral(call.return_type) != result for call in calls):
            raise TypeError(f"functions that one code chooses from are of {sorted(set(map(str, calls)))}")

        def codegen(context, builder, signature, args):
            overloads = [function.overloads[of] for function in functions]
            called = [context.declare_function(builder.module, one.fndesc) for one in overloads]
            for one in overloads:
                context.active_code_library.add_linking_library(one.library)
            with builder.goto_entry_block():
                made, error = (builder.alloca(kind.pointee) for kind in called[0].function_type.args[:2])
            given = cgutils.unpack_tuple(builder, args[1], len(of))
            packed = context.get_arg_packer(of).as_arguments(builder, given)
            end = builder.append_basic_block("chosen.end")
            choice = builder.switch(args[0], end)
            for place, function in enumerate(called):
                block = builder.append_basic_block(f"chosen.{place}")
                choice.add_case(INT64(place), block)
                builder.position_at_end(block)
                builder.call(function, [made, error, *packed])
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_returned_value(builder, result, builder.load(made))

        return result(types.int64, arguments), codegen

    return chosen
