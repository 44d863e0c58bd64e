"""The tactic that computes any region whose operators state their mathematics, on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import BLOCK, Rows, RowsEmitter, elements_apart, rows_apart, vectors_apart
from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.flatten import FlatComputation, flatten
from tensorwright.codegen.values import Pointer
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import kernel_in_a_row, thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.problem import BLOCKED
from tensorwright.kernels.numerics import IN_BLOCKS
from tensorwright.kernels.tactic import Config, Tactic, TacticOptions
from tensorwright.ops.cache import CacheUpdate
from tensorwright.tensor.dim import product, tuning_value
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tensor.type import TensorType

STREAMED, UNTUNED, UNTUNED_ANCHOR = 0.6, 0.2, 0.02
"""Assumed share of the roofline: elementwise, with reductions, with an anchor."""
ACCESS_BYTES = 16
WIDE = IN_BLOCKS
"""Types of outputs that threads write several elements of at once."""
MANY_ROWS = 1024
"""With more rows than this a warp for each keeps a GPU busy."""
MANY_ELEMENTS = 32768
"""With more elements than this, each with a reduction of its own, a thread for each does."""


@dataclass(frozen=True)
class GroupOptions(TacticOptions):
    """group_size: threads that share a row; lanes: neighbouring elements that a thread of its own computes at once."""

    group_size: int
    lanes: int = 1


class Generic(Tactic[CudaTarget, GroupOptions]):
    """A thread for every element of the output, or a warp or block for every row. Correct for all definitions."""

    name = "generic"
    general = GroupOptions(1)

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[GroupOptions]]:
        if isinstance(region.output.op, CacheUpdate):  # With a thread for every element the whole cache is written.
            return []
        plain = configs_in(region, (PLAIN,) * len(region.inputs), PLAIN)
        blocked = blocked_layouts(region)
        found = [*plain, *(configs_in(region, *blocked) if blocked is not None else [])]
        if region.output.op.kind == "opaque":
            if blockable(region.output.type):
                found += configs_in(region, (PLAIN,) * len(region.inputs), BLOCKED)
            if len(region.inputs) == 1 and blockable(region.inputs[0].type):
                found += configs_in(region, (BLOCKED,), PLAIN)
        return found

    def efficiency(self, region: Region, config: Config[GroupOptions]) -> float:
        if region.anchor is None:
            return STREAMED
        return UNTUNED_ANCHOR if region.anchor.op.kind == "anchor" else UNTUNED

    def emit(self, region: Region, config: Config[GroupOptions], target: CudaTarget) -> CudaKernel:
        group_size = config.options.group_size
        flat = _flat(region, config.inputs, config.output)
        rows = _rows(flat, config.options)
        emitter = thread_emitter(len(region.inputs), region.symbols, target, group_size)
        builder = emitter.builder
        assert isinstance(builder, ThreadBuilder)
        builder.wait_for_previous()
        builder.launch_next()
        RowsEmitter(flat, rows, emitter, Pointer("%out"), region.output.type.dtype).run()
        return kernel_in_a_row(region, config, emitter, target, rows.blocks, rows.threads)


def configs_in(region: Region, inputs: tuple[Layout, ...], output: Layout) -> list[Config[GroupOptions]]:
    """The configs for given layouts, a warp for every row first."""
    if region.is_sequential:
        return []
    flat = _flat(region, inputs, output)
    sizes = [size for size in (BLOCK, WARP) if rows_apart(flat, size) is not None]
    rows = None if not sizes else rows_apart(flat, WARP)
    count = 0 if rows is None else tuning_value(product(v.extent for v in rows.rows))
    if count > MANY_ROWS:
        sizes.reverse()
    alone_first = rows is not None and not rows.inner and count > MANY_ELEMENTS
    shared, alone = [GroupOptions(size) for size in sizes], [GroupOptions(1)]
    lanes = ACCESS_BYTES // region.output.type.dtype.size
    if lanes > 1 and region.output.type.dtype in WIDE and vectors_apart(flat, lanes) is not None:
        alone.insert(0, GroupOptions(1, lanes))
    return [Config(inputs, output, options) for options in ((*alone, *shared) if alone_first else (*shared, *alone))]


def blocked_layouts(region: Region) -> tuple[tuple[Layout, ...], Layout] | None:
    """Layouts in which what has channels lies in blocks: inputs of the output's rank that are no constants, and the
    output, unless it has one pixel and its blocks are whole, so that it is plain as well. None if there are none.
    """
    output = region.output.type
    inputs = tuple(BLOCKED if blockable(v.type) and not is_constant(v) else PLAIN for v in region.inputs)
    alike = [v.type.rank == output.rank for v, layout in zip(region.inputs, inputs, strict=True) if layout == BLOCKED]
    if not alike:
        return None
    pooled = output.rank >= 2 and all(extent == 1 for extent in output.shape[2:])
    if pooled and isinstance(output.shape[1], int) and output.shape[1] % BLOCKED.block == 0:
        return inputs, PLAIN
    return (inputs, BLOCKED) if blockable(output) and all(alike) else None


def blockable(type: TensorType) -> bool:
    """Whether a tensor can lie in blocks of channels: those are for the types of tiles and fragments."""
    return type.dtype in IN_BLOCKS and type.rank in (3, 4, 5) and isinstance(type.shape[1], int)


def _flat(region: Region, inputs: Sequence[Layout], output: Layout) -> FlatComputation:
    operands = list(zip(region.input_types, inputs, strict=True))
    return flatten(region.computation, operands, (region.output.type, output))


def _rows(flat: FlatComputation, options: GroupOptions) -> Rows:
    if options.lanes > 1:
        rows = vectors_apart(flat, options.lanes)
    else:
        rows = elements_apart(flat) if options.group_size == 1 else rows_apart(flat, options.group_size)
    assert rows is not None, "a config of this tactic"
    return rows
