"""Code on a GPU: modules, their functions, and launches."""

from __future__ import annotations

import ctypes
import weakref
from ctypes import c_char, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.tensor_map import EncodedMap, PlacedMap

_INFO_LOG, _INFO_LOG_BYTES, _ERROR_LOG, _ERROR_LOG_BYTES = 3, 4, 5, 6
_LOG_BYTES = 8192
_REGISTERS, _LOCAL_BYTES, _DYNAMIC_SHARED_BYTES = 4, 3, 8
_CLUSTER_DIMENSION, _PROGRAMMATIC_SERIALIZATION = 4, 6
_USUAL_SHARED_BYTES = 48 * 1024


class _Attribute(ctypes.Structure):
    """`CUlaunchAttribute`."""

    _fields_ = (("id", c_int), ("padding", c_int), ("value", c_char * 64))


class _Config(ctypes.Structure):
    """`CUlaunchConfig`."""

    _fields_ = (
        ("grid", c_uint * 3),
        ("block", c_uint * 3),
        ("shared_bytes", c_uint),
        ("stream", c_void_p),
        ("attributes", c_void_p),
        ("attribute_count", c_uint),
    )


class CudaCode:
    """Machine code (a cubin), or PTX that the driver compiles, loaded on a GPU.

    Raises:
        CudaError: the driver refuses it; the message ends with what its compiler says.
    """

    def __init__(self, context: Context, image: bytes, name: str = "a module") -> None:
        self._context = context
        log = ctypes.create_string_buffer(_LOG_BYTES)
        options = (c_int * 2)(_ERROR_LOG, _ERROR_LOG_BYTES)
        values = (c_void_p * 2)(ctypes.addressof(log), _LOG_BYTES)
        handle = c_void_p()
        code = context.try_call("cuModuleLoadDataEx", ctypes.byref(handle), image + b"\0", 2, options, values)
        if code:
            error = context.driver.error(f"loading {name} on {context}", "cuModuleLoadDataEx", code)
            error.args = (f"{error}: {log.value.decode(errors='replace').strip()}",)
            raise error
        self._handle = handle
        self._finalizer = weakref.finalize(self, _unload, context, handle)
        self._finalizer.atexit = False

    def function(self, name: str) -> CudaFunction:
        """A kernel of the module.

        Raises:
            CudaError: there is none of this name.
        """
        handle = c_void_p()
        attempt = f"finding the kernel {name}"
        self._context.call(attempt, "cuModuleGetFunction", ctypes.byref(handle), self._handle, name.encode())
        return CudaFunction(self, self._context, name, handle)

    def close(self) -> None:
        """Unload the code, which no GPU may be running. Twice is once."""
        self._finalizer()


def _unload(context: Context, handle: c_void_p) -> None:
    try:
        context.try_call("cuModuleUnload", handle)
    except ExecutionError:
        return  # A forked process owns no modules.


@dataclass(frozen=True)
class Launch:
    """How a kernel is launched.

    grid: blocks along x, y, z; block: threads of each; cluster: blocks along z in a cluster; shared_bytes: dynamic
    shared memory. arguments: addresses and integers of 64 bits; maps: tensor maps, which follow them. dependent: it may
    start before the kernel before it in the stream has ended, and waits for that one itself.
    """

    grid: tuple[int, int, int]
    block: int
    arguments: tuple[int, ...]
    cluster: int = 1
    shared_bytes: int = 0
    dependent: bool = False
    maps: tuple[PlacedMap, ...] = ()


class CudaFunction:
    """A kernel that is loaded."""

    def __init__(self, module: CudaCode, context: Context, name: str, handle: c_void_p) -> None:
        self._module = module  # Keeps the code loaded.
        self._context = context
        self._handle = handle
        self._shared_bytes = _USUAL_SHARED_BYTES
        self.name = name

    @property
    def registers(self) -> int:
        """Registers of each thread."""
        return self._attribute(_REGISTERS)

    @property
    def local_bytes(self) -> int:
        """Local memory of each thread, where registers did not suffice."""
        return self._attribute(_LOCAL_BYTES)

    def launch(self, launch: Launch, stream: int) -> None:
        """Put a run of the kernel into a stream.

        Raises:
            CudaError: the driver refuses the launch; names the kernel and its grid.
        """
        self._allow_shared(launch.shared_bytes)
        maps = [EncodedMap(self._context, placed) for placed in launch.maps]
        values = (c_ulonglong * len(launch.arguments))(*launch.arguments)
        numbers = (ctypes.addressof(values) + 8 * number for number in range(len(launch.arguments)))
        places = (c_void_p * (len(launch.arguments) + len(maps)))(*numbers, *(one.address for one in maps))
        attributes = _attributes(launch)
        config = _Config(
            grid=(c_uint * 3)(*launch.grid),
            block=(c_uint * 3)(launch.block, 1, 1),
            shared_bytes=launch.shared_bytes,
            stream=stream,
            attributes=ctypes.addressof(attributes) if len(attributes) else None,
            attribute_count=len(attributes),
        )
        attempt = f"launching the kernel {self.name} (grid {launch.grid}, {launch.block} threads)"
        self._context.call(attempt, "cuLaunchKernelEx", ctypes.byref(config), self._handle, places, None)

    def _allow_shared(self, size: int) -> None:
        if size > self._shared_bytes:
            attempt = f"giving the kernel {self.name} {size} bytes of shared memory"
            self._context.call(attempt, "cuFuncSetAttribute", self._handle, _DYNAMIC_SHARED_BYTES, size)
            self._shared_bytes = size

    def _attribute(self, number: int) -> int:
        value = c_int()
        self._context.call(
            f"asking for attribute {number} of {self.name}",
            "cuFuncGetAttribute", ctypes.byref(value), number, self._handle,
        )  # fmt: skip
        return value.value


def _attributes(launch: Launch) -> ctypes.Array[_Attribute]:
    found = []
    if launch.dependent:
        found.append(_Attribute(_PROGRAMMATIC_SERIALIZATION, 0, (1).to_bytes(4, "little")))
    if launch.cluster > 1:
        dimensions = b"".join(size.to_bytes(4, "little") for size in (1, 1, launch.cluster))
        attribute = _Attribute(_CLUSTER_DIMENSION, 0)
        ctypes.memmove(ctypes.addressof(attribute) + _Attribute.value.offset, dimensions, len(dimensions))
        found.append(attribute)
    return (_Attribute * len(found))(*found)
