"""Compiled dispatch: a code chosen at run time, functions chosen when building."""

from __future__ import annotations

from tinyseq.kernels.llvm.intrinsics import compiled


def switch(name: str, functions, parameters: tuple[str, ...], code: str = "code"):
    """A function ``name(code, *parameters)`` that calls ``functions[code]``; LLVM makes a jump table.

    ``code`` is what its first parameter is called.
    """
    call = ", ".join(parameters)
    lines = [f"def {name}({code}, {call}):"]
    for place in range(len(functions)):
        lines += [f"    if {code} == {place}:", f"        return function{place}({call})"]
    namespace = {f"function{place}": function for place, function in enumerate(functions)}
    exec("\n".join(lines), namespace)
    return compiled()(namespace[name])
