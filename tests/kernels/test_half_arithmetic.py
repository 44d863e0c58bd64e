"""Products added up in float16: what the machine code contains, what is declined, shapes of all kinds, large sums."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.test_matmul import vector_loops
from regions.checking import Trial
from regions.convolutions import DIRECT, Window
from regions.drawing import windows
from regions.example import Example, Spec, Symbols
from regions.following import constant, followed
from regions.products import LINEAR, linear
from regions.rigs import CpuRig
from regions.sampling import Rotation, every
from targets import EMULATED_SINGLE, EXECUTABLE
from tensorwright.backends.cpu import CpuToolchain
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import stamp_elsewhere
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.convolution.tactic import HalfConvolution
from tensorwright.kernels.cpu.matmul.tactic import HalfMatMul
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output

TARGET = TARGETS["avx512_fp16"]
needs_halves = pytest.mark.skipif(
    TARGET.name not in EXECUTABLE, reason="this processor neither has nor emulates arithmetic in float16"
)


class PairsAlone(CpuRig):
    """The tactics that add up in float16."""

    tactics = (HalfMatMul(), HalfConvolution())


GROUP = 32


@dataclass(frozen=True)
class Opposites:
    """A product, or a convolution, of groups of large channels and, nearly, their opposites."""

    x: tuple[int, ...]
    outputs: int
    kernel: tuple[int, ...] = ()

    def region(self, rng: np.random.Generator) -> Region:
        x, channels = input_value("x", TensorType(FLOAT16, self.x)), self.x[1]
        drawn = rng.uniform(50, 150, (channels // (2 * GROUP), GROUP, self.outputs, *self.kernel))
        weights = np.stack([drawn, -drawn], 1).reshape(channels, *drawn.shape[2:]).astype(np.float16)
        if not self.kernel:
            return followed(apply(MatMul(False, False), x, constant(weights)), "", rng)
        pads = tuple(size // 2 for size in self.kernel)
        op = Convolution((1, 1), pads, pads, (1, 1), 1)
        return followed(apply(op, x, constant(np.moveaxis(weights, 0, 1))), "", rng)


@dataclass(frozen=True, repr=False)
class Large(Example):
    """odd: an element of the input."""

    odd: float = 1.0

    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[np.ndarray]:
        x, *others = super().inputs(region, symbols, rng)
        half = rng.uniform(50, 150, (len(x), x.shape[1] // (2 * GROUP), 1, GROUP, *x.shape[2:]))
        x = (np.concatenate([half, half], 2).reshape(x.shape) + rng.uniform(-2, 2, x.shape)).astype(x.dtype)
        x[0, 3] = self.odd
        return [x, *others]


@pytest.mark.parametrize("number", range(3))
def test_inner_loops_of_products_only_load_and_multiply(number: int, rng: np.random.Generator) -> None:
    region = linear((128, 768), 384, dtype=FLOAT16).region(rng)
    config = HalfMatMul().configs(region, TARGET)[number]
    loops = vector_loops(compile_assembly(HalfMatMul().emit(region, config, TARGET).code, TARGET))
    native = [body for body in loops if any("vfmadd231ph" in line for line in body)]
    assert native
    for body in native:
        accumulators = {config.options.vectors * rows for rows in range(1, config.options.rows + 1)}
        assert sum("vfmadd" in line for line in body) in {4 * count for count in accumulators}
        assert not any("rsp" in line or "vcvt" in line or "vpbroadcastw" in line for line in body)


@pytest.mark.parametrize("name", ["pointwise", "3x3", "3d-pointwise"])
def test_convolutions_multiply_in_float16(name: str, rng: np.random.Generator) -> None:
    region = replace(DIRECT[name], dtype=FLOAT16).region(rng)
    first, *_ = HalfConvolution().configs(region, TARGET)
    assert "vfmadd231ph" in compile_assembly(HalfConvolution().emit(region, first, TARGET).code, TARGET)


PRODUCTS = linear((48, 63), 192, dtype=FLOAT16), replace(LINEAR["both-transposed"], dtype=FLOAT16)
WINDOWS = "pointwise-odd-channels", "groups-of-blocks", "first-layer-7x7"


def test_pairs_have_to_lie_side_by_side(rng: np.random.Generator) -> None:
    for spec in (*PRODUCTS, *(replace(DIRECT[name], dtype=FLOAT16) for name in WINDOWS)):
        assert not any(tactic.configs(spec.region(rng), TARGET) for tactic in PairsAlone.tactics), spec


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_other_types_are_declined(dtype: DType, rng: np.random.Generator) -> None:
    assert not HalfMatMul().configs(replace(LINEAR["whole-tiles"], dtype=dtype).region(rng), TARGET)
    assert not HalfConvolution().configs(replace(DIRECT["3x3"], dtype=dtype).region(rng), TARGET)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", [LINEAR["whole-tiles"], DIRECT["3x3"]], ids=["product", "convolution"])
def test_only_inexact_tactics_add_up_in_float16_and_only_where_processors_can(
    spec: Spec, target: str, rng: np.random.Generator
) -> None:
    region, can = replace(spec, dtype=FLOAT16).region(rng), target in ("avx512_amx", "avx512_fp16")
    toolchain = CpuToolchain(TARGETS[target], stamp_elsewhere(target), 1, tactics(), None)
    narrow = set()
    for tactic in toolchain.catalogue:
        for config in () if tactic.joins else tactic.configs(region, TARGETS[target])[:1]:
            if "x half> @llvm.fma" in tactic.emit(region, config, TARGETS[target]).text:
                narrow.add(tactic)
    assert bool(narrow) == can == (FLOAT16 in toolchain.fast_types)
    assert not any(tactic.exact for tactic in narrow)


@needs_halves
@settings(max_examples=6)
@given(st.tuples(st.integers(1, 20), st.integers(1, 150)), st.integers(2, 70), st.integers(0, 99))
def test_products_of_all_shapes(a: tuple[int, int], columns: int, seed: int) -> None:
    assert _checked(Example("drawn", linear((a[0], 2 * a[1]), columns, "columns", FLOAT16)), seed)


@needs_halves
@settings(max_examples=6)
@given(windows(st.integers(3, 80).map(lambda half: 2 * half), FLOAT16), st.integers(0, 99))
def test_convolutions_of_all_shapes(window: Window, seed: int) -> None:
    assert _checked(Example("drawn", window), seed)


@needs_halves
@pytest.mark.parametrize(
    "spec",
    [linear((8, 4096), 40, dtype=FLOAT16), Window((1, 512, 5, 5), 24, (3, 3), dtype=FLOAT16)],
    ids=["product", "3x3"],
)
def test_long_sums_are_as_near_as_short_ones(spec: Spec, rng: np.random.Generator) -> None:
    assert _checked(Example("long", spec), int(rng.integers(100)))


@needs_halves
def test_what_is_lost_is_little_more_than_what_a_result_in_float16_loses(rng: np.random.Generator) -> None:
    """Partial sums of 32 products would lose 1.9 · 2^-11."""
    rig, region = PairsAlone(), linear((24, 2048), 96, dtype=FLOAT16).region(rng)
    kernel = HalfMatMul().emit(region, HalfMatMul().configs(region, TARGET)[0], TARGET)
    arrays = random_inputs(region, {}, rng)
    (_, found), *_ = rig.outputs(region, kernel, rig.compiled(kernel, TARGET.name), arrays, {}, rng)
    expected = whole_output(region, arrays, {}).values
    squares = np.square(found.astype(np.float64) - expected).mean() / np.square(expected).mean()
    assert np.sqrt(squares) < 1.8 * 2**-11


@needs_halves
@pytest.mark.parametrize("odd", [1.0, np.inf, np.nan])
@pytest.mark.parametrize(
    "spec",
    [Opposites((9, 128), 40), Opposites((1, 64, 5, 6), 24, (1, 1)), Opposites((1, 128, 5, 6), 40, (3, 3))],
    ids=["product", "pointwise", "3x3"],
)
def test_sums_beyond_float16_are_those_of_float32(spec: Spec, odd: float, rng: np.random.Generator) -> None:
    """Partial sums become infinite, results do not; what is not finite itself stays where it belongs."""
    assert _checked(Large("large", spec, odd=odd), int(rng.integers(100)))


def _checked(example: Example, seed: int) -> int:
    """How many configs add up in float16; all are right, of which two are tried where emulation is slow."""
    rng = np.random.default_rng(seed)
    choose = Rotation(2, seed) if CpuRig.plain in EMULATED_SINGLE else every
    return Trial(example, PairsAlone(), rng).check(TARGET.name, choose)
