"""What a library offers: its functions, their arguments in order, and the sizes of what callers own."""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

from tinyseq.errors import UnsupportedError
from tinyseq.export.names import c_type, identifiers
from tinyseq.export.steps import Stepping, Steps
from tinyseq.ir.model import Value
from tinyseq.kernels.instructions import ALIGNMENT
from tinyseq.plan.draft import Region
from tinyseq.plan.view import Shape


class Argument(NamedTuple):
    """An input or output: ``shapes`` are those of all steps, smallest first; ``varies`` is the axis of its
    frames where their number is open."""

    value: Value
    name: str
    c_type: str
    shapes: tuple[Shape, ...]
    varies: int | None
    by_value: bool = False

    @property
    def most(self) -> int:
        """The most elements that a step takes or gives."""
        return max(math.prod(shape) for shape in self.shapes)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return 4 if self.value.dtype.kind == "f" else self.value.dtype.itemsize

    @property
    def sizes(self) -> str:
        """The shape in words."""
        sizes = [str(size) for size in self.shapes[-1]]
        if self.varies is not None:
            sizes[self.varies] = "frames"
        return f"[{', '.join(sizes)}]"


class Interface(NamedTuple):
    """The functions of a library whose names begin with ``name``."""

    name: str
    stepping: Stepping
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    scratch_bytes: int
    fingerprint: int

    @property
    def takes_frames(self) -> bool:
        """Whether a step is told how many frames it is given."""
        return self.stepping.request.frames is not None

    @property
    def state_bytes(self) -> int:
        """The size of a row's state."""
        return max(self.stepping.state.size, ALIGNMENT)

    @property
    def finishes(self) -> bool:
        """Whether a stream has frames left at its end."""
        return self.stepping.has_place

    @property
    def held(self) -> tuple[Argument, ...]:
        """The outputs whose numbers of frames a step tells."""
        return tuple(one for one in self.outputs if one.varies is not None) if self.finishes else ()


def interface(name: str, stepping: Stepping) -> Interface:
    """The interface of a library.

    Raises:
        UnsupportedError: an input or output is of a type that it has no room for.
    """
    values = (*stepping.inputs, *stepping.outputs)
    for value in values:
        if value.dtype.kind not in "fiub":
            raise UnsupportedError(f"{value} is of a type that C libraries neither take nor give")
    plans = [plan for steps in stepping.steps for plan in steps.plans]
    arguments = [
        _argument(
            value, own, [(plan.outputs if place >= len(stepping.inputs) else plan.inputs) for plan in plans]
        )
        for place, (value, own) in enumerate(zip(values, identifiers(value.name for value in values)))
    ]
    taken, given = arguments[: len(stepping.inputs)], arguments[len(stepping.inputs) :]
    taken = [one._replace(by_value=one.shapes == ((),)) for one in taken]
    scratch = max(plan.arena_bytes for plan in plans)
    fingerprint = zlib.crc32(stepping.session.fingerprint.encode())
    return Interface(name, stepping, tuple(taken), tuple(given), max(scratch, ALIGNMENT), fingerprint)


def _argument(value: Value, name: str, regions: list[dict[str, Region]]) -> Argument:
    shapes = tuple(dict.fromkeys(sorted([own[value.name].shape for own in regions], key=math.prod)))
    varies = [axis for axis, sizes in enumerate(zip(*shapes)) if len(set(sizes)) > 1]
    if len(varies) > 1 or len({len(shape) for shape in shapes}) > 1:
        raise UnsupportedError(
            f"the shape of {value} differs between steps in more than its frames: {shapes[0]}, {shapes[-1]}; "
            "build the library for a fixed number of frames"
        )
    return Argument(value, name, c_type(value.dtype), shapes, varies[0] if varies else None)


def regions(steps: Steps, argument: Argument, output: bool) -> list[Region]:
    """Where an input or output lies in each plan of some steps."""
    return [(plan.outputs if output else plan.inputs)[argument.value.name] for plan in steps.plans]
