"""The functions of CUDA's driver that tinyseq calls, over two emulated devices.

They take and give what the driver's do: addresses of parameters, structures, error codes. What is a device's
is refused to a thread whose current context is another's, what is captured does not run, and handles are
given back once.
"""

from __future__ import annotations

import ctypes
import threading
from functools import partial
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
        self.devices = [EmulatedDevice(seed, number=number) for number in range(2)]
        self.held: dict[int, object] = {}
        self._numbers = count(1)
        self._here = threading.local()
        self.captured: dict[int, list] = {}

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
    def contexts(self) -> list[int]:
        """The calling thread's stack of devices, the current one last."""
        if not hasattr(self._here, "contexts"):
            self._here.contexts = []
        return self._here.contexts

    @property
    def device(self) -> EmulatedDevice | None:
        """The calling thread's device."""
        return self.devices[self.contexts[-1]] if self.contexts else None

    def _is_here(self, stream: int) -> bool:
        return self.held.get(int(stream)) is self.device is not None

    # The device.

    def cuInit(self, flags: int) -> tuple:
        return (FINE,)

    def cuDriverGetVersion(self) -> tuple:
        return FINE, 13000

    def cuDeviceGetCount(self) -> tuple:
        return FINE, len(self.devices)

    def cuDeviceGet(self, number: int) -> tuple:
        return (FINE, number) if number in range(len(self.devices)) else (INVALID, None)

    def cuDeviceGetName(self, size: int, device: int) -> tuple:
        return FINE, self.devices[device].name.encode() + b"\0\0left over"

    def cuDeviceGetAttribute(self, kind, device: int) -> tuple:
        return FINE, ATTRIBUTES[kind.name]

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple:
        return FINE, device

    def cuCtxPushCurrent(self, context: int) -> tuple:
        self.contexts.append(context)
        return (FINE,)

    def cuCtxPopCurrent(self) -> tuple:
        return (FINE, self.contexts.pop()) if self.contexts else (NO_CONTEXT, None)

    def cuGetErrorName(self, error) -> tuple:
        return FINE, error.name.encode()

    def cuGetErrorString(self, error) -> tuple:
        return FINE, b"as emulated"

    # Memory.

    def cuMemAlloc(self, size: int) -> tuple:
        if self.device is None:
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

    def cuMemsetD8Async(self, address: int, value: int, size: int, stream: int) -> tuple:
        if not self._is_here(stream) or stream in self.captured:
            return (INVALID,)
        self.device.span(int(address), size)[:] = value
        return (FINE,)

    def cuPointerGetAttribute(self, kind, address: int) -> tuple:
        assert kind == real.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return FINE, next(n for n, device in enumerate(self.devices) if device.has(address))

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple:
        block = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(block)
        self.held[address] = block
        for device in self.devices:
            device.staged[address] = np.frombuffer(block, np.uint8)
        return FINE, address

    def cuMemFreeHost(self, address: int) -> tuple:
        for device in self.devices:
            device.staged.pop(int(address), None)
        return self._given_back(address)

    def cuMemcpy2DAsync(self, copy, stream: int) -> tuple:
        if not self._is_here(stream) or stream in self.captured:
            return (INVALID,)
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
        return (NO_CONTEXT, None) if self.device is None else (FINE, self._handle(self.device))

    def cuStreamDestroy(self, stream: int) -> tuple:
        return self._given_back(stream)

    def cuStreamSynchronize(self, stream: int) -> tuple:
        return (FINE,) if self._is_here(stream) and stream not in self.captured else (INVALID,)

    def _copy(self, stream: int, target: np.ndarray, source: np.ndarray, host: int | None = None) -> tuple:
        if not self._is_here(stream):
            return (INVALID,)
        if stream not in self.captured:
            target[:] = source.copy()
            return (FINE,)
        if host is not None and not self._is_held(host):
            return (INVALID,)
        self.captured[stream].append(lambda: np.copyto(target, source.copy()))
        return (FINE,)

    def _is_held(self, host: int) -> bool:
        """Whether the device can read memory of the host by itself at any time."""
        blocks = [(key, block) for key, block in self.held.items() if isinstance(block, ctypes.Array)]
        return any(start <= host < start + len(block) for start, block in blocks)

    def cuMemcpyHtoDAsync(self, address: int, host: int, size: int, stream: int) -> tuple:
        return self._copy(stream, self.device.span(int(address), size), _host(host, size), host)

    def cuMemcpyDtoHAsync(self, host: int, address: int, size: int, stream: int) -> tuple:
        return self._copy(stream, _host(host, size), self.device.span(int(address), size), host)

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple:
        return self._copy(stream, self.device.span(int(target), size), self.device.span(int(source), size))

    # Kernels.

    def cuModuleLoadData(self, code: Kernel) -> tuple:
        return (NO_CONTEXT, None) if self.device is None else (FINE, code)

    def cuModuleGetFunction(self, module: Kernel, name: bytes) -> tuple:
        return FINE, module

    def cuFuncSetAttribute(self, function: Kernel, kind, value: int) -> tuple:
        self.held[id(function), kind] = value
        return (FINE,)

    def cuLaunchKernelEx(self, config, function: Kernel, parameters: int, extra: int) -> tuple:
        if not self._is_here(config.hStream):
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
        if int(config.hStream) in self.captured:
            self.captured[int(config.hStream)].append(partial(run, self.device, launch, status))
        else:
            run(self.device, launch, status)
        return (FINE,)

    def cuStreamBeginCapture(self, stream: int, mode) -> tuple:
        assert mode == real.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.captured[stream] = []
        return (FINE,)

    def cuStreamEndCapture(self, stream: int) -> tuple:
        return FINE, self._handle(self.captured.pop(stream))

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple:
        return FINE, self._handle(list(self.held[graph]))

    def cuGraphDestroy(self, graph: int) -> tuple:
        return self._given_back(graph)

    def cuGraphExecDestroy(self, graph: int) -> tuple:
        return self._given_back(graph)

    def cuGraphLaunch(self, graph: int, stream: int) -> tuple:
        if not self._is_here(stream):
            return (NO_CONTEXT,)
        for work in self.held[graph]:
            work()
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
