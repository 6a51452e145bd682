"""Compiled dispatch: a code chosen at run time, functions chosen when building."""

from __future__ import annotations

from tinyseq.kernels.intrinsics import compiled


def switch(name: str, functions, parameters: tuple[str, ...]):
    """A function ``name(code, *parameters)`` that calls ``functions[code]``; LLVM makes a jump table."""
    call = ", ".join(parameters)
    lines = [f"def {name}(code, {call}):"]
    for code in range(len(functions)):
        lines += [f"    if code == {code}:", f"        return function{code}({call})"]
    namespace = {f"function{code}": function for code, function in enumerate(functions)}
    exec("\n".join(lines), namespace)
    return compiled()(namespace[name])
