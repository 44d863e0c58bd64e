"""Bias and epilogue of outputs, and where they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter, split_index
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.epilogue import Epilogue, epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import GROUP
from tensorwright.kernels.cuda.results import request, result_position
from tensorwright.kernels.cuda.winograd.problem import OUTPUTS, Winograd
from tensorwright.kernels.cuda.winograd.tiling import QUAD, Tiling
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import FLOAT32


@dataclass(frozen=True)
class Finish(ThreadWriter):
    """Emits the end of a kernel."""

    region: Region
    config: AnyConfig
    winograd: Winograd
    tiling: Tiling
    emitter: GroupEmitter

    def request_constants(self) -> None:
        """Have the constants brought near that finishing reads, by the block's first warp."""
        builder, thread = self.builder, self.builder.thread()
        with self.emitter.when(builder.compare("ult", thread, WARP)):
            column = self._column(builder.binary("urem", thread, self.tiling.columns // QUAD))
            request(
                self.emitter, self.region, self.config, self.winograd.problem,
                i64(0), *builder.divided(column, GROUP), QUAD, constants=True,
            )  # fmt: skip

    def run(self, tile: Register, quad: Register, outputs: Mapping[Register, Register]) -> None:
        """Store 4 neighbouring columns of pixels of a tile.

        tile, quad of columns: of the block; outputs: by the number of the pixel in the tile; all numbers i32.
        """
        emitter, epilogue = self.emitter, epilogue_of(self.region, self.config.inputs, self.config.output)
        with emitter.scope():
            place, column = self._tile(tile), self._column(quad)
            finished = [  # All is read before the first is written, which may be what the next one reads.
                self._finished(epilogue, place, pixel, column, values, number)
                for number, (pixel, values) in enumerate(outputs.items())
            ]
            for exists, value, address, lane in finished:
                with emitter.when(exists), emitter.in_lanes(lane):
                    emitter.store(value, Pointer("%out"), address, epilogue.dtype)

    def _column(self, quad: Register) -> Register:
        """The first column of a quad of the block (i64)."""
        builder = self.builder
        first = builder.scaled(wide(builder, builder.special_again("ctaid.x")), self.tiling.columns)
        return builder.add(first, builder.scaled(wide(builder, quad), QUAD))

    def _tile(self, tile: Register) -> _Place:
        """A tile of the block."""
        builder, emitter, found = self.builder, self.emitter, self.winograd
        first = builder.scaled(wide(builder, builder.special_again("ctaid.y")), self.tiling.tiles)
        number = builder.add(first, wide(builder, tile))
        image, down, right = split_index(emitter, found.tile_extents, number)
        exists = builder.compare("slt", number, emitter.integer(found.tiles))
        return _Place(exists, image, builder.scaled(down, OUTPUTS), builder.scaled(right, OUTPUTS))

    def _finished(
        self, epilogue: Epilogue, tile: _Place, pixel: Register, column: Register, values: Register, number: int
    ) -> tuple[Register, Register, Dim, Lane]:
        """Whether a pixel exists, what becomes of it, and its address; that of the first one, if it does not."""
        builder, within = self.builder, wide(self.builder, pixel)
        row = builder.add(tile.row, builder.binary("udiv", within, OUTPUTS))
        place = builder.add(tile.column, builder.binary("urem", within, OUTPUTS))
        exists = builder.binary("and", tile.exists, builder.compare("slt", row, self.winograd.down.output))
        exists = builder.binary("and", exists, builder.compare("slt", place, self.winograd.right.output))
        indexes = [builder.select(exists, index, i64(0)) for index in (tile.image, row, place)]
        position, lane = self._position(indexes, column, number)
        return exists, *epilogue.apply(self.emitter, self._biased(values, column), position, lane), lane

    def _position(self, indexes: list[Register], column: Register, number: int) -> tuple[tuple[Dim, ...], Lane]:
        row = list[Dim]()
        for axis, (extent, index) in enumerate(
            zip((one.extent for one in self.winograd.problem.row_axes), indexes, strict=True)
        ):
            variable = Variable(f"pixel{number}.{axis}", extent)
            self.emitter.values[variable] = index
            row.append(0 if extent == 1 else expression(variable))
        group, inside = self.builder.divided(column, GROUP)
        return result_position(self.emitter, self.winograd.problem, row, group, inside, QUAD, number)

    def _biased(self, values: Register, column: Register) -> Register:
        builder, bias = self.builder, self.winograd.problem.bias
        if bias is None:
            return values
        place = builder.offset(self.emitter.operands[bias], column, FLOAT32)
        return builder.add(values, builder.load(place, FLOAT32, QUAD))


@dataclass(frozen=True)
class _Place:
    """A tile: whether it exists, its image, its first row and column (i64)."""

    exists: Register
    image: Register
    row: Register
    column: Register
