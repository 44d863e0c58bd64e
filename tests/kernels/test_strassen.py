"""Products by Strassen's algorithm equal the reference, for every configuration, instruction set and share of tasks."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.regions import RUNNABLE, Product, check
from tensorwright.codegen.target import TARGETS
from tensorwright.kernels.cpu.matmul_strassen import StrassenMatMul
from tensorwright.tensor.dim import symbol

BATCH = symbol("batch", 1, 70, 300)
SEQUENCES = symbol("batch", 1, 4, 20)
EVERYTHING = ("scale", "bias", "gelu", "residual", "relu")
PRODUCTS = {
    "even": Product((64, 64), (64, 128), constant=True, epilogue=("bias",)),
    "odd": Product((67, 71), (71, 197), constant=True, epilogue=EVERYTHING),
    "odd-vectors": Product((2, 41, 96), (96, 80), constant=True, epilogue=("rows", "residual")),
    "blocks": Product((1, 531, 64), (64, 64), constant=True, epilogue=("bias",)),
    "transposed": Product((70, 66), (150, 66), constant=True, transpose_b=True, epilogue=("residual",)),
    "batch": Product(
        (BATCH, 65), (65, 70), True, epilogue=("bias", "relu"), symbols=tuple({"batch": n} for n in (1, 2, 75, 300))
    ),
    "batch-of-rows": Product(
        (SEQUENCES, 17, 64),
        (64, 130),
        True,
        epilogue=("rows", "residual"),
        symbols=tuple({"batch": n} for n in (1, 3, 20)),
    ),
}


@pytest.mark.parametrize("target_name", RUNNABLE)
@pytest.mark.parametrize("name", PRODUCTS)
def test_equals_the_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    tactic, target = StrassenMatMul(), TARGETS[target_name]
    region = PRODUCTS[name].region(rng)
    configs = tactic.configs(region, target)
    assert configs
    for config in configs:
        check(region, tactic.emit(region, config, target), target, rng, *PRODUCTS[name].symbols)
