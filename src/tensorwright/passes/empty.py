"""Tensors without elements need no computing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tensorwright.graph.graph import Graph, Value, constant_value, is_constant
from tensorwright.tensor.weights import weights_of


def replace_empty(graph: Graph) -> Graph:
    """``f(x) = c`` where f(x) has no elements: whoever reads it reads a constant without elements.

    What has no elements for some values of the symbols only is computed, by kernels without tasks.
    """

    def visit(value: Value) -> Value | None:
        if not value.type.is_static or not value.type.is_empty or is_constant(value):
            return None
        return constant_value(weights_of(np.empty(value.type.tuning_shape, value.type.dtype.numpy)), value.name)

    return replace(graph.rebuild(visit), inputs=graph.inputs)
