"""Matrix products: dot products of narrow types, inner loops, and what is declined."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from regions.products import LINEAR, Product
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.kernels.cpu.matmul.batched_tactic import BatchedMatMul
from tensorwright.kernels.cpu.matmul.inner_tactic import FEW, InnerProducts
from tensorwright.kernels.cpu.matmul.tactic import PackedMatMul
from tensorwright.kernels.matmul.problem import problem_of
from tensorwright.ops.matmul import MatMul
from tensorwright.passes.fuse import partition
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, UINT8
from tensorwright.tensor.type import TensorType


def test_dot_products_of_bfloat16(rng: np.random.Generator) -> None:
    """They are offered where groups fit, come first, and are what the machine code contains."""
    target, product = TARGETS["avx512_bf16"], replace(LINEAR["whole-tiles"], dtype=BFLOAT16)
    region = product.region(rng)
    first, *others = PackedMatMul().configs(region, target)
    assert first.options.group == 2
    assert any(config.options.group == 1 for config in others)
    assert "vdpbf16ps" in compile_assembly(PackedMatMul().emit(region, first, target).code, target)
    odd = replace(product, a=(48, 63), b=(63, 192)).region(rng)
    assert not any(config.options.group > 1 for config in PackedMatMul().configs(odd, target))


@pytest.mark.parametrize("target", ["avx512", "avx2"])
def test_float16_is_spread_before_it_is_converted(target: str, rng: np.random.Generator) -> None:
    """No single element is converted, which would be spread from a register."""
    region, machine = Product((16, 64), (64, 96), constant=True, dtype=FLOAT16).region(rng), TARGETS[target]
    for config in PackedMatMul().configs(region, machine):
        assembly = compile_assembly(PackedMatMul().emit(region, config, machine).code, machine)
        assert "vpbroadcastw" in assembly
        assert not re.search(r"vbroadcastss\s+%xmm", assembly)


@pytest.mark.parametrize("number", range(3))
def test_inner_loop_keeps_to_registers(number: int, rng: np.random.Generator) -> None:
    """The loop over the reduction multiplies and adds only what it has to, and spills nothing."""
    region, target = Product((128, 768), (768, 384), constant=True).region(rng), TARGETS["avx512"]
    config = PackedMatMul().configs(region, target)[number]
    loops = vector_loops(compile_assembly(PackedMatMul().emit(region, config, target).code, target))
    accumulators = {config.options.vectors * rows for rows in range(1, config.options.rows + 1)}
    assert loops
    for body in loops:
        assert sum("vfmadd" in line for line in body) in {4 * count for count in accumulators}
        assert not any("rsp" in line for line in body)


def vector_loops(assembly: str) -> list[list[str]]:
    """The innermost loops that multiply: lines from a label to the branch back to it."""
    found: list[list[str]] = []
    label, body = "", []
    for line in assembly.splitlines():
        if match := re.match(r"(\.L\w+):", line):
            label, body = match[1], []
        else:
            body.append(line)
        if label and re.search(rf"\bj\w+\s+{re.escape(label)}$", line) and any("vfmadd" in part for part in body):
            found.append(list(body))
    return found


def test_declines_what_it_cannot_do(rng: np.random.Generator) -> None:
    target = TARGETS["avx512"]
    variable = Product((4, 5), (5, 6)).region(rng)
    depth = symbol("depth", 1, 2, 8)
    unknown = Product((4, depth), (depth, 6)).region(rng)
    one_column = Product((20, 37), (37, 1), constant=True).region(rng)
    for region in (variable, unknown, one_column):
        assert not PackedMatMul().configs(region, target)
        assert not InnerProducts().configs(region, target)


@pytest.mark.parametrize(("usual", "most"), [(FEW, 2), (FEW + 1, 1)])
def test_rows_of_constants_are_packed_in_a_call_in_one_way(usual: int, most: int, rng: np.random.Generator) -> None:
    """What packs them once has the others."""
    rows, target = symbol("rows", 1, usual, 64), TARGETS["avx512"]
    region = Product((rows, 64), (500, 64), constant=True, transpose_b=True).region(rng)
    assert PackedMatMul().configs(region, target)
    assert min(len(InnerProducts().configs(region, target)), 2) == most


@pytest.mark.parametrize("name", ["avx512_vnni", "avx2", "aarch64"])
@pytest.mark.parametrize("turned", [False, True])
def test_batched_products_of_bytes_are_left_to_others(turned: bool, name: str) -> None:
    types = TensorType(UINT8, (3, 2, 64)), TensorType(INT8, (3, 64, 64))
    left, right = (input_value(f"x{number}", type) for number, type in enumerate(types))
    (region,) = partition(Graph((("x0", left), ("x1", right)), (("y", apply(MatMul(False, turned), left, right)),)))
    assert problem_of(region) is not None
    for tactic in (BatchedMatMul(), InnerProducts()):
        assert not tactic.configs(region, TARGETS[name])
