"""cuBLASLt: its functions, and the descriptors that they take."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from ctypes import POINTER, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.libraries.find import Library, open_library
from tensorwright.devices.cuda.libraries.shared import StatusLibrary, declared

CUBLAS = Library("cuBLASLt", ("libcublasLt.so.13", "libcublasLt.so.12"))
ALGORITHM_BYTES = 64
"""Of `cublasLtMatmulAlgo_t`, of which only the same version of the library knows what it means."""

FLOAT32, FLOAT16, BFLOAT16 = 0, 2, 14
"""Of `cudaDataType`."""
COMPUTE_FLOAT32, COMPUTE_TF32 = 68, 77
"""Of `cublasComputeType_t`: sums in float32, of factors as they are, or of those of float32 as TF32."""
TRANSPOSE_A, EPILOGUE, BIAS_POINTER = 3, 7, 8
"""Of `cublasLtMatmulDescAttributes_t`."""
DEFAULT, RELU, BIAS, GELU = 1, 2, 4, 32
"""Of `cublasLtEpilogue_t`, of which those but the first are put together; GELU is the one of the hyperbolic tangent."""
_BATCH_COUNT, _BATCH_OFFSET = 5, 6
_MOST_WORKSPACE, _REDUCTION_SCHEMES, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)
_SUMS_IN_THEIR_TYPE = 2
"""The only way admitted to add up sums of parts of the depth: as float32, not rounded to the type of the result."""
_HANDLE = c_void_p

_STATUSES = {
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    3: "CUBLAS_STATUS_ALLOC_FAILED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    8: "CUBLAS_STATUS_ARCH_MISMATCH",
    11: "CUBLAS_STATUS_MAPPING_ERROR",
    13: "CUBLAS_STATUS_EXECUTION_FAILED",
    14: "CUBLAS_STATUS_INTERNAL_ERROR",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
    16: "CUBLAS_STATUS_LICENSE_ERROR",
}


class Heuristic(ctypes.Structure):
    """`cublasLtMatmulHeuristicResult_t`."""

    _fields_ = (
        ("algorithm", c_uint64 * (ALGORITHM_BYTES // 8)),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


_PROTOTYPES = {
    "cublasLtCreate": (POINTER(_HANDLE),),
    "cublasLtDestroy": (_HANDLE,),
    "cublasLtMatmulDescCreate": (POINTER(_HANDLE), c_int, c_int),
    "cublasLtMatmulDescDestroy": (_HANDLE,),
    "cublasLtMatmulDescSetAttribute": (_HANDLE, c_int, c_void_p, c_size_t),
    "cublasLtMatrixLayoutCreate": (POINTER(_HANDLE), c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatrixLayoutDestroy": (_HANDLE,),
    "cublasLtMatrixLayoutSetAttribute": (_HANDLE, c_int, c_void_p, c_size_t),
    "cublasLtMatmulPreferenceCreate": (POINTER(_HANDLE),),
    "cublasLtMatmulPreferenceDestroy": (_HANDLE,),
    "cublasLtMatmulPreferenceSetAttribute": (_HANDLE, c_int, c_void_p, c_size_t),
    "cublasLtMatmulAlgoGetHeuristic": (
        _HANDLE, _HANDLE, _HANDLE, _HANDLE, _HANDLE, _HANDLE, _HANDLE, c_int, POINTER(Heuristic), POINTER(c_int),
    ),
    "cublasLtMatmulAlgoCheck": (
        _HANDLE, _HANDLE, _HANDLE, _HANDLE, _HANDLE, _HANDLE, c_void_p, POINTER(Heuristic),
    ),
    "cublasLtMatmul": (
        _HANDLE, _HANDLE, c_void_p, c_void_p, _HANDLE, c_void_p, _HANDLE, c_void_p, c_void_p, _HANDLE, c_void_p,
        _HANDLE, c_void_p, c_void_p, c_size_t, c_void_p,
    ),
}  # fmt: skip


class Cublas(StatusLibrary):
    """The library, opened for one GPU.

    Raises:
        ExecutionError: it is not installed, or does not accept the GPU.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(CUBLAS.title, "cublasLt", declared(open_library(CUBLAS), _PROTOTYPES), context)

    def meaning(self, code: int) -> str:
        return _STATUSES.get(code, "an unknown status")


class Descriptors(ExitStack):
    """Makes the library's descriptors; gives them back when the context ends."""

    def __init__(self, cublas: Cublas) -> None:
        super().__init__()
        self._cublas = cublas

    def product(self, compute: int, attributes: dict[int, int]) -> c_void_p:
        """What is multiplied how, with sums scaled in float32. attributes: by number; pointers have 64 bits."""
        found = self._created("MatmulDesc", compute, FLOAT32)
        for number, value in attributes.items():
            self._set("MatmulDesc", found, number, c_void_p(value) if number == BIAS_POINTER else c_int32(value))
        return found

    def matrix(self, dtype: int, rows: int, columns: int, batch: int, step: int) -> c_void_p:
        """A matrix without gaps whose columns lie one behind the other; step: elements from one to the next of many."""
        found = self._created("MatrixLayout", dtype, rows, columns, rows)
        if batch > 1:
            self._set("MatrixLayout", found, _BATCH_COUNT, c_int32(batch))
            self._set("MatrixLayout", found, _BATCH_OFFSET, c_int64(step))
        return found

    def preference(self, workspace: int, alignment: int) -> c_void_p:
        """What algorithms may need: so much workspace, and matrices at multiples of so many bytes."""
        found = self._created("MatmulPreference")
        self._set("MatmulPreference", found, _MOST_WORKSPACE, c_uint64(workspace))
        self._set("MatmulPreference", found, _REDUCTION_SCHEMES, c_uint32(_SUMS_IN_THEIR_TYPE))
        for number in _ALIGNMENTS:
            self._set("MatmulPreference", found, number, c_uint32(alignment))
        return found

    def _created(self, kind: str, *arguments: int) -> c_void_p:
        found = _HANDLE()
        self._cublas.call("describing a product", f"cublasLt{kind}Create", ctypes.byref(found), *arguments)
        self.callback(self._cublas.release, f"cublasLt{kind}Destroy", found)
        return found

    def _set(
        self, kind: str, descriptor: c_void_p, number: int, value: c_void_p | c_int32 | c_int64 | c_uint32 | c_uint64
    ) -> None:
        place, size = ctypes.byref(value), ctypes.sizeof(value)
        self._cublas.call("describing a product", f"cublasLt{kind}SetAttribute", descriptor, number, place, size)
