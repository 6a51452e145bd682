"""Backends: what runs a Model. Each turns one into runners; nothing above knows which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import DeviceError, MissingPackageError
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

    def bound(self, feeds: Mapping[str, object]) -> Executor | None:
        """The plan at work for such feeds, which it has accepted; None where there are no plans."""

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


PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
"""To what numbers are rounded before they are multiplied with weights; the first where nothing is said."""

NARROW_DEVICES = ("cuda",)
"""The devices that know all of them; others know the first."""


def create(
    device: str,
    model: Model,
    streaming: Callable[[], Model],
    finite: bool = True,
    precision: str = PRECISIONS[0],
) -> Backend:
    """The backend of a device for a model and for what makes its streaming form, once that is wanted, whose
    steps refuse what would leave a state that is not ``finite``.

    Raises:
        DeviceError: there is no such device, it is not at hand, or does not compute in that precision; says
            which and what to do.
        MissingPackageError: a package that it needs is not installed.
    """
    kind, number = device_named(device)
    check_precision(device, precision)
    if kind == "cpu":
        from tinyseq.backends.cpu import CpuBackend

        return CpuBackend(model, streaming, finite, precision)
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


def check_precision(device: str, precision: object) -> None:
    """
    Raises:
        DeviceError: a device does not compute in a precision; says what to do.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise DeviceError(
            f"precision={shown(precision)} is unknown; choose {', '.join(map(repr, PRECISIONS))}"
        )
    if precision != PRECISIONS[0] and device.partition(":")[0] not in NARROW_DEVICES:
        raise DeviceError(
            f"device={device!r} computes in precision={PRECISIONS[0]!r} alone; leave precision={precision!r} "
            f"out, or load with device={NARROW_DEVICES[0]!r}"
        )


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
