"""Winograd convolution of images whose extents are known only at run time, or with taps that are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.codegen.winograd import Value
from tensorwright.kernels.convolution.problem import OpenAxis
from tensorwright.kernels.cpu.convolution.lines import Line, Lines
from tensorwright.kernels.cpu.winograd.code import Places
from tensorwright.kernels.cpu.winograd.write import WinogradEmitter
from tensorwright.tensor.dim import Dim


@dataclass(frozen=True)
class OpenWinograd(WinogradEmitter):
    """All tiles have the same code. Along axes whose taps are apart, so are a tile's positions. A tile that reads
    padding reads a copy of its part of the image, block by block of channels; one that sticks out of the output stores
    its outputs one by one, by way of workspace.
    """

    axes: tuple[OpenAxis, OpenAxis]

    def _image(self, number: Register) -> Pointer:
        tiling = self.tiling
        channels = tiling.patch.channels if tiling.patch else tiling.channel_blocks * tiling.lanes
        size = self._extent(self._pixels) * channels
        return self._in_image(self.x, (self._term(number) * size).register)

    def _image_extents(self) -> tuple[Register, Register]:
        down, right = self.axes
        return self._extent(down.input).register, self._extent(right.input).register

    def _transform_tile(self, image: Pointer, target: Places, row: Register, column: Register) -> None:
        builder, tiling = self.builder, self.tiling
        lanes, (down, right) = tiling.lanes, self.axes
        top, left = (
            first * axis.stride - axis.before
            for axis, first in zip(self.axes, self._first_position(row, column), strict=True)
        )
        rows, columns = self._extent(down.input), self._extent(right.input)
        reach = (tiling.height.inputs - 1) * down.dilation
        inside = top.below(greatest(rows - reach, 0)) & left.below(greatest(columns - (tiling.patch_columns - 1), 0))
        start = self._in_image(image, ((top * columns + left) * lanes).register)
        step = inside.choose(columns * (down.dilation * lanes), tiling.patch_columns * lanes)
        with self.emitter.loop(0, tiling.channel_blocks) as loop:
            between = self._extent(self._pixels) * lanes
            source = self._in_image(start, (self._term(loop.index) * between).register)
            with self.emitter.when((inside ^ True).register):
                self._copy(source, top, left)
            source = builder.opaque(builder.choose(inside.register, source, self.behind_products))
            distance = builder.scaled(loop.index, tiling.options.tiles * lanes)
            self._transform_phases(target.moved(lambda place: self._moved(place, distance)), source, step)

    def _first_position(self, row: Register, column: Register) -> list[Term]:
        """The first position of a tile along both axes; the next ones are as far apart as taps are."""
        found = []
        for axis, index, size in zip(self.axes, (row, column), self.tiling.options.tile, strict=True):
            number, begin = self.builder.divided(index, axis.dilation)
            found.append(self._term(number) * (size * axis.dilation) + self._term(begin))
        return found

    def _transform_phases(self, places: Places, source: Pointer, step: Term) -> None:
        """Those of a block of channels; rows that are read are so many elements apart."""
        tiling, (down, right) = self.tiling, self.axes
        lines = [self._in_image(source, (step * row).register) for row in range(tiling.height.inputs)]
        dtype = tiling.problem.numerics.left
        for across, along in product(range(down.stride), range(right.stride)):

            def load(i: int, j: int, across: int = across, along: int = along) -> Value:
                row, column = i * down.stride + across, j * right.stride + along
                return self._vector(lines[row], column * right.dilation * tiling.lanes, dtype)

            self._transform_phase(places, (tiling.height, tiling.width), (across, along), load)

    def _copy(self, source: Pointer, top: Term, left: Term) -> None:
        """What a tile reads of a block of channels, with zeros for padding, to workspace."""
        tiling, (down, right) = self.tiling, self.axes
        lanes, width, dtype = tiling.lanes, tiling.patch_columns, tiling.problem.numerics.left
        rows, columns = self._extent(down.input), self._extent(right.input)
        with self.emitter.loop(0, tiling.height.inputs) as loop:
            row = self._term(loop.index) * down.dilation
            here = self._in_image(source, (row * (columns * lanes)).register)
            place = self._in_image(self.behind_products, (self._term(loop.index) * (width * lanes)).register)
            lines = Lines(self.emitter, place, width, right.dilation, blocks=1, block=lanes, dtype=dtype, lanes=lanes)
            known = (top + row).below(rows).choose(columns, 0)
            lines.copy(Line(here, i64(0)), left, known, i64(0), i64(1))

    def _write_tile(self, sources: Places, place: Sequence[Register]) -> None:
        image, block, row, column = place
        tiling, size = self.tiling, self.tiling.options.tile
        results = self._transformed(sources, block, (tiling.height, tiling.width), size)
        start = self._first_position(row, column)
        left = [
            least((greatest(self._extent(axis.output) - first, 0) + (axis.dilation - 1)) // axis.dilation, most)
            for axis, first, most in zip(self.axes, start, size, strict=True)
        ]
        is_whole = left[0].equals(size[0]) & left[1].equals(size[1])
        with self.emitter.when(is_whole.register):
            self._finish(results, image, block, [term.register for term in start])
        stored = self._moved(self.behind_products, tiling.patch_elements)
        with self.emitter.when((is_whole ^ True).register):
            for (i, j), value in results.items():
                self.builder.store(value, self._moved(stored, (i * size[1] + j) * tiling.lanes), self.total)
            with self.emitter.loop(0, left[0].register) as down, self.emitter.loop(0, left[1].register) as right:
                there = self._term(down.index) * size[1] + self._term(right.index)
                value = self._vector(self._moved(stored, (there * tiling.lanes).register), 0)
                at = [
                    (first + self._term(loop.index) * axis.dilation).register
                    for first, loop, axis in zip(start, (down, right), self.axes, strict=True)
                ]
                self._finish({(0, 0): value}, image, block, at)

    @property
    def _pixels(self) -> Dim:
        return self.axes[0].input * self.axes[1].input
