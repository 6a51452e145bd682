"""Libraries of many models, compiled as one and called in this process."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tinyseq.export.check import _Python
from tinyseq.export.entries import Entries
from tinyseq.export.interface import Argument, Interface, interface
from tinyseq.export.machine_code import object_file
from tinyseq.export.steps import Stepping
from tinyseq.export.targets import chosen
from tinyseq.ir.model import POSITION
from tinyseq.plan.packing import aligned
from tinyseq.plan.view import storage


def compiled(steppings: Sequence[Stepping], folder: Path) -> list[Native]:
    """A library for each, all in one file."""
    target = chosen("x86_64-linux")
    made = [Entries(interface(f"lib{number}", one)) for number, one in enumerate(steppings)]
    codes = [one.define() for one in made]
    path = folder / "together.o"
    path.write_bytes(object_file(codes, [name for one in made for name in one.functions()], target))
    subprocess.run(["cc", "-shared", "-nostdlib", "-o", path.with_suffix(".so"), path], check=True)
    library = ctypes.CDLL(str(path.with_suffix(".so")))
    return [Native(one.interface, library) for one in made]


def elements(one: Argument) -> np.dtype:
    """The type of an argument's elements in C."""
    return np.dtype(np.float32) if one.value.dtype.kind == "f" else one.value.dtype


class Native:
    """A library with a state and a scratch. It is given a place of its own for every output."""

    def __init__(self, own: Interface, library: ctypes.CDLL) -> None:
        self.own = own
        self.rows = own.stepping.request.rows
        self.state = aligned(own.state_bytes * self.rows)
        self.scratch = aligned(own.scratch_bytes)
        self._functions = {
            kind: getattr(library, f"{own.name}_{kind}") for kind in ("step", "reset", "error", "fingerprint")
        }
        if own.finishes:
            self._functions["finish"] = library[f"{own.name}_finish"]
        self._functions["error"].restype = ctypes.c_char_p
        self._functions["fingerprint"].restype = ctypes.c_uint32
        self.reset()

    def reset(self) -> None:
        self._functions["reset"](ctypes.c_void_p(self.state.ctypes.data))

    def error(self, code: int) -> str:
        return self._functions["error"](code).decode()

    @property
    def fingerprint(self) -> int:
        return self._functions["fingerprint"]()

    def step(self, feeds: Mapping[str, np.ndarray], frames: int = 1) -> dict[str, np.ndarray] | int:
        """The outputs, all that there is room for, or what the step gave instead of 0."""
        return self._call("step", feeds, [ctypes.c_int64(frames)] if self.own.takes_frames else [])

    def finish(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | int:
        return self._call("finish", feeds, [])

    def _call(self, kind: str, feeds: Mapping[str, np.ndarray], numbers: list) -> dict[str, np.ndarray] | int:
        own, kept = self.own, []
        words: list = [ctypes.c_void_p(self.state.ctypes.data), ctypes.c_void_p(self.scratch.ctypes.data)]
        words += numbers
        for one in own.inputs:
            if one.value.name not in feeds:
                continue
            kept.append(np.ascontiguousarray(feeds[one.value.name], elements(one)))
            words.append(_by_value(kept[-1]) if one.by_value else ctypes.c_void_p(kept[-1].ctypes.data))
        outputs = {one: np.full(max(one.most, 1), 77, elements(one)) for one in own.outputs}
        words += [ctypes.c_void_p(array.ctypes.data) for array in outputs.values()]
        frames = {one: ctypes.c_int64(-1) for one in own.held}
        words += [ctypes.byref(count) for count in frames.values()]
        code = self._functions[kind](*words)
        self.frames = {one.value.name: count.value for one, count in frames.items()}
        return code or {one.value.name: array for one, array in outputs.items()}

    def field(self, name: str, like: np.ndarray, row: int = 0) -> bytes:
        """The bytes of a field of the state."""
        stepping = self.own.stepping
        offset = stepping.state_bytes if name == POSITION else stepping.offsets[name]
        start = row * self.own.state_bytes + offset
        return self.state[start : start + like.size * storage(like.dtype).itemsize].tobytes()


def _by_value(array: np.ndarray):
    kinds = {"f": ctypes.c_float, "b": ctypes.c_uint8}
    signed = "int" if array.dtype.kind == "i" else "uint"
    kind = kinds.get(array.dtype.kind) or getattr(ctypes, f"c_{signed}{8 * array.dtype.itemsize}")
    return kind(array.item())


def same(native: Native, steps: int = 5, seed: int = 0) -> int:
    """Random steps of a library and of Python: the same bits, refusals and states. Gives how many ran."""
    tried, ran = _Python(native.own, steps, seed), 0
    for (kind, frames), feeds, results in tried:
        if kind == 2:
            native.reset()
        else:
            ran += check(native, kind, frames, feeds, results)
        for row, fields in enumerate(tried.state):
            for name, field in fields.items():
                wanted = np.ascontiguousarray(field, storage(field.dtype)).tobytes()
                assert native.field(name, field, row) == wanted, name
    return ran


def check(native: Native, kind: int, frames: int, feeds: Mapping, results: Mapping | None) -> bool:
    """One step, or the last one; gives whether it was computed and not refused."""
    own = native.own
    if kind == 1:
        feeds = {name: one for name, one in feeds.items() if name not in own.stepping.streaming.inputs}
    found = native.finish(feeds) if kind == 1 else native.step(feeds, frames)
    if results is None:
        assert isinstance(found, int) and found < 0
        assert native.error(found) not in ("no error", "no error of this library")
        return False
    assert isinstance(found, dict), native.error(found)
    for one in own.outputs:
        wanted = results[one.value.name].astype(elements(one))
        assert found[one.value.name][: wanted.size].tobytes() == wanted.tobytes(), one.value.name
        assert (found[one.value.name][max(wanted.size, 1) :] == 77).all()
        if one in own.held:
            assert native.frames[one.value.name] == wanted.shape[one.varies]
    return True


def flat(batches: Sequence[Sequence]) -> Iterator:
    """The parts of parts."""
    for batch in batches:
        yield from batch
