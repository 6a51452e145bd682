"""Backends: what runs a Model. Each turns one into runners; nothing above knows which it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.errors import DeviceError, MissingPackageError
from tinyseq.ir import narrow
from tinyseq.ir.model import Model

if TYPE_CHECKING:
    from tinyseq.backends.executor import Executor
    from tinyseq.ir.streaming import Streaming
    from tinyseq.kernels.call import Step
    from tinyseq.plan.rows import RowLayout

Arrays = dict[str, np.ndarray]


class Runner(Protocol):
    """One stream's executor. ``state`` maps names to its live arrays, written to in place."""

    state: Arrays

    def step(self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None) -> Arrays:
        """Runs the model once and advances the state; leaves it alone if the feeds are refused."""

    def quick(self, feeds: Mapping[str, object] | None) -> Step:
        """What steps such feeds by one call, or those of the last step; see ``kernels/call``.

        Raises:
            FeedError: the feeds are none that it takes.
        """


class RowRunner(Runner, Protocol):
    """The executor of many streams; ``feeds`` name the rows, see ``plan/rows.py``.

    ``state`` has rows first.
    """

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""

    def bound(self, feeds: Mapping[str, object]) -> Executor | None:
        """The plan at work for such feeds, which it has taken; None where there are no plans."""

    def advance(self, feeds: Mapping[str, object]) -> Arrays:
        """``step`` whose results hold until the next call only, and may be written to."""

    def release(self) -> None:
        """Gives back what others can use; the state stays."""


class Backend(Protocol):
    """A model made ready on a device."""

    def run(self, feeds: Mapping[str, object]) -> Arrays:
        """All outputs for whole inputs, without state."""

    def runner(self) -> Runner:
        """A fresh stream's executor, its state zero."""

    def rows(self, layout: RowLayout, count: int) -> RowRunner:
        """An executor of ``count`` streams, their state zero."""


INSTALL_CUDA = "pip install 'tinyseq[cuda]'"

DEVICES = ("cpu", "cuda", "reference")
"""What runs models; the first where nothing is said."""


EXACT = narrow.EXACT
"""What rounds nothing."""

ROUND_WEIGHTS = ("cpu", "reference")
"""The devices that compute with rounded weights."""

PRECISIONS = {
    "cpu": (EXACT, *narrow.PRECISIONS),
    "cuda": (EXACT, "tf32", "bfloat16", "float16"),
    "reference": (EXACT, *narrow.PRECISIONS),
}
"""What each device computes in, the first where nothing is said: to what weights are rounded before they are
packed or, by CUDA, both factors of a product before they are multiplied."""

ALL_PRECISIONS = tuple(dict.fromkeys(name for names in PRECISIONS.values() for name in names))


def create(
    device: str,
    model: Model,
    streaming: Callable[[], Model],
    finite: bool = True,
    precision: str = EXACT,
    threads: int = 1,
) -> Backend:
    """The backend of a device for a model and for what makes its streaming form, once that is wanted, whose
    steps refuse what would leave a state that is not ``finite``. So many ``threads`` of the CPU share a call.

    Raises:
        DeviceError: there is no such device, it is not at hand, or does not compute in that precision; says
            which and what to do.
        MissingPackageError: a package that it needs is not installed.
    """
    kind, number = device_named(device)
    if kind == "cpu":
        from tinyseq.backends.cpu import CpuBackend

        return CpuBackend(model, streaming, finite, threads)
    if kind == "cuda":
        return _cuda()(model, streaming, finite, number, precision)
    from tinyseq.backends.reference import ReferenceBackend

    return ReferenceBackend(model, streaming, finite)


def device_named(name: str) -> tuple[str, int]:
    """What kind of device a name stands for, and which one of those of its kind.

    Raises:
        DeviceError: there is no such kind; says which there are.
    """
    kind, colon, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind in DEVICES and not colon:
        return kind, 0
    if kind == "cuda" and number.isascii() and number.isdigit() and len(number) < 10:
        return kind, int(number)
    raise DeviceError(
        f"device={shown(name)} is unknown; choose {', '.join(map(repr, DEVICES))}, or one of several CUDA "
        "devices by its number, as 'cuda:1'"
    )


def check_precision(device: str, precision: object, keep: Collection[str] = ()) -> None:
    """
    Raises:
        DeviceError: there is no such device, or it does not compute in a precision, or not in several; says
            what to do.
    """
    kind, _ = device_named(device)
    if not isinstance(precision, str) or precision not in ALL_PRECISIONS:
        raise DeviceError(
            f"precision={shown(precision)} is unknown; choose {', '.join(map(repr, ALL_PRECISIONS))}"
        )
    if precision not in PRECISIONS[kind]:
        others = " or ".join(f"device={name!r}" for name, known in PRECISIONS.items() if precision in known)
        raise DeviceError(
            f"device={device!r} does not compute in precision={precision!r}, but in "
            f"{', '.join(map(repr, PRECISIONS[kind]))}; load with one of these, or with {others}"
        )
    if keep and kind not in ROUND_WEIGHTS and precision != EXACT:
        raise DeviceError(
            f"device={device!r} rounds both factors of all products, so that keep has no meaning there; "
            f"leave it out, or load with device={ROUND_WEIGHTS[0]!r}"
        )


def check_threads(device: str, threads: object) -> None:
    """
    Raises:
        DeviceError: a device does not share its work among threads, or not among so many; says what to do.
    """
    if threads == 1 and is_whole(threads):
        return
    kind, _ = device_named(device)
    if kind != "cpu" and is_whole(threads):
        raise DeviceError(
            f"device={device!r} does not share its work among threads of the CPU; leave threads out, or load "
            "with device='cpu'"
        )
    most = most_threads()
    if not is_whole(threads) or not 0 < threads <= most:
        raise DeviceError(
            f"threads={shown(threads)} is no number of threads that may share a call here, 1 to {most}: as "
            "many as the processors that this process may use"
        )


MOST_THREADS = 64
"""The most threads that share a call, however many processors there are."""


def most_threads() -> int:
    """How many threads may share a call here."""
    return min(_processors(), MOST_THREADS)


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def rounds_weights(device: str, precision: str) -> str:
    """To what a device rounds weights where it computes in a precision."""
    return precision if device_named(device)[0] in ROUND_WEIGHTS else EXACT


def moved(runner: Runner, streaming: Streaming, count: int = 1) -> Runner:
    """The runner of one stream or of ``count`` rows; one that knows where they are, if steps differ."""
    if streaming.clock is None:
        return runner
    from tinyseq.backends.moving import MovingRunner

    return MovingRunner(runner, streaming, count)


def _cuda() -> type[Backend]:
    try:
        from tinyseq.backends.cuda import CudaBackend
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tinyseq"):
            raise
        raise MissingPackageError(
            f"CUDA needs the package {error.name}, which is not installed: {INSTALL_CUDA}"
        ) from error
    return CudaBackend
