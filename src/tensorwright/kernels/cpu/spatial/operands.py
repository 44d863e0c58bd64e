"""What kernels share that go through the positions of a tensor of channels, without weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tensorwright.codegen.target import Target
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.dealing import many_tasks
from tensorwright.kernels.cpu.spatial.tiling import Tiling, TilingOptions
from tensorwright.kernels.numerics import IN_BLOCKS
from tensorwright.kernels.tactic import AnyConfig, Packing, pack_channels
from tensorwright.tensor.layout import PLAIN, Layout


def layouts(region: Region, operands: Collection[int], layout: Layout) -> tuple[Layout, ...]:
    """The layouts of a region's inputs: operands and what the epilogue reads like the output as given, others plain."""
    shape = region.output.type.shape
    return tuple(
        layout
        if number in operands
        or (type.dtype in IN_BLOCKS and type.rank == len(shape) and type.shape[1] == shape[1] != 1)
        else PLAIN
        for number, type in enumerate(region.input_types)
    )


def packings(region: Region, config: AnyConfig) -> tuple[Packing | None, ...]:
    """How the constants that the epilogue reads are packed."""
    return tuple(
        None if layout.is_plain or not is_constant(value) else pack_channels(layout.block, 1)
        for value, layout in zip(region.inputs, config.inputs, strict=True)
    )


def row_options(columns: int) -> TilingOptions:
    """So many positions of a row at once."""
    return TilingOptions(1, columns, 1, 1, True, 1, 1, pixels_first=False, prefetch=False)


def dealt(tiling: Tiling, target: Target) -> TilingOptions:
    """The tiling's options with as many tiles of positions in a task as leave enough tasks."""
    chunks = max(1, min(tiling.units, -(-many_tasks(target) // (tiling.group_count * tiling.outer_positions))))
    return replace(tiling.options, pixels=-(-tiling.units // chunks))
