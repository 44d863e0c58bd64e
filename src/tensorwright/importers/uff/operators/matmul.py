"""Matrix products."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.uff.fields import Order
from tensorwright.importers.uff.node import Node
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import product


def FullyConnected(
    node: Node, x: Value, kernel: Value, *, inputs_orders: tuple[Order, ...] = ((0, 1), (1, 0))
) -> Value:
    """``y[n, k] = Σ x[n, c] kernel[c, k]``; the orders say which axis of each matrix is which."""
    if x.type.rank < 2 or kernel.type.rank != 2 or len(inputs_orders) != 2:
        node.fail(f"expected two matrices and two orders, found {x.type}, {kernel.type} and {list(inputs_orders)}")
    if any(sorted(order) != [0, 1] for order in inputs_orders):
        node.unsupported(f"orders {list(inputs_orders)} are not those of matrices")
    data, weights = inputs_orders
    flat = x if x.type.rank == 2 else node.reshape(x, (x.type.shape[0], product(x.type.shape[1:])))
    return node.apply(MatMul(data == (1, 0), weights == (0, 1)), flat, kernel)
