"""Loop nests that need care: reductions over blocked maps, strided and guarded windows, reductions along the lanes."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.regions import check
from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.op import Op
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 8)


def region(op: Op, *shape: Dim) -> Region:
    value = apply(op, input_value("x", TensorType(FLOAT32, shape)))
    return region_of([value], value)


def window(mode: str, size: int, stride: int, pad: int, **attributes: bool) -> Pool:
    ends = (pad, pad)
    return Pool(mode, (size, size), (stride, stride), ends, ends, (1, 1), **attributes)  # type: ignore[arg-type]


REGIONS = {
    "mean-of-maps": region(Reduction("mean", (2, 3), True), 2, 32, 5, 7),
    "mean-of-maps-without-axes": region(Reduction("mean", (2, 3), False), BATCH, 48, 3, 3),
    "mean-of-odd-maps": region(Reduction("mean", (2, 3), True), 2, 20, 5, 7),
    "along-lanes": region(Reduction("sum_square", (2,), False), BATCH, 3, 37),
    "along-few-lanes": region(Reduction("max", (1,), True), 5, 9),
    "window": region(window("max", 2, 2, 0), BATCH, 20, 24, 24),
    "window-of-three": region(window("max", 3, 3, 0), 2, 3, 61, 17),
    "window-of-five": region(window("average", 3, 4, 0), 1, 3, 18, 75),
    "padded": region(window("max", 3, 2, 1), BATCH, 20, 13, 15),
    "padded-average": region(window("average", 3, 1, 1), 2, 17, 7, 9),
    "padded-average-all": region(window("average", 3, 1, 1, count_include_pad=True), 2, 17, 7, 9),
    "padding-everywhere": region(window("max", 3, 1, 2), 1, 16, 2, 3),
    "last-window-reaches-over": region(window("max", 3, 2, 0, ceil_mode=True), 1, 19, 12, 14),
}


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", REGIONS)
def test_equals_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    target = TARGETS[target_name]
    for config in Generic().configs(REGIONS[name], target):
        kernel = Generic().emit(REGIONS[name], config, target)
        symbols = [{"batch": 1}, {"batch": 3}] if kernel.symbols else [{}]
        check(REGIONS[name], kernel, target, rng, *symbols)


@pytest.mark.parametrize(("name", "pools"), [("mean-of-maps", True), ("mean-of-odd-maps", False)])
def test_means_of_blocked_maps_are_plain(name: str, pools: bool) -> None:
    configs = Generic().configs(REGIONS[name], TARGETS["avx512"])
    assert any(c.inputs[0].block == 16 and c.output.is_plain for c in configs) == pools
