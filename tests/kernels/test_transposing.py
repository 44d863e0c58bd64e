"""Reorders between layouts and transposes, with what is fused to them, equal the reference in all layouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kernels.regions import check
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.op import Op
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.transposing.tactic import Transposing
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary, Identity
from tensorwright.ops.indexing import GatherElements
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

BATCH = symbol("batch", 1, 2, 8)


def region(shape: Sequence[Dim], *ops: Op, bias: bool = False) -> Region:
    values: list[Value] = []
    value = input_value("x", TensorType(FLOAT32, tuple(shape)))
    for op in ops:
        value = apply(op, value)
        values.append(value)
    if bias:
        numbers = np.linspace(-1, 1, int(value.type.shape[1]), dtype=np.float32)  # type: ignore[arg-type]
        constant = constant_value(weights_of(numbers.reshape(-1, *[1] * (len(shape) - 2))))
        values.append(apply(Binary("add"), value, constant))
    return region_of(values)


REGIONS = {
    "whole-blocks": region((2, 32, 8, 4), Identity()),
    "three-channels": region((1, 3, 9, 11), Identity()),
    "odd-channels": region((2, 20, 5, 7), Identity(), bias=True),
    "few-pixels": region((1, 33, 1, 2), Relu()),
    "line": region((3, 17, 19), Identity(), Relu()),
    "volume": region((1, 18, 2, 3, 5), Identity()),
    "batch": region((BATCH, 20, 6, 7), Relu(), bias=True),
    "channels-last": region((2, 20, 5, 7), Transpose((0, 2, 3, 1)), Relu()),
    "channels-first": region((2, 5, 7, 32), Transpose((0, 3, 1, 2)), Relu()),
    "image-to-last": region((2, 3, 9, 13), Transpose((0, 2, 3, 1)), Relu()),
    "image-to-first": region((2, 9, 13, 3), Transpose((0, 3, 1, 2)), Relu(), bias=True),
    "pairs-to-last": region((BATCH, 2, 5, 8), Transpose((0, 2, 3, 1)), Relu()),
    "quads-to-first": region((BATCH, 3, 5, 4), Transpose((0, 3, 1, 2))),
    "three-columns": region((37, 3), Transpose((1, 0))),
    "three-rows": region((3, 48), Transpose((1, 0)), Relu()),
    "middle-three": region((2, 3, 4, 17), Transpose((0, 3, 2, 1))),
    "matrix": region((33, 18), Transpose((1, 0))),
    "middle": region((3, 19, 4, 17), Transpose((0, 3, 2, 1))),
}


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", REGIONS)
def test_equals_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    target = TARGETS[target_name]
    configs = Transposing().configs(REGIONS[name], target)
    assert configs
    for config in configs:
        kernel = Transposing().emit(REGIONS[name], config, target)
        symbols = [{"batch": 1}, {"batch": 5}] if kernel.symbols else [{}]
        check(REGIONS[name], kernel, target, rng, *symbols)


@pytest.mark.parametrize("name", ["odd-channels", "channels-last", "image-to-last", "image-to-first"])
def test_compiles_for_aarch64(name: str) -> None:
    target = TARGETS["aarch64"]
    for config in Transposing().configs(REGIONS[name], target):
        assert compile_object(Transposing().emit(REGIONS[name], config, target).code, target)


def test_what_is_gathered_along_the_block_is_not_turned(rng: np.random.Generator) -> None:
    x, indices = input_value("x", TensorType(FLOAT32, (3, 2, 5))), input_value("i", TensorType(INT64, (2, 2, 5)))
    chosen = region_of([apply(GatherElements(0), x, indices)])
    target = TARGETS["baseline"]
    for config in Transposing().configs(chosen, target):
        check(chosen, Transposing().emit(chosen, config, target), target, rng)


def test_nothing_is_not_turned() -> None:
    assert not Transposing().configs(region((2, 3, 4, 0), Transpose((1, 3, 0, 2))), TARGETS["baseline"])


def test_reorders_both_ways() -> None:
    layouts = {(c.inputs[0].block, c.output.block) for c in Transposing().configs(REGIONS["batch"], TARGETS["avx512"])}
    assert layouts == {(1, 16), (16, 1)}


@pytest.mark.parametrize("name", ["image-to-last", "image-to-first"])
def test_short_rows_are_moved_as_whole_vectors(name: str) -> None:
    """Three vectors go into each of three, by two instructions, in whole pieces and in the last one."""
    region, target = REGIONS[name], TARGETS["avx512"]
    (config,) = (c for c in Transposing().configs(region, target) if {c.output, *c.inputs} == {PLAIN})
    code = compile_assembly(Transposing().emit(region, config, target).code, target)
    assert 6 <= code.count("vperm") <= 2 * 6
    assert "vunpck" not in code
