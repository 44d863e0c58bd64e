"""Matrix multiplication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Computation, Load, Variable, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect_equal, expect_inputs
from tensorwright.ops.broadcast import broadcast_shapes
from tensorwright.ops.checks import expect_factors, expect_rank, show
from tensorwright.ops.mathematics import accumulator, call, convert, position, positions, reduce_over, widened
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.equations import Unequal
from tensorwright.tensor.type import Shape, TensorType


@dataclass(frozen=True, eq=False)
class MatMul(Op):
    """``y[..., m, n] = Σ a[..., m, k] b[..., k, n]``; batch axes broadcast; either operand may come transposed.

    Inputs: a ``[*A, M, K]`` (``[*A, K, M]`` with `transpose_a`), b ``[*B, K, N]`` (``[*B, N, K]`` with
    `transpose_b`), both of rank 2 or more. Output: ``[*broadcast(A, B), M, N]``, int32 for integers of 8 bits, of which
    one side alone may be signed.
    """

    transpose_a: bool = False
    transpose_b: bool = False
    kind: ClassVar[Kind] = "anchor"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        a, b = inputs
        expect_rank(self, a, 2, 64, "a")
        expect_rank(self, b, 2, 64, "b")
        dtype = expect_factors(self, inputs, ("a", "b"))
        (rows, inner), (other, columns) = _oriented(a.shape, self.transpose_a), _oriented(b.shape, self.transpose_b)
        found = f"found a {show(a.shape)}, b {show(b.shape)}"
        expect_equal(inner, other, self, f"expected equal inner extents, {found}: {inner} against {other}")
        try:
            batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
        except Unequal as error:
            message = f"{self.name}: expected batch axes that broadcast, {found}"
            raise Unequal(message, error.left, error.right) from None
        return TensorType(dtype, (*batch, rows, columns))

    def reference(self, *inputs: Array) -> Array:
        a, b = map(widened, inputs)
        left = np.swapaxes(a, -1, -2) if self.transpose_a else a
        right = np.swapaxes(b, -1, -2) if self.transpose_b else b
        return np.asarray(np.matmul(left, right))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        a, b = inputs
        variables = variables_for(output.shape)
        *batch, row, column = positions(variables)
        inner = Variable("r0", _oriented(a.shape, self.transpose_a)[1])
        k = position(inner)
        wide = accumulator(output.dtype)
        left = Load(0, _matrix_index(a.shape, batch, row, k, self.transpose_a), a.dtype)
        right = Load(1, _matrix_index(b.shape, batch, k, column, self.transpose_b), b.dtype)
        total = reduce_over("add", (inner,), call("mul", convert(left, wide), convert(right, wide)))
        return Computation(variables, convert(total, output.dtype))


def _oriented(shape: Shape, transposed: bool) -> tuple[Dim, Dim]:
    return (shape[-1], shape[-2]) if transposed else (shape[-2], shape[-1])


def _matrix_index(shape: Shape, batch: Sequence[Dim], row: Dim, column: Dim, transposed: bool) -> tuple[Dim, ...]:
    own = batch[len(batch) - (len(shape) - 2) :]
    lead = tuple(0 if extent == 1 else index for extent, index in zip(shape[:-2], own, strict=True))
    return (*lead, column, row) if transposed else (*lead, row, column)
