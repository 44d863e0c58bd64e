"""The largest elements of rows: longer ones than the examples have, with ties, in all types."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.cpu.selection import BLOCK, Selection
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.indexing import TopKIndices
from tensorwright.passes.fuse import partition
from tensorwright.tensor.dim import Dim, minimum, symbol
from tensorwright.tensor.dtype import (
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT32,
    INT64,
    UINT8,
    UINT32,
    UINT64,
    DType,
)
from tensorwright.tensor.type import TensorType
from tensorwright.tune.cpu.kernel_runner import run_kernel


def region_for(op: TopKIndices, shape: tuple[Dim, ...], dtype: DType = FLOAT32) -> Region:
    return region_of([apply(op, input_value("x", TensorType(dtype, shape)))])


def selected(region: Region, x: np.ndarray, **symbols: int) -> np.ndarray:
    target = TARGETS[best_instruction_set()]
    assert not Generic().configs(region, target)
    (config,) = Selection().configs(region, target)
    return run_kernel(region, Selection().emit(region, config, target), target, [x], symbols)


ALL = (FLOAT16, FLOAT32, FLOAT64, INT8, INT32, INT64, UINT8, UINT32, UINT64)


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("largest", [True, False])
def test_long_rows_with_ties(dtype: DType, largest: bool, rng: np.random.Generator) -> None:
    op = TopKIndices(150, 1, largest)
    least = np.iinfo(dtype.numpy).min if dtype.is_integer else -60
    x = (rng.integers(0, 120, (2, 5 * BLOCK + 3, 2)) + least).astype(dtype.numpy)
    x[:, ::7] = 0
    if dtype.is_float:
        x[:, 1::90], x[:, 2::90], x[:, 3::50] = np.nan, -np.inf, -0.0
    region = region_for(op, x.shape, dtype)
    np.testing.assert_array_equal(selected(region, x), op.reference(x))


@pytest.mark.parametrize("dtype", [INT64, UINT64, FLOAT64], ids=str)
@pytest.mark.parametrize("largest", [True, False])
def test_elements_that_differ_only_in_one_half(dtype: DType, largest: bool, rng: np.random.Generator) -> None:
    """Both ends of the type, and numbers that are equal in their upper or their lower 32 bits."""
    bits = rng.integers(0, 3, (2, 300)).astype(np.uint64) << 32 | rng.integers(0, 3, (2, 300)).astype(np.uint64)
    x = np.concatenate([bits, bits[:, :90] ^ np.uint64(1 << 63), ~bits[:, :20]], axis=1).view(dtype.numpy)
    region = region_for(op := TopKIndices(410, 1, largest), x.shape, dtype)
    np.testing.assert_array_equal(selected(region, x), op.reference(x))


def test_lengths_that_follow_from_data(rng: np.random.Generator) -> None:
    length = symbol("n", 0, 70, 300)
    region = region_for(TopKIndices(minimum(length, 100), 1), (1, length))
    for count in (0, 1, 2, BLOCK, BLOCK + 1, 131, 300):
        x = rng.standard_normal((1, count), dtype=np.float32)
        expected = np.argsort(-x, axis=1, kind="stable")[:, :100]
        np.testing.assert_array_equal(selected(region, x, n=count), expected)


def test_nothing_is_computed_within_it() -> None:
    """Its elements are looked at more than once, and its tactic computes nothing else."""
    x = input_value("x", TensorType(FLOAT32, (4, 90)))
    best = apply(TopKIndices(3, 1), apply(Binary("add"), x, x))
    graph = Graph((("x", x),), (("y", apply(Binary("add"), best, best)),))
    assert [len(region.values) for region in partition(graph)] == [1, 1, 1]
