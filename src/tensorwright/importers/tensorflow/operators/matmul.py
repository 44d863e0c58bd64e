"""Matrix products."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.einsum import einsum
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops import matmul


def MatMul(node: Node, a: Value, b: Value, *, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    if a.type.rank != 2 or b.type.rank != 2:
        node.fail(f"operands must be matrices, found {a.type} and {b.type}")
    return node.apply(matmul.MatMul(transpose_a, transpose_b), a, b)


def BatchMatMul(node: Node, a: Value, b: Value, *, adj_x: bool = False, adj_y: bool = False) -> Value:
    return node.apply(matmul.MatMul(adj_x, adj_y), a, b)


def BatchMatMulV2(node: Node, a: Value, b: Value, *, adj_x: bool = False, adj_y: bool = False) -> Value:
    return node.apply(matmul.MatMul(adj_x, adj_y), a, b)


def BatchMatMulV3(node: Node, a: Value, b: Value, *, adj_x: bool = False, adj_y: bool = False) -> Value:
    return node.apply(matmul.MatMul(adj_x, adj_y), a, b)


def Einsum(node: Node, first: Value, *others: Value, equation: str) -> Value:
    return einsum(node, (first, *others), equation)
