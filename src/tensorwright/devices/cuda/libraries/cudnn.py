"""cuDNN: its functions for graphs of operations, and the descriptors that these are made of."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_void_p
from enum import Enum, IntEnum
from threading import Lock
from typing import Any, TypeAlias

from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.libraries.find import Library, open_library
from tensorwright.devices.cuda.libraries.shared import StatusLibrary, declared

CUDNN = Library("cuDNN", ("libcudnn.so.9",))
Value: TypeAlias = int | float | bool | c_void_p

_HANDLE = c_void_p


class Kind(IntEnum):
    """Of descriptors: `cudnnBackendDescriptorType_t`."""

    POINTWISE = 0
    CONVOLUTION = 1
    ENGINE = 2
    ENGINE_CONFIG = 3
    HEURISTICS = 4
    PLAN = 5
    KNOB_CHOICE = 7
    CONVOLUTION_FORWARD = 10
    POINTWISE_OPERATION = 13
    GRAPH = 15
    VARIANT_PACK = 16
    TENSOR = 17


class Type(IntEnum):
    """Of elements of attributes: `cudnnBackendAttributeType_t`."""

    HANDLE = 0
    DATA_TYPE = 1
    BOOLEAN = 2
    INT64 = 3
    FLOAT = 4
    VOID_PTR = 6
    CONVOLUTION_MODE = 7
    HEURISTICS_MODE = 8
    KNOB_TYPE = 9
    NUMERICAL_NOTE = 11
    POINTWISE_MODE = 14
    DESCRIPTOR = 15

    def elements(self, count: int, values: Sequence[Value] = ()) -> ctypes.Array[Any]:
        """Room for elements, which begin with some values."""
        kinds: dict[Type, type[Any]] = {
            Type.BOOLEAN: c_bool, Type.INT64: c_int64, Type.FLOAT: c_float, Type.HANDLE: c_void_p,
            Type.VOID_PTR: c_void_p, Type.DESCRIPTOR: c_void_p,
        }  # fmt: skip
        found: ctypes.Array[Any] = (kinds.get(self, c_int) * count)(*values)
        return found


class Attribute(Enum):
    """Of descriptors: the number of a `cudnnBackendAttributeName_t`, and the type of its elements."""

    POINTWISE_MODE = (0, Type.POINTWISE_MODE)
    POINTWISE_TYPE = (1, Type.DATA_TYPE)
    CONVOLUTION_TYPE = (100, Type.DATA_TYPE)
    CONVOLUTION_MODE = (101, Type.CONVOLUTION_MODE)
    CONVOLUTION_DILATIONS = (102, Type.INT64)
    CONVOLUTION_STRIDES = (103, Type.INT64)
    CONVOLUTION_PADS_END = (104, Type.INT64)
    CONVOLUTION_PADS_BEGIN = (105, Type.INT64)
    CONVOLUTION_AXES = (106, Type.INT64)
    HEURISTICS_MODE = (200, Type.HEURISTICS_MODE)
    HEURISTICS_GRAPH = (201, Type.DESCRIPTOR)
    HEURISTICS_RESULTS = (202, Type.DESCRIPTOR)
    CONFIG_ENGINE = (300, Type.DESCRIPTOR)
    CONFIG_KNOBS = (302, Type.DESCRIPTOR)
    PLAN_HANDLE = (400, Type.HANDLE)
    PLAN_CONFIG = (401, Type.DESCRIPTOR)
    PLAN_WORKSPACE = (402, Type.INT64)
    KNOB_KIND = (600, Type.KNOB_TYPE)
    KNOB_VALUE = (601, Type.INT64)
    FORWARD_ALPHA = (700, Type.FLOAT)
    FORWARD_BETA = (701, Type.FLOAT)
    FORWARD_CONVOLUTION = (702, Type.DESCRIPTOR)
    FORWARD_WEIGHTS = (703, Type.DESCRIPTOR)
    FORWARD_X = (704, Type.DESCRIPTOR)
    FORWARD_Y = (705, Type.DESCRIPTOR)
    OPERATION_POINTWISE = (750, Type.DESCRIPTOR)
    OPERATION_X = (751, Type.DESCRIPTOR)
    OPERATION_B = (752, Type.DESCRIPTOR)
    OPERATION_Y = (753, Type.DESCRIPTOR)
    GRAPH_HANDLE = (800, Type.HANDLE)
    GRAPH_OPERATIONS = (801, Type.DESCRIPTOR)
    TENSOR_ALIGNMENT = (900, Type.INT64)
    TENSOR_TYPE = (901, Type.DATA_TYPE)
    TENSOR_EXTENTS = (902, Type.INT64)
    TENSOR_STRIDES = (903, Type.INT64)
    TENSOR_NUMBER = (906, Type.INT64)
    TENSOR_IS_VIRTUAL = (907, Type.BOOLEAN)
    PACK_NUMBERS = (1000, Type.INT64)
    PACK_ADDRESSES = (1001, Type.VOID_PTR)
    PACK_WORKSPACE = (1003, Type.VOID_PTR)
    ENGINE_GRAPH = (1300, Type.DESCRIPTOR)
    ENGINE_NUMBER = (1301, Type.INT64)
    ENGINE_NOTES = (1303, Type.NUMERICAL_NOTE)

    def __init__(self, number: int, type: Type) -> None:
        self.number, self.type = number, type


_PROTOTYPES = {
    "cudnnCreate": (POINTER(_HANDLE),),
    "cudnnDestroy": (_HANDLE,),
    "cudnnSetStream": (_HANDLE, _HANDLE),
    "cudnnBackendCreateDescriptor": (c_int, POINTER(_HANDLE)),
    "cudnnBackendDestroyDescriptor": (_HANDLE,),
    "cudnnBackendFinalize": (_HANDLE,),
    "cudnnBackendSetAttribute": (_HANDLE, c_int, c_int, c_int64, c_void_p),
    "cudnnBackendGetAttribute": (_HANDLE, c_int, c_int, c_int64, POINTER(c_int64), c_void_p),
    "cudnnBackendExecute": (_HANDLE, _HANDLE, _HANDLE),
}


class Cudnn(StatusLibrary):
    """The library, opened for one GPU.

    Raises:
        ExecutionError: it is not installed, or does not accept the GPU.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(CUDNN.title, "cudnn", declared(open_library(CUDNN), _PROTOTYPES), context)
        self._lock = Lock()  # The stream belongs to the handle.

    def meaning(self, code: int) -> str:
        function = getattr(self.library, "cudnnGetErrorString")  # noqa: B009
        function.restype = c_char_p
        return bytes(function(code)).decode()

    def execute(self, attempt: str, plan: c_void_p, operands: c_void_p, stream: int) -> None:
        """Put a plan on given operands into a stream.

        Raises:
            LibraryError: the library refuses it.
        """
        with self._lock:
            self.call(attempt, "cudnnSetStream", self.handle, stream)
            self.call(attempt, "cudnnBackendExecute", self.handle, plan, operands)


