"""Convolution kernels: every tactic with every config gives what the reference gives."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from cases.case import assert_close
from kernels.convolution_regions import Shape, check, expected_of, inputs_of
from targets import RUNNABLE
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.convolution.lanewise_tactic import LanewiseConvolution
from tensorwright.kernels.cpu.convolution.tactic import DirectConvolution
from tensorwright.kernels.tactic import Tactic
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, DType
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare

TACTICS: tuple[Tactic, ...] = (DirectConvolution(), LanewiseConvolution())
BATCH = symbol("batch", 1, 2, 5)
ALL_TARGETS = ("avx512", "avx2", "baseline")

SHAPES = (
    Shape("pointwise", (1, 32, 7, 5), 48, (1, 1), tail="bias relu"),
    Shape("pointwise-odd-channels", (2, 19, 5, 7), 21, (1, 1), tail="bias add relu"),
    Shape("pointwise-stride", (1, 17, 9, 7), 33, (1, 1), (2, 2), tail="bias clip"),
    Shape("pointwise-row-epilogue", (1, 16, 3, 5), 16, (1, 1), tail="row"),
    Shape("pointwise-padded", (1, 8, 4, 3), 16, (1, 1), (1, 1), (1, 2), (0, 1)),
    Shape("one-pixel", (BATCH, 40, 1, 1), 70, (1, 1), tail="bias hardswish"),
    Shape("3x3", (1, 18, 6, 9), 40, (3, 3), begin=(1, 1), tail="bias add relu"),
    Shape("3x3-small-map", (BATCH, 20, 7, 7), 36, (3, 3), begin=(1, 1), tail="scale"),
    Shape("3x3-wide", (1, 6, 4, 61), 17, (3, 3), begin=(1, 1), tail=""),
    Shape("3x3-stride", (1, 16, 9, 11), 32, (3, 3), (2, 2), (1, 1), tail="bias relu"),
    Shape("3x3-dilated", (1, 7, 8, 9), 16, (3, 3), begin=(2, 3), end=(3, 2), dilations=(2, 3)),
    Shape("5x5-no-pad", (1, 20, 8, 8), 50, (5, 5)),
    Shape("lopsided", (2, 9, 6, 5), 20, (4, 2), (2, 1), (0, 1), (3, 2), tail="bias add"),
    Shape("more-padding-than-kernel", (1, 5, 2, 3), 16, (2, 2), begin=(3, 3), tail="bias relu"),
    Shape("first-layer-7x7", (1, 3, 19, 23), 20, (7, 7), (2, 2), (3, 3), tail="bias relu"),
    Shape("first-layer-11x11", (1, 3, 27, 31), 16, (11, 11), (4, 4)),
    Shape("one-channel", (BATCH, 1, 12, 12), 20, (5, 5), tail="bias relu"),
    Shape("groups-of-blocks", (1, 48, 5, 6), 96, (3, 3), begin=(1, 1), groups=3, tail="bias relu"),
    Shape("groups-odd", (1, 60, 4, 5), 51, (1, 1), groups=3, tail="bias relu"),
    Shape("groups-odd-3x3", (2, 24, 5, 4), 40, (3, 3), begin=(1, 1), groups=4, tail="scale add"),
    Shape("1d", (2, 7, 30), 18, (3,), (2,), (1,), (2,), (1,), tail="bias relu"),
    Shape("1d-pointwise", (BATCH, 20, 11), 18, (1,), (1,), (0,), (0,), (1,), tail="bias add"),
    Shape("3d", (1, 5, 4, 5, 6), 17, (3, 2, 3), (1, 2, 1), (1, 0, 1), (1, 1, 1), (1, 1, 1)),
    Shape("3d-pointwise", (1, 18, 3, 2, 4), 20, (1, 1, 1), (1, 1, 1), (0, 0, 0), None, (1, 1, 1), tail="add"),
    Shape("pointwise-one-column", (1, 32, 20, 1), 32, (1, 1), tail="bias"),
    Shape("pointwise-one-column-residual", (1, 18, 12, 1), 20, (1, 1), tail="add"),
    Shape("3d-pointwise-one-column", (2, 18, 1, 7, 1), 20, (1, 1, 1), (1, 1, 1), (0, 0, 0), None, (1, 1, 1)),
)  # fmt: skip


LANEWISE_SHAPES = (
    Shape("depthwise", (BATCH, 33, 9, 11), 33, (3, 3), begin=(1, 1), groups=33, tail="bias clip"),
    Shape("depthwise-stride", (1, 20, 8, 9), 20, (3, 3), (2, 2), (0, 0), (1, 1), groups=20, tail="bias hardswish"),
    Shape("depthwise-5x5-dilated", (2, 16, 10, 13), 16, (5, 5), begin=(4, 4), dilations=(2, 2), groups=16, tail="add"),
    Shape("depthwise-7x7", (1, 19, 7, 7), 19, (7, 7), begin=(3, 3), groups=19),
    Shape("depthwise-1d", (1, 18, 40), 18, (4,), (2,), (1,), (2,), (1,), groups=18),
    Shape("depthwise-3d", (1, 17, 3, 4, 5), 17, (3, 3, 3), (1,) * 3, (1,) * 3, None, (1,) * 3, groups=17),
    Shape("groups-of-2", (1, 36, 5, 6), 36, (3, 3), begin=(1, 1), groups=18, tail="bias relu"),
    Shape("groups-of-4", (1, 32, 6, 9), 32, (3, 3), (2, 2), (1, 1), groups=8, tail="bias add relu"),
)  # fmt: skip

SPREAD = 3
"""Configs tried of a shape on a target; `test_all_configs` tries all there are of a few shapes."""


def _check_some(tactic: Tactic, shape: Shape, target: str, rng: np.random.Generator) -> None:
    region, machine = shape.region(rng), TARGETS[target]
    configs = tactic.configs(region, machine)
    assert configs
    step = -(-len(configs) // SPREAD)
    for config in configs[ALL_TARGETS.index(target) % step :: step]:
        check(region, tactic.emit(region, config, machine), machine, rng, batches=(1, 3))


@pytest.mark.parametrize("target", ALL_TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_direct(shape: Shape, target: str, rng: np.random.Generator):
    _check_some(DirectConvolution(), shape, target, rng)


@pytest.mark.parametrize("target", ALL_TARGETS)
@pytest.mark.parametrize("shape", LANEWISE_SHAPES, ids=repr)
def test_lanewise(shape: Shape, target: str, rng: np.random.Generator):
    if LanewiseConvolution().configs(shape.region(rng), TARGETS[target]):
        _check_some(LanewiseConvolution(), shape, target, rng)
    else:
        assert "groups-of-4" in shape.name  # A whole block at four lanes.
        assert TARGETS[target].float_lanes == 4


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=repr)
@pytest.mark.parametrize("target", ALL_TARGETS)
@pytest.mark.parametrize("shape", [*SHAPES[::3], *LANEWISE_SHAPES[::3]], ids=repr)
def test_narrow_types(shape: Shape, target: str, dtype: DType, rng: np.random.Generator):
    """Factors and results of two bytes, sums in float32."""
    narrow = replace(shape, dtype=dtype)
    for tactic in TACTICS:
        if tactic.configs(narrow.region(rng), TARGETS[target]):
            _check_some(tactic, narrow, target, rng)


@pytest.mark.skipif("avx512_bf16" not in RUNNABLE, reason="this processor has no dot products of bfloat16")
@pytest.mark.parametrize("name", ["pointwise", "3x3", "3x3-wide", "3d-pointwise"])
def test_dot_products_of_bfloat16(name: str, rng: np.random.Generator):
    """They come first where channels are even and lie in blocks, and are what the machine code contains."""
    shape = replace(next(shape for shape in SHAPES if shape.name == name), dtype=BFLOAT16)
    region, machine, tactic = shape.region(rng), TARGETS["avx512_bf16"], DirectConvolution()
    first, *others = tactic.configs(region, machine)
    assert first.options.group == 2
    kernel = tactic.emit(region, first, machine)
    check(region, kernel, machine, rng, batches=(1, 3))
    assert "vdpbf16ps" in compile_assembly(kernel.code, machine)
    assert any(config.options.group == 1 for config in others)


def test_dot_products_need_even_channels_in_blocks(rng: np.random.Generator):
    machine = TARGETS["avx512_bf16"]
    for name in ("pointwise-odd-channels", "first-layer-7x7", "groups-of-blocks"):
        shape = replace(next(shape for shape in SHAPES if shape.name == name), dtype=BFLOAT16)
        assert all(config.options.group == 1 for config in DirectConvolution().configs(shape.region(rng), machine))


def test_float16_is_converted_by_vectors(rng: np.random.Generator):
    """No single element is converted, which would be broadcast from a register."""
    shape = Shape("3x3", (1, 64, 14, 14), 64, (3, 3), begin=(1, 1), dtype=FLOAT16)
    region, machine = shape.region(rng), TARGETS["avx512"]
    for config in DirectConvolution().configs(region, machine)[:2]:
        assembly = compile_assembly(DirectConvolution().emit(region, config, machine).code, machine)
        assert "vcvtph2ps" in assembly
        assert re.search(r"vbroadcastss\s+-?\d*\(%", assembly)
        assert not re.search(r"vbroadcastss\s+%xmm", assembly)


@pytest.mark.parametrize("name", ["pointwise-odd-channels", "3x3-small-map", "groups-of-2"])
def test_all_configs(name: str, rng: np.random.Generator):
    shape = next(shape for shape in (*SHAPES, *LANEWISE_SHAPES) if shape.name == name)
    region, machine = shape.region(rng), TARGETS["avx512"]
    for tactic in TACTICS:
        for config in tactic.configs(region, machine):
            check(region, tactic.emit(region, config, machine), machine, rng, batches=(2,))


def test_residual_in_place(rng: np.random.Generator):
    """The output may lie where the residual input was."""
    region, target, tactic = SHAPES[1].region(rng), TARGETS["avx512"], DirectConvolution()
    residual = next(n for n, value in enumerate(region.inputs) if value.name == "residual")
    kernel = tactic.emit(region, tactic.configs(region, target)[0], target)
    assert kernel.in_place == (residual,)
    arrays = inputs_of(region, rng, {})
    operands = prepare(region, kernel, arrays, {})
    _, *rest = operands.arguments
    LoadedKernel(kernel, target).call(rest[residual], *rest)
    shape = [int(dim) for dim in region.output.type.shape]
    assert_close(from_layout(operands.inputs[residual], kernel.output, shape), expected_of(region, arrays), 1e-5)


def test_arm_code_compiles(rng: np.random.Generator):
    for shape in (*SHAPES[::4], *LANEWISE_SHAPES[::3]):
        region = shape.region(rng)
        for tactic in TACTICS:
            for config in tactic.configs(region, TARGETS["aarch64"])[:1]:
                compile_object(tactic.emit(region, config, TARGETS["aarch64"]).code, TARGETS["aarch64"])


TIGHT = (
    Shape("pointwise", (1, 64, 14, 14), 128, (1, 1), tail="bias"),
    Shape("pointwise-stride", (1, 64, 14, 14), 128, (1, 1), (2, 2), tail="bias"),
    Shape("3x3", (1, 64, 14, 14), 96, (3, 3), begin=(1, 1), tail="bias"),
    Shape("first-layer", (1, 3, 56, 56), 64, (7, 7), (2, 2), (3, 3), tail="bias"),
)


@pytest.mark.parametrize("shape", TIGHT, ids=repr)
def test_inner_loops_keep_to_registers(shape: Shape, rng: np.random.Generator):
    """Innermost loops multiply just as often as they must, and hardly touch a vector on the stack."""
    region, target, tactic = shape.region(rng), TARGETS["avx512"], DirectConvolution()
    for config in tactic.configs(region, target)[:3]:
        assembly = compile_assembly(tactic.emit(region, config, target).code, target)
        loops = [loop for loop in _innermost_loops(assembly) if "vfmadd" in loop]
        assert loops
        for loop in loops:
            on_stack = re.findall(r"zmm.*\(%rsp\)|\(%rsp\).*zmm", loop)
            assert len(on_stack) <= 0.1 * loop.count("vfmadd"), config
            assert not re.search(r"vmulps|vaddps", loop), config
        accumulators = config.options.rows * config.options.columns * config.options.blocks
        assert max(loop.count("vfmadd") for loop in loops) % accumulators == 0, config


def _innermost_loops(assembly: str) -> list[str]:
    """The text between every label and the first jump back to it, if no other label lies between."""
    pieces = re.split(r"^(\.\w+):", assembly, flags=re.MULTILINE)
    loops = []
    for label, text in zip(pieces[1::2], pieces[2::2], strict=True):
        back = re.search(rf"\tj\w+\s+{re.escape(label)}\n", text)
        if back:
            loops.append(text[: back.start()])
    return loops
