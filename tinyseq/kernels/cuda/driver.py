"""The device: its memory, its queue of work and the kernels on it. Only this file calls the driver."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
from cuda.bindings import driver as cu

from tinyseq.errors import DeviceError, FeedError
from tinyseq.kernels.cuda.compiler import binary
from tinyseq.kernels.cuda.launch import DEFAULT_SHARED, Kernel, Launch

FIXED_SHARED = 1024
"""Bytes that a kernel may have besides what its launches ask for."""

PORTABLE_CLUSTER = 8
"""Blocks of a cluster that a kernel may have without asking for more."""


NOT_DENSE = "arrays on a device must be dense, in C order; make a contiguous copy"


def _checked(results: tuple):
    """What a call of the driver gives, its error code taken off."""
    error, *values = results
    if error != cu.CUresult.CUDA_SUCCESS:
        name = cu.cuGetErrorName(error)[1]
        text = cu.cuGetErrorString(error)[1]
        raise DeviceError(f"the CUDA driver says {_text(name)}: {_text(text)}")
    return values[0] if len(values) == 1 else values


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def open_device(number: int = 0) -> Device:
    """A device by its number among those that the process sees; the same object each time.

    Raises:
        DeviceError: there is no driver, no device, or none of this number; says which and what to do.
    """
    return opened(number)


@cache
def opened(number: int) -> Device:
    """See ``open_device``."""
    count = _count()
    if number < count:
        return Device(number)
    there = "; ".join(f"cuda:{each} is {_name(_checked(cu.cuDeviceGet(each)))}" for each in range(count))
    raise DeviceError(
        f"device='cuda:{number}' is not there: {there}. Choose one of these, or check CUDA_VISIBLE_DEVICES"
    )


def _count() -> int:
    """How many devices there are; one at least."""
    try:
        code = cu.cuInit(0)[0]
    except Exception as error:  # The loader of the driver has errors of its own kind.
        raise DeviceError(
            "CUDA needs NVIDIA's driver, which was not found; install the driver package of your "
            f"system (on Debian: apt install nvidia-driver) or load with device='cpu' ({error})"
        ) from error
    count = 0
    if code != cu.CUresult.CUDA_ERROR_NO_DEVICE:
        _checked((code,))
        count = int(_checked(cu.cuDeviceGetCount()))
    if count == 0:
        raise DeviceError(
            "NVIDIA's driver is there, but it finds no device; run `nvidia-smi -L` to see what it "
            "sees, check CUDA_VISIBLE_DEVICES, or load with device='cpu'"
        )
    return count


def _name(device) -> str:
    return _text(_checked(cu.cuDeviceGetName(256, device))).partition("\0")[0]


class Current:
    """Makes a device the one that a thread's calls of the driver go to, as long as a block of code runs.

    What was the thread's before is so again after it: other packages go by it.
    """

    def __init__(self, context) -> None:
        self._context = context

    def __enter__(self) -> None:
        _checked(cu.cuCtxPushCurrent(self._context))

    def __exit__(self, *_: object) -> None:
        cu.cuCtxPopCurrent()


class Device:
    """A CUDA device and its primary context, which other packages of the process share.

    ``number`` is its place among those that the process sees, ``current`` makes it the one of a thread,
    ``shared_bytes`` is the most shared memory that a block may ask for. Safe to use from threads.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._device = _checked(cu.cuDeviceGet(number))
        self.current = Current(_checked(cu.cuDevicePrimaryCtxRetain(self._device)))
        self._functions: dict[Kernel, object] = {}
        self._modules: list[object] = []
        self._asked: dict[tuple[Kernel, object], int] = {}
        kinds = cu.CUdevice_attribute
        self.capability = (
            self._attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self._attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self.multiprocessors = self._attribute(kinds.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        self.shared_bytes = self._attribute(kinds.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
        # For what is waited for at once. A thread that waits for all of a device disturbs those that record.
        self._own = self.queue()

    @property
    def name(self) -> str:
        """What its maker calls it."""
        return _name(self._device)

    @property
    def clock(self) -> float:
        """The highest clock of its multiprocessors, in Hz."""
        return 1e3 * self._attribute(cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE)

    @property
    def driver_version(self) -> str:
        """The newest CUDA that the driver knows."""
        number = _checked(cu.cuDriverGetVersion())
        return f"{number // 1000}.{number % 1000 // 10}"

    def _attribute(self, kind) -> int:
        return int(_checked(cu.cuDeviceGetAttribute(kind, self._device)))

    def memory(self, size: int) -> Memory:
        """So many bytes of the device, all zero.

        Raises:
            DeviceError: it has no more.
        """
        with self.current:
            error, address = cu.cuMemAlloc(max(size, 1))
            if error == cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
                free, total = _checked(cu.cuMemGetInfo())
                raise DeviceError(
                    f"{size:,} bytes are asked for and {free:,} of the device's {total:,} are free; feed "
                    "shorter sequences or fewer rows, or free some"
                )
            _checked((error,))
            memory = Memory(self, int(address), size)
            self._own.clear(memory.address, max(size, 1))
            self._own.finish()
        return memory

    def staging(self, size: int) -> np.ndarray:
        """So many bytes of the host that the device reads and writes by itself."""
        size = max(size, 1)
        with self.current:
            address = int(_checked(cu.cuMemHostAlloc(size, 0)))
        block = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(block, _released, self, cu.cuMemFreeHost, address)
        return np.frombuffer(block, np.uint8)

    def write(self, address: int, pitch: int, rows: np.ndarray) -> None:
        """Copies bytes [rows, width] to the device, rows ``pitch`` bytes apart."""
        self._copy_rows(rows, address, pitch, True)

    def read(self, address: int, pitch: int, rows: np.ndarray) -> None:
        """Copies to bytes [rows, width] from the device, rows ``pitch`` bytes apart.

        Queues that have not finished are not waited for.
        """
        self._copy_rows(rows, address, pitch, False)

    def _copy_rows(self, rows: np.ndarray, address: int, pitch: int, to_device: bool) -> None:
        if rows.size == 0:
            return
        host, device = cu.CUmemorytype.CU_MEMORYTYPE_HOST, cu.CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy = cu.CUDA_MEMCPY2D()
        copy.Height, copy.WidthInBytes = rows.shape
        if to_device:
            copy.srcMemoryType, copy.srcHost, copy.srcPitch = host, rows.ctypes.data, rows.shape[1]
            copy.dstMemoryType, copy.dstDevice, copy.dstPitch = device, address, pitch
        else:
            copy.dstMemoryType, copy.dstHost, copy.dstPitch = host, rows.ctypes.data, rows.shape[1]
            copy.srcMemoryType, copy.srcDevice, copy.srcPitch = device, address, pitch
        with self.current:
            self._own.copy_rows(copy)
            self._own.finish()

    def queue(self) -> Queue:
        """A new queue of work."""
        with self.current:
            return Queue(self)

    def function(self, kernel: Kernel) -> object:
        """The kernel on the device, compiled and loaded the first time."""
        if kernel not in self._functions:
            made = binary(kernel, self.capability)
            with self.current:
                module = _checked(cu.cuModuleLoadData(made.code))
                function = _checked(cu.cuModuleGetFunction(module, made.name.encode()))
            self._modules.append(module)
            self._functions[kernel] = function
        return self._functions[kernel]

    def allow(self, launch: Launch) -> None:
        """Asks for what a launch needs beyond what every kernel has: shared memory, large clusters."""
        attributes = cu.CUfunction_attribute
        if launch.shared > DEFAULT_SHARED - FIXED_SHARED:
            kind = attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self._ask(launch.kernel, kind, launch.shared)
        if launch.cluster > PORTABLE_CLUSTER:
            kind = attributes.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            self._ask(launch.kernel, kind, 1)

    def _ask(self, kernel: Kernel, kind, value: int) -> None:
        if self._asked.get((kernel, kind), 0) < value:
            _checked(cu.cuFuncSetAttribute(self.function(kernel), kind, value))
            self._asked[kernel, kind] = value

    def exported(self, array: object) -> object:
        """An array of this device, known by its ``__cuda_array_interface__``, as DLPack gives it away."""
        from cuda.core.utils import StridedMemoryView

        return StridedMemoryView.from_cuda_array_interface(array, stream_ptr=-1)


def check_place(device: Device, number: int) -> None:
    """Refuses an array that is on the device of another number."""
    if number != device.number:
        raise FeedError(
            f"the array is on cuda:{number} and the model on cuda:{device.number}; copy it there, or load "
            f"the model with device='cuda:{number}'"
        )


class Memory:
    """A run of the device's bytes, given back when nobody refers to it."""

    def __init__(self, device: Device, address: int, size: int) -> None:
        self.address, self.bytes = address, size
        weakref.finalize(self, _released, device, cu.cuMemFree, address)


def _released(device: Device, free, handle) -> None:
    """Gives back what the device holds, from whatever thread; errors come too late to matter."""
    try:
        with device.current:
            free(handle)
    except Exception:
        return


class Queue:
    """Work that the device does in order: copies, launches, recordings of launches.

    Its device is the current one of a thread that calls it.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        flags = cu.CUstream_flags.CU_STREAM_NON_BLOCKING
        self._stream = _checked(cu.cuStreamCreate(flags))
        weakref.finalize(self, _released, device, cu.cuStreamDestroy, self._stream)

    def write(self, address: int, staged: np.ndarray) -> None:
        """Copies staged bytes to the device."""
        _checked(cu.cuMemcpyHtoDAsync(address, staged.ctypes.data, staged.nbytes, self._stream))

    def read(self, address: int, staged: np.ndarray) -> None:
        """Copies from the device to staged bytes; they are there after ``finish``."""
        _checked(cu.cuMemcpyDtoHAsync(staged.ctypes.data, address, staged.nbytes, self._stream))

    def adopt(self, array: object) -> tuple[int, tuple[int, ...], np.dtype, object]:
        """Address, shape, dtype and owner of another package's dense array on this device.

        What comes after in the queue waits for the work that makes it.

        Raises:
            FeedError: it is on another device, or not dense.
        """
        from cuda.core.utils import StridedMemoryView

        view = StridedMemoryView.from_any_interface(array, stream_ptr=int(self._stream))
        if view.ptr:
            kind = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
            check_place(self.device, int(_checked(cu.cuPointerGetAttribute(kind, int(view.ptr)))))
        strides, step = view.strides, 1
        for size, stride in zip(reversed(view.shape), reversed(strides or ())):
            if size > 1 and stride != step:
                raise FeedError(NOT_DENSE)
            step *= size
        return int(view.ptr), tuple(view.shape), np.dtype(view.dtype), view

    def copy(self, target: int, source: int, size: int) -> None:
        """Copies bytes on the device."""
        _checked(cu.cuMemcpyDtoDAsync(target, source, size, self._stream))

    def copy_rows(self, copy) -> None:
        """Copies rows of bytes between the device and the host, as CUDA describes it."""
        _checked(cu.cuMemcpy2DAsync(copy, self._stream))

    def clear(self, address: int, size: int) -> None:
        """Sets bytes to zero."""
        _checked(cu.cuMemsetD8Async(address, 0, size, self._stream))

    def prepare(self, launches: Iterable[Launch], status: int) -> list[PreparedLaunch]:
        """Launches ready to be queued any number of times; ``status`` is the address of the run's."""
        return [PreparedLaunch(self.device, self._stream, launch, status) for launch in launches]

    def launch(self, prepared: Iterable[PreparedLaunch]) -> None:
        """Queues launches."""
        for one in prepared:
            _checked(cu.cuLaunchKernelEx(one.config, one.function, one.parameters, 0))

    def record(self, work: Callable[[], None]) -> Recording:
        """What ``work`` queues, launches and copies of what is staged, as one piece; nothing runs yet."""
        # Whatever memory is given back or asked for meanwhile, here or in another thread, is no part of it.
        mode = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        _checked(cu.cuStreamBeginCapture(self._stream, mode))
        try:
            work()
        finally:
            graph = _checked(cu.cuStreamEndCapture(self._stream))
        try:
            return Recording(self.device, _checked(cu.cuGraphInstantiate(graph, 0)))
        finally:
            _checked(cu.cuGraphDestroy(graph))

    def replay(self, recording: Recording) -> None:
        """Queues a recording."""
        _checked(cu.cuGraphLaunch(recording.graph, self._stream))

    def seconds(self, recording: Recording, repeats: int) -> float:
        """How long the device takes for a recording, ``repeats`` of them in a row; waits for it."""
        events = [_checked(cu.cuEventCreate(0)) for _ in range(2)]
        try:
            _checked(cu.cuEventRecord(events[0], self._stream))
            for _ in range(repeats):
                self.replay(recording)
            _checked(cu.cuEventRecord(events[1], self._stream))
            self.finish()
            return float(_checked(cu.cuEventElapsedTime(*events))) / 1e3 / repeats
        finally:
            for event in events:
                cu.cuEventDestroy(event)

    def finish(self) -> None:
        """Returns when all of it is done."""
        _checked(cu.cuStreamSynchronize(self._stream))


class PreparedLaunch:
    """A launch as the driver takes it."""

    def __init__(self, device: Device, stream, launch: Launch, status: int) -> None:
        self.function = device.function(launch.kernel)
        device.allow(launch)
        self._words = np.array([status, *launch.arguments], np.int64)
        addresses = self._words.ctypes.data + 8 * np.arange(self._words.size)
        self._pointers = addresses.astype(np.int64)
        self.parameters = self._pointers.ctypes.data
        config = self.config = cu.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = launch.blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = launch.threads, 1, 1
        config.sharedMemBytes, config.hStream = launch.shared, stream
        attributes = []
        if launch.cluster > 1:
            attribute = cu.CUlaunchAttribute()
            attribute.id = cu.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
            shape = attribute.value.clusterDim
            shape.x, shape.y, shape.z = launch.cluster, 1, 1
            attributes.append(attribute)
        if launch.together:
            attribute = cu.CUlaunchAttribute()
            attribute.id = cu.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
            attribute.value.cooperative = 1
            attributes.append(attribute)
        config.attrs, config.numAttrs = attributes, len(attributes)


class Recording:
    """Launches that the device runs as one."""

    def __init__(self, device: Device, graph) -> None:
        self.graph = graph
        weakref.finalize(self, _released, device, cu.cuGraphExecDestroy, graph)
