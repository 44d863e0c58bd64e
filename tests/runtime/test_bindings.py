"""Sizes follow from shapes, or the call is refused with names, expectation, finding and advice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native_plans
from tensorwright.base.errors import ExecutionError
from tensorwright.plan.plan import Binding
from tensorwright.runtime.arrays import OutputMemory
from tensorwright.runtime.bindings import BindingTable, Evidence, bare_symbol, format_shape
from tensorwright.tensor.dim import Symbol, expression, floor_divide
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.type import TensorType

N, H, FIXED = Symbol("N", 1, 2, 8), Symbol("H", 4, 8, 100), Symbol("F", 3, 3, 3)
n, h, f = expression(N), expression(H), expression(FIXED)


def table(*bindings, symbols=(N, H), batch_symbol=None):
    plan = replace(native_plans.plan(), bindings=bindings, symbols=symbols, batch_symbol=batch_symbol)
    return BindingTable(plan)


def given_input(name, *shape, dtype=FLOAT32):
    return Binding(name, "input", TensorType(dtype, shape))


def wanted_output(name, *shape):
    return Binding(name, "output", TensorType(FLOAT32, shape))


TABLE = table(given_input("x", n, 3, h), given_input("mask", n, floor_divide(h, 2) + 1), wanted_output("y", n * h, 2))


@given(st.integers(1, 8), st.integers(4, 100))
def test_symbols_follow_from_input_shapes(batch, height):
    sizes = TABLE.sizes({0: (batch, 3, height), 1: (batch, height // 2 + 1)}, {})
    assert sizes.symbols == (batch, height)
    assert sizes.shapes == ((batch, 3, height), (batch, height // 2 + 1), (batch * height, 2))


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        (
            (2, 3),
            (2, 5),
            r"input 'x' of engine 'scaling': expected 3 dimensions \[N in 1..8, 3, H in 4..100\], found 2",
        ),
        ((9, 3, 8), (9, 5), r"dimension 'N' is 9, because axis 0 of input 'x' .* has 9; expected 1 to 8; build"),
        ((0, 3, 8), (0, 5), r"dimension 'N' is 0, .* expected 1 to 8"),
        ((2, 3, 8), (3, 5), r"'N' cannot be both 2 and 3: axis 0 of input 'x' .* has 2, but axis 0 of input 'mask'"),
        ((2, 4, 8), (2, 5), r"input 'x' .* found \[2, 4, 8\]: axis 1 must be 3; reshape or crop"),
        ((2, 3, 8), (2, 6), r"axis 1 must be 5 = \(H // 2\) \+ 1 \(H: axis 2 of input 'x' .* has 8\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, mask, message):
    with pytest.raises(ExecutionError, match=message):
        TABLE.sizes({0: x, 1: mask}, {})


def test_a_symbol_without_a_value_is_named():
    with pytest.raises(ExecutionError, match="the size of H is not known; call set_input_shape"):
        TABLE.sizes({}, {"N": Evidence(2, "the batch size is 2")})


def test_a_symbol_with_one_value_needs_no_evidence():
    only = table(given_input("x", f, 2), symbols=(FIXED,))
    assert only.sizes({}, {}).shapes == ((3, 2),)


def test_negative_sizes_are_refused():
    shrinking = table(given_input("x", h), wanted_output("y", h - 10), symbols=(H,))
    assert shrinking.sizes({0: (10,)}, {}).shapes[1] == (0,)
    with pytest.raises(ExecutionError, match=r"output 'y' \[.*\] would have the shape \[-6\] with \{'H': 4\}"):
        shrinking.sizes({0: (4,)}, {})


def test_the_batch_symbol_is_the_plans_own_or_the_only_leading_one():
    x, y = given_input("x", n, 3), given_input("y", n, 5)
    assert table(x, y, symbols=(N,)).batch_symbol == N
    assert table(x, y, symbols=(N,)).max_batch_size == 8
    assert table(given_input("x", 3, n), symbols=(N,)).batch_symbol is None
    assert table(x, given_input("y", 5), symbols=(N,)).batch_symbol is None
    assert TABLE.batch_symbol is None
    assert TABLE.max_batch_size == 1
    assert table(x, given_input("z", h), batch_symbol="N").batch_symbol == N


@pytest.mark.parametrize("batch", [0, 9, -1, 2.0, "2", None])
def test_a_batch_out_of_range_is_refused(batch):
    with pytest.raises(ExecutionError, match="expected a batch size from 1 to 8, found"):
        table(given_input("x", n, 3), symbols=(N,)).batch_evidence(batch)


def test_a_batch_size_needs_a_batch_dimension():
    assert TABLE.batch_evidence(1) == {}
    with pytest.raises(ExecutionError, match="from 1 to 1, found 2; its batch is part of the shapes"):
        TABLE.batch_evidence(2)


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ([64, 64], r"expected 3 addresses \('x', 'ids', 'y'\), found 2"),
        ([0, 64, 64], "input 'x' .* positive multiple of 4, found 0x0"),
        ([64, 68, 64], "input 'ids' .* positive multiple of 8, found 0x44"),
        ([64, 64, -4], "output 'y' .* found -0x4"),
        ([64, 64, 1 << 64], "output 'y' .* positive multiple of 4"),
        ([64, "64", 64], r"input 'ids' .* expected an address \(an integer\), found str; pass array.ctypes.data"),
        ([64, 64.0, 64], "found float"),
        ([64, None, 64], "found NoneType"),
        (None, "expected a list of addresses .* found NoneType"),
        ("abc", r"expected an address \(an integer\), found str"),
    ],
)
def test_wrong_addresses_are_refused(addresses, message):
    several = table(given_input("x", n), given_input("ids", n, dtype=INT64), wanted_output("y", n))
    with pytest.raises(ExecutionError, match=message):
        several.addresses(addresses)


def test_addresses_may_be_objects_that_stand_for_integers():
    class DevicePointer:
        def __index__(self):
            return 128

    assert table(given_input("x", n)).addresses([DevicePointer()]) == [128]


def test_what_has_no_elements_needs_no_address():
    rows = Symbol("R", 0, 2, 8)
    past, ids = given_input("past", expression(rows), 3), given_input("ids", n, dtype=INT64)
    several = table(past, ids, wanted_output("y", n), symbols=(rows, N))
    assert several.sizes({0: (0, 3), 1: (3,)}, {}).empty == (0,)
    assert several.addresses([0, 64, 64], empty=(0,)) == [0, 64, 64]
    with pytest.raises(ExecutionError, match=r"input 'ids' .* found 0x0"):
        several.addresses([0, 0, 64], empty=(0,))


def test_bindings_are_found_by_number_and_name():
    assert TABLE.number("mask") == TABLE.number(1) == 1
    with pytest.raises(ExecutionError, match="has no binding 'z'; expected one of 'x', 'mask', 'y'"):
        TABLE.number("z")
    for number in (3, -1):
        with pytest.raises(ExecutionError, match=f"has no binding {number}; expected a number from 0 to 2"):
            TABLE.number(number)


def test_unknown_dimensions_are_minus_one():
    assert TABLE.partial_shape(2, {}) == (-1, 2)
    assert TABLE.partial_shape(0, TABLE.evidence({1: (4, 7)}, {})) == (4, 3, -1)


def test_a_bare_symbol_is_recognised():
    assert bare_symbol(n) == N
    assert [bare_symbol(dim) for dim in (4, n * 2, n + 1, n * h, floor_divide(n, 2))] == [None] * 5
    assert format_shape((n, 2 * h, 4)) == "[N in 1..8, 2*H, 4]"


def test_an_output_that_no_memory_holds_is_an_error():
    with pytest.raises(ExecutionError, match=r"an output needs 4611686018427387904 bytes, more than there is"):
        OutputMemory().take(1 << 62)


def test_extents_of_several_symbols_show_the_last_one_that_is_unknown():
    pair = table(given_input("mask", n + 2 * h), given_input("x", n), wanted_output("y", n * h))
    assert pair.sizes({0: (21,), 1: (3,)}, {}).symbols == (3, 9)
    with pytest.raises(ExecutionError, match=r"expected shape .* found 20 on axis 0"):
        pair.sizes({0: (20,), 1: (3,)}, {})
    with pytest.raises(ExecutionError, match=r"'H' is 3, because axis 0 of input 'mask' .* which is 2\*H \+ N, has 9"):
        pair.sizes({0: (9,), 1: (3,)}, {})
    with pytest.raises(ExecutionError, match="the size of N, H is not known"):
        pair.sizes({0: (9,)}, {})
