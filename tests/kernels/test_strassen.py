"""Products by Strassen's algorithm: inner loops, errors, packing, and what is declined."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.test_matmul import vector_loops
from regions.products import Product
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import weights_in
from tensorwright.kernels.cpu.matmul.quarters import FORMED, MINUENDS, SUBTRAHENDS, stored_factors
from tensorwright.kernels.cpu.matmul.strassen import UNROLL
from tensorwright.kernels.cpu.matmul.strassen_tactic import StrassenMatMul
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.inputs import random_inputs


@pytest.mark.parametrize("number", range(3))
def test_inner_loop_keeps_to_registers(number: int, rng: np.random.Generator) -> None:
    """One loop for each height of tiles multiplies and adds what it has to, and spills nothing."""
    tactic, target = StrassenMatMul(32, 32), TARGETS["avx512"]
    region = Product((128, 512), (512, 384), constant=True).region(rng)
    config = tactic.configs(region, target)[number]
    loops = vector_loops(compile_assembly(tactic.emit(region, config, target).code, target))
    rows, vectors = config.options.rows, config.options.vectors
    counts = [sum("vfmadd" in line for line in body) for body in loops]
    assert counts
    assert set(counts) <= {UNROLL * height * vectors for height in range(1, rows + 1)}
    assert not any("rsp" in line for body in loops for line in body)


def test_is_marked_as_rounding_differently() -> None:
    assert not StrassenMatMul.exact


def test_combines_quarters(rng: np.random.Generator) -> None:
    """The seven products of the combinations that are packed, and of those that are made of them, give the product."""
    a, b = rng.normal(size=(6, 8)), rng.normal(size=(8, 10))
    a11, a12, a21, a22 = a[:3, :4], a[:3, 4:], a[3:, :4], a[3:, 4:]
    s1 = a21 + a22
    s2 = s1 - a11
    left = (a11, a12, s2, a11 - a21, s1, a22, a12 - s2)
    stored = stored_factors(b)
    right = [
        stored[MINUENDS[number]] - (stored[SUBTRAHENDS[number]] if number in FORMED else 0.0) for number in range(7)
    ]
    p1, p2, p6, p7, p5, p4, p3 = (x @ y for x, y in zip(left, right, strict=True))
    u2 = p1 + p6
    found = np.block([[p1 + p2, u2 + p5 + p3], [u2 + p7 + p4, u2 + p7 + p5]])
    np.testing.assert_allclose(found, a @ b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("depth", "bound"), [(768, 3e-6), (3072, 6e-6)])
@pytest.mark.parametrize("large", [None, (0, 0), (0, 1), (1, 0), (1, 1)])
def test_keeps_to_the_stated_error(
    depth: int, bound: float, large: tuple[int, int] | None, rng: np.random.Generator
) -> None:
    """Also where one quarter of b is much larger than the others."""
    tactic, target = StrassenMatMul(32, 32), TARGETS[SINGLE[0]]
    region = Product((64, depth), (depth, 128), constant=True).region(rng)
    a, b = (rng.uniform(-1, 1, array.shape).astype(np.float32) for array in random_inputs(region, {}, rng))
    if large is not None:
        b.reshape(2, depth // 2, 2, 64)[large[0], :, large[1]] *= 1000
    found = run_kernel(region, tactic.emit(region, tactic.configs(region, target)[0], target), target, [a, b])
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


def test_packs_no_more_than_there_is(rng: np.random.Generator) -> None:
    """The packed factor of even extents takes as many bytes as the factor."""
    tactic, target = StrassenMatMul(), TARGETS["avx512"]
    region = Product((197, 768), (768, 3072), constant=True).region(rng)
    for config in tactic.configs(region, target):
        packing = tactic.emit(region, config, target).packings[1]
        assert packing is not None
        assert packing.pack(weights_in(region.inputs[1]).array).size == 768 * 3072


@pytest.mark.parametrize(
    "product",
    [
        Product((128, 768), (768, 768)),
        Product((63, 768), (768, 768), constant=True),
        Product((128, 96), (96, 768), constant=True),
        Product((128, 256), (256, 256), constant=True),
        Product((768, 128), (768, 768), constant=True, transpose_a=True),
    ],
)
def test_declines_what_it_cannot_do_or_what_is_small(product: Product, rng: np.random.Generator) -> None:
    assert not StrassenMatMul().configs(product.region(rng), TARGETS["avx512"])
