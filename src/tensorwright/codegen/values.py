"""Values in generated code as text: types, registers, pointers and constants.

Booleans are i1 in registers and bytes in memory; float16 and bfloat16 exist in memory only, and are float32 in
registers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT64, DType

# bfloat16 is an i16: on the type bfloat LLVM computes where it sees a chance, and then calls functions nobody has.
_MEMORY_NAMES = {"float64": "double", "float32": "float", "float16": "half", "bool": "i8"}


@cache
def register_dtype(dtype: DType) -> DType:
    """The type in which values of a memory type are computed."""
    return FLOAT32 if dtype in (FLOAT16, BFLOAT16) else dtype


@cache
def memory_name(dtype: DType, lanes: int = 1) -> str:
    """The LLVM type of elements in memory."""
    scalar = _MEMORY_NAMES.get(dtype.name, f"i{8 * dtype.size}")
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


@cache
def register_name(dtype: DType, lanes: int = 1) -> str:
    """The LLVM type of values in registers."""
    scalar = "i1" if dtype == BOOL else memory_name(register_dtype(dtype))
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


@dataclass(frozen=True)
class Register:
    """A value in generated code: its text, element type and number of lanes (1 for a scalar)."""

    text: str
    dtype: DType
    lanes: int = 1

    @property
    def type(self) -> str:
        return register_name(self.dtype, self.lanes)

    @property
    def typed(self) -> str:
        return f"{self.type} {self.text}"

    @property
    def is_literal(self) -> bool:
        """Whether the value is written out rather than the result of an instruction."""
        return not self.text.startswith("%")


@dataclass(frozen=True)
class Pointer:
    """An address in generated code."""

    text: str


def literal(value: float | bool, dtype: DType, lanes: int = 1) -> Register:
    """A constant, the same in every lane."""
    scalar = _literal_text(value, dtype)
    text = scalar if lanes == 1 else f"splat ({register_name(dtype)} {scalar})"
    return Register(text, register_dtype(dtype), lanes)


def i64(value: Register | int) -> Register:
    """An i64, which indices, counts and distances are; a number is a constant."""
    return literal(value, INT64) if isinstance(value, int) else value


def literals(values: Sequence[float], dtype: DType) -> Register:
    """A constant with a number for every lane."""
    name = register_name(dtype)
    text = f"<{', '.join(f'{name} {_literal_text(value, dtype)}' for value in values)}>"
    return Register(text, register_dtype(dtype), len(values))


def _literal_text(value: float | bool, dtype: DType) -> str:
    if dtype == BOOL:
        return "true" if value else "false"
    if dtype.is_float:
        exact = float(value)
        if register_dtype(dtype) == FLOAT32:
            exact = struct.unpack("f", struct.pack("f", _clamped(exact)))[0]
        return f"0x{struct.unpack('Q', struct.pack('d', exact))[0]:016X}"
    if 0 <= value < 1 << 7:
        return str(int(value))
    bits = 8 * dtype.size
    wrapped = int(value) & ((1 << bits) - 1)
    return str(wrapped - (1 << bits) if dtype.kind == "signed" and wrapped >> (bits - 1) else wrapped)


def _clamped(value: float) -> float:
    largest = 3.4028234663852886e38
    if largest < abs(value) < float("inf"):
        return float("inf") if value > 0 else float("-inf")
    return value
