"""Symbols keep to the values for which a network's tensors exist."""

from __future__ import annotations

import pytest

from tensorwright.build.ranges import narrowed
from tensorwright.graph.graph import Graph, Value, apply, input_value
from tensorwright.ops.indexing import TopKIndices
from tensorwright.ops.pooling import Pool
from tensorwright.ops.resize import Resize
from tensorwright.ops.shape import Concatenation, Slice
from tensorwright.tensor.dim import maximum, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType

N = symbol("n", 1, 3, 20)


def of(shape) -> Value:
    return input_value("x", TensorType(FLOAT32, shape))


def range_of(value: Value) -> tuple[int, int, int]:
    x = value.inputs[0]
    graph = narrowed(Graph((("x", x),), (("y", value),)))
    (found,) = graph.symbols()
    return found.min, found.opt, found.max


def test_elements_outside_of_a_tensor_are_not_taken():
    x = of((N, 2))
    assert range_of(apply(Slice((2, 0), (4, 2), (1, 1)), x)) == (6, 6, 20)
    assert range_of(apply(Slice((4, 0), (N - 4, 2), (1, 1)), x)) == (4, 4, 20)
    assert range_of(apply(Slice((12 - N, 0), (1, 2), (1, 1)), x)) == (7, 7, 12)


def test_of_nothing_no_element_is_outside():
    assert range_of(apply(Slice((5, 0), (maximum(N - 5, 0), 2), (1, 1)), of((N, 2)))) == (1, 3, 20)


def test_windows_have_a_place():
    ones, none = (1,), (0,)
    assert range_of(apply(Pool("max", (7,), (2,), none, none, ones), of((1, 1, N)))) == (5, 5, 20)


def test_nothing_is_sampled_where_there_is_nothing():
    assert range_of(apply(Resize("nearest", (None, 1.0), (3, 2)), of((N - 3, 2)))) == (4, 4, 20)
    assert range_of(apply(Resize("nearest", (None, 1.0), (N - 3, 2)), of((N - 3, 2)))) == (3, 3, 20)


def test_no_more_are_ranked_than_there_are():
    assert range_of(apply(TopKIndices(4, 0), of((N,)))) == (4, 4, 20)


@pytest.mark.parametrize("extent", [1, 9])
def test_what_always_exists_is_left(extent):
    x = of((N, extent))
    assert range_of(apply(Concatenation(0), x, x)) == (1, 3, 20)
