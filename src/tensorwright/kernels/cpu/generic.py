"""The tactic that computes any region whose operators state their mathematics."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.flatten import Addressing, FlatComputation, flatten
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.nest import Nest, NestEmitter, arrange
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Load, walk
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.copying import is_copied
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.selection import selects
from tensorwright.kernels.numerics import IN_BLOCKS
from tensorwright.kernels.slabs import Slabs, slabs_along
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Packing, Tactic, TacticOptions
from tensorwright.ops.cache import CacheUpdate
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dim import coefficient_of, is_static, upper_bound
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tensor.type import TensorType

STREAMED, UNTUNED, UNTUNED_ANCHOR = 0.8, 0.3, 0.03
"""Assumed share of the roofline: loops that stream through memory, that reduce or change the layout, that compute an
anchor."""
SEARCHED = 0.03
"""The same of loops that ask of every element in which of several pieces it lies."""

FEW_PIECES = 8
"""From more on such loops take four times as long as copies, and seconds to compile."""


class Generic(Tactic[Target, TacticOptions]):
    """Loops over the output, vectorised along its innermost axis. Correct for all definitions, fast for simple ones."""

    name = "generic"
    general = NO_OPTIONS

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        if region.is_sequential or selects(region):  # As formulas, every place is compared with every other one.
            return []
        if isinstance(region.output.op, CacheUpdate):  # In loops over all elements the whole cache would be written.
            return []
        plain = Config((PLAIN,) * len(region.inputs), PLAIN, NO_OPTIONS)
        blocked = _blocked_config(region, blocked_layout(target))
        pooled = _pooled_config(region, blocked_layout(target))
        return [plain, *(config for config in (blocked, pooled) if config is not None)]

    def efficiency(self, region: Region, config: AnyConfig) -> float:
        if region.anchor is not None and region.anchor.op.kind == "anchor":
            return UNTUNED_ANCHOR
        if is_copied(region) or _most_pieces(region) > FEW_PIECES:
            return SEARCHED
        if len({config.output, *(layout for layout in config.inputs if not layout.is_plain)}) > 1:
            return UNTUNED / 3
        return STREAMED if region.anchor is None else UNTUNED

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        return nest_kernel(region, config, target, config.inputs, (None,) * len(region.inputs))


def nest_kernel(
    region: Region,
    config: AnyConfig,
    target: Target,
    addressing: Sequence[Addressing],
    packings: Sequence[Packing | None],
) -> Kernel:
    """The loop nest of a region whose inputs lie as `addressing` says, constants among them packed."""
    operands = list(zip(region.input_types, addressing, strict=True))
    flat = flatten(region.computation, operands, (region.output.type, config.output))
    nest = arrange(flat)
    symbols = region.symbols
    in_place = _in_place(region, config, flat)
    emitter = argument_emitter(len(operands), symbols, target)
    builder = emitter.builder
    NestEmitter(nest, emitter, Pointer("%out"), region.output.type.dtype).run(
        Register("%begin", INT64), Register("%end", INT64)
    )
    text = builder.module(signature(len(operands), len(symbols), in_place), FUNCTION_ATTRIBUTES)
    return Kernel(
        text=text,
        inputs=config.inputs,
        output=config.output,
        tasks=nest.tasks,
        packings=tuple(packings),
        symbols=symbols,
        in_place=in_place,
        writes=nest_slabs(nest),
    )


def nest_slabs(nest: Nest) -> Slabs | None:
    """What the tasks of a nest write: single indices of its parallel loops."""
    loops = [v for v in (*nest.parallel, *nest.sequential) if v.extent != 1]
    steps = {v: coefficient_of(nest.address, v) for v in loops}
    known = {v: step for v, step in steps.items() if isinstance(step, int) and step > 0 and is_static(v.extent)}
    if len(known) < len(loops):
        return None
    axes = sorted(loops, key=lambda v: -known[v])
    return slabs_along(
        [v.extent for v in axes], [(axes.index(v), upper_bound(v.extent)) for v in nest.parallel if v in axes]
    )


def _most_pieces(region: Region) -> int:
    return max((len(value.inputs) for value in region.values if isinstance(value.op, Concatenation)), default=0)


def blockable(type: TensorType) -> bool:
    """Whether a tensor can lie in the blocked layout."""
    return type.dtype in IN_BLOCKS and type.rank in (3, 4, 5) and isinstance(type.shape[1], int)


def _blocked_config(region: Region, blocked: Layout) -> AnyConfig | None:
    """Every input that has the output's rank and is no constant lies in blocked layout, like the output."""
    if not blockable(region.output.type):
        return None
    rank = region.output.type.rank
    layouts = [
        blocked if blockable(value.type) and value.type.rank == rank and not is_constant(value) else PLAIN
        for value in region.inputs
    ]
    return Config(tuple(layouts), blocked, NO_OPTIONS) if blocked in layouts else None


def _pooled_config(region: Region, blocked: Layout) -> AnyConfig | None:
    """A reduction of one blocked input over all positions, whose result is as good as plain."""
    anchor, output = region.anchor, region.output.type
    if anchor is None or anchor.op.kind != "reduction" or any(extent != 1 for extent in output.shape[2:]):
        return None
    moving = [number for number, value in enumerate(region.inputs) if not is_constant(value)]
    if len(moving) != 1 or not blockable(region.inputs[moving[0]].type):
        return None
    channels = region.inputs[moving[0]].type.shape[1]
    if output.rank < 2 or output.shape[1] != channels or upper_bound(channels) % blocked.block:
        return None
    return Config(tuple(blocked if n in moving else PLAIN for n in range(len(region.inputs))), PLAIN, NO_OPTIONS)


def _in_place(region: Region, config: AnyConfig, flat: FlatComputation) -> tuple[int, ...]:
    """Inputs whose every element is read only where, and as wide as, the output's is written."""
    output = region.output.type
    reads: dict[int, bool] = {}
    for node in walk(flat.body):
        if isinstance(node, Load):
            same = node.index == (flat.address,) and node.guard is None
            reads[node.operand] = reads.get(node.operand, True) and same
    return tuple(
        number
        for number, same in sorted(reads.items())
        if same
        and region.inputs[number].type.dtype.size == output.dtype.size
        and region.inputs[number].type.shape == output.shape
        and config.inputs[number] == config.output
    )
