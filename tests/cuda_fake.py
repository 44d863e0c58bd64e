"""A stand-in for the NVIDIA driver's library: keeps device memory in bytearrays and a list of all calls."""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from typing import Any

from tensorwright.devices.cuda.tensor_map import PlacedMap

OUT_OF_MEMORY, NOT_READY, INVALID_VALUE, NOT_FOUND, LAUNCH_FAILED, DESTROYED = 2, 600, 1, 500, 719, 709
_NAMES = {
    INVALID_VALUE: (b"CUDA_ERROR_INVALID_VALUE", b"invalid argument"),
    OUT_OF_MEMORY: (b"CUDA_ERROR_OUT_OF_MEMORY", b"out of memory"),
    NOT_FOUND: (b"CUDA_ERROR_NOT_FOUND", b"named symbol not found"),
    LAUNCH_FAILED: (b"CUDA_ERROR_LAUNCH_FAILED", b"unspecified launch failure"),
    700: (b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access was encountered"),
    100: (b"CUDA_ERROR_NO_DEVICE", b"no CUDA-capable device is detected"),
}
_ATTRIBUTES = {75: 9, 76: 0, 16: 132, 38: 60 << 20, 97: 227 << 10, 13: 1_980_000, 36: 3_201_000, 37: 6144}


class FakeLibrary:
    """Functions of the driver as methods; whatever is not written out succeeds.

    contexts: primary ones, and which GPU they are of; foreign: the same of those that programs make; ended: the same of
    primary ones that everybody has given back.
    fail: the code that a function of this name returns instead of doing anything.
    """

    def __init__(self, memory: int = 1 << 20, gpus: int = 1, version: int = 13000) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.fail: dict[str, int] = {}
        self.memory: dict[int, bytearray] = {}
        self.size, self.gpus, self.version = memory, gpus, version
        self.launches: list[dict[str, Any]] = []
        self.pending = False
        self.contexts: dict[int, int] = {}
        self.foreign: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self._users: Counter[int] = Counter()
        self._thread = threading.local()
        self.attributes = dict(_ATTRIBUTES)
        self.maps: dict[int, PlacedMap] = {}
        self._next = 0x7000_0000_0000
        self._host: dict[int, ctypes.Array[ctypes.c_char]] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        work = getattr(type(self), f"on_{name}", None)

        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name in self.fail:
                return self.fail[name]
            return 0 if work is None else work(self, *arguments) or 0

        return call

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def count(self, name: str) -> int:
        return self.names().count(name)

    def handle(self) -> int:
        self._next += 0x1000
        return self._next

    # ---- the driver

    def on_cuDriverGetVersion(self, version: Any) -> None:  # noqa: N802
        version._obj.value = self.version

    def on_cuGetErrorName(self, code: int, text: Any) -> int:  # noqa: N802
        return self._describe(code, text, 0)

    def on_cuGetErrorString(self, code: int, text: Any) -> int:  # noqa: N802
        return self._describe(code, text, 1)

    def _describe(self, code: int, text: Any, part: int) -> int:
        if code not in _NAMES:
            return INVALID_VALUE
        text._obj.value = _NAMES[code][part]
        return 0

    def on_cuDeviceGetCount(self, count: Any) -> None:  # noqa: N802
        count._obj.value = self.gpus

    def on_cuDeviceGet(self, device: Any, ordinal: int) -> None:  # noqa: N802
        device._obj.value = 10 + ordinal

    def on_cuDeviceGetName(self, name: Any, size: int, device: int) -> None:  # noqa: N802
        name.value = b"Fake GPU"

    def on_cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> None:  # noqa: N802
        value._obj.value = self.attributes[attribute]

    def on_cuDeviceTotalMem_v2(self, size: Any, device: int) -> None:  # noqa: N802
        size._obj.value = self.size

    def on_cuDevicePrimaryCtxRetain(self, handle: Any, device: int) -> None:  # noqa: N802
        if device not in self.contexts.values():
            self.contexts[self.handle()] = device
        self._users[device] += 1
        handle._obj.value = next(context for context, found in self.contexts.items() if found == device)

    def on_cuDevicePrimaryCtxRelease_v2(self, device: int) -> None:  # noqa: N802
        self._users[device] -= 1
        for context in [context for context, found in self.contexts.items() if found == device]:
            if not self._users[device]:
                self.ended[context] = self.contexts.pop(context)

    def on_cuDevicePrimaryCtxGetState(self, device: int, flags: Any, is_active: Any) -> None:  # noqa: N802
        is_active._obj.value = device in self.contexts.values()

    def on_cuCtxGetCurrent(self, handle: Any) -> None:  # noqa: N802
        handle._obj.value = getattr(self._thread, "context", None)

    def on_cuCtxSetCurrent(self, handle: Any) -> None:  # noqa: N802
        self._thread.context = handle.value if isinstance(handle, ctypes.c_void_p) else handle

    def on_cuCtxGetDevice(self, device: Any) -> None:  # noqa: N802
        context = self._thread.context
        device._obj.value = {**self.contexts, **self.foreign, **self.ended}[context]

    def on_cuCtxSynchronize(self) -> int:  # noqa: N802
        return DESTROYED if self._thread.context in self.ended else 0

    # ---- memory

    def on_cuMemGetInfo_v2(self, free: Any, total: Any) -> None:  # noqa: N802
        free._obj.value, total._obj.value = self.size - sum(map(len, self.memory.values())), self.size

    def on_cuMemAlloc_v2(self, address: Any, size: int) -> int:  # noqa: N802
        if sum(map(len, self.memory.values())) + size > self.size:
            return OUT_OF_MEMORY
        address._obj.value = self.handle()
        self.memory[address._obj.value] = bytearray(size)
        return 0

    def on_cuMemFree_v2(self, address: int) -> int:  # noqa: N802
        return 0 if self.memory.pop(address, None) is not None else INVALID_VALUE

    def on_cuMemHostAlloc(self, address: Any, size: int, flags: int) -> None:  # noqa: N802
        block = ctypes.create_string_buffer(size)
        self._host[ctypes.addressof(block)] = block
        address._obj.value = ctypes.addressof(block)

    def on_cuMemFreeHost(self, address: int) -> int:  # noqa: N802
        return 0 if self._host.pop(address, None) is not None else INVALID_VALUE

    def on_cuMemHostRegister_v2(self, address: int, size: int, flags: int) -> None:  # noqa: N802
        self._host[address] = (ctypes.c_char * size).from_address(address)

    def on_cuMemHostUnregister(self, address: int) -> int:  # noqa: N802
        return self.on_cuMemFreeHost(address)

    def on_cuDeviceGetPCIBusId(self, text: Any, size: int, device: int) -> None:  # noqa: N802
        text.value = b"0000:65:00.0"

    def on_cuPointerGetAttribute(self, value: Any, attribute: int, address: int) -> int:  # noqa: N802
        if attribute == 9:
            value._obj.value = 0
        elif any(start <= address < start + len(block) for start, block in self._host.items()):
            value._obj.value = 1
        elif any(start <= address < start + len(block) for start, block in self.memory.items()):
            value._obj.value = 2
        else:
            return INVALID_VALUE
        return 0

    def on_cuMemcpyHtoD_v2(self, target: int, source: int, size: int) -> int:  # noqa: N802
        return self._place(target, ctypes.string_at(source, size))

    def on_cuMemcpyDtoH_v2(self, target: int, source: int, size: int) -> int:  # noqa: N802
        ctypes.memmove(target, bytes(self._inside(source, size)), size)
        return 0

    def on_cuMemcpyHtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> int:  # noqa: N802
        return self._place(target, ctypes.string_at(source, size))

    def on_cuMemcpyDtoHAsync_v2(self, target: int, source: int, size: int, stream: int) -> int:  # noqa: N802
        return self.on_cuMemcpyDtoH_v2(target, source, size)

    def on_cuMemcpyDtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> int:  # noqa: N802
        return self._place(target, bytes(self._inside(source, size)))

    def on_cuMemsetD8Async(self, target: int, byte: int, size: int, stream: int) -> int:  # noqa: N802
        return self._place(target, bytes([byte]) * size)

    def on_cuMemsetD16Async(self, target: int, value: int, count: int, stream: int) -> int:  # noqa: N802
        return self._place(target, value.to_bytes(2, "little") * count)

    def on_cuMemsetD32Async(self, target: int, value: int, count: int, stream: int) -> int:  # noqa: N802
        return self._place(target, value.to_bytes(4, "little") * count)

    def _inside(self, address: int, size: int) -> memoryview:
        for start, block in self.memory.items():
            if start <= address and address + size <= start + len(block):
                return memoryview(block)[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address:#x} are not allocated")

    def _place(self, target: int, content: bytes) -> int:
        self._inside(target, len(content))[:] = content
        return 0

    # ---- code

    def on_cuModuleLoadDataEx(self, handle: Any, image: bytes, count: int, options: Any, values: Any) -> int:  # noqa: N802
        if image.startswith(b"bad"):
            ctypes.memmove(values[0], b"ptxas fatal: no such thing\0", 27)
            return INVALID_VALUE
        handle._obj.value = self.handle()
        return 0

    def on_cuModuleGetFunction(self, handle: Any, module: Any, name: bytes) -> int:  # noqa: N802
        if name == b"missing":
            return NOT_FOUND
        handle._obj.value = self.handle()
        return 0

    def on_cuFuncGetAttribute(self, value: Any, attribute: int, function: Any) -> None:  # noqa: N802
        value._obj.value = {4: 40, 3: 0}[attribute]

    def on_cuLaunchKernelEx(self, config: Any, function: Any, places: Any, extra: Any) -> None:  # noqa: N802
        found = config._obj
        arguments = [ctypes.c_uint64.from_address(place).value for place in places]
        raw = ctypes.string_at(found.attributes, 72 * found.attribute_count) if found.attribute_count else b""
        attributes = [raw[start : start + 72] for start in range(0, len(raw), 72)]
        self.launches.append(
            {
                "grid": tuple(found.grid), "block": tuple(found.block), "shared": found.shared_bytes,
                "stream": found.stream, "arguments": arguments,
                "attributes": {int.from_bytes(a[:4], "little"): a[8:20] for a in attributes},
            }
        )  # fmt: skip

    def on_cuTensorMapEncodeTiled(self, place: int, type: int, rank: int, address: int, *rest: Any) -> int:  # noqa: N802
        """Maps are known by the number in their first 8 bytes."""
        extents, strides, box, steps, *modes = rest
        if place % 64 or address % 16 or modes != [0, 3, 3, 0] or set(steps) != {1}:
            return INVALID_VALUE
        number = self.handle()
        self.maps[number] = PlacedMap(address, 1 << type, tuple(extents), tuple(strides)[: rank - 1], tuple(box))
        ctypes.c_uint64.from_address(place).value = number
        return 0

    # ---- streams

    def _make(self, handle: Any, *rest: Any) -> None:
        handle._obj.value = self.handle()

    on_cuStreamCreate = on_cuEventCreate = on_cuGraphInstantiateWithFlags = _make  # noqa: N815

    def on_cuStreamEndCapture(self, stream: int, graph: Any) -> None:  # noqa: N802
        graph._obj.value = self.handle()

    def on_cuStreamQuery(self, stream: int) -> int:  # noqa: N802
        return NOT_READY if self.pending else 0

    on_cuEventQuery = on_cuStreamQuery  # noqa: N815

    def on_cuEventElapsedTime(self, time: Any, start: int, end: int) -> None:  # noqa: N802
        time._obj.value = 1.5
