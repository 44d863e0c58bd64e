"""Products whose right factor is repeated for groups of heads."""

from __future__ import annotations

import pytest

from graphs import binary, given, network, operators, optimised, unary
from tensorwright.graph.graph import apply
from tensorwright.ops.elementwise import ReplaceNan
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Expand, Reshape, Tile, Transpose
from tensorwright.tensor.dim import symbol

BATCH, LENGTH, TOTAL = symbol("batch", 1, 2, 4), symbol("length", 1, 3, 6), symbol("total", 1, 5, 9)
SYMBOLS = {"batch": 2, "length": 3, "total": 5}
GROUPS, REPEATS, DEPTH = 2, 3, 4
HEADS = GROUPS * REPEATS


def repeated(x, *, tiles=False):
    batch, groups, rows, columns = x.type.shape
    narrow = apply(Reshape((batch, groups, 1, rows, columns)), x)
    op = Tile((1, 1, REPEATS, 1, 1)) if tiles else Expand((batch, groups, REPEATS, rows, columns))
    return apply(Reshape((batch, groups * REPEATS, rows, columns)), apply(op, narrow))


def attention(rows, mask=None, *, between=lambda scores: scores, tiles=False):
    q = given("q", BATCH, HEADS, rows, DEPTH)
    k, v = (given(name, BATCH, GROUPS, TOTAL, DEPTH) for name in ("k", "v"))
    turned = apply(Transpose((0, 1, 3, 2)), repeated(k, tiles=tiles))
    scores = binary("mul", apply(MatMul(), q, turned), 0.5)
    scores = between(scores if mask is None else binary("add", scores, mask))
    return network(apply(MatMul(), apply(Softmax(3), scores), repeated(v, tiles=tiles)))


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("rows", [1, 4, LENGTH])
def test_no_matrix_is_repeated(rows, tiles, rng):
    result = optimised(attention(rows, tiles=tiles), rng, symbols=SYMBOLS)
    assert not {"Expand", "Tile"} & operators(result).keys()
    assert operators(result)["MatMul"] == 2


@pytest.mark.parametrize("rows", [1, 4, LENGTH])
@pytest.mark.parametrize("heads", [1, HEADS])
def test_masks_are_regrouped(rows, heads, rng):
    for mask_rows in (1, rows):
        mask = given("mask", BATCH, heads, mask_rows, TOTAL)
        result = optimised(attention(rows, mask), rng, symbols=SYMBOLS)
        (power,) = (value for value in result.order() if isinstance(value.op, Softmax))
        assert power.type.shape == (BATCH, GROUPS, REPEATS * rows, TOTAL)
        wide = [value for value in result.order() if isinstance(value.op, Expand)]
        assert all(value.type.shape[-1] == TOTAL for value in wide)
        assert len(wide) == (rows != 1 and (heads == 1) == (mask_rows != 1))


def test_what_is_between_may_be_anything(rng):
    guarded = attention(1, between=lambda s: apply(ReplaceNan(0.0), s))
    assert "Expand" not in operators(optimised(guarded, rng, symbols=SYMBOLS))
    turned = attention(4, between=lambda s: unary("exp", apply(Reshape(s.type.shape), apply(Softmax(2), s))))
    result = optimised(turned, rng, symbols=SYMBOLS)
    assert "Expand" not in operators(result)


@pytest.mark.parametrize("shape", [(BATCH, HEADS, 1, 4), (1, HEADS, 1, 4), (HEADS, 1, 4)])
def test_one_product_alone(shape, rng):
    k = repeated(given("k", BATCH, GROUPS, 4, TOTAL))
    result = optimised(network(apply(MatMul(), given("q", *shape), k)), rng, symbols=SYMBOLS)
    assert ("Expand" in operators(result)) == (shape[0] != BATCH)


def test_matrices_that_are_repeated_in_another_order_stay(rng):
    k = given("k", BATCH, GROUPS, 4, TOTAL)
    whole = apply(Tile((1, REPEATS, 1, 1)), k)
    graph = network(apply(MatMul(), given("q", BATCH, HEADS, 1, 4), whole))
    assert "Tile" in operators(optimised(graph, rng, symbols=SYMBOLS))
