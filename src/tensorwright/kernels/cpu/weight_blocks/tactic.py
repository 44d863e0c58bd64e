"""Products of few rows by weights of a few bits: bound by reading them, so that an eighth of the bytes is an eighth of
the time. Columns are split into panels, vectors run along columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.rows.epilogue import row_epilogue
from tensorwright.kernels.cpu.weight_blocks.packing import WORD, block_packing, word_packing
from tensorwright.kernels.cpu.weight_blocks.write import Operands, Writer
from tensorwright.kernels.tactic import Config, Kernel, Packing, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.tensor.dim import bounds, product
from tensorwright.tensor.layout import PLAIN

WIDTHS, HEIGHTS = (4, 2, 1), (4, 2, 1)


@dataclass(frozen=True)
class PanelOptions(TacticOptions):
    """vectors: of columns in a panel. rows: that share unpacked weights."""

    vectors: int
    rows: int


class WeightBlocks(Tactic[Target, PanelOptions]):
    """Weights become float32 in registers, rows of activations meet them there."""

    name = "weight_blocks"

    def configs(self, region: Region, target: Target) -> Sequence[Config[PanelOptions]]:
        anchor = _product(region)
        if anchor is None:
            return []
        most, least = bounds(product(anchor.type.shape[:-1]))[1], anchor.type.shape[-1]
        assert isinstance(least, int)
        lanes = target.float_lanes
        widths = [width for width in WIDTHS if (width - 1) * lanes < least]
        shapes = [(width, rows) for rows in HEIGHTS if rows <= most for width in widths]
        fitting = [(w, r) for w, r in shapes if 2 * w * r + 2 * w + 2 <= target.registers] or [(1, 1)]
        found = sorted(fitting, key=lambda shape: (-min(shape[1], most), -shape[0]))
        return [Config(plain_inputs(region), PLAIN, PanelOptions(width, rows)) for width, rows in found]

    def emit(self, region: Region, config: Config[PanelOptions], target: Target) -> Kernel:
        anchor = _product(region)
        assert anchor is not None
        op, (activations, *constants), lanes = anchor.op, anchor.inputs, target.float_lanes
        depth, columns = activations.type.shape[-1], anchor.type.shape[-1]
        assert isinstance(op, BlockMatMul)
        assert isinstance(depth, int)
        assert isinstance(columns, int)
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        places = [emitter.operands[region.input_number(value)] for value in anchor.inputs]
        operands = Operands(places[0], places[1], places[2], places[3] if len(places) > 3 else None)
        writer = Writer(
            op, depth, columns, product(anchor.type.shape[:-1]), config.options.vectors, config.options.rows,
            emitter, operands, row_epilogue(region, lanes),
        )  # fmt: skip
        writer.write()
        packings: list[Packing | None] = [None] * len(region.inputs)
        for value, packing in zip(constants, (word_packing, block_packing, block_packing), strict=False):
            packings[region.input_number(value)] = packing(writer.width)
        return Kernel(
            text=emitter.builder.module(signature(len(region.inputs), len(region.symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=writer.panels,
            packings=tuple(packings),
            symbols=region.symbols,
        )


TACTICS = (WeightBlocks(),)


def _product(region: Region) -> Value | None:
    """The product that a region is built around, if its weights come in whole words."""
    anchor = region.anchor
    if anchor is None or not isinstance(anchor.op, BlockMatMul) or not region.is_elementwise_around_anchor:
        return None
    op, constants, depth = anchor.op, anchor.inputs[1:], anchor.inputs[0].type.shape[-1]
    per_word = WORD // op.bits
    if not isinstance(depth, int) or not depth or depth % per_word or (op.block % per_word and op.block < depth):
        return None
    if not all(is_constant(one) for one in constants) or len(set(constants)) < len(constants):
        return None
    readers = [value for value in region.values if set(constants) & set(value.inputs)]
    is_read_here = all(one in region.inputs for one in anchor.inputs)
    return anchor if is_read_here and readers == [anchor] and 0 not in anchor.type.shape else None
