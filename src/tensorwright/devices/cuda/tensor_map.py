"""Tensor maps: what the copy engine of sm_90 has to know of a tensor whose boxes it brings into shared memory.

A map holds an address, so a plan has no maps but what they are made from (`TensorMap`); the driver encodes one whenever
a launch is recorded, and it travels with the launch as an argument of the kernel.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_uint, c_ulonglong
from dataclasses import dataclass, replace

from tensorwright.devices.cuda.context import Context
from tensorwright.tensor.dim import Atom, Dim, evaluate, substitute

MAP_BYTES = 128
MAP_ALIGNMENT = 64
SWIZZLED_BYTES = 128
"""Bytes of a row of a box at most: the 16-byte pieces of row r are exchanged by XOR with r mod 8."""
_TYPES = {1: 0, 2: 1, 4: 2}
"""``CU_TENSOR_MAP_DATA_TYPE_UINT8``, ``UINT16``, ``UINT32`` by bytes of an element: elements are only moved."""
_NOT_INTERLEAVED, _SWIZZLE_128, _PROMOTE_TO_256, _ZEROS_OUTSIDE = 0, 3, 3, 0


@dataclass(frozen=True)
class TensorMap:
    """A map of an operand of a launch, which may have open sizes.

    operand: the number among the launch's addresses; the output is 0. element_bytes: 1, 2 or 4. extents: elements along
    each axis, innermost first; strides: bytes from an index to the next along every axis but the innermost, multiples
    of 16; box: elements along each axis that are copied at once, 128 bytes along the innermost, 256 at most along
    others. What lies outside of the tensor is copied as zeros.
    """

    operand: int
    element_bytes: int
    extents: tuple[Dim, ...]
    strides: tuple[Dim, ...]
    box: tuple[int, ...]

    def substituted(self, dims: Mapping[Atom, Dim]) -> TensorMap:
        """The map with other sizes in place of symbols."""
        extents, strides = (tuple(substitute(one, dims) for one in sizes) for sizes in (self.extents, self.strides))
        return replace(self, extents=extents, strides=strides)

    def at(self, address: int, sizes: Mapping[str, int]) -> PlacedMap:
        """The map of a tensor that lies at an address, with given values of the symbols."""
        extents, strides = (tuple(evaluate(one, sizes) for one in dims) for dims in (self.extents, self.strides))
        return PlacedMap(address, self.element_bytes, extents, strides, self.box)


@dataclass(frozen=True)
class PlacedMap:
    """A map with an address and sizes; the fields are those of `TensorMap`."""

    address: int
    element_bytes: int
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]


class EncodedMap:
    """A map as kernels read it; the driver copies it from `address` when it is launched with it.

    Raises:
        CudaError: the driver does not accept it.
    """

    def __init__(self, context: Context, placed: PlacedMap) -> None:
        self._memory = ctypes.create_string_buffer(MAP_BYTES + MAP_ALIGNMENT)
        self.address = -(-ctypes.addressof(self._memory) // MAP_ALIGNMENT) * MAP_ALIGNMENT
        rank = len(placed.extents)
        context.call(
            f"describing a tensor of {placed.extents} elements at {placed.address:#x}, boxes of {placed.box}",
            "cuTensorMapEncodeTiled", self.address, _TYPES[placed.element_bytes], rank, placed.address,
            (c_ulonglong * rank)(*placed.extents), (c_ulonglong * rank)(*placed.strides), (c_uint * rank)(*placed.box),
            (c_uint * rank)(*[1] * rank), _NOT_INTERLEAVED, _SWIZZLE_128, _PROMOTE_TO_256, _ZEROS_OUTSIDE,
        )  # fmt: skip
