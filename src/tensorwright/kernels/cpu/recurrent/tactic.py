"""The tactic for recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.recurrent.addresses import Addresses, Scratch
from tensorwright.kernels.cpu.recurrent.tiling import RecurrentOptions, layer_of, tiling_at, tilings
from tensorwright.kernels.cpu.recurrent.write import Writer
from tensorwright.kernels.tactic import Config, Kernel, Packing, Tactic, plain_inputs
from tensorwright.tensor.layout import PLAIN


class Recurrent(Tactic[Target, RecurrentOptions]):
    """Tiles of sums of all gates; R passes through the second-level cache in every step, states are read where they
    were written.
    """

    name = "recurrent"

    def configs(self, region: Region, target: Target) -> Sequence[Config[RecurrentOptions]]:
        layer = layer_of(region, target)
        if layer is None:
            return []
        return [
            Config(plain_inputs(region), PLAIN, RecurrentOptions(tiling.rows, tiling.most, tiling.in_waves))
            for tiling in tilings(layer, target)
        ]

    def emit(self, region: Region, config: Config[RecurrentOptions], target: Target) -> Kernel:
        layer = layer_of(region, target)
        assert layer is not None
        tiling = tiling_at(layer, config.options)
        symbols, values = region.symbols, dict(zip(layer.op.roles, region.output.inputs, strict=True))
        emitter = argument_emitter(len(region.inputs), symbols, target)
        operands = {role: emitter.operands[region.input_number(value)] for role, value in values.items()}
        matrix, others = values["recurrence"], [v for role, v in values.items() if role != "recurrence"]
        is_packed = is_constant(matrix) and matrix not in others
        addresses = Addresses(emitter, tiling, operands, values)
        Writer(emitter, tiling, operands, addresses, is_packed=is_packed).write()
        packings: list[Packing | None] = [None] * len(region.inputs)
        if is_packed:
            packings[region.input_number(matrix)] = tiling.packing()
        return Kernel(
            text=emitter.builder.module(signature(len(region.inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=tiling.tasks,
            waves=tiling.waves,
            packings=tuple(packings),
            symbols=symbols,
            workspace=Scratch(tiling).bytes,
        )


TACTICS = (Recurrent(),)
