"""Attention in bfloat16 whose products add up pairs, as dot products of bfloat16 do."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.transpose import transposed
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.attention.problem import Factor, KnownProblem
from tensorwright.kernels.cpu.arithmetic import Arithmetic, BFloat16Dot
from tensorwright.kernels.cpu.attention.write import AttentionTiling, AttentionWriter
from tensorwright.kernels.cpu.matmul import tile
from tensorwright.kernels.cpu.matmul.loops import LeftMatrix
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels
from tensorwright.kernels.cpu.rows.normalise import Row
from tensorwright.kernels.numerics import FLOAT_TOTAL, Numerics
from tensorwright.tensor.dim import Dim, expression, upper_bound
from tensorwright.tensor.dtype import BFLOAT16, INT16, INT32, DType

GROUP = 2


def pairs_fit(problem: KnownProblem) -> bool:
    """Whether pairs of the reductions can be read together: they are neighbours in memory, or rows to be merged."""
    depths = (problem.k, problem.depth), (problem.v, problem.columns)
    even = all(depth % GROUP == 0 or factor.row_step != 1 for factor, depth in depths)
    plain = all(factor.column_step == 1 or factor.row_step == 1 for factor, _ in depths)
    return even and plain and problem.depth % GROUP == 0 and problem.q.column_step == 1


@dataclass(frozen=True)
class PairTiling(AttentionTiling):
    """An attention of known rows and columns. In workspace k and v have a pair, for each column, where `total` lies."""

    problem: KnownProblem

    @property
    def pieces(self) -> tuple[int, ...]:
        """Elements of workspace for k, v, the scores of a block and of one more row, a number for each row, and the
        powers of a block in bfloat16.
        """
        problem, rows = self.problem, self.block * self.tiles.most
        return (
            steps_of(problem.depth) * self.columns,
            steps_of(problem.columns) * self.width,
            (rows + 1) * self.columns,
            rows,
            rows * self.columns * BFLOAT16.size // self.total.size,
        )


@dataclass(frozen=True)
class PairAttentionWriter(AttentionWriter):
    """Powers are rounded to bfloat16 before they are multiplied."""

    tiling: PairTiling

    @property
    def _powers(self) -> Pointer:
        return self._workspace(4)

    def _arithmetic(self, left: DType) -> Arithmetic:
        return BFloat16Dot(Numerics(BFLOAT16, BFLOAT16, FLOAT_TOTAL, FLOAT_TOTAL), self.tiling.lanes)

    def _factor(self, packed: Pointer, first: Dim, depth: Dim, kind: Panel) -> tile.Factor:
        start = self._offset(packed, self.emitter.integer(first * steps_of(upper_bound(depth))))
        return tile.Factor(start, i64(GROUP * kind.vectors * self.tiling.lanes), is_padded=True)

    def _powers_of(self, number: Register) -> Row:
        place = self.emitter.builder.scaled(number, self.tiling.columns)
        return Row(self.emitter.builder.offset(self._powers, place, BFLOAT16), BFLOAT16)

    def _weights(self, first: Dim) -> LeftMatrix:
        back = self.emitter.integer(first * -self.tiling.columns)
        return LeftMatrix(self.emitter.builder.offset(self._powers, back, BFLOAT16), self.tiling.columns, 1)

    # ---- packing

    def _pack_factor(self, factor: Factor, batch: Dim, depth: Dim, panels: Panels, destination: Pointer) -> None:
        column, source = Variable("column", panels.columns), self._matrix(factor, batch)
        for panel, right in self._panels(panels, column, depth, destination):
            first = self.emitter.integer(expression(column) * factor.column_step)
            start = self.emitter.builder.offset(source, first, factor.dtype)
            for vector in range(panel.vectors):
                count = panel.masked if panel.masked and vector + 1 == panel.vectors else panels.lanes
                self._pack_vector(factor, start, right.start, panel.vectors, vector, count, upper_bound(depth))

    def _pack_vector(
        self, factor: Factor, start: Pointer, place: Pointer, vectors: int, vector: int, count: int, depth: int
    ) -> None:
        """A panel's vector of so many columns, the panel starting at `start`, to its place in the panel at `place`."""
        emitter, builder, lanes = self.emitter, self.emitter.builder, self.tiling.lanes
        first = emitter.integer(factor.column_step * (vector * lanes))
        source = builder.offset(start, first, factor.dtype)
        destination = builder.offset(place, vector * lanes, INT32)
        unit = lanes if factor.row_step == 1 else 1
        whole, rest = divmod(depth // GROUP, unit)
        work = self._turn if factor.row_step == 1 else self._merge
        if whole:
            with emitter.loop(0, whole * unit, unit) as loop:
                work(factor, source, destination, loop.index, vectors, count, unit)
        if rest:
            work(factor, source, destination, i64(whole * unit), vectors, count, rest)
        if depth % GROUP:
            self._merge(factor, source, destination, i64(depth // GROUP), vectors, count, 0)

    def _turn(
        self, factor: Factor, source: Pointer, place: Pointer, pair: Register, vectors: int, count: int, pairs: int
    ) -> None:
        """So many pairs of neighbours of `count` columns, transposed."""
        builder, lanes = self.emitter.builder, self.tiling.lanes
        step = self.emitter.integer(factor.column_step)
        start = builder.offset(source, builder.scaled(pair, GROUP), factor.dtype)
        places = [builder.offset(start, builder.scaled(step, number), factor.dtype) for number in range(count)]
        if pairs == lanes:
            columns = [builder.load(each, INT32, lanes, alignment=factor.dtype.size) for each in places]
        else:
            mask, nothing = lane_mask(pairs, lanes), literal(0, INT32, lanes)
            columns = [builder.masked_load(each, mask, nothing, INT32) for each in places]
        columns += [literal(0, INT32, lanes)] * (lanes - count)
        for number, row in enumerate(transposed(builder, columns)[:pairs]):
            builder.store(row, self._pair(place, pair, number, vectors), INT32)

    def _merge(
        self, factor: Factor, source: Pointer, place: Pointer, pair: Register, vectors: int, count: int, pairs: int
    ) -> None:
        """Two rows side by side in the halves of `count` columns; one row alone if `pairs` is 0."""
        builder, lanes = self.emitter.builder, self.tiling.lanes
        step = self.emitter.integer(factor.row_step)
        start = builder.offset(source, builder.mul(builder.scaled(pair, GROUP), step), factor.dtype)

        def row(number: int) -> Register:
            at = builder.offset(start, builder.scaled(step, number), factor.dtype)
            zero = literal(0, INT16, lanes)
            whole = count == lanes
            bits = (
                builder.load(at, INT16, lanes)
                if whole
                else builder.masked_load(at, lane_mask(count, lanes), zero, INT16)
            )
            return builder.convert("zext", bits, INT32)

        value = row(0)
        if pairs:
            value = builder.binary("or", value, builder.binary("shl", row(1), 16))
        builder.store(value, self._pair(place, pair, 0, vectors), INT32)

    def _pair(self, place: Pointer, pair: Register, number: int, vectors: int) -> Pointer:
        """Where a pair of the first of a panel's vectors lies."""
        builder, width = self.emitter.builder, vectors * self.tiling.lanes
        return builder.offset(builder.offset(place, builder.scaled(pair, width), INT32), number * width, INT32)


def steps_of(depth: int) -> int:
    """Pairs along a reduction."""
    return -(-depth // GROUP)
