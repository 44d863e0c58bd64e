"""Depthwise convolution of bytes: four taps of the last axis at once in every lane.

Neighbouring pixels of a block of channels follow each other in memory. Four of them are loaded together and brought
into an order in which every channel's four bytes lie side by side: then one dot product of four bytes adds four taps
to the sums of all channels. Windows that start a pixel later read the same bytes with other weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cpu.arithmetic import Arithmetic, arithmetic_of
from tensorwright.kernels.cpu.convolution.lanewise import LanewiseTiling
from tensorwright.kernels.cpu.spatial.runs import Run
from tensorwright.kernels.cpu.spatial.tasks import TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Sums, Tile, TileEmitter
from tensorwright.kernels.tactic import Array, Packing
from tensorwright.tensor.dtype import INT8

TOGETHER = 4
"""Taps that one dot product adds up."""

Taps = tuple[int | None, ...]
"""For each of the bytes read together the tap that it is multiplied with, if any."""


@dataclass(frozen=True)
class Read:
    """Pixels of a row that are read together: `count` of them from `first` on, every `step`-th one."""

    first: int
    count: int
    step: int

    def taps(self, start: int, wanted: range) -> Taps:
        """What the bytes are multiplied with for a window that starts at a pixel, taps outside of `wanted` left out."""
        places = [divmod(self.first + number * self.step - start, self.step) for number in range(self.count)]
        found = [tap if not rest and tap in wanted else None for tap, rest in places]
        return (*found, *[None] * (TOGETHER - self.count))


def reads_of(axis: Axis, run: Run) -> Mapping[int, Sequence[tuple[Read, Taps]]]:
    """For every column of a tile what it reads, and multiplies that with.

    Places of pixels are counted from where the first window starts. Nothing is read but what lies between pixels that
    some window reads. Reads that were made for windows before are used again where they hold all that is left.
    """
    windows = {column: _window(run, column) for column in range(run.size)}
    starts = {column: column * axis.stride for column in windows}
    ends = [starts[column] + tap * axis.dilation for column, taps in windows.items() for tap in taps]
    low, high = min(ends, default=0), max(ends, default=-1)
    known: list[Read] = []
    found: dict[int, list[tuple[Read, Taps]]] = {column: [] for column in windows}
    for column, taps in windows.items():
        left = taps
        while left:
            read = next((read for read in known if _holds(read, starts[column], left)), None)
            if read is None:
                read = _read(starts[column] + left[0] * axis.dilation, low, high, axis.dilation)
                known.append(read)
            used = read.taps(starts[column], left)
            found[column].append((read, used))
            left = range(max(tap for tap in used if tap is not None) + 1, left.stop)
    return found


def _window(run: Run, column: int) -> range:
    """The taps of a column that read no padding: they are neighbours."""
    taps = [tap for tap, valid in enumerate(run.valid) if column in valid]
    return range(taps[0], taps[-1] + 1) if taps else range(0)


def _holds(read: Read, start: int, taps: range) -> bool:
    return {tap for tap in read.taps(start, taps) if tap is not None} == set(taps)


def _read(first: int, low: int, high: int, step: int) -> Read:
    if step == 1:
        first = max(low, min(first, high - TOGETHER + 1))
    return Read(first, min(TOGETHER, (high - first) // step + 1), step)


@dataclass(frozen=True)
class TapwiseTiling(LanewiseTiling):
    """A depthwise convolution of bytes."""

    @cached_property
    def groups_of_taps(self) -> tuple[Taps, ...]:
        """All groups of taps for which there are weights."""
        axis = self.problem.axes[-1]
        used = {taps for run in self.columns for reads in reads_of(axis, run).values() for _, taps in reads}
        return tuple(sorted(used, key=lambda taps: [-1 if tap is None else tap for tap in taps]))

    @property
    def bytes_per_row(self) -> int:
        """Weights of an output for a row of its window."""
        return len(self.groups_of_taps) * TOGETHER

    @property
    def weights_per_output(self) -> int:
        return prod(axis.kernel for axis in self.problem.axes[:-1]) * self.bytes_per_row


@dataclass(frozen=True)
class TapwiseTile(TileEmitter):
    """Sums over groups of taps. Weights: taps of the outer axes, groups of taps, lanes, taps of a group."""

    tiling: TapwiseTiling
    arithmetic: Arithmetic

    def _last(self, sums: Sums, x: Pointer, weights: Pointer) -> Sums:
        result = dict(sums)
        x, weights = self.builder.opaque(x), self.builder.opaque(weights)
        pixels: dict[tuple[int, Read], Register] = {}
        reads = reads_of(self.axes[-1], self.tile.columns)
        for row, column, block in sums:
            for read, taps in reads[column]:
                if (row, read) not in pixels:
                    pixels[row, read] = self._by_channel(self._pixels(x, row, read))
                total, factor = result[row, column, block], self._weights(weights, taps)
                result[row, column, block] = self.arithmetic.step(self.builder, factor, pixels[row, read], total)
        return result

    def _weights_between(self, number: int) -> int:
        rows = prod(axis.kernel for axis in self.axes[number + 1 : -1])
        return rows * self.tiling.bytes_per_row * self.tile.outputs

    def _weights(self, weights: Pointer, taps: Taps) -> Register:
        number = self.tiling.groups_of_taps.index(taps)
        place = self._in_weights(weights, number * TOGETHER * self.tile.outputs)
        return self.arithmetic.load_right(self.builder, place, None)

    def _pixels(self, x: Pointer, row: int, read: Read) -> Register:
        """The blocks of channels of some pixels side by side; those that are not read are zeros."""
        across, along = self.memory.spatial[-2:]
        lanes, dtype = self.tile.outputs, self.numerics.left
        place = self._in_image(x, row * self.axes[-2].stride * across + read.first * along)
        if read.step == 1 and read.count == TOGETHER:
            return self.builder.load(place, dtype, TOGETHER * lanes)
        if read.step == 1:
            mask, zeros = lane_mask(read.count * lanes, TOGETHER * lanes), literal(0, dtype, TOGETHER * lanes)
            return self.builder.masked_load(place, mask, zeros, dtype)
        blocks = [
            self.builder.load(self._in_image(place, number * read.step * along), dtype, lanes)
            for number in range(read.count)
        ]
        blocks += [literal(0, dtype, lanes)] * (TOGETHER - read.count)
        pairs = [self._joined(blocks[0], blocks[1]), self._joined(blocks[2], blocks[3])]
        return self._joined(*pairs)

    def _joined(self, left: Register, right: Register) -> Register:
        return self.builder.shuffle(left, right, range(2 * left.lanes))

    def _by_channel(self, pixels: Register) -> Register:
        """The bytes of every channel side by side."""
        lanes = self.tile.outputs
        order = [number * lanes + lane for lane in range(lanes) for number in range(TOGETHER)]
        return self.builder.shuffle(pixels, pixels, order)


@dataclass(frozen=True)
class TapwiseTasks(TaskEmitter):
    """A depthwise convolution of bytes."""

    tiling: TapwiseTiling

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        problem, target = self.tiling.problem, self.emitter.target
        emitter = TapwiseTile(
            builder=self.builder,
            axes=problem.axes,
            memory=self.memory,
            tile=tile,
            registers=target.registers,
            tap_weights=0,
            numerics=problem.numerics,
            tiling=self.tiling,
            arithmetic=arithmetic_of(problem.numerics, target, TOGETHER),
        )
        image = self.builder.offset(image, self.builder.scaled(block, self.memory.channel), problem.numerics.left)
        return emitter.sum(self._initial(tile, block), image, weights, places)


def pack_tapwise(tiling: TapwiseTiling) -> Packing:
    """``[O, 1, *K]`` as ``[O / lanes, outer K, groups of taps, lanes, 4]``, outputs and groups padded with zeros."""
    problem, lanes, groups = tiling.problem, tiling.lanes, tiling.groups_of_taps
    last = problem.axes[-1].kernel

    def pack(array: Array) -> Array:
        rows = problem.taps // last
        padded = np.zeros((tiling.output_blocks * lanes, rows, last + 1), INT8.numpy)
        padded[: problem.all_outputs, :, :last] = array.reshape(problem.all_outputs, rows, last)
        picked = padded[:, :, [[last if tap is None else tap for tap in taps] for taps in groups]]
        split = picked.reshape(-1, lanes, rows, len(groups), TOGETHER)
        return np.ascontiguousarray(split.transpose(0, 2, 3, 1, 4)).reshape(-1)

    shown = ",".join("".join("-" if tap is None else str(tap) for tap in taps) for taps in groups)
    return Packing(f"tapwise taps={problem.taps} lanes={lanes} groups={shown}", pack)
