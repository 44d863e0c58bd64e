"""Matrix product kernels equal the reference, for every configuration, instruction set and way to deal out tasks."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from kernels.regions import Product, check
from targets import RUNNABLE, SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.kernels.cpu.matmul.batched_tactic import BatchedMatMul
from tensorwright.kernels.cpu.matmul.inner_tactic import InnerProducts
from tensorwright.kernels.cpu.matmul.tactic import PackedMatMul
from tensorwright.kernels.matmul.problem import problem_of
from tensorwright.kernels.tactic import Tactic
from tensorwright.ops.matmul import MatMul
from tensorwright.passes.fuse import partition
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, UINT8, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 3, 40)
EVERYTHING = ("scale", "bias", "gelu", "residual", "relu")
LENGTH = symbol("length", 1, 24, 200)
LENGTHS = tuple({"batch": 2, "length": length} for length in (1, 7, 64, 133))
BATCHES = ({"batch": 1}, {"batch": 7}, {"batch": 40})

LINEAR = {
    "smallest": Product((1, 1), (1, 2), constant=True),
    "one-row": Product((1, 37), (37, 20), constant=True, epilogue=("bias", "relu")),
    "few-columns": Product((1, 50), (50, 10), constant=True, epilogue=("bias",)),
    "one-inner": Product((3, 1), (1, 16), constant=True),
    "rows-and-columns": Product((2, 19, 33), (33, 197), constant=True, epilogue=EVERYTHING),
    "whole-tiles": Product((48, 64), (64, 192), constant=True, epilogue=("residual", "bias")),
    "many-rows": Product((600, 5), (5, 40), constant=True, epilogue=("bias",)),
    "rows-differ": Product((3, 7, 12), (12, 40), constant=True, epilogue=("rows", "bias")),
    "transposed": Product((1, 19, 24), (70, 24), constant=True, transpose_b=True, epilogue=("bias",)),
    "both-transposed": Product((1, 24, 19), (1, 70, 24), True, True, True, ("bias",)),
    "batch": Product((BATCH, 20), (20, 50), constant=True, epilogue=("bias", "relu", "residual"), symbols=BATCHES),
    "batch-of-rows": Product((BATCH, 17, 20), (20, 50), True, epilogue=("rows", "bias"), symbols=BATCHES),
    "batch-of-few-rows": Product((BATCH, 2, 20), (20, 50), True, epilogue=("rows", "residual"), symbols=BATCHES),
}

BATCHED = {
    "matrices": Product((19, 33), (33, 40), epilogue=EVERYTHING),
    "transposed-matrices": Product((19, 33), (197, 33), transpose_b=True, epilogue=EVERYTHING),
    "both-transposed": Product((33, 19), (37, 33), transpose_a=True, transpose_b=True),
    "scores": Product((2, 3, 21, 64), (2, 3, 21, 64), transpose_b=True, epilogue=("scale", "rows")),
    "values": Product((2, 3, 21, 21), (2, 3, 21, 64), epilogue=("residual",)),
    "values-of-odd-width": Product((3, 21, 21), (3, 21, 20)),
    "short-depth": Product((3, 5, 3), (3, 9, 3), transpose_b=True),
    "batches-broadcast": Product((2, 1, 7, 20), (3, 20, 24), epilogue=("residual",)),
    "one-left": Product((7, 20), (3, 20, 24)),
    "constant-right-per-batch": Product((3, 7, 20), (3, 20, 24), constant=True),
    "shared-right": Product((BATCH, 7, 20), (1, 20, 40), epilogue=("rows",), symbols=BATCHES),
    "batch": Product((BATCH, 3, 9, 20), (BATCH, 3, 17, 20), transpose_b=True, epilogue=("scale",), symbols=BATCHES),
    "unknown-scores": Product(
        (BATCH, 2, LENGTH, 20), (BATCH, 2, LENGTH, 20), transpose_b=True, epilogue=("scale",), symbols=LENGTHS
    ),
    "unknown-values": Product((BATCH, 2, LENGTH, LENGTH), (BATCH, 2, LENGTH, 32), symbols=LENGTHS),
    "unknown-columns": Product((2, 7, 20), (2, 20, LENGTH), symbols=LENGTHS, epilogue=("residual",)),
    "unknown-rows": Product((2, BATCH, 20), (2, 20, 32), epilogue=("residual",), symbols=BATCHES),
}


ROWS = {
    **{name: product for name, product in (LINEAR | BATCHED).items() if name in ("transposed", "unknown-scores")},
    "one-row": Product((1, 64), (500, 64), constant=True, transpose_b=True, epilogue=("bias",)),
    "odd-depth": Product((3, 4, 77), (3, 17, 77), transpose_b=True, epilogue=EVERYTHING),
    "long-rows": Product((2, 1, 1, 200), (2, 3, 9, 200), transpose_b=True),
    "shared-rows": Product((BATCH, 3, 33), (70, 33), transpose_b=True, epilogue=("rows", "residual"), symbols=BATCHES),
}


def check_all(tactic: Tactic, product: Product, target_name: str, rng: np.random.Generator) -> None:
    region, target = product.region(rng), TARGETS[target_name]
    configs = tactic.configs(region, target)
    assert configs
    for config in configs:
        check(region, tactic.emit(region, config, target), target, rng, *product.symbols)


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", LINEAR)
def test_packed(name: str, target_name: str, rng: np.random.Generator) -> None:
    check_all(PackedMatMul(), LINEAR[name], target_name, rng)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
@pytest.mark.parametrize("target_name", RUNNABLE)
@pytest.mark.parametrize("name", ["one-row", "rows-and-columns", "transposed", "batch-of-rows", "many-rows"])
def test_packed_in_narrow_types(name: str, target_name: str, dtype: DType, rng: np.random.Generator) -> None:
    product = replace(LINEAR[name], dtype=dtype)
    for depth in (16, product.a[-1]):
        right = (product.b[0], depth) if product.transpose_b else (depth, product.b[1])
        b = right if len(product.b) == 2 else product.b
        check_all(PackedMatMul(), replace(product, a=(*product.a[:-1], depth), b=b), target_name, rng)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", ["matrices", "scores", "values", "batches-broadcast", "unknown-scores"])
def test_batched_in_narrow_types(name: str, target_name: str, dtype: DType, rng: np.random.Generator) -> None:
    check_all(BatchedMatMul(), replace(BATCHED[name], dtype=dtype), target_name, rng)


@pytest.mark.skipif("avx512_bf16" not in RUNNABLE, reason="this processor has no dot products of bfloat16")
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


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", BATCHED)
def test_batched(name: str, target_name: str, rng: np.random.Generator) -> None:
    check_all(BatchedMatMul(), BATCHED[name], target_name, rng)


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", ROWS)
def test_inner(name: str, target_name: str, rng: np.random.Generator) -> None:
    check_all(InnerProducts(), ROWS[name], target_name, rng)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
@pytest.mark.parametrize("target_name", RUNNABLE)
def test_inner_in_narrow_types(target_name: str, dtype: DType, rng: np.random.Generator) -> None:
    check_all(InnerProducts(), replace(ROWS["unknown-scores"], dtype=dtype), target_name, rng)


@pytest.mark.parametrize(
    ("tactic", "product"),
    [
        (PackedMatMul(), LINEAR["rows-and-columns"]),
        (PackedMatMul(), LINEAR["batch"]),
        (BatchedMatMul(), BATCHED["batch"]),
        (InnerProducts(), ROWS["odd-depth"]),
    ],
)
def test_compiles_for_aarch64(tactic: Tactic, product: Product, rng: np.random.Generator) -> None:
    region, target = product.region(rng), TARGETS["aarch64"]
    configs = tactic.configs(region, target)
    assert configs
    for config in configs:
        assert compile_object(tactic.emit(region, config, target).code, target)


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


@pytest.mark.parametrize("name", ["avx512_vnni", "avx2", "aarch64"])
@pytest.mark.parametrize("turned", [False, True])
def test_batched_products_of_bytes_are_left_to_others(turned: bool, name: str) -> None:
    types = TensorType(UINT8, (3, 2, 64)), TensorType(INT8, (3, 64, 64))
    left, right = (input_value(f"x{number}", type) for number, type in enumerate(types))
    (region,) = partition(Graph((("x0", left), ("x1", right)), (("y", apply(MatMul(False, turned), left, right)),)))
    assert problem_of(region) is not None
    for tactic in (BatchedMatMul(), InnerProducts()):
        assert not tactic.configs(region, TARGETS[name])
