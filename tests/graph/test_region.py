"""Regions as one computation: operators put into the loads of those that read them."""

from __future__ import annotations

import numpy as np
import pytest

from cases.case import Array, assert_close
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.interpret import interpret
from tensorwright.graph.region import region_of
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.indexing import Gather, GatherElements
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.type import TensorType


def value_of(value: Value, arrays: dict[Value, Array]) -> Array:
    if value in arrays:
        return arrays[value]
    return value.op.reference(*(value_of(operand, arrays) for operand in value.inputs))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("op", [Gather(0), GatherElements(0)], ids=lambda op: op.name)
def test_what_is_computed_is_read_at_indices_from_data(
    op: Gather | GatherElements, order: tuple[int, ...], rng: np.random.Generator
) -> None:
    x, y = (input_value(name, TensorType(FLOAT32, (4, 3))) for name in "xy")
    indices = input_value("indices", TensorType(INT64, (2, 3)))
    total = apply(Binary("mul"), apply(Binary("add"), x, y), x)
    taken = apply(op, total, indices)
    region = region_of([total.inputs[0], total, taken], taken)
    arrays = {
        x: rng.standard_normal((4, 3)), y: rng.standard_normal((4, 3)), indices: rng.integers(0, 4, (2, 3)),
    }  # fmt: skip
    inputs = tuple(region.inputs[number] for number in order)
    found = interpret(type(region)(region.values, inputs, taken).computation, [arrays[value] for value in inputs])
    assert_close(found, value_of(taken, arrays), 1e-6)
