"""Tasks of some pixels and some outputs write what they say; most kernels for known extents say something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regions.collection import EXAMPLES
from regions.convolutions import Window
from schedule.slabs import check_slabs
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.convolution.lanewise_tactic import LanewiseConvolution
from tensorwright.kernels.cpu.convolution.tactic import DirectConvolution
from tensorwright.kernels.cpu.spatial.tiling import TilingOptions
from tensorwright.kernels.tactic import AnyTactic
from tensorwright.schedule.cpu.boxes import touched
from tensorwright.tune.cpu.kernel_runner import LoadedKernel
from tensorwright.tune.inputs import random_inputs

TARGET = TARGETS[best_instruction_set()]
SAY = ("lanewise convolution", "matmul_packed", "matmul_batched", "rows", "transposing", "pooling", "concatenation")
"""Tactics whose kernels always say what their tasks write."""


@pytest.mark.parametrize(
    "tactic", [tactic for tactic in tactics() if tactic.name in SAY], ids=lambda tactic: tactic.name
)
def test_kernels_say_what_their_tasks_write(tactic: AnyTactic[Target], rng: np.random.Generator) -> None:
    regions = [region for example in EXAMPLES.values() if not (region := example.region(rng)).symbols]
    found = [(region, configs[-1]) for region in regions if (configs := tactic.configs(region, TARGET))]
    assert found
    for region, config in found[::3]:
        assert touched(region, tactic.emit(region, config, TARGET)) is not None, region.signature


@pytest.mark.parametrize("pixels_first", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 80])
def test_tasks_of_some_pixels_and_some_outputs(
    groups: int, kernel: int, pixels_first: bool, rng: np.random.Generator
) -> None:
    window = Window((2, 80, 11, 9), 80, (kernel, kernel), begin=(kernel // 2,) * 2, groups=groups, tail="bias add")
    region = window.region(rng)
    tactic = LanewiseConvolution() if groups > 1 else DirectConvolution()
    first = tactic.configs(region, TARGET)[0]
    for rows, pixels, outputs in ((1, 2, 1), (2, 3, 2), (11, 1, 2)):
        options = TilingOptions(
            1 if groups > 1 else rows, 4, 1 if groups > 1 else 2, 1, True, pixels, outputs, pixels_first, prefetch=False
        )
        kernel_ = tactic.emit(region, replace(first, options=options), TARGET)
        assert touched(region, kernel_) is not None
        check_slabs(region, kernel_, LoadedKernel(kernel_, TARGET), random_inputs(region, {}, rng), rng)
