"""What operators ask of their inputs, with errors that name the input, the expectation and the finding."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.op import Op, expect
from tensorwright.ops.mathematics import product_type
from tensorwright.tensor.dim import Dim, bounds
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import Shape, TensorType


def expect_float(op: Op, type: TensorType, input: str = "x") -> None:
    """Ask for a floating element type."""
    expect(type.dtype.is_float, op, f"input {input}: expected a floating type, found {type.dtype}; cast it")


def expect_index(op: Op, type: TensorType, input: str = "indices") -> None:
    """Ask for an integer element type."""
    expect(type.dtype.is_integer, op, f"input {input}: expected an integer type, found {type.dtype}; cast it")


def expect_same_dtype(op: Op, types: Sequence[TensorType], inputs: Sequence[str]) -> None:
    """Ask for one element type in all inputs."""
    for type, name in zip(types[1:], inputs[1:], strict=False):
        message = f"input {name}: expected {types[0].dtype} as in {inputs[0]}, found {type.dtype}; cast one"
        expect(type.dtype == types[0].dtype, op, message)


def expect_factors(op: Op, types: Sequence[TensorType], inputs: Sequence[str]) -> DType:
    """Ask for types that are multiplied, what follows them being added; the type of the sum."""
    left, right, *added = types
    found = product_type(left.dtype, right.dtype)
    if found is None:
        expect_same_dtype(op, types, inputs)
    for type, name in zip(added, inputs[2:], strict=False):
        expect(type.dtype == found, op, f"input {name}: expected {found} like the sum, found {type.dtype}; cast it")
    assert found is not None
    return found


def expect_rank(op: Op, type: TensorType, low: int, high: int | None = None, input: str = "x") -> None:
    """Ask for a rank: exactly `low`, or from `low` to `high`."""
    high = low if high is None else high
    wanted = str(low) if low == high else f"{low} to {high}"
    expect(low <= type.rank <= high, op, f"input {input}: expected rank {wanted}, found {type}")


def expect_shape(op: Op, type: TensorType, shape: Shape, input: str) -> None:
    """Ask for a shape."""
    expect(type.shape == shape, op, f"input {input}: expected shape {show(shape)}, found {show(type.shape)}")


def expect_broadcast_to(op: Op, type: TensorType, shape: Shape, input: str) -> None:
    """Ask for a shape that broadcasts, NumPy-style, to `shape`."""
    own = (1,) * (len(shape) - type.rank) + type.shape
    fits = len(own) == len(shape) and all(mine in (1, whole) for mine, whole in zip(own, shape, strict=True))
    expect(fits, op, f"input {input}: expected a shape that broadcasts to {show(shape)}, found {show(type.shape)}")


def expect_axis(op: Op, axis: int, rank: int, name: str = "axis") -> None:
    """Ask for a non-negative axis below `rank`."""
    expect(0 <= axis < rank, op, f"{name}: expected 0 <= {name} < {rank}, found {axis}")


def expect_extent(op: Op, extent: Dim, what: str) -> None:
    """Ask for an extent that can be at least 1 (or that is symbolic and may be)."""
    expect(bounds(extent)[1] >= 1, op, f"{what}: the output would have extent {extent}; the window exceeds the input")


def show(shape: Shape) -> str:
    """A shape in brackets, symbols by name."""
    return f"[{', '.join(map(str, shape))}]"
