"""What an operator is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ShapeError
from tensorwright.graph.expression import Computation, Scalar
from tensorwright.tensor.dim import Dim, IntegerExpression, evaluate
from tensorwright.tensor.equations import require_equal
from tensorwright.tensor.type import TensorType

Array = npt.NDArray[np.generic]
Kind = Literal["source", "elementwise", "view", "reduction", "anchor", "opaque"]


@dataclass(frozen=True, eq=False)
class Op:
    """A pure function of tensors with one output. Subclasses are frozen dataclasses whose fields are the attributes.

    `kind` drives fusion: *elementwise* (each output element depends on the elements at the same, broadcast, index),
    *view* (the same elements in the same row-major order under another shape), *reduction*, *anchor* (convolution,
    matrix product: worth a kernel of their own), *opaque* (not fused), *source* (no computation).
    """

    kind: ClassVar[Kind] = "opaque"
    is_sequential: ClassVar[bool] = False
    """Whether elements of the output follow from one another, so that `define` cannot state one alone. Such operators
    are opaque and have a tactic of their own."""

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The type of the output.

        Raises:
            ShapeError: the inputs do not fit; the message names expectation and finding.
        """
        raise NotImplementedError

    def reference(self, *inputs: Array) -> Array:
        """The output computed with NumPy, in float64 or int64 where that is more exact: oracle and constant folding.

        Floating inputs arrive as float64; the caller converts the result to the inferred type. Symbols in attributes
        count as their `opt`; `specialised` gives them other values.
        """
        raise NotImplementedError

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        """One element of the output as a scalar expression: what code generation compiles."""
        raise NotImplementedError

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        """For elementwise operators: the output element as a function of the operands' elements."""
        raise NotImplementedError

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        """The integers that make sense as elements of an operand: from the first up to, not including, the second.

        None if all do. Whoever draws random inputs keeps to it, such as the indices of a gather.
        """
        return None

    def nonnegative(self, inputs: Sequence[TensorType]) -> tuple[Dim, ...]:
        """What may not be negative for the operator to stay inside of its inputs, besides the extents of its output.

        `infer` refuses what is negative for all values of the symbols; whoever runs it sees to the rest.
        """
        return ()

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def attributes(self) -> tuple[tuple[str, object], ...]:
        """Names and values of all attributes: with the class, the operator's identity for comparison."""
        return tuple((f.name, getattr(self, f.name)) for f in fields(self))

    def specialised(self, symbols: Mapping[str, int]) -> Self:
        """The operator with the symbols in its attributes replaced by their values."""
        return replace(self, **{name: _specialised(value, symbols) for name, value in self.attributes})

    def same(self, other: Op) -> bool:
        """Whether two operators are the same function."""
        return type(self) is type(other) and self.attributes == other.attributes

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value}" for name, value in self.attributes)
        return f"{self.name}({inner})"


def expect(condition: bool, op: Op, message: str) -> None:
    """Raise a ShapeError that starts with the operator's name unless `condition` holds."""
    if not condition:
        raise ShapeError(f"{op.name}: {message}")


def expect_equal(left: Dim, right: Dim, op: Op, message: str) -> None:
    """Raise an `Unequal` that starts with the operator's name unless both are the same expression."""
    require_equal(left, right, f"{op.name}: {message}")


def expect_inputs(op: Op, inputs: Sequence[TensorType], low: int, high: int | None = None) -> None:
    """Check the number of inputs: exactly `low`, or from `low` to `high`."""
    high = low if high is None else high
    wanted = str(low) if low == high else f"{low} to {high}"
    expect(low <= len(inputs) <= high, op, f"expected {wanted} inputs, found {len(inputs)}")


def _specialised(attribute: object, symbols: Mapping[str, int]) -> object:
    match attribute:
        case IntegerExpression():
            return evaluate(attribute, symbols)
        case tuple():
            return tuple(_specialised(part, symbols) for part in attribute)
        case TensorType():
            return TensorType(attribute.dtype, tuple(evaluate(dim, symbols) for dim in attribute.shape))
        case _:
            return attribute
