"""Rows of a constant that is also the right factor of a product, read from the panels that the product reads.

Embeddings that a language model also multiplies by (tied weights) are then needed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.arithmetic import Arithmetic, arithmetic_of
from tensorwright.kernels.cpu.generic import UNTUNED, nest_kernel
from tensorwright.kernels.cpu.matmul.panels import packed_address, panel_packing
from tensorwright.kernels.cpu.matmul.shapes import tile_shapes
from tensorwright.kernels.cpu.matmul.tiling import Panels
from tensorwright.kernels.numerics import FLOATS, numerics_of
from tensorwright.kernels.tactic import Config, Kernel, Packing, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.indexing import Gather
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import Shape

LEAST_ROWS = 256
"""Of fewer rows a copy is soon made."""


@dataclass(frozen=True)
class PanelOptions(TacticOptions):
    """vectors: the width of the panels."""

    vectors: int


class GatherFromPanels(Tactic[Target, PanelOptions]):
    """The generic nest, but the table is packed as `PackedMatMul` packs a transposed right factor."""

    name = "gather_panels"

    def configs(self, region: Region, target: Target) -> Sequence[Config[PanelOptions]]:
        table = _table(region)
        if table is None:
            return []
        whole = -(-_rows(table) // _arithmetic(table, target).lanes)
        widths = dict.fromkeys(vectors for _, vectors in tile_shapes(target, whole))
        return [Config(plain_inputs(region), PLAIN, PanelOptions(vectors)) for vectors in widths]

    def efficiency(self, region: Region, config: Config[PanelOptions]) -> float:
        return UNTUNED

    def emit(self, region: Region, config: Config[PanelOptions], target: Target) -> Kernel:
        table = _table(region)
        assert table is not None
        arithmetic, number = _arithmetic(table, target), region.input_number(table)
        panels = Panels(_rows(table), arithmetic.lanes, config.options.vectors)
        packings: list[Packing | None] = [None] * len(region.inputs)
        packings[number] = panel_packing(panels, arithmetic, transposed=True)
        operands = [InPanels(panels) if n == number else PLAIN for n in range(len(region.inputs))]
        return nest_kernel(region, config, target, operands, packings)


TACTICS = (GatherFromPanels(),)


@dataclass(frozen=True)
class InPanels:
    """How a packed table ``[rows, depth]`` lies: its rows are the columns of `panels`."""

    panels: Panels

    def address(self, shape: Shape, index: Sequence[Dim]) -> Dim:
        row, place = index
        depth = shape[-1]
        assert isinstance(depth, int)
        return packed_address(self.panels, depth, place, row)


def _table(region: Region) -> Value | None:
    """The constant of which a region gathers rows and does nothing else with it."""
    gathers = [value for value in region.values if isinstance(value.op, Gather)]
    if len(gathers) != 1 or region.stages:
        return None
    table, op = gathers[0].inputs[0], gathers[0].op
    assert isinstance(op, Gather)
    readers = [value for value in region.values if table in value.inputs]
    if not is_constant(table) or table not in region.inputs or len(readers) != 1 or table is gathers[0].inputs[1]:
        return None
    if op.axis != 0 or table.type.rank != 2 or table.type.dtype not in FLOATS or 0 in table.type.shape:
        return None
    return table if _rows(table) >= LEAST_ROWS else None


def _arithmetic(table: Value, target: Target) -> Arithmetic:
    """The one of products by the table whose elements lie one by one."""
    numerics = numerics_of(table.type.dtype, table.type.dtype, table.type.dtype)
    assert numerics is not None
    return arithmetic_of(numerics, target, 1)


def _rows(table: Value) -> int:
    rows = table.type.shape[0]
    assert isinstance(rows, int)
    return rows
