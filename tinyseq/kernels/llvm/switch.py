"""Compiled dispatch: a code chosen at run time, functions chosen when building."""

from __future__ import annotations

from tinyseq.kernels.llvm.intrinsics import compiled


def switch(name: str, functions, parameters: tuple[str, ...], code: str = "code", *signature):
    """A function ``name(code, *parameters)`` that calls ``functions[code]``; LLVM makes a jump table.

    ``code`` is what its first parameter is called; a ``signature`` says of which types all are.
    """
    call = ", ".join(parameters)
    lines = [f"def {name}({code}, {call}):"]
    for place in range(len(functions)):
        lines += [f"    if {code} == {place}:", f"        return function{place}({call})"]
    namespace = {f"function{place}": function for place, function in enumerate(functions)}
    exec("\n".join(lines), namespace)
    return compiled(*signature)(namespace[name])