class Descriptors(ExitStack):
    """Makes the library's descriptors; gives them back when the context ends."""

    def __init__(self, cudnn: Cudnn) -> None:
        super().__init__()
        self._cudnn = cudnn

    def made(self, kind: Kind, attributes: Mapping[Attribute, Sequence[Value]]) -> c_void_p:
        """A descriptor with attributes, ready for use.

        Raises:
            LibraryError: the library refuses it.
        """
        found = self.empty(kind)
        for attribute, values in attributes.items():
            elements = attribute.type.elements(len(values), values)
            self._call("cudnnBackendSetAttribute", found, attribute.number, attribute.type, len(values), elements)
        self._call("cudnnBackendFinalize", found)
        return found

    def empty(self, kind: Kind) -> c_void_p:
        """A descriptor that the library is to fill."""
        found = _HANDLE()
        self._call("cudnnBackendCreateDescriptor", kind, ctypes.byref(found))
        self.callback(self._cudnn.release, "cudnnBackendDestroyDescriptor", found)
        return found

    def numbers(self, descriptor: c_void_p, attribute: Attribute, most: int) -> list[int]:
        """The elements of an attribute, at most so many."""
        elements = attribute.type.elements(most)
        return [int(one) for one in elements[: self._got(descriptor, attribute, elements)]]

    def number(self, descriptor: c_void_p, attribute: Attribute) -> int:
        """The one element of an attribute."""
        (found,) = self.numbers(descriptor, attribute, 1)
        return found

    def filled(self, descriptor: c_void_p, attribute: Attribute, kind: Kind, most: int) -> list[c_void_p]:
        """The descriptors that an attribute has, at most so many."""
        found = [self.empty(kind) for _ in range(most)]
        return found[: self._got(descriptor, attribute, attribute.type.elements(most, found))]

    def _got(self, descriptor: c_void_p, attribute: Attribute, elements: ctypes.Array[Any]) -> int:
        """How many elements the library has put there."""
        count = c_int64()
        self._call(
            "cudnnBackendGetAttribute",
            descriptor, attribute.number, attribute.type, len(elements), ctypes.byref(count), elements,
        )  # fmt: skip
        return count.value

    def _call(self, function: str, *arguments: object) -> None:
        self._cudnn.call("describing a convolution", function, *arguments)
