"""Direct convolutions: memory that is shared with a residual, and inner loops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from regions.checking import Trial
from regions.collection import EXAMPLES
from regions.convolutions import DEEP, DIRECT, Window
from regions.rigs import CpuRig
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.convolution.tactic import DirectConvolution
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16


def test_the_output_may_lie_where_the_residual_was(rng: np.random.Generator):
    region, target, tactic = DIRECT["pointwise-odd-channels"].region(rng), TARGETS["avx512"], DirectConvolution()
    residual = next(n for n, value in enumerate(region.inputs) if value.name == "residual")
    assert tactic.emit(region, tactic.configs(region, target)[0], target).in_place == (residual,)


@pytest.mark.parametrize("name", ["pointwise", "3x3", "3x3-wide", "3d-pointwise"])
def test_dot_products_of_bfloat16(name: str, rng: np.random.Generator):
    """They come first where channels are even and lie in blocks, and are what the machine code contains."""
    region = replace(DIRECT[name], dtype=BFLOAT16).region(rng)
    machine, tactic = TARGETS["avx512_bf16"], DirectConvolution()
    first, *others = tactic.configs(region, machine)
    assert first.options.group == 2
    assert "vdpbf16ps" in compile_assembly(tactic.emit(region, first, machine).code, machine)
    assert any(config.options.group == 1 for config in others)


@pytest.mark.parametrize("name", ["pointwise-odd-channels", "first-layer-7x7", "groups-of-blocks"])
def test_dot_products_need_even_channels_in_blocks(name: str, rng: np.random.Generator):
    region, machine = replace(DIRECT[name], dtype=BFLOAT16).region(rng), TARGETS["avx512_bf16"]
    assert all(config.options.group == 1 for config in DirectConvolution().configs(region, machine))


def test_float16_is_converted_by_vectors(rng: np.random.Generator):
    """No single element is converted, which would be broadcast from a register."""
    region = Window((1, 64, 14, 14), 64, (3, 3), begin=(1, 1), dtype=FLOAT16).region(rng)
    machine = TARGETS["avx512"]
    for config in DirectConvolution().configs(region, machine)[:2]:
        assembly = compile_assembly(DirectConvolution().emit(region, config, machine).code, machine)
        assert "vcvtph2ps" in assembly
        assert re.search(r"vbroadcastss\s+-?\d*\(%", assembly)
        assert not re.search(r"vbroadcastss\s+%xmm", assembly)


TIGHT = {
    "pointwise": Window((1, 64, 14, 14), 128, (1, 1), tail="bias"),
    "pointwise-stride": Window((1, 64, 14, 14), 128, (1, 1), (2, 2), tail="bias"),
    "3x3": Window((1, 64, 14, 14), 96, (3, 3), begin=(1, 1), tail="bias"),
    "first-layer": Window((1, 3, 56, 56), 64, (7, 7), (2, 2), (3, 3), tail="bias"),
}


@pytest.mark.parametrize("name", TIGHT)
def test_inner_loops_keep_to_registers(name: str, rng: np.random.Generator):
    """Innermost loops multiply just as often as they must, and hardly touch a vector on the stack."""
    region, target, tactic = TIGHT[name].region(rng), TARGETS["avx512"], DirectConvolution()
    for config in tactic.configs(region, target)[:3]:
        assembly = compile_assembly(tactic.emit(region, config, target).code, target)
        loops = [loop for loop in innermost_loops(assembly) if "vfmadd" in loop]
        assert loops
        for loop in loops:
            on_stack = re.findall(r"zmm.*\(%rsp\)|\(%rsp\).*zmm", loop)
            assert len(on_stack) <= 0.1 * loop.count("vfmadd"), config
            assert not re.search(r"vmulps|vaddps", loop), config
        accumulators = config.options.rows * config.options.columns * config.options.blocks
        assert max(loop.count("vfmadd") for loop in loops) % accumulators == 0, config


def innermost_loops(assembly: str) -> list[str]:
    """The text between every label and the first jump back to it, if no other label lies between."""
    pieces = re.split(r"^(\.\w+):", assembly, flags=re.MULTILINE)
    loops = []
    for label, text in zip(pieces[1::2], pieces[2::2], strict=True):
        back = re.search(rf"\tj\w+\s+{re.escape(label)}\n", text)
        if back:
            loops.append(text[: back.start()])
    return loops


@pytest.mark.parametrize("name", [f"deep-convolution-{name}" for name in DEEP])
def test_channels_in_parts(name: str, rng: np.random.Generator) -> None:
    """All ways of it, with tasks of other sizes, too."""

    def in_parts(key: str, configs: Sequence[AnyConfig]) -> Sequence[AnyConfig]:
        chosen = [config for config in configs if getattr(config.options, "depth", 0)]
        return [*chosen, *(replace(config, options=replace(config.options, pixels=2)) for config in chosen)]

    assert Trial(EXAMPLES[name], CpuRig(), rng).check(SINGLE[0], in_parts) >= 4
