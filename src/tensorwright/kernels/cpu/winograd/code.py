"""What the parts of a Winograd convolution's code share: where things lie, numbers and control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register
from tensorwright.kernels.cpu.winograd.tiles import TileRun
from tensorwright.kernels.cpu.winograd.tiling import WinogradTiling
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class Places:
    """Where a tile's values lie at points that all tiles have, and at those that the tiles of the last column lack."""

    everywhere: Pointer
    not_last: Pointer

    def moved(self, move: Callable[[Pointer], Pointer]) -> Places:
        everywhere = move(self.everywhere)
        return Places(everywhere, everywhere if self.not_last == self.everywhere else move(self.not_last))


@dataclass(frozen=True)
class WinogradCode:
    """All is computed, and lies in workspace, in the type of the sum, as transformed weights do. Image and bias have
    types of their own.

    The workspace holds the transformed input, ``[points, phases, channel blocks, tiles, lanes]``, the products,
    ``[points, output blocks, tiles, lanes]``, and what a tile needs for itself: a patch of the
    input where its phases are taken apart, or where it may lie at a border of an image of open extents.
    """

    tiling: WinogradTiling
    emitter: ScalarEmitter
    epilogue: Epilogue
    output: Pointer
    x: Pointer
    weights: Pointer
    bias: Pointer | None
    workspace: Pointer

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    @property
    def total(self) -> DType:
        return self.tiling.problem.numerics.total

    @property
    def behind_products(self) -> Pointer:
        """What a tile has for itself."""
        return self._moved(self.products, self.tiling.points * self.tiling.product_step)

    @property
    def products(self) -> Pointer:
        return self.builder.offset(self.workspace, self.tiling.units * self.tiling.input_step, self.total)

    def _tile_places(self, start: Pointer, tile: Register, row: Register) -> Places:
        """Where a tile lies in its block, by its number and row."""
        everywhere = self._moved(start, self.builder.scaled(tile, self.tiling.lanes))
        if self.tiling.last_column == self.tiling.width:
            return Places(everywhere, everywhere)
        return Places(
            everywhere, self._moved(start, self.builder.scaled(self.builder.sub(tile, row), self.tiling.lanes))
        )

    def _place(self, places: Places, column: int) -> Pointer:
        """That of a column of points."""
        return places.everywhere if self.tiling.is_everywhere(column) else places.not_last

    def _vector(self, base: Pointer, distance: int, dtype: DType | None = None) -> Register:
        dtype = self.total if dtype is None else dtype
        return self.builder.load(self.builder.offset(base, distance, dtype), dtype, self.tiling.lanes)

    def _moved(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.builder.offset(base, elements, self.total)

    def _in_image(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.builder.offset(base, elements, self.tiling.problem.numerics.left)

    def _term(self, index: Register) -> Term:
        return Term(self.builder, index)

    def _extent(self, dim: Dim) -> Term:
        return Term(self.builder, self.emitter.integer(dim))

    def _divided(self, value: Register, extent: Dim) -> tuple[Register, Register]:
        """Quotient and remainder."""
        if isinstance(extent, int):
            return self.builder.divided(value, extent)
        divisor = self._extent(extent)
        return (self._term(value) // divisor).register, (self._term(value) % divisor).register

    @contextmanager
    def _inside(self, run: TileRun, index: Register, runs: Sequence[TileRun]) -> Iterator[None]:
        """What runs only for the tiles of one run."""
        if len(runs) == 1:
            yield
            return
        with self.emitter.when((self._term(index) - run.first).below(run.count).register):
            yield
