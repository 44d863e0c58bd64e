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
from tensorwright.ops.shape import Reshape
from tensorwright.tensor.dim import Dim, symbol
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


def joined(rows: Dim, columns: Dim) -> str:
    """The signature of a product of both axes, seen as one."""
    x = input_value("x", TensorType(FLOAT32, (rows, columns, 4)))
    total = apply(Binary("add"), x, x)
    return region_of([total, apply(Reshape((rows * columns, 4)), total)]).signature


def test_names_of_symbols_are_not_part_of_what_a_region_needs() -> None:
    a, b, c = (symbol(name, 1, 4, 8) for name in "abc")
    assert len({joined(a, b), joined(b, a), joined(c, b), joined(b, c)}) == 1


def test_ranges_of_symbols_and_which_axes_are_equal_are_part_of_what_a_region_needs() -> None:
    a, b = (symbol(name, 1, 4, 8) for name in "ab")
    others = [joined(a, a), joined(a, symbol("b", 1, 4, 9)), joined(a, symbol("b", 1, 5, 8)), joined(a, 8)]
    assert len({joined(a, b), *others}) == 1 + len(others)
