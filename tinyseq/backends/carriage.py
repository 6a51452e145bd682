"""What each run of a plan brings to a device and back: small arrays by launches, large ones by copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyseq.kernels.cuda.carrying import MOST_BYTES, Carried, carrying

Placed = tuple[str, np.ndarray, int]
"""The name of an array, where it is staged, and its address on the device."""


class Carriage:
    """``bring`` and ``give`` are launches that carry all small inputs, and all small outputs with the outcome
    of the run; ``large_inputs`` and ``large_outputs`` name the arrays that are left."""

    def __init__(
        self,
        queue,
        status: int,
        inputs: Sequence[Placed],
        outputs: Sequence[Placed],
        outcome: np.ndarray | None,
    ) -> None:
        self.large_inputs, self.large_outputs = (
            {name for name, array, _ in arrays if array.nbytes > MOST_BYTES} for arrays in (inputs, outputs)
        )
        brought = [Carried(there, _address(array), array.nbytes) for array, there in _small(inputs)]
        given = [Carried(_address(array), there, array.nbytes) for array, there in _small(outputs)]
        if outcome is not None:
            given.append(Carried(_address(outcome), status, outcome.nbytes))
        self.bring, self.give = (queue.prepare(carrying(arrays), status) for arrays in (brought, given))


def _small(arrays: Sequence[Placed]) -> list[tuple[np.ndarray, int]]:
    return [(array, there) for _, array, there in arrays if 0 < array.nbytes <= MOST_BYTES]


def _address(array: np.ndarray) -> int:
    return int(array.ctypes.data)
