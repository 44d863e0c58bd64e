"""What a case is: an operator, inputs to draw at random, and how close the answers must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tensorwright.graph.op import Op
from tensorwright.tensor.dim import Dim, evaluate
from tensorwright.tensor.dtype import FLOAT32, INT64, DType, dtype_of
from tensorwright.tensor.type import TensorType
from tensorwright.tune.tolerance import rounding_error

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Operand:
    """An input drawn at random: uniform in [low, high), integers for integer types."""

    dtype: DType
    shape: tuple[Dim, ...]
    low: float = -2.0
    high: float = 2.0

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def draw(self, rng: np.random.Generator, symbols: Mapping[str, int]) -> Array:
        shape = tuple(evaluate(dim, symbols) for dim in self.shape)
        if self.dtype.is_float:
            return rng.uniform(self.low, self.high, shape).astype(self.dtype.numpy)
        if self.dtype.kind == "bool":
            return rng.integers(0, 2, shape).astype(np.bool_)
        low = max(0.0, self.low) if self.dtype.kind == "unsigned" else self.low
        return rng.integers(int(low), int(self.high), shape).astype(self.dtype.numpy)


@dataclass(frozen=True, eq=False)
class Fixed:
    """An input with given values."""

    array: Array

    @property
    def type(self) -> TensorType:
        return TensorType(dtype_of(self.array.dtype), self.array.shape)

    def draw(self, rng: np.random.Generator, symbols: Mapping[str, int]) -> Array:
        return self.array


@dataclass(frozen=True, eq=False)
class Case:
    """One operator on inputs of given types.

    `symbols` are the run-time values of the symbolic dimensions. `tolerance` is relative to the largest magnitude of
    the expected output; it is for float32 and `scaled_tolerance` widens it for narrower types.
    """

    name: str
    op: Op
    inputs: tuple[Operand | Fixed, ...]
    tolerance: float = 1e-5
    symbols: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.op.name}-{self.name}"

    @property
    def types(self) -> list[TensorType]:
        return [operand.type for operand in self.inputs]

    @property
    def output(self) -> TensorType:
        return self.op.infer(self.types)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(evaluate(dim, self.symbols) for dim in self.output.shape)

    def arrays(self, rng: np.random.Generator) -> list[Array]:
        """Fresh inputs."""
        return [operand.draw(rng, self.symbols) for operand in self.inputs]

    def expected(self, arrays: list[Array]) -> Array:
        """The reference's output for `arrays`, in the type the reference computes in."""
        return reference_of(self.op, arrays, self.symbols)

    @property
    def scaled_tolerance(self) -> float:
        """The tolerance, or, for floating types below float32, what rounding to them explains if that is more."""
        dtypes = [type.dtype for type in [*self.types, self.output] if type.dtype.is_float]
        narrow = any(dtype.size < FLOAT32.size for dtype in dtypes)
        factor = max(self.tolerance / 1e-5, 1.0)
        return max(self.tolerance, factor * rounding_error(dtypes)) if narrow else self.tolerance if dtypes else 0.0


def reference_of(op: Op, arrays: list[Array], symbols: Mapping[str, int] | None = None) -> Array:
    """The reference of an operator on arrays, floats widened to float64 as its contract asks."""
    wide = [a.astype(np.float64) if dtype_of(a.dtype).is_float else a for a in arrays]
    return op.specialised(symbols or {}).reference(*wide)


def assert_close(actual: Array, expected: Array, tolerance: float) -> None:
    """Assert equal shapes and values, within `tolerance` of the largest finite expected magnitude."""
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if expected.dtype.kind in "iub":
        np.testing.assert_array_equal(actual, expected)
        return
    wide, right = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.abs(right[np.isfinite(right)])
    scale = max(1e-3, float(finite.max())) if finite.size else 1.0
    np.testing.assert_allclose(wide, right, rtol=0, atol=tolerance * scale)


def f32(*shape: Dim, low: float = -2.0, high: float = 2.0) -> Operand:
    """A float32 input."""
    return Operand(FLOAT32, shape, low, high)


def i64(*shape: Dim, low: int = -5, high: int = 6) -> Operand:
    """An int64 input in [low, high)."""
    return Operand(INT64, shape, low, high)
