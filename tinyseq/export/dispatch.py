"""Libraries for several instruction sets of a processor: the first call looks which of them it has."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tinyseq.common.text import shown
from tinyseq.errors import BuildError, OptionError
from tinyseq.export.targets import Target
from tinyseq.kernels.llvm.isa import Isa

LACKING = "this processor has none of the instruction sets that the library was built for ({})"

FUNCTION = """
define {export} signext i32 @{function}({parameters}) {{
entry:
  %kept = load atomic i64, ptr @"{name}.level" monotonic, align 8
  %known = icmp ne i64 %kept, 0
  br i1 %known, label %choose, label %look
look:
  %found = call i64 @tinyseq_cpu_level()
  %seen = add i64 %found, 1
  store atomic i64 %seen, ptr @"{name}.level" monotonic, align 8
  br label %choose
choose:
  %level = phi i64 [ %kept, %entry ], [ %seen, %look ]
  br label %is.0
{choices}
is.{count}:
  ret i32 {lacking}
}}
"""

CHOICE = """
is.{place}:
  %has.{place} = icmp ugt i64 %level, {level}
  br i1 %has.{place}, label %take.{place}, label %is.{following}
take.{place}:
  %result.{place} = tail call signext i32 @"{own}"({parameters})
  ret i32 %result.{place}"""


def chosen_isas(target: Target, names: Sequence[str] | None) -> tuple[Isa, ...]:
    """The instruction sets of some names, least first; the target's own where none are given.

    Raises:
        OptionError: the target has no such, or their bits differ.
        BuildError: this machine cannot build for several of them.
    """
    own, choices = target.processor.isa, {**target.choices}
    choices.setdefault(own.name, own)
    if names is None:
        return (own,)
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise OptionError(f"isas={shown(names)}: give names of instruction sets, such as [{own.name!r}]")
    for name in names:
        if type(name) is not str or name not in choices:
            raise OptionError(
                f"target {target.name!r} has no instruction set {shown(name)}; choose of "
                f"{', '.join(map(repr, choices))}"
            )
    isas = sorted({choices[name] for name in names}, key=lambda isa: isa.level)
    if len({isa.fma for isa in isas}) > 1:
        apart = ", ".join(isa.name for isa in isas if not isa.fma)
        raise OptionError(
            f"isas={shown(list(names))}: {apart} computes with other bits than the others do, as it does not "
            "fuse multiply and add; build a library of its own for it"
        )
    if len(isas) > 1 and platform.machine().lower() not in ("x86_64", "amd64"):
        raise BuildError(
            "a library for several instruction sets is built on an x86-64 machine, whose assembler it needs; "
            "build one for each instruction set here"
        )
    return tuple(isas)


class Dispatch(NamedTuple):
    """The functions of a library that there are of each of ``isas``, least first: ``functions`` gives their
    parameters by name. Such a function gives ``lacking`` where the processor has none."""

    name: str
    isas: tuple[Isa, ...]
    functions: Mapping[str, Sequence[str]]
    lacking: int
    export: str

    def code(self, level: str) -> str:
        """LLVM IR of what chooses, by the IR of what says which instruction sets there are."""
        own = [self._function(name, parameters) for name, parameters in self.functions.items()]
        return "\n".join([level, f'@"{self.name}.level" = internal global i64 0', *own])

    def _function(self, function: str, parameters: Sequence[str]) -> str:
        given = ", ".join(parameters)
        types = ", ".join(parameter.rpartition(" ")[0] for parameter in parameters)
        best_first = self.isas[::-1]
        declared = [f'declare signext i32 @"{own_name(function, isa)}"({types})' for isa in best_first]
        choices = [
            CHOICE.format(
                place=place,
                level=isa.level,
                following=place + 1,
                own=own_name(function, isa),
                parameters=given,
            )
            for place, isa in enumerate(best_first)
        ]
        text = FUNCTION.format(
            export=self.export,
            function=function,
            parameters=given,
            name=self.name,
            choices="\n".join(choices),
            count=len(best_first),
            lacking=self.lacking,
        )
        return "\n".join([*declared, text])


def own_name(function: str, isa: Isa) -> str:
    """What a function is called that is for one instruction set."""
    return f"{function}.{isa.name}"
