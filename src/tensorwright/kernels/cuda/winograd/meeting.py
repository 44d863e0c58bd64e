"""The products at all points of a tile meet in shared memory, and what a cluster's blocks have of an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, literal
from tensorwright.codegen.winograd import Value, finite_points, transform_output
from tensorwright.kernels.cuda.winograd.problem import EIGHT, OUTPUTS, PLACES, POINTS
from tensorwright.kernels.cuda.winograd.products import OWN, Sums
from tensorwright.kernels.cuda.winograd.tiling import COLUMNS, QUAD, Tiling
from tensorwright.tensor.dtype import FLOAT32, INT32

NEAR, FAR = "ptr addrspace(3)", "ptr addrspace(7)"
PIXELS = OUTPUTS * OUTPUTS
"""Of a tile."""

Finish = Callable[[Register, Register, Mapping[Register, Register]], None]
"""Takes a tile and a quad of columns of the block, and by the number of the pixel in the tile 4 sums."""


@dataclass(frozen=True)
class Meeting:
    """Emits the exchange. memory: where shared memory begins."""

    tiling: Tiling
    builder: ThreadBuilder
    memory: str

    @cached_property
    def thread(self) -> Register:
        """Of the block (i32), read after the loop, which has no register to keep it in."""
        return self.builder.special_again("tid.x")

    def finish(self, sums: Sequence[Sums], finish: Finish) -> None:
        """Bring the products of each of the warp's points back to outputs, and finish each once, somewhere."""
        builder, tiling = self.builder, self.tiling
        builder.meet()
        for number, own in enumerate(sums):
            self._leave(own, number)
        builder.meet()
        if tiling.cluster == 1:
            self._each_piece(lambda piece: finish(*self._tile_and_quad(piece), dict(self._numbered(piece))))
            return
        found = list[tuple[Register, list[Register]]]()
        self._each_piece(lambda piece: found.append((piece, self._outputs(piece))), guarded=False)
        builder.meet()
        self._each_found(found)
        builder.meet_cluster()
        self._each_share(finish)
        builder.meet_cluster()

    def _numbered(self, piece: Register) -> list[tuple[Register, Register]]:
        return [(literal(number, INT32), value) for number, value in enumerate(self._outputs(piece))]

    # ---- products at points

    def _leave(self, sums: Sums, number: int) -> None:
        """Products at one of the warp's points as ``[point, tile, column]``."""
        builder, tiling = self.builder, self.tiling
        thread = Term(builder, self.thread)
        warp, g, q = thread.logical_right(5), (thread & (WARP - 1)).logical_right(2), thread & 3
        own = (warp * (OWN * tiling.tiles) + q * 2) * tiling.row_floats + g
        start = self._moved(self.memory, own.register, 1)
        for place, values in enumerate(sums):
            group, tiles = divmod(place, tiling.tile_groups)
            for part, value in enumerate(values):
                tile, column = EIGHT * tiles + part % 2, COLUMNS * group + EIGHT * (part // 2)
                distance = (number * tiling.tiles + tile) * tiling.row_floats + column
                at = self._moved(start, literal(distance, INT32), 1)
                builder.emit(f"store {value.typed}, {NEAR} {at}, align 4")

    def _outputs(self, piece: Register) -> list[Register]:
        """A quad of columns of each pixel of a tile."""
        builder, tiling = self.builder, self.tiling
        tile, quad = self._tile_and_quad(piece)
        own = Term(builder, tile) * tiling.row_floats + Term(builder, quad) * QUAD
        start = self._moved(self.memory, own.register, 1)
        apart = tiling.tiles * tiling.row_floats
        points: list[Value] = [
            self._quad(self._moved(start, literal(point * apart, INT32), 1), NEAR) for point in range(PLACES)
        ]
        finite = finite_points(POINTS, POINTS)
        columns = [transform_output(builder, points[column::POINTS], OUTPUTS, finite) for column in range(POINTS)]
        rows = [transform_output(builder, list(row), OUTPUTS, finite) for row in zip(*columns, strict=True)]
        return [value for row in rows for value in row if value is not None]

    def _tile_and_quad(self, piece: Register) -> tuple[Register, Register]:
        quads = self.tiling.columns // QUAD
        found = Term(self.builder, piece)
        return (found // quads).register, (found % quads).register

    def _each_piece(self, work: Callable[[Register], None], *, guarded: bool = True) -> None:
        """Pieces of the thread's; if not `guarded`, one that does not exist is another one."""
        builder, tiling = self.builder, self.tiling
        for first in range(0, tiling.pieces, tiling.threads):
            piece = builder.add(self.thread, first)
            if first + tiling.threads <= tiling.pieces:
                work(piece)
            elif guarded:
                with builder.when(builder.compare("ult", piece, tiling.pieces)):
                    work(piece)
            else:
                work(builder.binary("urem", piece, tiling.pieces))

    # ---- outputs of a cluster

    def _each_found(self, found: Sequence[tuple[Register, list[Register]]]) -> None:
        """Leave outputs as ``[pixel, piece, 4]``."""
        builder, tiling = self.builder, self.tiling
        for piece, outputs in found:
            start = self._moved(self.memory, piece, QUAD)
            for pixel, value in enumerate(outputs):
                at = self._moved(start, literal(pixel * tiling.pieces, INT32), QUAD)
                builder.emit(f"store {value.typed}, {NEAR} {at}, align 16")

    def _each_share(self, finish: Finish) -> None:
        """Have every quad of every pixel finished by one block of the cluster."""
        builder, tiling = self.builder, self.tiling
        for turn, first in enumerate(range(0, PIXELS * tiling.pieces, tiling.threads)):
            rank = literal(turn % tiling.cluster, INT32)
            with builder.when(builder.compare("eq", builder.block_index("z"), rank)):
                unit = builder.add(self.thread, first)
                piece = builder.binary("urem", unit, tiling.pieces)
                pixel = builder.binary("udiv", unit, tiling.pieces)
                finish(*self._tile_and_quad(piece), {pixel: self._total(unit)})

    def _total(self, unit: Register) -> Register:
        """What all blocks have of a unit, added in their order."""
        builder, name = self.builder, "@llvm.nvvm.mapa.shared.cluster"
        builder.declare(f"declare {FAR} {name}({NEAR}, i32)")
        place, total = self._moved(self.memory, unit, QUAD), list[Register]()
        for rank in range(self.tiling.cluster):
            far = builder.fresh("p")
            builder.emit(f"{far} = call {FAR} {name}({NEAR} {place}, i32 {rank})")
            own = self._quad(far, FAR)
            total = [builder.add(total[0], own)] if total else [own]
        return total[0]

    # ---- places

    def _quad(self, place: str, space: str) -> Register:
        return self.builder.value(f"load <4 x float>, {space} {place}, align 16", FLOAT32, QUAD)

    def _moved(self, place: str, index: Register, floats: int) -> str:
        found = self.builder.fresh("p")
        kind = "float" if floats == 1 else f"<{floats} x float>"
        self.builder.emit(f"{found} = getelementptr {kind}, {NEAR} {place}, {index.typed}")
        return found
