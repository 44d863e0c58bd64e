"""From the tiling of a chain of convolutions to its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import packings
from tensorwright.kernels.cpu.convolution.broadcast import BroadcastTasks, widened_bytes
from tensorwright.kernels.cpu.convolution.chain import ChainEmitter
from tensorwright.kernels.cpu.convolution.chain_tiling import ChainTiling
from tensorwright.kernels.cpu.convolution.kernel import in_place_inputs
from tensorwright.kernels.cpu.convolution.lanewise import LanewiseTasks, LanewiseTiling, pack_lanewise
from tensorwright.kernels.cpu.convolution.packing import pack_bias, pack_outputs
from tensorwright.kernels.cpu.function import signature
from tensorwright.kernels.cpu.spatial.tasks import TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Memory, input_memory
from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Packing
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import Layout


def chain_kernel(region: Region, config: AnyConfig, target: Target, tiling: ChainTiling) -> Kernel:
    """The kernel of a joined region whose members are split as the tiling says."""
    builder, symbols = FunctionBuilder(target=target), region.symbols
    stages = [_Stage(region, config, tiling, number) for number in range(len(region.stages))]
    emitters = [stage.emitter(builder, target) for stage in stages]
    converted = 0
    if tiling.before is not None and (converted := widened_bytes(tiling.before, target)):
        behind = builder.offset(Pointer("%workspace"), tiling.workspace // tiling.total.size, tiling.total)
        emitters[0] = replace(emitters[0], workspace=behind)
    ChainEmitter(
        tiling=tiling,
        before=emitters[0] if tiling.before is not None else None,
        depthwise=emitters[int(tiling.before is not None)],
        after=emitters[-1] if tiling.after is not None else None,
        workspace=Pointer("%workspace"),
    ).run(Register("%begin", INT64), Register("%end", INT64))
    packed = {number: packing for stage in stages for number, packing in stage.packings()}
    in_place = stages[-1].in_place()
    return Kernel(
        text=builder.module(signature(len(region.inputs), len(symbols), in_place), FUNCTION_ATTRIBUTES),
        inputs=config.inputs,
        output=config.output,
        tasks=tiling.tasks,
        packings=tuple(packed[number] for number in range(len(region.inputs))),
        symbols=symbols,
        workspace=tiling.workspace + converted,
        in_place=in_place,
    )


@dataclass(frozen=True)
class _Stage:
    """One member: a stage of the region by its number, which reads and writes workspace but at the chain's ends."""

    region: Region
    whole: AnyConfig
    chain: ChainTiling
    number: int

    @property
    def stage(self) -> Region:
        return self.region.stages[self.number]

    @property
    def tiling(self) -> Tiling:
        return self.chain.tilings[self.number]

    @property
    def is_last(self) -> bool:
        return self.number == len(self.region.stages) - 1

    @property
    def config(self) -> AnyConfig:
        """The layouts of the stage's own inputs; what the member before hands on is blocked."""
        blocked = Layout(self.tiling.lanes)
        inputs = [blocked if number is None else self.whole.inputs[number] for number in self.numbers]
        return Config(tuple(inputs), blocked, NO_OPTIONS)

    @property
    def numbers(self) -> Sequence[int | None]:
        """For every input of the stage its number in the whole region; None for what the member before hands on."""
        known = {value: number for number, value in enumerate(self.region.inputs)}
        return [known.get(value) for value in self.stage.inputs]

    def emitter(self, builder: FunctionBuilder, target: Target) -> TaskEmitter:
        """What writes the member's tiles; the chain says where in the workspace its input or output lies."""
        tiling, config = self.tiling, self.config
        problem, epilogue = tiling.problem, epilogue_of(self.stage, config.inputs, config.output)
        operands = [Pointer("null" if number is None else f"%in{number}") for number in self.numbers]
        symbols = {s.name: Register(f"%s{place}", INT64) for place, s in enumerate(self.region.symbols)}
        make = LanewiseTasks if isinstance(tiling, LanewiseTiling) else BroadcastTasks
        first = input_memory(problem.axes, problem.all_channels, config.inputs[problem.x].block)
        return make(
            tiling=tiling,
            memory=self._handed(self.number - 1) if self.number else first,
            emitter=ScalarEmitter(builder, target, operands, symbols),
            epilogue=epilogue,
            output=Pointer("%out"),
            x=operands[problem.x],
            weights=operands[problem.weights],
            bias=None if problem.bias is None else operands[problem.bias],
            stored=None if self.is_last else self._handed(self.number),
        )

    def _handed(self, number: int) -> Memory:
        """How a member's result lies in workspace."""
        is_input = self.chain.before is not None and number == 0
        return self.chain.input_memory if is_input else self.chain.result_memory

    def packings(self) -> Sequence[tuple[int, Packing | None]]:
        """How the stage's constants are packed, by their numbers in the whole region."""
        tiling = self.tiling
        weights = pack_lanewise(tiling) if isinstance(tiling, LanewiseTiling) else pack_outputs(tiling)
        found = packings(self.stage, tiling.problem, self.config, weights, pack_bias(tiling.lanes))
        return [(number, each) for number, each in zip(self.numbers, found, strict=True) if number is not None]

    def in_place(self) -> tuple[int, ...]:
        """The inputs whose place the output may take: those that this stage alone reads, just before it writes."""
        config = self.config
        epilogue = epilogue_of(self.stage, config.inputs, config.output)
        others: set[Value] = {v for other in self.region.stages if other is not self.stage for v in other.inputs}
        found = in_place_inputs(self.stage, config, self.tiling.problem, epilogue)
        mine = [self.numbers[number] for number in found if self.stage.inputs[number] not in others]
        return tuple(number for number in mine if number is not None)
