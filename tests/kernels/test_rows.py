"""Normalisations of rows equal the reference, for rows that fit the registers and for long ones."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.regions import check
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.rows.tactic import Rows
from tensorwright.kernels.tactic import NO_OPTIONS, Config, plain_inputs
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare

BATCH = symbol("batch", 1, 2, 8)


def constant(*shape: int) -> Value:
    return constant_value(weights_of(np.random.default_rng(7).uniform(-2, 2, shape).astype(np.float32)))


def softmax(*shape: Dim, scaled: bool = False) -> Region:
    value = apply(Softmax(len(shape) - 1), input_value("x", TensorType(FLOAT32, shape)))
    values = [value]
    if scaled:
        values.append(apply(Binary("mul"), value, constant(int(shape[-1]))))  # type: ignore[arg-type]
    return region_of(values, value)


def layer_norm(*shape: Dim, bias: bool = True, residual: bool = False) -> Region:
    x = input_value("x", TensorType(FLOAT32, shape))
    extent = int(shape[-1])  # type: ignore[arg-type]
    value = apply(LayerNormalization(len(shape) - 1), x, constant(extent), *([constant(1, extent)] if bias else []))
    values = [value]
    if residual:
        values.append(apply(Binary("add"), value, x))
        values.append(apply(Relu(), values[-1]))
    return region_of(values, value)


REGIONS = {
    "one-vector": softmax(3, 16),
    "partial-vector": softmax(2, 3, 5, 49),
    "attention": softmax(BATCH, 4, 21, 64, scaled=True),
    "long": softmax(5, 1000, scaled=True),
    "long-and-whole": softmax(2, 512),
    "layer-norm": layer_norm(BATCH, 7, 96),
    "layer-norm-partial": layer_norm(9, 50, bias=False),
    "layer-norm-long": layer_norm(BATCH, 3, 768),
    "layer-norm-long-partial": layer_norm(5, 517, bias=False),
    "layer-norm-long-residual": layer_norm(2, 3, 399, residual=True),
    "layer-norm-residual": layer_norm(2, 9, 33, residual=True),
}


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", REGIONS)
def test_equals_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    target = TARGETS[target_name]
    configs = Rows().configs(REGIONS[name], target)
    assert configs
    for config in configs:
        kernel = Rows().emit(REGIONS[name], config, target)
        symbols = [{"batch": 1}, {"batch": 3}] if kernel.symbols else [{}]
        check(REGIONS[name], kernel, target, rng, *symbols)


@pytest.mark.parametrize("extent", [37, 1000])
def test_output_may_share_the_inputs_memory(extent: int, rng: np.random.Generator) -> None:
    region, target = softmax(4, extent), TARGETS[SINGLE[0]]
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
    region, target = softmax(3, 40), TARGETS[SINGLE[0]]
    kernel = Rows().emit(region, Config(plain_inputs(region), PLAIN, NO_OPTIONS), target)
    x = np.full((3, 40), -np.inf, np.float32)
    x[0, 7], x[1] = 1e30, -3e38
    x[2, :20] = 0
    operands = prepare(region, kernel, [x], {})
    LoadedKernel(kernel, target).call(*operands.arguments)
    expected = np.array([np.eye(40)[7], np.full(40, 1 / 40), np.where(np.arange(40) < 20, 1 / 20, 0)])
    np.testing.assert_allclose(operands.output.reshape(3, 40), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["attention", "long", "layer-norm-residual", "layer-norm-long"])
def test_compiles_for_aarch64(name: str) -> None:
    target = TARGETS["aarch64"]
    for config in Rows().configs(REGIONS[name], target):
        assert compile_object(Rows().emit(REGIONS[name], config, target).code, target)
