"""Constants, matrix products and any other operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from math import prod

from tensorwright.api.checks import integers, member
from tensorwright.api.enums import LayerType, MatrixOperation
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.layers.convolution import trained
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import count, shaped
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.graph.op import Op
from tensorwright.graph.substitute import substituted
from tensorwright.ops.checks import show
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape
from tensorwright.tensor.dim import Atom, Dim


class ConstantLayer(Layer):
    """A tensor known at build time; in a network with implicit batch the same for all elements of the batch."""

    type = LayerType.CONSTANT
    call = "add_constant"

    shape = Setting(integers(0))
    weights = Setting(trained)

    def __init__(self, network: Network, name: str | None, shape: Sequence[int], weights: object) -> None:
        super().__init__(network, name, [])
        self.shape = shape
        self.weights = weights

    def lower(self, *inputs: Value) -> Sequence[Value]:
        if count(self.weights) != prod(self.shape):
            extents = "×".join(map(str, self.shape)) or "1"
            raise NetworkError(f"weights have {count(self.weights)} values, {extents} = {prod(self.shape)} needed")
        batch = (1,) * self.batch_axes
        return (self.constant(shaped(self.weights, (*batch, *self.shape), self.weights.type.dtype)),)


class ParameterLayer(ConstantLayer):
    """Weights of an operator of a parsed model: of just the shape that is said, also with implicit batch."""

    @property
    def batch_axes(self) -> int:
        return 0


def matrix_operation(name: str, value: object) -> MatrixOperation:
    """A MatrixOperation; True and False of the older interface mean TRANSPOSE and NONE."""
    if isinstance(value, bool):
        return MatrixOperation.TRANSPOSE if value else MatrixOperation.NONE
    return member(MatrixOperation)(name, value)


class MatrixMultiplyLayer(Layer):
    """``y[..., m, n] = Σ a[..., m, k] b[..., k, n]``; leading axes of extent 1 broadcast.

    An operand read as VECTOR has only the axis k, and the result lacks the axis that the operand lacks.
    """

    type = LayerType.MATRIX_MULTIPLY
    call = "add_matrix_multiply"

    op0 = Setting(matrix_operation)
    op1 = Setting(matrix_operation)

    def __init__(
        self,
        network: Network,
        name: str | None,
        input0: Tensor,
        op0: MatrixOperation | bool,
        input1: Tensor,
        op1: MatrixOperation | bool,
    ) -> None:
        super().__init__(network, name, [input0, input1])
        self.op0 = op0
        self.op1 = op1

    def lower(self, *inputs: Value) -> Sequence[Value]:
        a = self._matrix(inputs[0], self.op0, as_row=True)
        b = self._matrix(inputs[1], self.op1, as_row=False)
        if a.type.rank != b.type.rank:
            raise NetworkError(
                f"expected inputs with the same number of leading dimensions, found {show(inputs[0].type.shape)} and "
                f"{show(inputs[1].type.shape)}; add dimensions of extent 1 with add_shuffle"
            )
        transposed = (self.op0 is MatrixOperation.TRANSPOSE, self.op1 is MatrixOperation.TRANSPOSE)
        result = self.node(MatMul(*transposed), a, b)
        *lead, rows, columns = result.type.shape
        kept = [] if self.op0 is MatrixOperation.VECTOR else [rows]
        kept += [] if self.op1 is MatrixOperation.VECTOR else [columns]
        return (result if len(kept) == 2 else self.node(Reshape((*lead, *kept)), result),)

    def _matrix(self, x: Value, operation: MatrixOperation, *, as_row: bool) -> Value:
        if operation is not MatrixOperation.VECTOR:
            return x
        if x.type.rank <= self.batch_axes:
            raise NetworkError(f"expected a vector, found {show(x.type.shape)}")
        *lead, extent = x.type.shape
        return self.node(Reshape((*lead, 1, extent) if as_row else (*lead, extent, 1)), x)


def _operator(name: str, value: object) -> Op:
    if not isinstance(value, Op):
        raise NetworkError(f"{name}: expected an operator of tensorwright.ops, found {type(value).__name__}")
    return value


class OperatorLayer(Layer):
    """Any operator of `tensorwright.ops`: what parsers make. `op` can be set, as can single attributes.

    Attributes count all axes, the one of an implicit batch too.
    """

    type = LayerType.OPERATOR
    call = "add_operator"
    settled = False

    op = Setting(_operator)

    def __init__(self, network: Network, name: str | None, op: Op, inputs: Sequence[Tensor]) -> None:
        super().__init__(network, name, inputs)
        self.op = op

    @property
    def operator(self) -> str:
        """The name of the operator."""
        return self.op.name

    @property
    def attributes(self) -> dict[str, object]:
        """The attributes of the operator by name."""
        return dict(self.op.attributes)

    def set_attribute(self, name: str, value: object) -> None:
        """Give one attribute of the operator another value."""
        known = [field.name for field in fields(self.op)]
        if name not in known:
            raise self.error(f"{self.operator} has no attribute '{name}'; it has {', '.join(known) or 'none'}")
        self.op = replace(self.op, **{name: value})

    def substitute(self, replacements: Mapping[Atom, Dim]) -> None:
        self.op = substituted(self.op, replacements)

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self.node(self.op, *inputs),)
