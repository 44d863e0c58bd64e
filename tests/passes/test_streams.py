"""Which values are residual streams."""

from __future__ import annotations

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization
from tensorwright.passes.streams import residual_streams
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

ROW = constant_value(weights_of(np.ones(8, np.float32)), "row")
SQUARE = constant_value(weights_of(np.eye(8, dtype=np.float32)), "square")


def normalised(x: Value) -> Value:
    return apply(LayerNormalization(1, 1e-5), x, ROW)


def product(x: Value) -> Value:
    return apply(MatMul(), x, SQUARE)


def total(x: Value, y: Value) -> Value:
    return apply(Binary("add"), x, y)


def test_sums_that_are_normalised_and_what_normalises_them() -> None:
    x = input_value("x", TensorType(FLOAT32, (4, 8)))
    first = normalised(total(product(x), ROW))  # What it reads is a bias added to a product.
    behind = total(first, product(first))
    last = normalised(behind)
    before = total(last, product(normalised(product(last))))  # Nothing normalises it.
    graph = Graph((("x", x),), (("y", product(before)),), "g")
    assert residual_streams(graph) == {first, behind, last}
