"""The call of a plan from Python: an extension of CPython, at a fraction of the cost of Python's own way.

``call.c`` says what it takes. Where it was not built, or Python is of another kind than it is made for, there
is none, and every call goes through Python: the same results, slower.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinyseq.kernels.library import FOLDER, SYSTEM
from tinyseq.kernels.program import address

MODULE = "_call"

FILES = {"linux": f"{MODULE}.abi3.so", "macos": f"{MODULE}.abi3.so", "windows": f"{MODULE}.pyd"}
"""What the extension is called, by system."""

NUMPY = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
"""Where NumPy keeps its C interface, from 2.0 on and before."""

Step = Callable[[Any, Any, Any], Any]


class Place(NamedTuple):
    """An input or output of a call: its name among the feeds or results, what an array of it must be, and
    where the machine has it. ``make`` makes a new array of an output that is not a copy of its bytes.
    ``word`` is which word of the context has its address, if it may lie elsewhere: then arrays are used where
    they lie."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    memory: np.ndarray
    make: Callable[[], np.ndarray] | None = None
    word: int = 0

    def told(self) -> tuple[object, ...]:
        """As the extension reads it."""
        memory = self.memory
        # What Python has interned, as the keys in a program's text, is found without being compared.
        name = sys.intern(self.name)
        return (name, self.dtype, self.make, address(memory), memory.nbytes, self.shape, self.word)


@cache
def extension() -> ModuleType | None:
    """The extension, if it is there and made for this Python and this NumPy."""
    path = os.path.join(FOLDER, FILES[SYSTEM])
    numpy = next((sys.modules[name] for name in NUMPY if name in sys.modules), None)
    if numpy is None or not _is_of_this_kind() or not os.path.isfile(path):
        return None
    # Imported here: it is slow to import, and is there already where this is Python's own way of importing.
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec

    loader = ExtensionFileLoader(MODULE, path)
    try:
        module = module_from_spec(ModuleSpec(MODULE, loader, origin=path))
        loader.exec_module(module)
    except (ImportError, AttributeError):
        return None
    module.prepared(None, numpy._ARRAY_API)
    return module if _sees_arrays(module) else None


def _is_of_this_kind() -> bool:
    """Whether objects are laid out as the extension has them: CPython's with the GIL, without debugging."""
    plain = sys.implementation.name == "cpython" and "free-threading" not in sys.version
    return plain and not hasattr(sys, "getobjects") and sys.maxsize == 2**63 - 1


def _sees_arrays(module: ModuleType) -> bool:
    array = np.empty((2, 3), np.dtype(np.float32).newbyteorder())
    flags, dtype = array.flags.num, array.dtype  # type: ignore[attr-defined]
    wanted = address(array), 2, 2, dtype, flags, np.float32, ord(dtype.byteorder)
    return module.described(array) == wanted


def step_of(
    run: int,
    context: np.ndarray,
    inputs: Sequence[Place],
    known: Sequence[Place],
    outputs: Sequence[Place],
    copies_out: bool,
    brief: bool,
    kept: object,
) -> Step | None:
    """What steps a plan, ``step(feeds, out, free)``; None without the extension.

    It gives the results; or None where the feeds, ``out`` or the claim ``free`` are none that it takes, or
    where the machine refuses them: no state has changed then. Without ``out`` it makes new arrays.

    Args:
        run: the address of the machine.
        context: what the machine runs.
        inputs: what it takes.
        known: what must be fed with these numbers.
        outputs: what it gives.
        copies_out: whether it can write into ``out``.
        brief: whether the machine takes so little time that others need not be let run meanwhile.
        kept: what must live as long.
    """
    native = extension()
    if native is None:
        return None
    held = (kept, context, *inputs, *known, *outputs)
    places = [tuple(place.told() for place in group) for group in (inputs, known, outputs)]
    call = native.Call((np.ndarray, dict, held), run, address(context), *places, int(copies_out), int(brief))
    return call.step


def never(feeds: object, out: object, free: object) -> None:
    """In place of a step: takes nothing."""


def bound(
    step: Step, feeds: object, out: object, free: object, otherwise: Callable[[], Any]
) -> Callable[[], Any]:
    """What steps again and again with the same arrays; ``otherwise`` does what the step does not take."""
    native = extension()
    call = getattr(step, "__self__", None)
    if native is None or not isinstance(call, native.Call):
        return otherwise
    return native.Bound(call, feeds, out, free, otherwise).step
