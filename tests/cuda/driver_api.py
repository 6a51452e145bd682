"""The functions of CUDA's driver that tinyseq calls, over an emulated device.

They take and give what the driver's do: addresses of parameters, structures, error codes. A thread that has
not made the context its own is refused, what is captured does not run, and handles are given back once.
"""

from __future__ import annotations

import ctypes
import threading
from itertools import count

import numpy as np
from cuda.bindings import driver as real

from tests.cuda.emulator import EmulatedDevice, run
from tinyseq.kernels.cuda.launch import Kernel, Launch

FINE = real.CUresult.CUDA_SUCCESS
INVALID = real.CUresult.CUDA_ERROR_INVALID_VALUE
NO_CONTEXT = real.CUresult.CUDA_ERROR_INVALID_CONTEXT
NO_MEMORY = real.CUresult.CUDA_ERROR_OUT_OF_MEMORY

ATTRIBUTES = {
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 9,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 0,
    "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": 4,
    "CU_DEVICE_ATTRIBUTE_CLOCK_RATE": 10**6,
    "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 227 * 1024,
}
TOTAL_BYTES = 2**32


class EmulatedDriver:
    """Stands for the module ``cuda.bindings.driver``; its structures and enumerations are the real ones."""

    def __init__(self, seed: int = 0) -> None:
        self.device = EmulatedDevice(seed)
        self.held: dict[int, object] = {}
        self._numbers = count(1)
        self._here = threading.local()
        self._captured: list | None = None

    def __getattr__(self, name: str) -> object:
        if name.startswith(("CU", "CUDA")):
            return getattr(real, name)
        raise AttributeError(f"the emulated driver has no {name}")

    def _handle(self, value: object) -> int:
        number = next(self._numbers)
        self.held[number] = value
        return number

    def _given_back(self, number: int) -> tuple:
        return (FINE,) if self.held.pop(int(number), None) is not None else (INVALID,)

    @property
    def _current(self) -> bool:
        return getattr(self._here, "set", False)

    # The device.

    def cuInit(self, flags: int) -> tuple:
        return (FINE,)

    def cuDriverGetVersion(self) -> tuple:
        return FINE, 13000

    def cuDeviceGetCount(self) -> tuple:
        return FINE, 1

    def cuDeviceGet(self, number: int) -> tuple:
        return (FINE, 0) if number == 0 else (INVALID, None)

    def cuDeviceGetName(self, size: int, device: int) -> tuple:
        return FINE, b"an emulated device\0\0"

    def cuDeviceGetAttribute(self, kind, device: int) -> tuple:
        return FINE, ATTRIBUTES[kind.name]

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple:
        return FINE, "context"

    def cuCtxSetCurrent(self, context: str) -> tuple:
        self._here.set = True
        return (FINE,)

    def cuCtxSynchronize(self) -> tuple:
        return (FINE,) if self._current else (NO_CONTEXT,)

    def cuGetErrorName(self, error) -> tuple:
        return FINE, error.name.encode()

    def cuGetErrorString(self, error) -> tuple:
        return FINE, b"as emulated"

    # Memory.

    def cuMemAlloc(self, size: int) -> tuple:
        if not self._current:
            return NO_CONTEXT, None
        if size > TOTAL_BYTES:
            return NO_MEMORY, None
        memory = self.device.memory(size)
        memory.data[:] = 0xAA
        self.held[memory.address] = memory
        return FINE, memory.address

    def cuMemFree(self, address: int) -> tuple:
        return self._given_back(address)

    def cuMemGetInfo(self) -> tuple:
        return FINE, TOTAL_BYTES // 2, TOTAL_BYTES

    def cuMemsetD8(self, address: int, value: int, size: int) -> tuple:
        self.device.span(int(address), size)[:] = value
        return (FINE,)

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple:
        block = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(block)
        self.held[address] = block
        return FINE, address

    def cuMemFreeHost(self, address: int) -> tuple:
        return self._given_back(address)

    def cuMemcpy2DUnaligned(self, copy) -> tuple:
        if not self._current:
            return (NO_CONTEXT,)
        width, height = copy.WidthInBytes, copy.Height
        for row in range(height):
            if copy.dstMemoryType == real.CUmemorytype.CU_MEMORYTYPE_DEVICE:
                address = int(copy.dstDevice) + row * copy.dstPitch
                self.device.span(address, width)[:] = _host(int(copy.srcHost) + row * copy.srcPitch, width)
            else:
                address = int(copy.srcDevice) + row * copy.srcPitch
                _host(int(copy.dstHost) + row * copy.dstPitch, width)[:] = self.device.span(address, width)
        return (FINE,)

    # Queues.

    def cuStreamCreate(self, flags) -> tuple:
        return (FINE, self._handle("stream")) if self._current else (NO_CONTEXT, None)

    def cuStreamDestroy(self, stream: int) -> tuple:
        return self._given_back(stream)

    def cuStreamSynchronize(self, stream: int) -> tuple:
        return (FINE,) if self.held.get(stream) == "stream" and self._captured is None else (INVALID,)

    def _copy(self, stream: int, target: np.ndarray, source: np.ndarray) -> tuple:
        if not self._current:
            return (NO_CONTEXT,)
        if self.held.get(stream) != "stream" or self._captured is not None:
            return (INVALID,)
        target[:] = source.copy()
        return (FINE,)

    def cuMemcpyHtoDAsync(self, address: int, host: int, size: int, stream: int) -> tuple:
        return self._copy(stream, self.device.span(int(address), size), _host(host, size))

    def cuMemcpyDtoHAsync(self, host: int, address: int, size: int, stream: int) -> tuple:
        return self._copy(stream, _host(host, size), self.device.span(int(address), size))

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple:
        return self._copy(stream, self.device.span(int(target), size), self.device.span(int(source), size))

    # Kernels.

    def cuModuleLoadData(self, code: Kernel) -> tuple:
        return FINE, code

    def cuModuleGetFunction(self, module: Kernel, name: bytes) -> tuple:
        return FINE, module

    def cuFuncSetAttribute(self, function: Kernel, kind, value: int) -> tuple:
        self.held[id(function), kind] = value
        return (FINE,)

    def cuLaunchKernelEx(self, config, function: Kernel, parameters: int, extra: int) -> tuple:
        if not self._current:
            return (NO_CONTEXT,)
        kinds = real.CUfunction_attribute
        shared = kinds.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        if config.sharedMemBytes > self.held.get((id(function), shared), 48 * 1024):
            return (INVALID,)
        addresses = _host(parameters, 8 * (function.parameters + 1)).view(np.int64)
        status, *arguments = (int(_host(address, 8).view(np.int64)[0]) for address in addresses)
        identifiers = real.CUlaunchAttributeID
        attributes = {attribute.id: attribute.value for attribute in config.attrs[: config.numAttrs]}
        cluster = attributes.get(identifiers.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
        large = kinds.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
        if cluster is not None and cluster.clusterDim.x > 8 and not self.held.get((id(function), large)):
            return (INVALID,)
        launch = Launch(
            function,
            config.gridDimX,
            config.blockDimX,
            tuple(arguments),
            config.sharedMemBytes,
            1 if cluster is None else cluster.clusterDim.x,
            identifiers.CU_LAUNCH_ATTRIBUTE_COOPERATIVE in attributes,
        )
        if self._captured is not None:
            self._captured.append((launch, status))
        else:
            run(self.device, launch, status)
        return (FINE,)

    def cuStreamBeginCapture(self, stream: int, mode) -> tuple:
        self._captured = []
        return (FINE,)

    def cuStreamEndCapture(self, stream: int) -> tuple:
        graph, self._captured = self._captured, None
        return FINE, self._handle(graph)

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple:
        return FINE, self._handle(list(self.held[graph]))

    def cuGraphDestroy(self, graph: int) -> tuple:
        return self._given_back(graph)

    def cuGraphExecDestroy(self, graph: int) -> tuple:
        return self._given_back(graph)

    def cuGraphLaunch(self, graph: int, stream: int) -> tuple:
        if not self._current or self.held.get(stream) != "stream":
            return (NO_CONTEXT,)
        for launch, status in self.held[graph]:
            run(self.device, launch, status)
        return (FINE,)

    # Events.

    def cuEventCreate(self, flags: int) -> tuple:
        return FINE, self._handle("event")

    def cuEventDestroy(self, event: int) -> tuple:
        return self._given_back(event)

    def cuEventRecord(self, event: int, stream: int) -> tuple:
        return (FINE,)

    def cuEventElapsedTime(self, start: int, end: int) -> tuple:
        return FINE, 1.0


def _host(address: int, size: int) -> np.ndarray:
    """Bytes of this process."""
    return np.frombuffer((ctypes.c_uint8 * size).from_address(int(address)), np.uint8)
