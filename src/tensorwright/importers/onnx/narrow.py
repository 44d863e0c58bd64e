"""Tensors of element types smaller than kernels know, held in wider ones: int4 in int8, float8 in float32.

Every number of the small type is one of the wide type, so nothing is lost; what converts to the small type rounds and
saturates as the small type would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import helper

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer
from tensorwright.ops.activation import Clip
from tensorwright.ops.narrow import SMALL_FLOATS, NarrowFloat
from tensorwright.tensor.dtype import FLOAT32, INT8, INT32, UINT8, DType

SmallType = np.dtype[np.generic]


@dataclass(frozen=True)
class SmallInteger:
    bits: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest number."""
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if self.signed else (0, (1 << self.bits) - 1)


SMALL_INTEGERS: Mapping[str, SmallInteger] = {
    f"{'' if signed else 'u'}int{bits}": SmallInteger(bits, signed) for bits in (2, 4) for signed in (True, False)
}
HELD: Mapping[str, DType] = dict.fromkeys(SMALL_FLOATS, FLOAT32) | {
    name: INT8 if integer.signed else UINT8 for name, integer in SMALL_INTEGERS.items()
}
"""By the name of a small type in NumPy, the type that holds it."""


@dataclass(frozen=True)
class Narrow:
    """A tensor of a small type, and the value that holds it."""

    value: Value
    dtype: SmallType

    @property
    def reason(self) -> str:
        """Why an operator that does not know small types refuses it."""
        return f"element type {self.dtype.name} of tensor '{self.value.name}' is not supported"


def small_type(element_type: int) -> SmallType | None:
    """The small type with a number of TensorProto.DataType; None for all others."""
    try:
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
    except KeyError:
        return None
    return dtype if dtype.name in HELD else None


def narrowed(node: Composer, x: Value, dtype: SmallType, saturate: bool) -> Narrow:
    """The conversion of a tensor: floats round to even, integers are cut toward zero and wrap around."""
    if dtype.name in SMALL_FLOATS:
        return Narrow(node.apply(NarrowFloat(dtype.name, saturate), node.cast(x, FLOAT32)), dtype)
    kind = SMALL_INTEGERS[dtype.name]
    whole, least = node.cast(x, INT32), kind.range[0]
    shifted = node.subtract(whole, node.scalar(least, whole))
    wrapped = node.add(
        node.binary("bit_and", shifted, node.scalar((1 << kind.bits) - 1, whole)), node.scalar(least, whole)
    )
    return Narrow(node.cast(wrapped, HELD[dtype.name]), dtype)


def clipped(node: Composer, x: Value, dtype: SmallType) -> Narrow:
    """Whole numbers in float32 as small integers; what is beyond their range becomes its end."""
    least, greatest = SMALL_INTEGERS[dtype.name].range
    return Narrow(node.cast(node.apply(Clip(float(least), float(greatest)), x), HELD[dtype.name]), dtype)
