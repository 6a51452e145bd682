"""Arrays as a device takes them: the host's are copied there, those of other packages used where they lie."""

from __future__ import annotations

import numpy as np

from tinyseq.backends.device_array import DeviceArray
from tinyseq.errors import FeedError
from tinyseq.kernels.cuda import driver


def uploaded(device, array: np.ndarray) -> object:
    """A dense array's bytes in memory of the device."""
    memory = device.memory(array.nbytes)
    device.write(memory.address, array.nbytes, array.reshape(-1).view(np.uint8).reshape(1, -1))
    return memory


def on_device(array: object) -> bool:
    """Whether an array offers itself as one on a CUDA device."""
    if type(array) is np.ndarray:
        return False
    if hasattr(array, "__cuda_array_interface__"):
        return True
    return hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) in CUDA_KINDS


CUDA_KINDS = (2, 13)
"""DLPack's numbers of CUDA memory: the device's own and managed memory."""


def adopted(what: str, array: object, device, queue) -> DeviceArray:
    """A dense array where it lies, tinyseq's or another package's, on a device that is the current one.

    Raises:
        FeedError: it lies elsewhere, or is not dense; says so of ``what``.
    """
    try:
        if isinstance(array, DeviceArray):
            driver.check_place(device, array.device.number)
            if not array.dense:
                raise FeedError(driver.NOT_DENSE)
            return array
        address, shape, dtype, owner = queue.adopt(array)
        return DeviceArray(device, owner, address, shape, dtype)
    except FeedError as error:
        raise FeedError(f"{what}: {error}") from error
