"""Whether a library gives the bits that Python gives: a program is compiled against it and run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from tinyseq.errors import BuildError, FeedError
from tinyseq.export import linker
from tinyseq.export.header import parameters
from tinyseq.export.interface import Argument, Interface
from tinyseq.export.javascript import check_files
from tinyseq.export.targets import OWN, Target
from tinyseq.ir.model import POSITION
from tinyseq.plan.view import storage
from tinyseq.runtime.session import Session

STEPS = 100
"""Steps that are tried."""

SECONDS = 300

PROGRAM = """/* Runs the steps that it is given through {name}, each also on a copy of the state. */
#include "check.h"
#include "{name}.h"

static {name}_state state{rows}, copy{rows};
static {name}_scratch scratch, other;
{buffers}
static int run(void) {{
    int64_t head[2];
    {name}_reset({state});
    while (read_all(head, sizeof head)) {{
        int64_t code = 0;
        copy_bytes(&copy, &state, sizeof state);
{reads}
        if (head[0] == 0) {{
            code = {name}_step({step});
            if ({name}_step({step_again}) != code) return 4;
        }}
{finish}
        if (differ(&copy, &state, sizeof state)) return 5;
        if (code < 0 && !{name}_error((int)code)[0]) return 6;
        if (!write_all(&code, sizeof code)) return 8;
{writes}
    }}
    return !write_all(&state, sizeof state);
}}
"""


class Runner:
    """What runs programs of a target on this machine."""

    def __init__(self, target: Target) -> None:
        self.target = target
        own = target.name == OWN
        names = () if own else target.runners
        found = [path for name in names if (path := shutil.which(name)) is not None]
        if names and not found:
            raise BuildError(
                f"a check of target {target.name!r} runs a program by {' or '.join(names)}, which is not "
                "installed; install it, or leave the check out"
            )
        if not target.checks and not own:
            raise BuildError(f"libraries for {target.name!r} cannot be checked here; leave the check out")
        self.command = found[:1]

    def __call__(self, arguments: Sequence[Path], given: Path, told: Path) -> None:
        """Runs a program, which reads and writes files."""
        command = [*self.command, *map(str, arguments)]
        try:
            with given.open("rb") as source, told.open("wb") as target:
                done = subprocess.run(
                    command, stdin=source, stdout=target, stderr=subprocess.PIPE, timeout=SECONDS
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildError(f"the check could not be run: {error}") from error
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise BuildError(f"the check's program ended with status {done.returncode}: {said}")


def check(own: Interface, target: Target, folder: Path, steps: int = STEPS) -> int:
    """Runs a library that lies in a folder on random chunks; gives how many steps had the bits of Python's.

    Raises:
        BuildError: other bits came out, or there is nothing to run programs of the target with.
    """
    run = Runner(target)
    given, wanted = folder / "check.in", folder / "check.out"
    expected = []
    with given.open("wb") as file:
        tried = PythonSteps(own, steps)
        for head, feeds, results in tried:
            file.write(np.array(head, np.int64).tobytes())
            for one in own.inputs:
                file.write(_padded(feeds[one.value.name], one))
            expected.append(results)
    run(_program(own, target, folder), given, wanted)
    _compare(own, wanted.read_bytes(), expected, tried.state)
    return len(expected)


def _padded(array: np.ndarray, one: Argument) -> bytes:
    data = array.astype(np.float32 if array.dtype.kind == "f" else array.dtype).tobytes()
    return data + bytes(one.most * one.itemsize - len(data))


def _program(own: Interface, target: Target, folder: Path) -> list[Path]:
    if target.is_web:
        script, told = check_files(own, folder)
        return [script, folder / target.shared.format(own.name), told]
    source, program = folder / "check.c", folder / target.program.format("check")
    source.write_text(_source(own), encoding="utf-8")
    (folder / "check.h").write_bytes(resources.files("tinyseq.export").joinpath("data/check.h").read_bytes())
    linker.program(target, [source, folder / f"{own.name}.o"], program)
    return [program]


def _source(own: Interface) -> str:
    def buffers() -> Iterator[str]:
        for one in own.inputs:
            yield f"static {one.c_type} {one.name}[{max(one.most, 1)}];"
        for one in own.outputs:
            yield f"static {one.c_type} {one.name}[{max(one.most, 1)}], {one.name}_again[{max(one.most, 1)}];"
        for one in own.held:
            yield f"static int64_t {one.name}_frames;"

    def call(last: bool, again: bool) -> str:
        gone = own.stepping.streaming.inputs if last else {}
        single = own.stepping.request.rows == 1
        words = [f"{'&' if single else ''}{'copy' if again else 'state'}", "&other" if again else "&scratch"]
        words += ["head[1]"] if own.takes_frames and not last else []
        words += [
            f"{one.name}[0]" if one.by_value else one.name for one in own.inputs if one.value.name not in gone
        ]
        words += [one.name + ("_again" if again else "") for one in own.outputs]
        words += [f"&{one.name}_frames" for one in own.held]
        assert len(words) == len(parameters(own, last))
        return ", ".join(words)

    reads = [
        f"        if (!read_all({one.name}, sizeof {one.name}[0] * {one.most})) return 3;"
        for one in own.inputs
    ]
    writes = [
        line
        for one in own.outputs
        for line in (
            f"        if (code >= 0 && differ({one.name}, {one.name}_again, sizeof {one.name})) return 7;",
            f"        if (!write_all({one.name}, sizeof {one.name}[0] * {one.most})) return 8;",
        )
    ]
    writes += [f"        if (!write_all(&{one.name}_frames, 8)) return 8;" for one in own.held]
    finish = (
        f"""        if (head[0] == 1) {{
            code = {own.name}_finish({call(True, False)});
            if ({own.name}_finish({call(True, True)}) != code) return 4;
        }}
        if (head[0] == 2) {own.name}_reset({_first(own)}), {own.name}_reset({_first(own, "copy")});"""
        if own.finishes
        else ""
    )
    return PROGRAM.format(
        name=own.name,
        rows="" if own.stepping.request.rows == 1 else f"[{own.stepping.request.rows}]",
        buffers="\n".join(buffers()),
        state=_first(own),
        reads="\n".join(reads),
        step=call(False, False),
        step_again=call(False, True),
        finish=finish,
        writes="\n".join(writes),
    )


def _first(own: Interface, what: str = "state") -> str:
    return f"&{what}" if own.stepping.request.rows == 1 else what


STEP, FINISH, RESET = range(3)


class PythonSteps:
    """Random steps, and what Python gives for them: outputs, or None where it refuses the step."""

    def __init__(self, own: Interface, steps: int, seed: int = 0) -> None:
        self.own, self.steps = own, steps
        self.rng = np.random.default_rng(seed)
        session = own.stepping.session
        # The session at hand may compute with other bits than the target does.
        session = Session(
            session.model, "cpu", session.computed, session.finite, session.precision, session.keep
        )
        self.rows = own.stepping.request.rows
        self.stream = session.stream() if self.rows == 1 else session.pool(self.rows)
        self.numbers = [] if self.rows == 1 else [self.stream.open() for _ in range(self.rows)]

    @property
    def state(self) -> list[Mapping[str, np.ndarray]]:
        """The fields of each row."""
        if self.rows == 1:
            return [self.stream.state]
        return [self.stream._row(number) for number in self.numbers]

    def __iter__(self) -> Iterator[tuple[tuple[int, int], dict[str, np.ndarray], object]]:
        for number in range(self.steps):
            frames = self._frames()
            feeds = {one.value.name: self._random(one, frames) for one in self.own.inputs}
            yield (STEP, frames), feeds, self._results(feeds, "step")
            if self.own.finishes and number % 10 == 9:
                gone = self.own.stepping.streaming.inputs
                kept = {name: array for name, array in feeds.items() if name not in gone}
                yield (FINISH, 0), feeds, self._results(kept, "finish")
                yield (RESET, 0), feeds, self._reset()

    def _frames(self) -> int:
        most = self.own.stepping.request.frames
        return 1 if most is None else int(self.rng.integers(1, most, endpoint=True))

    def _random(self, one: Argument, frames: int) -> np.ndarray:
        shape = list(one.shapes[-1])
        if one.varies is not None:
            shape[one.varies] = frames
        if one.value.dtype.kind == "f":
            return self.rng.standard_normal(shape).astype(one.value.dtype)
        return self.rng.integers(0, 2, shape).astype(one.value.dtype)

    def _results(self, feeds: dict[str, np.ndarray], method: str) -> object:
        given = {**feeds, **self.own.stepping.request.given}
        rows = [self.numbers] if self.rows > 1 else []
        try:
            return getattr(self.stream, method)(*rows, given)
        except FeedError:
            return None

    def _reset(self) -> object:
        for number in self.numbers or [None]:
            self.stream.reset(*([] if number is None else [number]))
        return {}


def _compare(own: Interface, data: bytes, expected: list, state: list[Mapping[str, np.ndarray]]) -> None:
    at = 0
    for step, results in enumerate(expected):
        code = int(np.frombuffer(data, np.int64, 1, at)[0])
        at += 8
        if (code < 0) != (results is None):
            raise BuildError(f"the check failed: step {step} gave {code} where Python's did otherwise")
        for one in own.outputs:
            size = one.most * one.itemsize
            if results:
                wanted = results[one.value.name]
                wanted = wanted.astype(np.float32 if wanted.dtype.kind == "f" else wanted.dtype).tobytes()
                if data[at : at + len(wanted)] != wanted:
                    raise BuildError(
                        f"the check failed: in step {step}, {one.name} has other bits than Python's"
                    )
            at += size
        for one in own.held:
            frames = int(np.frombuffer(data, np.int64, 1, at)[0])
            if results and frames != results[one.value.name].shape[one.varies]:
                raise BuildError(f"the check failed: step {step} said {frames} frames of {one.name}")
            at += 8
    for row, fields in enumerate(state):
        own_bytes = data[at + row * own.state_bytes : at + (row + 1) * own.state_bytes]
        _compare_state(own, own_bytes, fields)


def _compare_state(own: Interface, data: bytes, fields: Mapping[str, np.ndarray]) -> None:
    for name, field in fields.items():
        offset = own.stepping.state_bytes if name == POSITION else own.stepping.offsets[name]
        wanted = np.ascontiguousarray(field, storage(field.dtype)).tobytes()
        if data[offset : offset + len(wanted)] != wanted:
            raise BuildError(f"the check failed: the state {name!r} has other bits than Python's in the end")
