"""Random inputs of regions that make sense to their operators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, is_constant, weights_in
from tensorwright.graph.region import Region
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.mathematics import highest, lowest
from tensorwright.ops.quantization import Dequantize
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.dtype import DType

Array = npt.NDArray[np.generic]
Range = tuple[int, int]

TABLE = 65_521
"""An input holds so many different numbers, a prime, over and over: to draw more takes longer than most kernels."""

SMALL = (0, 8)
"""Integers that nothing is known of."""


def random_inputs(region: Region, symbols: Mapping[str, int], rng: np.random.Generator) -> list[Array]:
    """An array for every input: the constants themselves, random values, valid for all that reads them, for others."""
    ranges = valid_ranges(region, symbols)
    converted = {value for value in region.inputs if _is_converted(value, region)}
    drawn = [_draw(value, symbols, ranges.get(value), value in converted, rng) for value in region.inputs]
    counted = {v.inputs[0] for v in region.values if isinstance(v.op, Cast) and v.type.dtype.kind == "unsigned"}
    return [
        np.abs(array) if value in counted and value.type.dtype.is_float and not is_constant(value) else array
        for value, array in zip(region.inputs, drawn, strict=True)
    ]


def valid_ranges(region: Region, symbols: Mapping[str, int]) -> dict[Value, Range]:
    """The integers that inputs and results in a region may hold, as far as their readers restrict them."""
    found: dict[Value, Range] = {}
    for value in reversed(region.values):
        types = [operand.type for operand in value.inputs]
        for number, operand in enumerate(value.inputs):
            asked = value.op.valid_range(number, types)
            ranges = [] if asked is None else [(evaluate(asked[0], symbols), evaluate(asked[1], symbols))]
            if isinstance(value.op, Cast) and value in found:
                ranges.append(found[value])
            if operand in found:
                ranges.append(found[operand])
            if ranges:
                found[operand] = max(low for low, _ in ranges), min(high for _, high in ranges)
    return found


def has_computed_indices(region: Region, symbols: Mapping[str, int]) -> bool:
    """Whether an operand whose elements have to lie in a range is computed in the region, from inputs that may not."""
    limited = valid_ranges(region, symbols)
    return any(value in limited and not isinstance(value.op, Cast) for value in region.values)


def _is_converted(value: Value, region: Region) -> bool:
    """Whether all readers take an integer as a number of a floating type: it is quantised data."""
    readers = [reader for reader in region.values if value in reader.inputs]
    return all(isinstance(reader.op, Cast | Dequantize) and reader.type.dtype.is_float for reader in readers)


def _draw(
    value: Value, symbols: Mapping[str, int], range: Range | None, is_converted: bool, rng: np.random.Generator
) -> Array:
    if is_constant(value):
        return weights_in(value).array
    dtype, shape = value.type.dtype, tuple(evaluate(dim, symbols) for dim in value.type.shape)
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.is_float:
        table: Array = rng.standard_normal(min(count, TABLE), dtype=np.float32).astype(dtype.numpy)
    else:
        low, high = _integers(dtype, range, is_converted)
        table = rng.integers(low, high, min(count, TABLE)).astype(dtype.numpy)
    return np.resize(table, count).reshape(shape)


def _integers(dtype: DType, range: Range | None, is_converted: bool) -> Range:
    least, behind = int(lowest(dtype)), int(highest(dtype)) + 1
    low, high = range or ((least, behind) if dtype.size <= 2 and is_converted else SMALL)
    low, high = max(low, least), min(high, behind)
    return (low, high) if low < high else (0, 1)
