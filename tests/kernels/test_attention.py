"""Attention: large scores, rows without an answer, inner loops, and what is declined."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.test_matmul import vector_loops
from regions.attention import HEADS, Heads
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.kernels.cpu.attention.tactic import Attention
from tensorwright.kernels.cpu.attention.write import UNROLL
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tune.cpu.kernel_runner import run_kernel


@pytest.mark.parametrize("target_name", SINGLE)
def test_large_scores(target_name: str, rng: np.random.Generator) -> None:
    """Scores beyond the range of exp give the values of the largest ones."""
    region, target = Heads((2,), 13, 37, 4, 5).region(rng), TARGETS[target_name]
    q, v = (rng.uniform(-2, 2, shape).astype(np.float32) for shape in ((2, 13, 4), (2, 37, 5)))
    k = (1e9 * rng.standard_normal((2, 37, 4))).astype(np.float32)
    largest = (q.astype(np.float64) @ k.astype(np.float64).swapaxes(1, 2)).argmax(-1)
    expected = np.take_along_axis(v, largest[..., None], 1)
    for config in Attention().configs(region, target):
        found = run_kernel(region, Attention().emit(region, config, target), target, [q, k, v])
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_without_an_answer(rng: np.random.Generator) -> None:
    """A row whose columns are all masked has no result, and the others have theirs."""
    heads, target = HEADS["masked"], TARGETS[SINGLE[0]]
    region = heads.region(rng)
    arrays = [rng.uniform(-2, 2, (2, *shape)).astype(np.float32) for shape in ((19, 16), (37, 16), (37, 24))]
    q, k, v = (array.astype(np.float64) for array in arrays)
    scores = q @ k.swapaxes(1, 2) + heads.infinities()
    powers = np.exp(scores[:, 1:] - scores[:, 1:].max(-1, keepdims=True))
    expected = powers / powers.sum(-1, keepdims=True) @ v
    kernel = Attention().emit(region, Attention().configs(region, target)[0], target)
    found = run_kernel(region, kernel, target, [*arrays[:2], heads.infinities(), arrays[2]])
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_allclose(found[:, 1:], expected, rtol=0, atol=1e-5)


def test_products_keep_to_registers(rng: np.random.Generator) -> None:
    region, target = HEADS["image"].region(rng), TARGETS["avx512"]
    for config in Attention().configs(region, target)[:2]:
        loops = vector_loops(compile_assembly(Attention().emit(region, config, target).code, target))
        products = [body for body in loops if not any("vscalef" in line for line in body)]
        assert len(products) > 4
        for body in products:
            assert sum("vfmadd" in line for line in body) % UNROLL == 0
            assert not any("rsp" in line and "zmm" in line for line in body)


def declined() -> list[Region]:
    x = input_value("x", TensorType(FLOAT32, (2, 9, 9)))
    scores = apply(MatMul(), x, x)
    columnwise, rowwise = apply(Softmax(1), scores), apply(Softmax(2), scores)
    wrong_axis = apply(MatMul(), columnwise, x)
    turned, second = apply(MatMul(True), rowwise, x), apply(MatMul(), x, rowwise)

    def chain(softmax: Value, result: Value) -> Region:
        return joined([region_of([scores], scores), region_of([softmax], softmax), region_of([result], result)])

    pair = joined([region_of([scores], scores), region_of([rowwise], rowwise)])
    return [chain(columnwise, wrong_axis), chain(rowwise, turned), chain(rowwise, second), pair]


@pytest.mark.parametrize("number", range(4))
def test_declines_what_is_no_attention(number: int) -> None:
    assert not Attention().configs(declined()[number], TARGETS["avx512"])
