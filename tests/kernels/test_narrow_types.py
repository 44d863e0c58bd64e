"""All tactics of a CPU compute regions in float16 and bfloat16, within what the tuner allows for the types."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.matmul.strassen_tactic import StrassenMatMul
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.shape import Concatenation, Transpose
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output
from tensorwright.tune.tolerance import disagreement, tolerance_of

Make = Callable[[DType, np.random.Generator], Region]


def _given(dtype: DType, name: str, *shape: int) -> Value:
    return input_value(name, TensorType(dtype, shape))


def _weights(dtype: DType, rng: np.random.Generator, *shape: int) -> Value:
    bound = np.prod(shape[1:], initial=1.0) ** -0.5
    return constant_value(weights_of(rng.uniform(-bound, bound, shape).astype(dtype.numpy)))


def _around(anchor: Value, *following: Value) -> Region:
    return region_of([anchor, *following], anchor)


def _softmax(extent: int) -> Make:
    return lambda dtype, rng: _around(apply(Softmax(1), _given(dtype, "x", 5, extent)))


def _layer_normalization(extent: int) -> Make:
    def make(dtype: DType, rng: np.random.Generator) -> Region:
        x = _given(dtype, "x", 3, 4, extent)
        anchor = apply(LayerNormalization(2), x, _weights(dtype, rng, extent), _weights(dtype, rng, extent))
        return _around(anchor, apply(Binary("add"), anchor, x))

    return make


def _pool(mode: str) -> Make:
    op = Pool(mode, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), False, False)  # type: ignore[arg-type]
    return lambda dtype, rng: _around(apply(op, _given(dtype, "x", 2, 18, 9, 21)))


def _convolution(kernel: int, stride: int, channels: int, groups: int = 1) -> Make:
    def make(dtype: DType, rng: np.random.Generator) -> Region:
        x, pad = _given(dtype, "x", 1, channels, 15, 14), (kernel // 2,) * 2
        weights = _weights(dtype, rng, 32, channels // groups, kernel, kernel)
        anchor = apply(Convolution((stride,) * 2, pad, pad, (1, 1), groups), x, weights, _weights(dtype, rng, 32))
        return _around(anchor, apply(Relu(), anchor))

    return make


def _chain(dtype: DType, rng: np.random.Generator) -> Region:
    """A pointwise convolution, a depthwise one and another pointwise one."""
    value, stages = _given(dtype, "x", 1, 24, 9, 14), []
    for channels, kernel, groups in ((32, 1, 1), (32, 3, 32), (20, 1, 1)):
        weights, pad = _weights(dtype, rng, channels, value.type.shape[1] // groups, kernel, kernel), (kernel // 2,) * 2
        anchor = apply(Convolution((1, 1), pad, pad, (1, 1), groups), value, weights)
        value = apply(Relu(), anchor)
        stages.append(_around(anchor, value))
    return joined(stages)


def _concatenation(dtype: DType, rng: np.random.Generator) -> Region:
    return region_of(
        [apply(Concatenation(1), *(_given(dtype, name, 2, n, 5, 7) for name, n in (("a", 20), ("b", 17))))]
    )


def _transposition(dtype: DType, rng: np.random.Generator) -> Region:
    value = apply(Transpose((0, 2, 3, 1)), _given(dtype, "x", 2, 20, 5, 7))
    return region_of([value, apply(Relu(), value)])


def _product(*b: int, constant: bool, transposed: bool = False) -> Make:
    def make(dtype: DType, rng: np.random.Generator) -> Region:
        depth = b[-1] if transposed else b[-2]
        a = _given(dtype, "a", 70 if constant else 3, depth)
        right = _weights(dtype, rng, *b) if constant else _given(dtype, "b", *b)
        return _around(apply(MatMul(transpose_b=transposed), a, right))

    return make


def _attention(dtype: DType, rng: np.random.Generator) -> Region:
    q, k, v = (_given(dtype, name, 3, rows, 24) for name, rows in (("q", 21), ("k", 35), ("v", 35)))
    scores = apply(MatMul(transpose_b=True), q, k)
    powers = apply(Softmax(2), scores)
    return joined([_around(scores), _around(powers), _around(apply(MatMul(), powers, v))])


REGIONS: dict[str, Make] = {
    "softmax": _softmax(37),
    "long-softmax": _softmax(700),
    "layer-norm": _layer_normalization(50),
    "long-layer-norm": _layer_normalization(514),
    "max-pool": _pool("max"),
    "mean-pool": _pool("average"),
    "3x3": _convolution(3, 1, 20),
    "3x3-stride": _convolution(3, 2, 32),
    "7x7-first": _convolution(7, 2, 3),
    "depthwise": _convolution(3, 1, 32, 32),
    "chain": _chain,
    "concatenation": _concatenation,
    "transposition": _transposition,
    "linear": _product(66, 70, constant=True),
    "inner": _product(40, 66, constant=False, transposed=True),
    "batched": _product(2, 33, 40, constant=False),
    "attention": _attention,
}
SMALL = StrassenMatMul(32, 32)
TACTICS = (*(tactic for tactic in tactics() if tactic.general is None and tactic.name != SMALL.name), SMALL)
FEWER_OPERATIONS = 1e-4
"""What transforms may lose beside the rounding of the types."""


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", REGIONS)
def test_equals_reference(name: str, target_name: str, dtype: DType, rng: np.random.Generator) -> None:
    """One config of every tactic that applies."""
    region, target = REGIONS[name](dtype, rng), TARGETS[target_name]
    arrays, tolerance = random_inputs(region, {}, rng), tolerance_of(region, {})
    expected = whole_output(region, arrays, {})
    for tactic in TACTICS:
        configs: Sequence = tactic.configs(region, target) if tactic.joins == bool(region.stages) else ()
        for config in configs[len(configs) // 2 :][:1]:
            actual = run_kernel(region, tactic.emit(region, config, target), target, arrays)
            spread = expected.spread + (0 if tactic.exact else FEWER_OPERATIONS)
            assert not disagreement(actual, expected.of(actual), tolerance, spread), (tactic.name, config)


def test_tactics_apply() -> None:
    rng, target = np.random.default_rng(0), TARGETS["avx512"]
    regions = [make(FLOAT16, rng) for make in REGIONS.values()]
    found = {
        tactic.name
        for tactic in TACTICS
        if any(tactic.configs(region, target) for region in regions if tactic.joins == bool(region.stages))
    }
    assert found >= {
        "attention", "concatenation", "convolution chain", "direct convolution", "lanewise convolution",
        "matmul_batched", "matmul_inner", "matmul_packed", "matmul_strassen", "pooling", "rows", "transposing",
        "winograd convolution",
    }  # fmt: skip
