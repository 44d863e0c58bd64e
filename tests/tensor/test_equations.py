"""What has to hold of symbols so that two dimensions are equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorwright.tensor.dim import Dim, evaluate, expression, maximum, minimum, symbol, symbols_of
from tensorwright.tensor.equations import Unequal, composed, require_equal, restricted, solution

H = symbol("h", 1, 100, 512)
W = symbol("w", 1, 64, 300)
(SYMBOL,) = symbols_of(H)
(WIDTH,) = symbols_of(W)


def strided(extent: Dim, times: int) -> Dim:
    """What convolutions of kernel 3, padding 1 and stride 2 leave of an extent."""
    for _ in range(times):
        extent = (extent - 1) // 2 + 1
    return extent


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (2 * (H // 2), H, 2 * symbol("(h/2)", 1, 50, 256)),
        (4 * ((H // 2) // 2), H, 4 * symbol("(h/4)", 1, 25, 128)),
        (2 * strided(H // 2, 1), H // 2, 4 * symbol("(h/4)", 1, 25, 128)),
        (2 * strided(H, 3), strided(H, 2), 8 * symbol("(h/8)", 1, 12, 64)),
        (7 * ((H + 6) // 7), H, 7 * symbol("(h/7)", 1, 14, 73)),
        (2 * ((H + 1) // 2), H + 1, 2 * symbol("(h/2)", 0, 49, 255) + 1),
        (H % 2, 0, 2 * symbol("(h/2)", 1, 50, 256)),
        (minimum(H, 64), H, symbol("h", 1, 64, 64)),
        (maximum(0, -1 * maximum(0, minimum(H, 64) - H) + minimum(H, 64)), H, symbol("h", 1, 64, 64)),
        (maximum(H, 64), H, symbol("h", 64, 100, 512)),
        (H, 3, 3),
        (3 * H * W, 72 * W, 24),
        (W, H + 7, symbol("w", 8, 64, 300) - 7),
    ],
)
def test_the_least_restriction_is_found(left: Dim, right: Dim, expected: Dim) -> None:
    found = solution(left, right)
    assert found is not None
    assert found[SYMBOL] == expected
    assert restricted(left, found) == restricted(right, found)


@pytest.mark.parametrize(("left", "right"), [(H, 513), (H, 0), (H, H + 1), (3, 4), (H * H, 7), (2 * H, 2 * W + 1)])
def test_what_cannot_be_equal_has_no_solution(left: Dim, right: Dim) -> None:
    assert solution(left, right) is None


def test_what_is_equal_needs_no_restriction() -> None:
    assert solution(H, H) == {}
    assert solution((H - 1) // 2 + 1, (H + 1) // 2) == {}


@given(st.lists(st.sampled_from(["halve", "strided", "double", "cut", "add"]), max_size=6), st.integers(0, 300))
def test_a_restriction_is_within_the_ranges_and_makes_equal(steps: list[str], value: int) -> None:
    ways = {
        "halve": lambda x: x // 2,
        "strided": lambda x: strided(x, 1),
        "double": lambda x: 2 * x,
        "cut": lambda x: minimum(x, 40),
        "add": lambda x: x + 1,
    }
    left: Dim = H
    for step in steps:
        left = ways[step](left)
    found = solution(left, H)
    if found is None:
        return
    dim = restricted(H, found)
    symbols = symbols_of(dim)
    environment = {one.name: min(max(value, one.min), one.max) for one in symbols}
    extent = evaluate(dim, environment)
    assert 1 <= extent <= 512
    assert evaluate(left, {"h": extent}) == extent


def test_two_symbols_become_one_where_only_that_divides() -> None:
    """A mask of the shape [h, w] becomes one of [b, …] in a network whose batch has two names."""
    batch = symbol("b", 1, 2, 600)
    found = solution(H * W // batch * batch, H * W)
    assert found is not None
    assert restricted(batch, found) == restricted(H, found) == H


@pytest.mark.parametrize("names", [("batch", "rows", "columns"), ("columns", "batch", "rows"), ("a", "c", "b")])
def test_symbols_that_are_tuned_alike_become_one(names: tuple[str, str, str]) -> None:
    """A mask of rows and columns is read as ``[batch, -1]``, which is the text's batch, whatever it is called."""
    batch, rows, columns = (symbol(name, 1, extent, 40) for name, extent in zip(names, (2, 2, 12), strict=True))
    found = solution(rows * columns // batch * batch, rows * columns)
    assert found is not None
    assert restricted(batch, found) == restricted(rows, found)
    assert restricted(columns, found) == columns


def test_restrictions_are_put_one_on_the_other() -> None:
    (half,) = symbols_of(symbol("(h/2)", 1, 50, 256))
    first = {SYMBOL: 2 * expression(half)}
    second = {half: 2 * symbol("(h/4)", 1, 25, 128), WIDTH: 4}
    assert restricted(H + W, composed(first, second)) == 4 * symbol("(h/4)", 1, 25, 128) + 4


def test_the_failure_has_both_sides() -> None:
    with pytest.raises(Unequal, match="here") as caught:
        require_equal(H, W, "here")
    error = caught.value.within("layer")
    assert (str(error), error.left, error.right) == ("layer: here", H, W)
