"""What the kernels of all attentions have in common, whatever multiplies."""

from __future__ import annotations

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.attention.write import AttentionTiling
from tensorwright.kernels.cpu.function import signature
from tensorwright.kernels.tactic import AnyConfig, Kernel


def attention_kernel(region: Region, config: AnyConfig, tiling: AttentionTiling, emitter: ScalarEmitter) -> Kernel:
    """The kernel whose body an emitter has."""
    inputs, symbols = len(region.inputs), region.symbols
    return Kernel(
        text=emitter.builder.module(signature(inputs, len(symbols)), FUNCTION_ATTRIBUTES),
        inputs=config.inputs,
        output=config.output,
        tasks=tiling.tasks,
        packings=(None,) * inputs,
        symbols=symbols,
        workspace=tiling.workspace,
    )
