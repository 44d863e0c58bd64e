"""The products of a warp at its two points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.cuda.matrix import below_tf32, multiply_16x8
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cuda.fragments.rows import load_words
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import Problem
from tensorwright.kernels.cuda.winograd.packing import FRAGMENT, THREAD
from tensorwright.kernels.cuda.winograd.problem import EIGHT, PLACES
from tensorwright.kernels.cuda.winograd.tiling import WARPS, Tiling
from tensorwright.tensor.dtype import FLOAT32, INT32

OWN = 2
"""Points of a warp."""
LINE = 128
"""Bytes that are requested at once."""
REQUESTED = 8
"""Steps whose weights are: that is all where batches are small, and weights come from memory."""
NUMBERS = 2
"""Of a thread in a fragment of the transformed input."""
Fragment = list[Register]
"""A thread's words of a factor, i32."""
Sums = list[list[Register]]
"""Four for each fragment of the columns and of the tiles, those of the tiles innermost: columns g and g + 8, tiles 2 q
and 2 q + 1 of each.
"""


@dataclass(frozen=True)
class Factor:
    """A fragment as tensor cores read it, as TF32, and what they drop of it."""

    whole: Fragment
    lower: Fragment


@dataclass(frozen=True)
class Products(ThreadWriter):
    """Emits the products of one warp. block_weights: the block's first ones."""

    problem: Problem
    tiling: Tiling
    target: CudaTarget
    emitter: GroupEmitter
    block_weights: Pointer
    warp: Register
    lane: Register

    @cached_property
    def _weights(self) -> Pointer:
        """The thread's first weights."""
        builder = self.builder
        own = Term(builder, self.warp) * (OWN * FRAGMENT) + Term(builder, self.lane) * THREAD
        return builder.offset(self.block_weights, wide(builder, own.register), FLOAT32)

    def columns(self, step: Register, point: int) -> list[Fragment]:
        """Weights of a step (i32) at one of the warp's points: for each 16 columns those of all parts of the step."""
        builder, tiling, found = self.builder, self.tiling, list[Fragment]()
        offset = builder.mul(step, tiling.parts * PLACES * FRAGMENT)
        start = builder.offset(self._weights, wide(builder, offset), FLOAT32)
        for group in range(tiling.column_groups):
            for part in range(tiling.parts):
                number = (group * (self.problem.channels // EIGHT) + part) * PLACES + point
                found.append(load_words(builder, builder.offset(start, number * FRAGMENT, FLOAT32)))
        return found

    def request(self, first: Register, thread: Register) -> None:
        """Have the weights of the block's first steps brought into the L2, all at once, if it has the first tiles.

        first: the block's first step, thread: of the block, i32.
        """
        builder, tiling = self.builder, self.tiling
        of_step, line = tiling.parts * PLACES * FRAGMENT, LINE // FLOAT32.size
        steps, group_size = tiling.steps(self.problem), tiling.steps(self.problem) * of_step
        requested = min(REQUESTED, -(-steps // tiling.cluster)) * of_step
        start = Term(builder, first) * of_step + Term(builder, thread) * line
        with builder.when(builder.compare("eq", builder.block_index("y"), 0)):
            for distance in range(0, requested, tiling.threads * line):
                inside = wide(builder, least(start + distance, group_size - line).register)
                place = builder.offset(self.block_weights, inside, FLOAT32)
                for group in range(tiling.column_groups):
                    builder.prefetch(builder.offset(place, group * group_size, FLOAT32))

    def added(self, sums: Sums, columns: Sequence[Fragment], stage: str, point: int) -> Sums:
        """Sums with a step's products at one of the warp's points. stage: the thread's place in the warp's input."""
        tiling, parts, found = self.tiling, self.tiling.parts, list[list[Register]]()
        tiles = [self._factor(self._fragment(stage, point, number)) for number in range(WARPS)]
        for group in range(tiling.column_groups):
            weights = [self._factor(one) for one in columns[group * parts : (group + 1) * parts]]
            for number in range(tiling.tile_groups):
                total = self._product(weights, tiles[number * parts : (number + 1) * parts])
                before = sums[group * tiling.tile_groups + number]
                found.append([self.builder.add(a, b) for a, b in zip(before, total, strict=True)])
        return found

    def _product(self, columns: Sequence[Factor], tiles: Sequence[Factor]) -> list[Register]:
        """The product of one step: what is left out is below 2^-20 of it. The smaller terms come first."""
        total, both = [literal(0.0, FLOAT32)] * THREAD, list(zip(columns, tiles, strict=True))
        pairs = [(own.lower, other.whole) for own, other in both] + [(own.whole, other.lower) for own, other in both]
        for left, right in pairs + [(own.whole, other.whole) for own, other in both]:
            total = multiply_16x8(self.builder, self.target, FLOAT32, left, right, total)
        return total

    def _factor(self, fragment: Fragment) -> Factor:
        return Factor(fragment, [below_tf32(self.builder, word) for word in fragment])

    def _fragment(self, stage: str, point: int, number: int) -> Fragment:
        """Of 8 tiles and 8 channels."""
        builder, place = self.builder, self.builder.fresh("p")
        distance = point * self.tiling.point_bytes + number * self.tiling.fragment_bytes
        builder.emit(f"{place} = getelementptr i8, ptr addrspace(3) {stage}, i32 {distance}")
        pair = builder.value(f"load <2 x i32>, ptr addrspace(3) {place}, align {4 * NUMBERS}", INT32, NUMBERS)
        return [builder.extract(pair, word) for word in range(NUMBERS)]
