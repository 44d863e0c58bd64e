"""Every tactic that says what its tasks write tells the truth, and what they read follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cases.case import Case
from kernels.convolution_regions import Shape, inputs_of
from kernels.regions import arrays_for
from kernels.test_convolution import SHAPES
from kernels.test_generic import ALL_CASES, region_for
from kernels.test_matmul import BATCHED, LINEAR
from kernels.test_rows import REGIONS as ROWS
from kernels.test_transposing import REGIONS as TRANSPOSED
from schedule.slabs import check_slabs
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.convolution.lanewise_tactic import LanewiseConvolution
from tensorwright.kernels.cpu.convolution.tactic import DirectConvolution
from tensorwright.kernels.cpu.spatial.plan import Cut
from tensorwright.kernels.tactic import Kernel, Tactic
from tensorwright.tensor.dim import is_static

TARGET = TARGETS[best_instruction_set()]
PRODUCTS = {
    **{f"linear-{name}": p for name, p in LINEAR.items()},
    **{f"batched-{name}": p for name, p in BATCHED.items()},
}


def is_known(region: Region) -> bool:
    return all(is_static(dim) for value in (region.output, *region.inputs) for dim in value.type.shape)


def kernels(tactic: Tactic, region: Region) -> list[Kernel]:
    """Kernels of different configurations: a first, a last, some in between."""
    configs = list(tactic.configs(region, TARGET))
    return [
        tactic.emit(region, config, TARGET)
        for config in dict.fromkeys([*configs[:: max(1, len(configs) // 2)], *configs[-1:]])
    ]


def check(region: Region, arrays: list[np.ndarray], rng: np.random.Generator, *expected: str) -> None:
    """Try all tactics; those named have to say something about static shapes."""
    for tactic in tactics():
        for kernel in kernels(tactic, region) if is_known(region) else ():
            said = check_slabs(region, kernel, TARGET, arrays, rng)
            assert said or tactic.name not in expected


@pytest.mark.parametrize("case", [case for case in ALL_CASES if not case.symbols], ids=repr)
def test_operators(case: Case, rng: np.random.Generator) -> None:
    region = region_for(case)
    check(region, case.arrays(rng), rng)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_convolutions(shape: Shape, rng: np.random.Generator) -> None:
    region = shape.region(rng)
    check(region, inputs_of(region, rng, {}) if is_known(region) else [], rng, "generic", "lanewise convolution")


@pytest.mark.parametrize("pixels_first", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 80])
def test_tasks_of_some_pixels_and_some_outputs(
    groups: int, kernel: int, pixels_first: bool, rng: np.random.Generator
) -> None:
    shape = Shape("cut", (2, 80, 11, 9), 80, (kernel, kernel), begin=(kernel // 2,) * 2, groups=groups, tail="bias add")
    region = shape.region(rng)
    tactic = LanewiseConvolution() if groups > 1 else DirectConvolution()
    first = tactic.configs(region, TARGET)[0]
    for rows, pixels, outputs in ((1, 2, 1), (2, 3, 2), (11, 1, 2)):
        cut = Cut(
            1 if groups > 1 else rows, 4, 1 if groups > 1 else 2, 1, True, pixels, outputs, pixels_first, prefetch=False
        )
        kernel_ = tactic.emit(region, replace(first, options=cut), TARGET)
        assert check_slabs(region, kernel_, TARGET, inputs_of(region, rng, {}), rng)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, rng: np.random.Generator) -> None:
    region = PRODUCTS[name].region(rng)
    check(region, arrays_for(region, rng, {}) if is_known(region) else [], rng, "matmul_packed", "matmul_batched")


@pytest.mark.parametrize("name", [*ROWS, *TRANSPOSED])
def test_rows_and_transpositions(name: str, rng: np.random.Generator) -> None:
    region = {**ROWS, **TRANSPOSED}[name]
    check(region, arrays_for(region, rng, {}) if is_known(region) else [], rng, "rows", "transposing")
