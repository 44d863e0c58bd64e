"""The driver's library, libcuda.so.1, and its errors."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_ubyte, c_uint, c_ulonglong, c_ushort, c_void_p

from tensorwright.base.errors import DeviceError, ExecutionError

LIBRARY = "libcuda.so.1"
OLDEST_DRIVER = 12000
"""CUDA 12.0, as `cuDriverGetVersion` spells it: the first with clusters and dependent launches in graphs."""

NOT_READY, OUT_OF_MEMORY, DESTROYED = 600, 2, 709
LOST = frozenset((4, 46, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719))
"""Errors after which every further call for the GPU fails in this process: faults of kernels, of hardware, resets."""
_ADDRESS, _HANDLE = c_ulonglong, c_void_p

_PROTOTYPES: dict[str, tuple[object, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDeviceGetPCIBusId": (c_char_p, c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(_HANDLE), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuDevicePrimaryCtxGetState": (c_int, POINTER(c_uint), POINTER(c_int)),
    "cuCtxGetCurrent": (POINTER(_HANDLE),),
    "cuCtxGetDevice": (POINTER(c_int),),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuCtxSynchronize": (),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuMemAlloc_v2": (POINTER(_ADDRESS), c_size_t),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemHostAlloc": (POINTER(_HANDLE), c_size_t, c_uint),
    "cuMemFreeHost": (_HANDLE,),
    "cuMemHostRegister_v2": (_HANDLE, c_size_t, c_uint),
    "cuMemHostUnregister": (_HANDLE,),
    "cuPointerGetAttribute": (c_void_p, c_int, _ADDRESS),
    "cuMemcpyHtoD_v2": (_ADDRESS, _HANDLE, c_size_t),
    "cuMemcpyDtoH_v2": (_HANDLE, _ADDRESS, c_size_t),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, _HANDLE, c_size_t, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (_HANDLE, _ADDRESS, c_size_t, _HANDLE),
    "cuMemcpyDtoDAsync_v2": (_ADDRESS, _ADDRESS, c_size_t, _HANDLE),
    "cuMemsetD8Async": (_ADDRESS, c_ubyte, c_size_t, _HANDLE),
    "cuMemsetD16Async": (_ADDRESS, c_ushort, c_size_t, _HANDLE),
    "cuMemsetD32Async": (_ADDRESS, c_uint, c_size_t, _HANDLE),
    "cuModuleLoadDataEx": (POINTER(_HANDLE), c_char_p, c_uint, POINTER(c_int), POINTER(c_void_p)),
    "cuModuleUnload": (_HANDLE,),
    "cuModuleGetFunction": (POINTER(_HANDLE), _HANDLE, c_char_p),
    "cuFuncGetAttribute": (POINTER(c_int), c_int, _HANDLE),
    "cuFuncSetAttribute": (_HANDLE, c_int, c_int),
    "cuLaunchKernelEx": (c_void_p, _HANDLE, POINTER(c_void_p), c_void_p),
    "cuTensorMapEncodeTiled": (
        c_void_p, c_int, c_uint, c_void_p, POINTER(c_ulonglong), POINTER(c_ulonglong), POINTER(c_uint), POINTER(c_uint),
        c_int, c_int, c_int, c_int,
    ),
    "cuStreamCreate": (POINTER(_HANDLE), c_uint),
    "cuStreamDestroy_v2": (_HANDLE,),
    "cuStreamQuery": (_HANDLE,),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamWaitEvent": (_HANDLE, _HANDLE, c_uint),
    "cuStreamBeginCapture_v2": (_HANDLE, c_int),
    "cuStreamEndCapture": (_HANDLE, POINTER(_HANDLE)),
    "cuEventCreate": (POINTER(_HANDLE), c_uint),
    "cuEventDestroy_v2": (_HANDLE,),
    "cuEventRecord": (_HANDLE, _HANDLE),
    "cuEventRecordWithFlags": (_HANDLE, _HANDLE, c_uint),
    "cuEventQuery": (_HANDLE,),
    "cuEventSynchronize": (_HANDLE,),
    "cuEventElapsedTime": (POINTER(c_float), _HANDLE, _HANDLE),
    "cuGraphInstantiateWithFlags": (POINTER(_HANDLE), _HANDLE, c_ulonglong),
    "cuGraphExecUpdate_v2": (_HANDLE, _HANDLE, c_void_p),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGraphDestroy": (_HANDLE,),
}  # fmt: skip

_QUICK = ("cuCtxGetCurrent", "cuCtxSetCurrent", "cuPointerGetAttribute")
"""Functions that take less time than it takes to give the interpreter's lock away and get it back."""


