"""Elementwise regions that read along one axis and write along another: reorders between layouts, transposes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensorwright.codegen.flatten import flatten
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.generic import blockable
from tensorwright.kernels.cpu.transposing.tiling import TransposingTiling, is_turned, transposing_tiling
from tensorwright.kernels.cpu.transposing.write import TransposingWriter
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions
from tensorwright.tensor.dim import product
from tensorwright.tensor.layout import PLAIN


class Transposing(Tactic[Target, TacticOptions]):
    """Square blocks, as wide as a register of floats, are loaded along one axis, turned, and stored along the other."""

    name = "transposing"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        output = region.output.type
        if region.anchor is not None or region.is_sequential or not is_turned(output.dtype):
            return []
        if not any(isinstance(extent, int) and extent > 1 for extent in output.shape):
            return []  # Blocks need known extents; formulas of many open ones take long to look at.
        return [config for config in _layouts(region, target) if _tiling(region, config, target) is not None]

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        tiling = _tiling(region, config, target)
        assert tiling is not None
        symbols = region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, inputs = emitter.builder, emitter.operands
        TransposingWriter(tiling, emitter, region.output.type.dtype).write()
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=product(v.extent for v in tiling.variables[: tiling.tasks]),
            packings=(None,) * len(inputs),
            symbols=symbols,
            writes=tiling.writes,
        )


TACTICS = (Transposing(),)


def _layouts(region: Region, target: Target) -> Iterator[AnyConfig]:
    """Plain and blocked on either side, all inputs alike."""
    blocked, output = blocked_layout(target), region.output.type
    movable = [
        blockable(value.type) and value.type.rank == output.rank and not is_constant(value) for value in region.inputs
    ]
    for source in (PLAIN, blocked) if any(movable) else (PLAIN,):
        for destination in (PLAIN, blocked) if blockable(output) else (PLAIN,):
            yield Config(tuple(source if ok else PLAIN for ok in movable), destination, NO_OPTIONS)


def _tiling(region: Region, config: AnyConfig, target: Target) -> TransposingTiling | None:
    operands = list(zip(region.input_types, config.inputs, strict=True))
    output = region.output.type
    flat = flatten(region.computation, operands, (output, config.output))
    channels = output.shape[1] if not config.output.is_plain else None
    return transposing_tiling(flat, blocked_layout(target).block, channels if isinstance(channels, int) else None)
