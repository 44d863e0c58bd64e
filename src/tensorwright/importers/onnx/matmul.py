"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import element
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.matmul import MatMul as MatMulOp
from tensorwright.tensor.dtype import INT32


def MatMul(node: Node, a: Value, b: Value) -> Value:
    if a.type.rank == 0 or b.type.rank == 0:
        node.fail(f"operands must have at least one axis, found {a.type} and {b.type}")
    left = node.reshape(a, (1, *a.type.shape)) if a.type.rank == 1 else a
    right = node.reshape(b, (*b.type.shape, 1)) if b.type.rank == 1 else b
    product = node.apply(MatMulOp(False, False), left, right)
    shape = list(product.type.shape)
    if b.type.rank == 1:
        del shape[-1]
    if a.type.rank == 1:
        del shape[-1 if b.type.rank == 1 else -2]
    return node.reshape(product, shape)


def Gemm(
    node: Node,
    a: Value,
    b: Value,
    c: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    if a.type.rank != 2 or b.type.rank != 2:
        node.fail(f"operands must be matrices, found {a.type} and {b.type}")
    result = node.apply(MatMulOp(bool(transA), bool(transB)), a, b)
    if alpha != 1.0:
        result = node.multiply(result, node.scalar(alpha, result))
    if c is None or beta == 0.0:
        return result
    return node.add(result, c if beta == 1.0 else node.multiply(c, node.scalar(beta, c)))


def MatMulInteger(
    node: Node, a: Value, b: Value, a_zero_point: Value | None = None, b_zero_point: Value | None = None
) -> Value:
    left, right = node.cast(a, INT32), node.cast(b, INT32)
    if a_zero_point is not None:
        left = node.subtract(left, _rows(node, node.cast(a_zero_point, INT32), a))
    if b_zero_point is not None:
        right = node.subtract(right, node.cast(b_zero_point, INT32))
    return MatMul(node, left, right)


def _rows(node: Node, zero: Value, a: Value) -> Value:
    """A vector of zero points belongs to the rows of the left operand."""
    per_row = zero.type.rank == 1 and zero.type.elements != 1 and a.type.rank > 1
    return node.reshape(zero, (*zero.type.shape, 1)) if per_row else zero


def Det(node: Node, x: Value) -> Value:
    """Up to 3×3 the determinant is written out; larger ones would need a factorisation."""
    size = x.type.shape[-1] if x.type.rank >= 2 and x.type.shape[-1] == x.type.shape[-2] else None
    if size not in DETERMINANTS:
        node.unsupported(f"determinants of matrices up to 3×3 are supported, found {x.type}")
    return DETERMINANTS[size](node, x)


def _cell(node: Node, x: Value, row: int, column: int) -> Value:
    return element(node, element(node, x, x.type.rank - 1, column), x.type.rank - 2, row)


def _minor(node: Node, x: Value, rows: tuple[int, int], columns: tuple[int, int]) -> Value:
    down = node.multiply(_cell(node, x, rows[0], columns[0]), _cell(node, x, rows[1], columns[1]))
    up = node.multiply(_cell(node, x, rows[0], columns[1]), _cell(node, x, rows[1], columns[0]))
    return node.subtract(down, up)


def _determinant_3(node: Node, x: Value) -> Value:
    terms = [
        node.multiply(_cell(node, x, 0, column), _minor(node, x, (1, 2), ((column + 1) % 3, (column + 2) % 3)))
        for column in range(3)
    ]
    return reduce(node.add, terms)


DETERMINANTS: Mapping[object, Callable[[Node, Value], Value]] = {
    1: lambda node, x: _cell(node, x, 0, 0),
    2: lambda node, x: _minor(node, x, (0, 1), (0, 1)),
    3: _determinant_3,
}