class CudaError(DeviceError):
    """A call of the driver failed. `code` is the driver's number of the error, `name` its name."""

    def __init__(self, message: str, code: int, name: str) -> None:
        super().__init__(message, lost=code in LOST)
        self.code = code
        self.name = name


class Driver:
    """Calls functions of the driver's library and turns what they return into errors.

    library: an object with the library's functions as attributes: the loaded library, or what a test puts in its place.

    Raises:
        ExecutionError: the driver is too old, or finds no GPU.
    """

    def __init__(self, library: object) -> None:
        self._library = library
        self._call_initial("cuInit", 0)
        version = c_int()
        self._call_initial("cuDriverGetVersion", ctypes.byref(version))
        self.version = version.value
        if self.version < OLDEST_DRIVER:
            raise ExecutionError(
                f"the NVIDIA driver supports CUDA {_version(self.version)}, expected {_version(OLDEST_DRIVER)} or "
                "newer: update the driver"
            )

    def count(self) -> int:
        """How many GPUs this process may use."""
        found = c_int()
        self.call("counting GPUs", "cuDeviceGetCount", ctypes.byref(found))
        return found.value

    def call(self, attempt: str, function: str, *arguments: object) -> None:
        """Call a function; `attempt` says for the error's message what it was to do.

        Raises:
            CudaError: it returned an error.
        """
        code = self.try_call(function, *arguments)
        if code:
            raise self.error(attempt, function, code)

    def try_call(self, function: str, *arguments: object) -> int:
        """Call a function and return the driver's code, 0 for success."""
        return int(self._function(function)(*arguments))

    def error(self, attempt: str, function: str, code: int) -> CudaError:
        name, text = self._text("cuGetErrorName", code), self._text("cuGetErrorString", code)
        message = f"{attempt} failed: {function} returned {name or code} ({text or 'unknown error'})"
        advice = "; the GPU is lost to this process: start another one" if code in LOST else ""
        return CudaError(message + advice, code, name)

    def _function(self, name: str) -> Callable[..., int]:
        found: Callable[..., int] | None = getattr(self._library, name, None)
        if found is None:
            raise ExecutionError(f"the NVIDIA driver has no function {name}: update the driver")
        return found

    def _call_initial(self, function: str, *arguments: object) -> None:
        code = self.try_call(function, *arguments)
        if code:
            error = self.error("initialising the NVIDIA driver", function, code)
            raise CudaError(f"{error}; is there a GPU, and may this process use it?", code, error.name)

    def _text(self, function: str, code: int) -> str:
        text = c_char_p()
        failed = self.try_call(function, code, ctypes.byref(text))
        return "" if failed or text.value is None else text.value.decode()


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def open_library() -> object:
    """The driver's library with the types of its functions' arguments.

    Raises:
        ExecutionError: it is not installed.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise ExecutionError(
            f"{LIBRARY} was not found: running on a GPU needs the NVIDIA driver, which installs it ({error})"
        ) from error
    for name in _QUICK:
        setattr(library, name, getattr(ctypes.PyDLL(LIBRARY), name, None))
    for name, arguments in _PROTOTYPES.items():
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes, function.restype = arguments, c_int
    return library


_LOCK = threading.Lock()
_DRIVERS: list[Driver] = []


def driver() -> Driver:
    """The driver of this process, loaded at the first call.

    Raises:
        ExecutionError: there is none, it is too old, or it finds no GPU.
    """
    with _LOCK:
        if not _DRIVERS:
            _DRIVERS.append(Driver(open_library()))
        return _DRIVERS[0]
