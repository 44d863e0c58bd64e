"""Normalisations of rows: memory that is shared, and extreme values."""

from __future__ import annotations

import numpy as np
import pytest

from regions.rows import SoftmaxRows
from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.rows.tactic import Rows
from tensorwright.kernels.tactic import NO_OPTIONS, Config, plain_inputs
from tensorwright.tensor.layout import PLAIN
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare


@pytest.mark.parametrize("extent", [37, 1000])
def test_output_may_share_the_inputs_memory(extent: int, rng: np.random.Generator) -> None:
    region, target = SoftmaxRows((4, extent)).region(rng), TARGETS[SINGLE[0]]
    kernel = Rows().emit(region, Config(plain_inputs(region), PLAIN, NO_OPTIONS), target)
    assert kernel.in_place == (0,)
    x = rng.uniform(-3, 3, (4, extent)).astype(np.float32)
    operands = prepare(region, kernel, [x], {})
    (memory,) = operands.inputs
    address, workspace = memory.ctypes.data, operands.workspace.ctypes.data
    LoadedKernel(kernel, target).call(address, address, workspace, 0, 4)
    powers = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(memory.reshape(4, extent), powers / powers.sum(1, keepdims=True), rtol=1e-5)


def test_extreme_values(rng: np.random.Generator) -> None:
    region, target = SoftmaxRows((3, 40)).region(rng), TARGETS[SINGLE[0]]
    kernel = Rows().emit(region, Config(plain_inputs(region), PLAIN, NO_OPTIONS), target)
    x = np.full((3, 40), -np.inf, np.float32)
    x[0, 7], x[1] = 1e30, -3e38
    x[2, :20] = 0
    operands = prepare(region, kernel, [x], {})
    LoadedKernel(kernel, target).call(*operands.arguments)
    expected = np.array([np.eye(40)[7], np.full(40, 1 / 40), np.where(np.arange(40) < 20, 1 / 20, 0)])
    np.testing.assert_allclose(operands.output.reshape(3, 40), expected, rtol=1e-6)
