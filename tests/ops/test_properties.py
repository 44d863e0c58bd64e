"""Definition and reference agree on shapes, strides, pads, groups and dilations that nobody picked by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cases.case import Case, Operand, assert_close, f32
from tensorwright.base.errors import ShapeError
from tensorwright.graph.interpret import interpret
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Pad, Reshape, Slice
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import INT8, INT16, INT32, UINT8, DType

CHANNELS = st.sampled_from([1, 2, 3, 5])
EXTENTS = st.integers(1, 7)


def agree(op, operands, symbols=None, seed=0) -> None:
    case = Case("drawn", op, tuple(operands), symbols=symbols or {})
    arrays = case.arrays(np.random.default_rng(seed))
    expected = case.expected(arrays)
    assert expected.shape == case.output_shape
    assert_close(interpret(op.define(case.types, case.output), arrays, case.symbols), expected, 1e-5)


def per_axis(draw, count: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(low, high)) for _ in range(count))


def maybe_symbolic(draw, extents: tuple[int, ...]) -> tuple[tuple, dict[str, int]]:
    """The extents, each perhaps as a symbol, and the values of the symbols."""
    chosen = [draw(st.booleans()) for _ in extents]
    shape = tuple(
        symbol(f"d{axis}", 1, extent, extent + 3) if symbolic else extent
        for axis, (extent, symbolic) in enumerate(zip(extents, chosen, strict=True))
    )
    return shape, {f"d{axis}": extent for axis, extent in enumerate(extents)}


def fits(op, *operands) -> bool:
    try:
        op.infer([operand.type for operand in operands])
    except ShapeError:
        return False
    return True


@st.composite
def convolutions(draw):
    spatial = draw(st.integers(1, 2))
    groups, per_group, outputs = draw(st.integers(1, 3)), draw(CHANNELS), draw(CHANNELS)
    window, dilations = per_axis(draw, spatial, 1, 4), per_axis(draw, spatial, 1, 3)
    before, after = per_axis(draw, spatial, 0, 3), per_axis(draw, spatial, 0, 3)
    extents = tuple(
        max(1, (k - 1) * d + 1 - b - a) + draw(st.integers(0, 4))
        for k, d, b, a in zip(window, dilations, before, after, strict=True)
    )
    op = Convolution(per_axis(draw, spatial, 1, 3), before, after, dilations, groups)
    lead, symbols = maybe_symbolic(draw, (draw(st.integers(1, 2)), *extents))
    x = f32(lead[0], groups * per_group, *lead[1:])
    bias = [f32(groups * outputs)] if draw(st.booleans()) else []
    return op, [x, f32(groups * outputs, per_group, *window), *bias], symbols


@st.composite
def deconvolutions(draw):
    spatial = draw(st.integers(1, 2))
    groups, per_group, outputs = draw(st.integers(1, 3)), draw(CHANNELS), draw(CHANNELS)
    window, dilations, strides = (per_axis(draw, spatial, 1, high) for high in (5, 3, 3))
    extents = per_axis(draw, spatial, 1, 5)
    full = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(extents, window, strides, dilations, strict=True)]
    before = tuple(draw(st.integers(0, min(3, size - 1))) for size in full)
    after = tuple(draw(st.integers(-2, min(3, size - 1 - b))) for size, b in zip(full, before, strict=True))
    op = Deconvolution(strides, before, after, dilations, groups, per_axis(draw, spatial, 0, 2))
    lead, symbols = maybe_symbolic(draw, (draw(st.integers(1, 2)), *extents))
    x = f32(lead[0], groups * per_group, *lead[1:])
    return op, [x, f32(groups * per_group, outputs, *window)], symbols


@st.composite
def poolings(draw):
    spatial = draw(st.integers(1, 2))
    window, dilations, strides = (per_axis(draw, spatial, 1, 3) for _ in range(3))
    before = tuple(draw(st.integers(0, k - 1)) for k in window)
    after = tuple(draw(st.integers(0, k - 1)) for k in window)
    extents = tuple((k - 1) * d + 1 + draw(st.integers(0, 5)) for k, d in zip(window, dilations, strict=True))
    mode = draw(st.sampled_from(["max", "average", "lp"]))
    ceil_mode, include = draw(st.booleans()), draw(st.booleans())
    op = Pool(mode, window, strides, before, after, dilations, ceil_mode, include, draw(st.integers(1, 3)))
    shape, symbols = maybe_symbolic(draw, (draw(CHANNELS), *extents))
    return op, [f32(2, *shape)], symbols


@given(convolutions(), st.integers(0, 2**32))
def test_convolution(drawn, seed):
    op, operands, symbols = drawn
    agree(op, operands, symbols, seed)


@given(deconvolutions(), st.integers(0, 2**32))
def test_deconvolution(drawn, seed):
    op, operands, symbols = drawn
    agree(op, operands, symbols, seed)


@given(poolings(), st.integers(0, 2**32))
def test_pooling(drawn, seed):
    op, operands, symbols = drawn
    agree(op, operands, symbols, seed)


@given(st.data())
def test_matrix_multiplication(data):
    rows, inner, columns = (data.draw(EXTENTS) for _ in range(3))
    batch = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    left = tuple(data.draw(st.sampled_from([1, n])) for n in batch)
    right = tuple(data.draw(st.sampled_from([1, n])) for n in batch)[data.draw(st.integers(0, len(batch))) :]
    transpose_a, transpose_b = data.draw(st.booleans()), data.draw(st.booleans())
    (rows, inner, columns), symbols = maybe_symbolic(data.draw, (rows, inner, columns))
    a = (inner, rows) if transpose_a else (rows, inner)
    b = (columns, inner) if transpose_b else (inner, columns)
    agree(MatMul(transpose_a, transpose_b), [f32(*left, *a), f32(*right, *b)], symbols)


@given(st.data())
def test_softmax(data):
    shape, symbols = maybe_symbolic(data.draw, tuple(data.draw(st.lists(EXTENTS, min_size=1, max_size=4))))
    op = Softmax(data.draw(st.integers(0, len(shape) - 1)))
    agree(op, [f32(*shape, low=-50, high=50)], symbols)


@given(st.sampled_from([INT8, UINT8, INT16, INT32]), st.integers(1, 400), st.integers(0, 99))
def test_means_of_integers_hold_their_sums(dtype: DType, count: int, seed: int) -> None:
    agree(Reduction("mean", (1,)), [Operand(dtype, (3, count), -100, 100)], seed=seed)


@given(st.data())
def test_reduction(data):
    shape, symbols = maybe_symbolic(data.draw, tuple(data.draw(st.lists(EXTENTS, min_size=1, max_size=4))))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1)))
    function = data.draw(st.sampled_from(["add", "mean", "max", "min", "mul", "l1", "l2", "log_sum_exp"]))
    agree(Reduction(function, tuple(axes), data.draw(st.booleans())), [f32(*shape)], symbols)


@given(st.data())
def test_slice_is_what_python_slices(data):
    extents = tuple(data.draw(st.lists(EXTENTS, min_size=1, max_size=3)))
    slices = [data.draw(st.slices(extent)) for extent in extents]
    ranges = [range(*s.indices(n)) for s, n in zip(slices, extents, strict=True)]
    op = Slice(tuple(r.start for r in ranges), tuple(len(r) for r in ranges), tuple(r.step for r in ranges))
    agree(op, [f32(*extents)])
    array = np.random.default_rng(0).normal(size=extents)
    np.testing.assert_array_equal(op.reference(array), array[tuple(slices)])


@given(st.data())
def test_pad(data):
    extents = tuple(data.draw(st.lists(EXTENTS, min_size=1, max_size=3)))
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    before = tuple(data.draw(st.integers(-n + 1, n - 1 if mode == "reflect" else 2 * n)) for n in extents)
    after = tuple(data.draw(st.integers(-n + 1, n - 1 if mode == "reflect" else 2 * n)) for n in extents)
    op = Pad(before, after, mode, 0.75)
    shape, symbols = maybe_symbolic(data.draw, extents)
    if fits(op, f32(*extents)) and fits(op, f32(*shape)):
        agree(op, [f32(*shape)], symbols)


@settings(max_examples=200)
@given(st.data())
def test_reshape(data):
    factors = data.draw(st.lists(st.sampled_from([1, 1, 2, 3, 5]), max_size=5))
    symbolic, symbols = maybe_symbolic(data.draw, tuple(factors))

    def grouped() -> tuple:
        shape: list = []
        for factor in symbolic:
            if shape and data.draw(st.booleans()):
                shape[-1] = shape[-1] * factor
            else:
                shape.append(factor)
        return tuple(shape)

    before, after = grouped(), grouped()
    agree(Reshape(after), [f32(*before)], symbols)
