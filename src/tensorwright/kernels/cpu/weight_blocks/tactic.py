"""Products of few rows by weights of a few bits: bound by reading them, so that an eighth of the bytes is an eighth of
the time. Columns are split into panels, vectors run along columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.rows.epilogue import row_epilogue
from tensorwright.kernels.cpu.weight_blocks.digits import DIGITS, LANES, DigitWriter
from tensorwright.kernels.cpu.weight_blocks.packing import WORD, block_packing, word_packing
from tensorwright.kernels.cpu.weight_blocks.panels import Operands, PanelWriter
from tensorwright.kernels.cpu.weight_blocks.write import FloatWriter
from tensorwright.kernels.tactic import Config, Kernel, Packing, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.tensor.dim import bounds, product
from tensorwright.tensor.layout import PLAIN

WIDTHS, HEIGHTS = (4, 2, 1), (4, 2, 1)
MOST_SUMMED = 1 << 15
"""Weights of eight bits times digits whose sum an int32 holds, and that of the digits times a zero point."""


@dataclass(frozen=True)
class PanelOptions(TacticOptions):
    """vectors: of columns in a panel. rows: that share unpacked weights. bytes: whether bytes are multiplied, not
    float32.
    """

    vectors: int
    rows: int
    bytes: bool = False


class WeightBlocks(Tactic[Target, PanelOptions]):
    """Weights become float32 or bytes in registers, rows of activations meet them there."""

    name = "weight_blocks"

    def configs(self, region: Region, target: Target) -> Sequence[Config[PanelOptions]]:
        anchor = _product(region)
        if anchor is None:
            return []
        plain = plain_inputs(region)
        shapes = [*_shapes(anchor, target, digits=True), *_shapes(anchor, target, digits=False)]
        return [Config(plain, PLAIN, options) for options in shapes]

    def emit(self, region: Region, config: Config[PanelOptions], target: Target) -> Kernel:
        anchor = _product(region)
        assert anchor is not None
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        writer = _writer(region, anchor, config.options, emitter)
        writer.write()
        packings: list[Packing | None] = [None] * len(region.inputs)
        for value, packing in zip(anchor.inputs[1:], (word_packing, block_packing, block_packing), strict=False):
            packings[region.input_number(value)] = packing(writer.width)
        return Kernel(
            text=emitter.builder.module(signature(len(region.inputs), len(region.symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=writer.panels,
            packings=tuple(packings),
            symbols=region.symbols,
            workspace=writer.workspace,
        )


TACTICS = (WeightBlocks(),)


def _shapes(anchor: Value, target: Target, *, digits: bool) -> list[PanelOptions]:
    """The register tiles, the most promising first."""
    most, least = bounds(product(anchor.type.shape[:-1]))[1], anchor.type.shape[-1]
    assert isinstance(least, int)
    if digits and not _can_split(anchor, target, most):
        return []
    lanes = target.float_lanes
    widths = [width for width in WIDTHS if (width - 1) * lanes < least]
    shapes = [(width, rows) for rows in HEIGHTS if rows <= most for width in widths]

    def registers(width: int, rows: int) -> int:
        return ((DIGITS + 1) * rows + 1) * width + 4 if digits else 2 * width * rows + 2 * width + 2

    fitting = [shape for shape in shapes if registers(*shape) <= target.registers] or [(1, 1)]
    found = sorted(fitting, key=lambda shape: (-min(shape[1], most), -shape[0]))
    return [PanelOptions(width, rows, digits) for width, rows in found]


def _can_split(anchor: Value, target: Target, rows: int) -> bool:
    """Whether activations can be split into digits: blocks have whole vectors of them, and all digits stay in the
    second-level cache.
    """
    op, depth = anchor.op, anchor.inputs[0].type.shape[-1]
    assert isinstance(op, BlockMatMul)
    assert isinstance(depth, int)
    has_whole_vectors = op.block % LANES == 0 or op.block >= depth
    fits = 2 * DIGITS * depth * rows <= target.l2_bytes
    return target.has_integer_dot and has_whole_vectors and fits and min(op.block, depth) <= MOST_SUMMED


def _writer(region: Region, anchor: Value, options: PanelOptions, emitter: ScalarEmitter) -> PanelWriter:
    op, activations = anchor.op, anchor.inputs[0]
    depth, columns = activations.type.shape[-1], anchor.type.shape[-1]
    assert isinstance(op, BlockMatMul)
    assert isinstance(depth, int)
    assert isinstance(columns, int)
    places = [emitter.operands[region.input_number(value)] for value in anchor.inputs]
    operands = Operands(places[0], places[1], places[2], places[3] if len(places) > 3 else None)
    return (DigitWriter if options.bytes else FloatWriter)(
        op, depth, columns, product(anchor.type.shape[:-1]), options.vectors, options.rows,
        emitter, operands, row_epilogue(region, emitter.target.float_lanes),
    )  # fmt: skip


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
