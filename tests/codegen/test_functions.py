"""Functions in generated code give what `tensorwright.graph.functions` says, call nothing and never trap."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest

from codegen.vector_kernel import WIDTHS, Array, Body, applied, kernel_text, run, units_in_the_last_place
from targets import EXECUTABLE, SINGLE
from tensorwright.base.errors import BuildError
from tensorwright.codegen.convert import rounded_integer
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.functions import apply_function, convert
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register, literal, register_dtype
from tensorwright.graph.functions import FUNCTIONS
from tensorwright.tensor.dtype import (
    BFLOAT16,
    BOOL,
    DTYPES,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT32,
    UINT8,
    DType,
)

REGISTER_TYPES = [dtype for dtype in DTYPES.values() if register_dtype(dtype) == dtype]
INTEGERS = [dtype for dtype in REGISTER_TYPES if dtype.is_integer]
FLOATS = [FLOAT32, FLOAT64]
TO_BOOL = {"equal", "less", "less_equal", "is_nan", "is_inf", "and", "or", "xor", "not"}
COMPARISONS = ["equal", "less", "less_equal", "and", "or", "xor"]
FLOAT_PAIRS = ["add", "sub", "mul", "div", "max", "min", *COMPARISONS]
FLOAT_SINGLES = ["neg", "abs", "sqrt", "sign", "floor", "ceil", "round", "trunc", "is_nan", "is_inf", "not"]
TRANSCENDENTAL = [
    "exp", "log", "log1p", "tanh", "erf", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
    "acosh", "atanh",
]  # fmt: skip
INTEGER_PAIRS = [
    "add", "sub", "mul", "div", "mod", "floor_mod", "max", "min", "bit_and", "bit_or", "bit_xor", "shift_left",
    "shift_right", *COMPARISONS,
]  # fmt: skip
INTEGER_SINGLES = ["neg", "abs", "sign", "bit_not", "floor", "ceil", "round", "trunc", "is_nan", "is_inf", "not"]
BOOL_PAIRS = ["add", "mul", "max", "min", "and", "or", "xor", "bit_and", "bit_or", "bit_xor", "equal", "less"]
BOOL_SINGLES = ["not", "bit_not", "abs"]


def result_type(function: str, dtype: DType) -> DType:
    return BOOL if function in TO_BOOL else dtype


def bodies(functions: list[str], dtype: DType) -> list[tuple[Body, DType]]:
    return [(applied(name, result_type(name, dtype)), result_type(name, dtype)) for name in functions]


def single(function: str, dtype: DType) -> tuple[Body, DType]:
    kind = result_type(function, dtype)
    return lambda builder, operands: apply_function(builder, function, operands[:1], kind), kind


def check(pairs: list[str], singles: list[str], arrays: list[Array], dtype: DType) -> None:
    """Compare bit by bit with the reference; sign bits of zeros aside."""
    with np.errstate(all="ignore"):
        expected = [np.asarray(FUNCTIONS[name](*arrays)) for name in pairs]
        expected += [np.asarray(FUNCTIONS[name](arrays[0])) for name in singles]
    kernel = bodies(pairs, dtype) + [single(name, dtype) for name in singles]
    for target, lanes in WIDTHS:
        for name, got, wanted in zip(pairs + singles, run(kernel, arrays, target, lanes), expected, strict=True):
            np.testing.assert_array_equal(got, wanted.astype(got.dtype), err_msg=f"{name} on {target}, {lanes} lanes")


def float_operands(dtype: DType, rng: np.random.Generator) -> list[Array]:
    special = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e30, 8388609.0, 1e-40]
    left, right = np.meshgrid(special, special)
    drawn = rng.normal(0, 100, (2, 1024 - left.size))
    both = np.concatenate([np.stack([left.ravel(), right.ravel()]), drawn], axis=1)
    both[1, -100:] = both[0, -100:]
    return list(both.astype(dtype.numpy))


def integer_operands(dtype: DType, rng: np.random.Generator) -> list[Array]:
    limits = np.iinfo(dtype.numpy)
    left = rng.integers(limits.min + 1, limits.max, 1024, dtype=dtype.numpy, endpoint=True)
    right = rng.integers(max(limits.min, -100), 100, 1024).astype(dtype.numpy)
    right[::9], left[::11], right[5::50] = 0, right[::11], 1
    return [left, right]


@pytest.mark.parametrize("dtype", FLOATS, ids=repr)
def test_float_functions_equal_the_reference(dtype: DType, rng: np.random.Generator) -> None:
    check(FLOAT_PAIRS, FLOAT_SINGLES, float_operands(dtype, rng), dtype)


@pytest.mark.parametrize("dtype", INTEGERS, ids=repr)
def test_integer_functions_equal_the_reference(dtype: DType, rng: np.random.Generator) -> None:
    check(INTEGER_PAIRS, INTEGER_SINGLES, integer_operands(dtype, rng), dtype)


def test_bool_functions_equal_the_reference(rng: np.random.Generator) -> None:
    check(BOOL_PAIRS, BOOL_SINGLES, list(rng.integers(0, 2, (2, 256)).astype(np.bool_)), BOOL)


@pytest.mark.parametrize("dtype", FLOATS, ids=repr)
def test_rounding_keeps_the_sign_of_zero(dtype: DType) -> None:
    values = np.tile(np.array([0.0, -0.0, 0.3, -0.3], dtype.numpy), 16)
    for target, lanes in WIDTHS:
        for name in ("round", "trunc"):
            (got,) = run([single(name, dtype)], [values], target, lanes)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(values), err_msg=f"{name} on {target}")


@pytest.mark.parametrize("dtype", FLOATS, ids=repr)
@pytest.mark.parametrize("function", ["mod", "floor_mod"])
def test_float_remainders_equal_the_reference(function: str, dtype: DType, rng: np.random.Generator) -> None:
    left, right = rng.normal(0, 1e4, 1024), rng.normal(0, 10, 1024)
    left[:64], right[:64] = np.round(left[:64]), np.round(right[:64]) + 0.5
    left[64:70], right[70:74] = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-30], [math.inf, -math.inf, math.nan, 0.0]
    arrays = [left.astype(dtype.numpy), right.astype(dtype.numpy)]
    with np.errstate(all="ignore"):
        expected = np.asarray(FUNCTIONS[function](*arrays))
    for target, lanes in WIDTHS:
        (got,) = run(bodies([function], dtype), arrays, target, lanes)
        np.testing.assert_array_equal(got, expected, err_msg=target)


@pytest.mark.parametrize("dtype", [d for d in INTEGERS if d.kind == "signed"], ids=repr)
def test_division_never_traps(dtype: DType) -> None:
    least = np.iinfo(dtype.numpy).min
    left = np.tile(np.array([least, least, 7, -7], dtype.numpy), 16)
    right = np.tile(np.array([-1, 0, 0, -1], dtype.numpy), 16)
    for target, lanes in WIDTHS:
        quotient, rest, floor_rest = run(bodies(["div", "mod", "floor_mod"], dtype), [left, right], target, lanes)
        np.testing.assert_array_equal(quotient[:4], np.array([least, least, 7, 7], dtype.numpy))
        np.testing.assert_array_equal(rest[:4], 0)
        np.testing.assert_array_equal(floor_rest[:4], 0)


@pytest.mark.parametrize("dtype", INTEGERS, ids=repr)
def test_integer_power_equals_numpy(dtype: DType, rng: np.random.Generator) -> None:
    low = 0 if dtype.kind == "unsigned" else -12
    arrays = [rng.integers(low, 12, 256).astype(dtype.numpy), rng.integers(0, 30, 256).astype(dtype.numpy)]
    for target, lanes in WIDTHS:
        (got,) = run(bodies(["pow"], dtype), arrays, target, lanes)
        np.testing.assert_array_equal(got, np.power(*arrays))


@pytest.mark.parametrize("exponent", [0.0, 0.5, -0.5, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, 2.5])
def test_power_with_a_constant_exponent(exponent: float, rng: np.random.Generator) -> None:
    base = rng.uniform(0.01, 20.0, 256).astype(np.float32)
    if exponent % 1 == 0:
        base *= rng.choice([-1.0, 1.0], 256).astype(np.float32)

    def body(builder: FunctionBuilder, operands: list[Register]) -> Register:
        return apply_function(builder, "pow", [operands[0], literal(exponent, FLOAT32)], FLOAT32)

    for target, lanes in WIDTHS:
        (got,) = run([(body, FLOAT32)], [base], target, lanes)
        assert units_in_the_last_place(got, base.astype(np.float64) ** exponent).max() < 2.6


def test_select_takes_lanes_of_either(rng: np.random.Generator) -> None:
    condition, then, otherwise = rng.integers(0, 2, 256).astype(np.bool_), rng.normal(size=256), rng.normal(size=256)
    for target, lanes in WIDTHS:
        (got,) = run([(applied("select", FLOAT64), FLOAT64)], [condition, then, otherwise], target, lanes)
        np.testing.assert_array_equal(got, np.where(condition, then, otherwise))


def cast_source(dtype: DType, rng: np.random.Generator) -> Array:
    """Numbers that every type can hold without overflow."""
    if dtype == BOOL:
        return rng.integers(0, 2, 256).astype(np.bool_)
    values = rng.uniform(0, 100, 256) if dtype.kind in ("unsigned", "bool") else rng.uniform(-100, 100, 256)
    values[::16] = 0
    return values.astype(dtype.numpy)


@pytest.mark.parametrize("source", DTYPES.values(), ids=repr)
def test_casts_equal_numpy(source: DType, rng: np.random.Generator) -> None:
    values = cast_source(source, rng)
    wanted = [d for d in DTYPES.values() if source.kind == "unsigned" or d.kind != "unsigned" or source == BOOL]

    def body(dtype: DType) -> tuple[Body, DType]:
        return lambda builder, operands: convert(builder, operands[0], dtype), dtype

    for target, lanes in WIDTHS:
        results = run([body(dtype) for dtype in wanted], [values], target, lanes)
        for dtype, got in zip(wanted, results, strict=True):
            expected = values.astype(np.float64).astype(dtype.numpy) if source.is_float else values.astype(dtype.numpy)
            np.testing.assert_array_equal(got, expected, err_msg=f"{source} to {dtype} on {target}, {lanes} lanes")


def test_cast_of_float_saturates() -> None:
    values = np.tile(np.array([300.0, -300.0, math.nan, math.inf], np.float32), 16)
    for target, lanes in WIDTHS:
        signed, unsigned = run(
            [(applied("cast", INT8), INT8), (applied("cast", UINT8), UINT8)], [values], target, lanes
        )
        np.testing.assert_array_equal(signed[:4], [127, -128, 0, 127])
        np.testing.assert_array_equal(unsigned[:4], [255, 0, 0, 255])


@pytest.mark.parametrize(("dtype", "low", "high"), [(UINT8, 0, 255), (INT8, -128, 127), (UINT8, 3, 90)])
@pytest.mark.parametrize("zero", [0, 7])
def test_bounded_numbers_are_rounded_to_even_and_shifted(dtype, low, high, zero) -> None:
    """As quantisation does."""
    extremes = [math.nan, math.inf, -math.inf, 3e9, -3e9, 1e30, 0.49999997, -0.0]
    values = np.concatenate([np.arange(-300, 300) / 2, extremes]).astype(np.float32)

    def body(builder: FunctionBuilder, operands: Sequence[Register]) -> Register:
        return rounded_integer(builder, operands[0], zero, low, high, dtype)

    with np.errstate(invalid="ignore"):
        wanted = np.clip(np.round(values.astype(np.float64)) + zero, low, high)
    expected = np.nan_to_num(wanted, nan=0.0).astype(dtype.numpy)
    for target, lanes in WIDTHS:
        (got,) = run([(body, dtype)], [values], target, lanes)
        np.testing.assert_array_equal(got, expected, err_msg=f"{target}, {lanes} lanes")


def nearest_half(values: Array, dtype: DType) -> Array:
    """The nearest number of a type, of two the one with an even representation, as float32.

    NumPy's conversion of float64 to bfloat16 rounds twice.
    """
    infinity = np.array(math.inf).astype(dtype.numpy).view(np.uint16)
    sizes = np.arange(infinity + 1, dtype=np.uint16).view(dtype.numpy).astype(np.float64)
    sizes[-1] = 2 * sizes[-2] - sizes[-3]
    middles = (sizes[:-1] + sizes[1:]) / 2
    magnitudes = np.abs(values.astype(np.float64))
    above = np.searchsorted(middles, magnitudes, side="left")
    tie = middles[np.minimum(above, middles.size - 1)] == magnitudes
    bits = (above + (tie & (above % 2 == 1))).astype(np.uint16)
    result = np.copysign(bits.view(dtype.numpy).astype(np.float32), values.astype(np.float32))
    return np.where(np.isnan(values), np.float32(math.nan), result)


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("target", [name for name in EXECUTABLE if TARGETS[name].has_bfloat16_dot])
def test_the_instruction_for_bfloat16_rounds_to_nearest_even(target: str, lanes: int) -> None:
    """What is below the normal numbers becomes zero."""
    numbers = np.arange(32640, dtype=np.uint32) << 16
    values = np.concatenate([numbers, numbers + 0x7FFF, numbers + 0x8000, numbers + 0x8001]).view(np.float32)
    values = np.concatenate([values, -values, np.full(64, math.nan, np.float32)])
    (found,) = run([(lambda builder, x: convert(builder, x[0], BFLOAT16), FLOAT32)], [values], target, lanes)
    tiny = np.abs(values) < np.finfo(np.float32).tiny
    np.testing.assert_array_equal(found[~tiny], nearest_half(values, BFLOAT16)[~tiny])
    assert not found[tiny].any()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
@pytest.mark.parametrize("wide", FLOATS, ids=repr)
def test_halves_round_once_to_nearest_even(dtype: DType, wide: DType, rng: np.random.Generator) -> None:
    numbers = np.arange(65536, dtype=np.uint16).view(dtype.numpy)
    with np.errstate(all="ignore"):
        exact = numbers.astype(wide.numpy)
        middle = (exact[:-1] + exact[1:]) / 2
        nearby = [np.nextafter(middle, wide.numpy.type(side)) for side in (-math.inf, math.inf)]
        drawn = rng.normal(size=4096) * np.exp(rng.uniform(-30, 30, 4096))
        values = np.concatenate([exact, middle, *nearby, drawn.astype(wide.numpy)])
        values = np.resize(values, -(-values.size // 64) * 64)
        expected = nearest_half(values, dtype)
    for target, lanes in WIDTHS:
        stored, cast = run(
            [(applied("cast", dtype), dtype), (applied("cast", dtype), FLOAT32)], [values], target, lanes
        )
        np.testing.assert_array_equal(stored.astype(np.float32), expected, err_msg=f"{target}, {lanes} lanes")
        np.testing.assert_array_equal(cast, expected, err_msg=f"{target}, {lanes} lanes")


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
def test_every_half_is_loaded_exactly(dtype: DType) -> None:
    numbers = np.arange(65536, dtype=np.uint16).view(dtype.numpy)
    for target, lanes in WIDTHS:
        (got,) = run([(lambda builder, operands: operands[0], FLOAT32)], [numbers], target, lanes)
        np.testing.assert_array_equal(got, numbers.astype(np.float32), err_msg=f"{target}, {lanes} lanes")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", REGISTER_TYPES, ids=repr)
def test_code_calls_nothing(dtype: DType, target: str) -> None:
    """The linker refuses undefined symbols."""
    pairs, singles = {
        "float": ([*FLOAT_PAIRS, "pow", "mod", "floor_mod"], [*FLOAT_SINGLES, *TRANSCENDENTAL]),
        "bool": (BOOL_PAIRS, BOOL_SINGLES),
    }.get(dtype.kind, ([*INTEGER_PAIRS, "pow"], INTEGER_SINGLES))
    kernel = bodies(pairs, dtype) + [single(name, dtype) for name in singles]
    kernel += [(applied("cast", other), other) for other in DTYPES.values()]
    for lanes in (TARGETS[target].float_lanes, 1):
        text = kernel_text(kernel, [dtype, dtype], target, lanes)
        assert link([compile_object(text, TARGETS[target])]).functions


def test_a_call_of_the_c_library_would_be_noticed() -> None:
    def body(builder: FunctionBuilder, operands: list[Register]) -> Register:
        return builder.intrinsic("sin", operands)

    for target in TARGETS.values():
        text = kernel_text([(body, FLOAT32)], [FLOAT32], target.name, target.float_lanes)
        with pytest.raises(BuildError, match="sinf"):
            link([compile_object(text, target)])


def test_kernels_with_the_same_functions_link() -> None:
    target = TARGETS[SINGLE[0]]
    texts = [kernel_text([single("sin", FLOAT32)], [FLOAT32], target.name, 4, name) for name in ("first", "second")]
    assert {"first", "second"} <= set(link([compile_object(text, target) for text in texts]).functions)


def test_function_for_another_type_is_refused() -> None:
    builder = FunctionBuilder()
    with pytest.raises(BuildError, match="'tanh' of int32"):
        apply_function(builder, "tanh", [Register("%x", INT32)], INT32)


def instructions(body: Body, target: str) -> list[str]:
    text = kernel_text([(body, FLOAT32)], [FLOAT32], target, TARGETS[target].float_lanes)
    assembly = compile_assembly(text, TARGETS[target])
    loop = re.search(r"\.LBB0_\d+:.*?\n(.*?)\tj", assembly, re.DOTALL)
    assert loop is not None
    return re.findall(r"^\t([a-z]\w*)", loop[1], re.MULTILINE)


@pytest.mark.parametrize("bound", [0.0, 6.0])
@pytest.mark.parametrize("target", ["avx512", "avx2"])
def test_bound_by_a_constant_is_one_instruction(target: str, bound: float) -> None:
    def body(builder: FunctionBuilder, operands: list[Register]) -> Register:
        return apply_function(builder, "max", [operands[0], literal(bound, FLOAT32)], FLOAT32)

    found = instructions(body, target)
    assert [name for name in found if name.startswith("v")] == ["vmaxps", "vmovups"]


def test_exp_is_short_and_straight() -> None:
    found = instructions(applied("exp", FLOAT32), "avx512")
    assert not [name for name in found if name.startswith(("call", "j"))]
    arithmetic = [name for name in found if not name.startswith(("vmov", "add", "cmp"))]
    assert arithmetic[-1] == "vscalefps"
    assert len(arithmetic) <= 14
