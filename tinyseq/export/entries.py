"""The functions of a library, in LLVM IR: what is done around the programs of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinyseq.export.code import Body, Code, Program, byte_text
from tinyseq.export.dispatch import LACKING, Dispatch
from tinyseq.export.interface import Argument, Interface, regions
from tinyseq.export.processors import FLUSHED
from tinyseq.export.steps import Steps
from tinyseq.kernels.llvm.isa import Isa
from tinyseq.plan.view import storage

BAD_FRAMES = "frames must be from 1 to {}. No state was changed"
ENDED = "the stream has been finished, or this is no state of a stream; reset it to begin anew"
APART = "the rows are not in step: they have taken different numbers of frames. No state was changed"
OF_STATES = (ENDED, APART)
"""What is wrong with a state, and not with what is given to it."""

OK_TEXT = "no error"
UNKNOWN_TEXT = "no error of this library"

LOOP = """
{head} {{
entry:
{before}
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp ult i64 %i, {count}
  br i1 %more, label %body, label %done
body:
{body}
  %next = add i64 %i, 1
  {again}
done:
  {end}
}}
"""


def loop(
    head: str,
    count: object,
    body: str,
    *,
    before: str = "",
    again: str = "br label %head",
    end: str = "ret void",
) -> str:
    """A function that does ``before``, then runs its body for i from 0 to below ``count``."""
    return LOOP.format(head=head, before=before, count=count, body=body, again=again, end=end)


SAME = "  %y = add i32 %x, 0"


class Entries:
    """The functions of an interface, as code. ``flushes``: whether the processor can treat denormal numbers
    as zero; else inputs, outputs and state are rid of them. ``export`` is LLVM's storage class of what others
    see. ``isas``: the instruction sets that there is a step for."""

    def __init__(
        self, interface: Interface, flushes: bool = True, export: str = "", isas: Sequence[Isa] = ()
    ) -> None:
        self.interface = interface
        self.stepping = interface.stepping
        self.flushes, self.export = flushes, export
        self.code = Code(interface.name)
        self.isas = tuple(isas)
        self._lacking = 0
        if len(isas) > 1:
            self._lacking = self.code.failure(LACKING.format(", ".join(isa.name for isa in isas)))

    def define(self) -> Code:
        """All functions."""
        code, own = self.code, self.interface
        code.add('declare i64 @"tinyseq.denormals.off"()')
        code.add('declare void @"tinyseq.denormals.restore"(i64)')
        if own.finishes:
            self._places()
        self._reset()
        self._step("step", 0)
        if own.finishes:
            self._step("finish", 1)
        self._texts()
        code.add(f"define {self.export} i32 @{own.name}_fingerprint() {{\n  ret i32 {own.fingerprint}\n}}")
        return code

    def functions(self) -> list[str]:
        """The names that others see."""
        kinds = ("reset", "step", "error", "fingerprint", *(("finish",) if self.interface.finishes else ()))
        return [f"{self.interface.name}_{kind}" for kind in kinds]

    def dispatch(self) -> Dispatch | None:
        """What chooses between the instruction sets, if there are several."""
        if len(self.isas) < 2:
            return None
        kinds = ("step", "finish") if self.interface.finishes else ("step",)
        functions = {
            f"{self.interface.name}_{kind}": self._parameters(last) for last, kind in enumerate(kinds)
        }
        return Dispatch(self.interface.name, self.isas, functions, self._lacking, self.export)

    def _reset(self) -> None:
        start, own = self.stepping.state, self.interface
        start = np.concatenate([start, np.zeros(own.state_bytes - start.size, np.uint8)])
        copy = self._copier("move", np.dtype(np.float32), ("i32", 4), SAME, ("i32", 4))
        body = f"""  %skip = mul i64 %i, {own.state_bytes}
  %own = getelementptr i8, ptr %state, i64 %skip
  call void @"{copy}"(ptr @"{self.code.weight(start)}", ptr %own, i64 {start.size // 4})"""
        head = f"define {self.export} void @{own.name}_reset(ptr %state)"
        self.code.add(loop(head, self.stepping.request.rows, body))

    def _places(self) -> None:
        """What tells at which place the rows of a state are, -2 where they differ, and what sets it."""
        name, rows = self.interface.name, self.stepping.request.rows
        first = f"  %first = getelementptr i8, ptr %state, i64 {self.stepping.state_bytes}"
        skip = f"  %skip = mul i64 %i, {self.interface.state_bytes}"
        at = f"{skip}\n  %at = getelementptr i8, ptr %first, i64 %skip"
        self.code.add(
            loop(
                f'define internal i64 @"{name}.place"(ptr %state)',
                rows,
                f"{at}\n  %other = load i64, ptr %at, align 8\n  %same = icmp eq i64 %other, %place",
                before=f"{first}\n  %place = load i64, ptr %first, align 8",
                again="br i1 %same, label %head, label %apart\napart:\n  ret i64 -2",
                end="ret i64 %place",
            )
        )
        head = f'define internal void @"{name}.go"(ptr %state, i64 %place)'
        body = f"{at}\n  store i64 %place, ptr %at, align 8"
        self.code.add(loop(head, rows, body, before=first))

    def _texts(self) -> None:
        code, own = self.code, self.interface
        texts = [OK_TEXT, *code.messages, UNKNOWN_TEXT]
        names = []
        for number, text in enumerate(texts):
            data = text.encode() + b"\0"
            names.append(f"{own.name}.text.{number}")
            code.add(f'@"{names[-1]}" = internal constant [{len(data)} x i8] {byte_text(data)}')
        body = [f"define {self.export} ptr @{own.name}_error(i32 %code) {{", "entry:"]
        cases = " ".join(f"i32 {-number}, label %text.{number}" for number in range(len(texts) - 1))
        body.append(f"  switch i32 %code, label %text.{len(texts) - 1} [ {cases} ]")
        for number, name in enumerate(names):
            body += [f"text.{number}:", f'  ret ptr @"{name}"']
        code.add("\n".join([*body, "}"]))

    def _copier(
        self, what: str, dtype: np.dtype, given: tuple[str, int], converted: str, taken: tuple[str, int]
    ) -> str:
        name = f"{self.interface.name}.{what}.{dtype.name}"
        body = f"""  %from = getelementptr {given[0]}, ptr %source, i64 %i
  %x = load {given[0]}, ptr %from, align {given[1]}
{converted}
  %to = getelementptr {taken[0]}, ptr %target, i64 %i
  store {taken[0]} %y, ptr %to, align {taken[1]}"""
        parameters = "(ptr %source, ptr %target, i64 %count)"
        head = f'define internal void @"{name}"{parameters} noinline "no-builtins"'
        text = loop(head, "%count", body)
        return self.code.once(("copy", what, dtype.name), name, text)

    def _taking(self, dtype: np.dtype) -> str:
        """What copies elements of an input to where the program reads them."""
        if dtype.kind == "f":
            return self._copier("take", dtype, ("i32", 4), SAME if self.flushes else FLUSHED, ("i32", 4))
        bits, size = 8 * dtype.itemsize, dtype.itemsize
        widened = "zext" if dtype.kind in "ub" else "sext"
        converted = f"  %y = {widened} i{bits} %x to i64" if bits < 64 else "  %y = add i64 %x, 0"
        if dtype.kind == "b":
            converted = "  %some = icmp ne i8 %x, 0\n  %y = zext i1 %some to i64"
        return self._copier("take", dtype, (f"i{bits}", size), converted, ("i64", 8))

    def _giving(self, dtype: np.dtype) -> str:
        """What copies elements of an output from where the program writes them."""
        if dtype.kind == "f":
            return self._copier("give", dtype, ("i32", 4), SAME if self.flushes else FLUSHED, ("i32", 4))
        bits, size = 8 * dtype.itemsize, dtype.itemsize
        converted = f"  %y = trunc i64 %x to i{bits}" if bits < 64 else "  %y = add i64 %x, 0"
        if dtype.kind == "b":
            converted = "  %some = icmp ne i64 %x, 0\n  %y = zext i1 %some to i8"
        return self._copier("give", dtype, ("i64", 8), converted, (f"i{bits}", size))

    def _parameters(self, last: int) -> list[str]:
        own = self.interface
        found = ["ptr %state", "ptr %scratch"]
        if not last:
            found += ["i64 %count"] if own.takes_frames else []
        for one in own.inputs:
            if last and one.value.name in self.stepping.streaming.inputs:
                continue
            found.append(f"{_by_value(one)} %arg.{one.name}" if one.by_value else f"ptr %arg.{one.name}")
        found += [f"ptr %arg.{one.name}" for one in own.outputs]
        return found + [f"ptr %frames.{one.name}" for one in own.held]

    def _step(self, kind: str, last: int) -> None:
        steps = [one for one in self.stepping.steps if one.last == last]
        own = self.interface
        counted = own.takes_frames and not last
        constant = 0 if last else 1
        body = Body(self.code, (constant,))
        body.lines += [
            f"define {self.export} signext i32 @{own.name}_{kind}({', '.join(self._parameters(last))}) {{",
            "entry:",
            *([] if counted else [f"  %count = add i64 0, {constant}"]),
            "  %arena = ptrtoint ptr %scratch to i64",
            "  %block = ptrtoint ptr %state to i64",
        ]
        for one in own.inputs:
            if one.by_value and not (last and one.value.name in self.stepping.streaming.inputs):
                kept = _by_value(one)
                body.lines += [f"  %kept.{one.name} = alloca {kept}, align 8"]
                body.lines += [f"  store {kept} %arg.{one.name}, ptr %kept.{one.name}"]
        body.lines.append('  %former = call i64 @"tinyseq.denormals.off"()')
        failures = self._dispatch(body, steps, counted)
        body.lines += ["done:"]
        body.lines.append(f"  %result = phi i64 {', '.join(f'[ {c}, %{b} ]' for c, b in failures)}")
        body.lines += ['  call void @"tinyseq.denormals.restore"(i64 %former)']
        body.lines += ["  %short = trunc i64 %result to i32", "  ret i32 %short", "}"]
        for one in steps:
            Program(self.code, one, self._program(one)).define()
        self.code.add("\n".join(body.lines))

    def _program(self, steps: Steps) -> str:
        return f"{self.interface.name}.program.{self.stepping.steps.index(steps)}"

    def _dispatch(self, body: Body, steps: list[Steps], counted: bool) -> list[tuple[object, str]]:
        """From the first block to the block of the right program, and on to ``done``; gives what ``done`` is
        given, and by which blocks."""
        own, code, ends = self.interface, self.code, []
        if counted:
            most = self.stepping.request.frames
            below = body.value("icmp slt i64 %count, 1")
            above = body.value(f"icmp sgt i64 %count, {most}")
            bad = body.value(f"or i1 {below}, {above}")
            body.lines += [f"  br i1 {bad}, label %frames.bad, label %frames.good", "frames.bad:"]
            body.lines += ["  br label %done", "frames.good:"]
            ends.append((code.failure(BAD_FRAMES.format(most)), "frames.bad"))
        places = sorted({one.place for one in steps})
        if own.finishes:
            place = body.value(f'call i64 @"{own.name}.place"(ptr %state)')
            cases = " ".join(f"i64 {one}, label %place.{one}" for one in places)
            body.lines.append(f"  switch i64 {place}, label %ended [ {cases} i64 -2, label %apart ]")
            body.lines += ["ended:", "  br label %done", "apart:", "  br label %done"]
            ends += [(code.failure(ENDED), "ended"), (code.failure(APART), "apart")]
        else:
            body.lines.append("  br label %place.0")
        for place in places:
            body.lines.append(f"place.{place}:")
            choices = sorted((one for one in steps if one.place == place), key=lambda one: len(one.counts))
            *few, most_often = [(one, f"steps.{self.stepping.steps.index(one)}") for one in choices]
            cases = " ".join(f"i64 {n}, label %{label}" for one, label in few for n in one.counts)
            body.lines.append(f"  switch i64 %count, label %{most_often[1]} [ {cases} ]")
            for one, label in (*few, most_often):
                body.lines.append(f"{label}:")
                ends += self._one(body, one, label)
        return ends

    def _one(self, body: Body, steps: Steps, label: str) -> list[tuple[object, str]]:
        """A step's inputs are taken, its program run and its outputs given."""
        own = self.interface
        body.counts = np.array(steps.counts)
        for one in own.inputs:
            self._take(body, steps, one)
        for name, array in self.stepping.fixed.items():
            region = steps.plans[0].inputs[name]
            kept = np.ascontiguousarray(array.astype(storage(array.dtype)))
            target = self._at(body, region.offset)
            copier = self._taking(kept.dtype)
            body.lines.append(
                f'  call void @"{copier}"(ptr @"{self.code.weight(kept)}", ptr {target}, i64 {kept.size})'
            )
        result = body.value(f'call i64 @"{self._program(steps)}"(i64 %arena, i64 %block, i64 %count)')
        failed = body.value(f"icmp slt i64 {result}, 0")
        body.lines += [f"  br i1 {failed}, label %{label}.failed, label %{label}.good"]
        body.lines += [f"{label}.failed:", "  br label %done", f"{label}.good:"]
        for one in own.outputs:
            self._give(body, steps, one)
        for one in own.held:
            column = np.array([plan.shape[one.varies] for plan in regions(steps, one, True)], np.int64)
            body.lines.append(f"  store i64 {body.number(column)}, ptr %frames.{one.name}, align 8")
        # The place is written after this, which may take it for a number.
        if not self.flushes and self.stepping.state_bytes and self.stepping.all_floats:
            words = self.stepping.state.size * self.stepping.request.rows // 4
            copier = self._taking(np.dtype(np.float32))
            body.lines.append(f'  call void @"{copier}"(ptr %state, ptr %state, i64 {words})')
        if own.finishes:
            self._advance(body, steps)
        body.lines.append("  br label %done")
        return [(result, f"{label}.failed"), (0, f"{label}.good")]

    def _at(self, body: Body, offset: int) -> str:
        return body.value(f"getelementptr i8, ptr %scratch, i64 {offset}")

    def _count(self, body: Body, steps: Steps, argument: Argument, output: bool) -> str:
        sizes = [math.prod(region.shape) for region in regions(steps, argument, output)]
        return body.number(np.array(sizes, np.int64))

    def _take(self, body: Body, steps: Steps, one: Argument) -> None:
        if steps.last and one.value.name in self.stepping.streaming.inputs:
            return
        region = regions(steps, one, False)[0]
        source = f"%kept.{one.name}" if one.by_value else f"%arg.{one.name}"
        size, target = self._count(body, steps, one, False), self._at(body, region.offset)
        body.lines.append(
            f'  call void @"{self._taking(one.value.dtype)}"(ptr {source}, ptr {target}, i64 {size})'
        )

    def _give(self, body: Body, steps: Steps, one: Argument) -> None:
        found = regions(steps, one, True)
        size = self._count(body, steps, one, True)
        if found[0].value is None:
            source = self._at(body, found[0].offset)
        else:
            longest = max((region.value for region in found), key=lambda value: value.size)
            source = f'@"{self.code.weight(np.ascontiguousarray(longest.astype(storage(longest.dtype))))}"'
        body.lines.append(
            f'  call void @"{self._giving(one.value.dtype)}"(ptr {source}, ptr %arg.{one.name}, i64 {size})'
        )

    def _advance(self, body: Body, steps: Steps) -> None:
        clock, stepping = self.stepping.streaming.clock, self.stepping
        counts = steps.counts if stepping.request.frames is not None else (stepping.own_frames,)
        after = [clock.after(steps.place, 0 if steps.last else count, steps.last) for count in counts]
        place = body.number(np.array(after, np.int64))
        body.lines.append(f'  call void @"{self.interface.name}.go"(ptr %state, i64 {place})')


def _by_value(argument: Argument) -> str:
    dtype = argument.value.dtype
    return "float" if dtype.kind == "f" else f"i{8 * dtype.itemsize}"
