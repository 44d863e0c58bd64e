"""Writes the loops and blocks of a transposing tiling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorwright.codegen.scalar import Lane, ScalarEmitter, lane_mask
from tensorwright.codegen.transpose import transposed
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable, rename
from tensorwright.kernels.cpu.lanes import picked
from tensorwright.kernels.cpu.transposing.tiling import Axis, TransposingTiling, Turned
from tensorwright.tensor.dim import Dim, expression, minimum, substitute
from tensorwright.tensor.dtype import INT64, DType


@dataclass(frozen=True)
class TransposingWriter:
    tiling: TransposingTiling
    emitter: ScalarEmitter
    dtype: DType

    def write(self) -> None:
        """Write the loop over the tasks."""
        tiling, emitter = self.tiling, self.emitter
        with emitter.builder.loop(Register("%begin", INT64), Register("%end", INT64)) as loop:
            parallel = tiling.variables[: tiling.tasks]
            with emitter.scope():
                task: Dim = expression(Variable("task", 1 << 62))
                emitter.values[Variable("task", 1 << 62)] = loop.index
                for position, variable in reversed(list(enumerate(parallel))):
                    emitter.values[variable] = emitter.integer(task % variable.extent if position else task)
                    task = task // variable.extent
                self._loops(tiling.variables[tiling.tasks :])

    def _loops(self, variables: tuple[Variable, ...]) -> None:
        emitter = self.emitter
        if not variables:
            self._sized(self.tiling.turned, lambda rows: self._sized(self.tiling.lane, lambda n: self._block(rows, n)))
            return
        with emitter.builder.loop(0, emitter.integer(variables[0].extent)) as loop:
            emitter.values[variables[0]] = loop.index
            with emitter.scope():
                self._loops(variables[1:])

    def _sized(self, axis: Axis, write: Callable[[int], None]) -> None:
        """Write code for whole pieces, for a shorter last one, or for both."""
        emitter, builder = self.emitter, self.emitter.builder
        sizes = [(axis.size, "slt")] if axis.whole else []
        sizes += [(axis.rest, "sge")] if axis.rest else []
        for size, relation in sizes:
            piece, limit = emitter.integer(expression(axis.piece)), i64(axis.whole)
            with emitter.when(builder.compare(relation, piece, limit) if len(sizes) > 1 else None):
                write(size)

    def _block(self, count: int, lanes: int) -> None:
        if self.tiling.weaves:
            self._woven(count, lanes)
        else:
            self._stored(count, lanes)

    def _woven(self, count: int, width: int) -> None:
        """Compute vectors along the turned axis, one for each of the `width` lanes, and store them lane by lane."""
        tiling, emitter, builder, size = self.tiling, self.emitter, self.emitter.builder, self.tiling.lane.size
        emitter.values[tiling.turned.inner] = i64(0)
        lane = Lane(tiling.turned.inner, size, None if count == size else lane_mask(count, size), count)
        with emitter.scope(), emitter.in_lanes(lane):
            values = [emitter.scalar(rename(tiling.body, {tiling.lane.inner: number})) for number in range(width)]
        columns = [builder.splat(value, size) for value in values]
        start = emitter.integer(substitute(tiling.address, {tiling.turned.inner: 0, tiling.lane.inner: 0}))
        place = builder.offset(Pointer("%out"), start, self.dtype)
        for first in range(0, count * width, size):
            places = [(n % width, n // width) for n in range(first, first + size)]
            active = min(size, count * width - first)
            self._store(picked(builder, columns, places), builder.offset(place, first, self.dtype), active)

    def _store(self, value: Register, place: Pointer, active: int) -> None:
        builder, size = self.emitter.builder, value.lanes
        if active == size:
            builder.store(value, place, self.dtype)
        else:
            builder.masked_store(value, place, lane_mask(active, size), self.dtype)

    def _stored(self, count: int, lanes: int) -> None:
        tiling, emitter, size = self.tiling, self.emitter, self.tiling.lane.size
        emitter.values[tiling.lane.inner] = i64(0)
        columns = {turned.operand: self._columns(turned, count, lanes) for turned in tiling.loads}
        lane = Lane(tiling.lane.inner, size, None if lanes == size else lane_mask(lanes, size), lanes)
        for number in range(count):
            emitter.given.update({operand: vectors[number] for operand, vectors in columns.items()})
            with emitter.scope(), emitter.in_lanes(lane):
                value = emitter.scalar(rename(tiling.body, {tiling.turned.inner: number}))
                emitter.store(
                    value, Pointer("%out"), substitute(tiling.address, {tiling.turned.inner: number}), self.dtype
                )
        for operand in columns:
            del emitter.given[operand]

    def _columns(self, turned: Turned, count: int, lanes: int) -> list[Register]:
        """For each of `count` elements of the turned axis, the operand's elements across the lanes."""
        if self.tiling.parts(turned):
            return self._taken_apart(turned, count, lanes)
        emitter, builder, dtype, size = self.emitter, self.emitter.builder, turned.load.dtype, self.tiling.lane.size
        rows: list[Register] = []
        for number in range(lanes):
            lane: Dim = number
            if turned.channels is not None:
                first = substitute(turned.channel, {self.tiling.lane.inner: 0})
                lane = minimum(number, turned.channels - 1 - first)
            address = substitute(turned.address, {self.tiling.lane.inner: lane, self.tiling.turned.inner: 0})
            place = builder.offset(emitter.operands[turned.operand], emitter.integer(address), dtype)
            if count == size:
                rows.append(builder.load(place, dtype, size))
            else:
                rows.append(builder.masked_load(place, lane_mask(count, size), literal(0, dtype, size), dtype))
        rows += [literal(0, dtype, size)] * (size - lanes)
        return transposed(builder, rows)[:count]

    def _taken_apart(self, turned: Turned, width: int, lanes: int) -> list[Register]:
        """The same from short rows that follow each other: whole vectors of them, lane by lane."""
        emitter, builder, dtype, size = self.emitter, self.emitter.builder, turned.load.dtype, self.tiling.lane.size
        first = substitute(turned.address, {self.tiling.lane.inner: 0, self.tiling.turned.inner: 0})
        place = builder.offset(emitter.operands[turned.operand], emitter.integer(first), dtype)
        vectors: list[Register] = []
        for start in range(0, lanes * width, size):
            here, active = builder.offset(place, start, dtype), min(size, lanes * width - start)
            if active == size:
                vectors.append(builder.load(here, dtype, size))
            else:
                vectors.append(builder.masked_load(here, lane_mask(active, size), literal(0, dtype, size), dtype))
        elements = [min(lane, lanes - 1) * width for lane in range(size)]
        places = [[divmod(element + number, size) for element in elements] for number in range(width)]
        return [picked(builder, vectors, each) for each in places]
