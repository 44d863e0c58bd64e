"""How a recurrent layer is split into tasks, rows and panels, in plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np

from tensorwright.codegen.target import Target
from tensorwright.codegen.values import register_dtype
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Array, Packing, TacticOptions
from tensorwright.ops.recurrent import Recurrence
from tensorwright.tensor.dim import Dim, ceil_divide, floor_divide, tuning_value, upper_bound
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class RecurrentOptions(TacticOptions):
    """rows: sequences of a tile; vectors: vectors of hidden units of a panel; waves: whether steps are waves."""

    rows: int
    vectors: int
    waves: bool = False


@dataclass(frozen=True)
class Layer:
    """A recurrent layer: `size` hidden units in each direction, elements of `dtype`, of which `lanes` are computed at
    once.
    """

    op: Recurrence
    steps: Dim
    batch: Dim
    size: int
    dtype: DType
    lanes: int

    @property
    def directions(self) -> int:
        return len(self.op.directions)

    @property
    def wide(self) -> DType:
        """The type of sums and of cells."""
        return register_dtype(self.dtype)

    @property
    def vectors(self) -> int:
        """Vectors of hidden units, the last one perhaps not full."""
        return -(-self.size // self.lanes)

    @property
    def padded(self) -> int:
        """Hidden units in whole vectors."""
        return self.vectors * self.lanes

    def number(self, role: str) -> int:
        """The number of an input."""
        return self.op.roles.index(role)

    def has(self, role: str) -> bool:
        """Whether there is such an input."""
        return role in self.op.roles


def layer_of(region: Region, target: Target) -> Layer | None:
    """The layer that a region is; None if it is something else."""
    op, type = region.output.op, region.output.type
    if len(region.values) != 1 or not isinstance(op, Recurrence):
        return None
    steps, batch, _ = region.output.inputs[0].type.shape
    size = type.shape[-1]
    assert isinstance(size, int)
    return Layer(op, steps, batch, size, type.dtype, target.lanes(register_dtype(type.dtype)))


@dataclass(frozen=True)
class Tiling:
    """The tiles of sums in registers: `rows` sequences by all gates of `most` vectors of hidden units.

    in_waves: a task is one panel of hidden units in one step, and the tasks of a step are a wave. Otherwise a task is
    all steps of some sequences in one direction.
    """

    layer: Layer
    rows: int
    most: int
    in_waves: bool

    @property
    def blocks(self) -> Dim:
        """Groups of sequences."""
        return ceil_divide(self.layer.batch, self.rows)

    @property
    def panels(self) -> int:
        """Groups of hidden units; the last one may have fewer vectors."""
        return -(-self.layer.vectors // self.most)

    @property
    def last(self) -> int:
        """Vectors of the last panel."""
        return self.layer.vectors - (self.panels - 1) * self.most

    @property
    def has_short_panel(self) -> bool:
        """Whether the last panel differs from the others: it has fewer vectors, or lanes without a unit."""
        return self.last < self.most or self.layer.padded > self.layer.size

    @cached_property
    def tasks(self) -> Dim:
        apart = self.layer.directions * self.blocks
        return self.layer.steps * apart * self.panels if self.in_waves else apart

    @property
    def waves(self) -> Dim:
        return self.layer.steps if self.in_waves else 1

    @property
    def can_have_waves(self) -> bool:
        """Whether the steps can be waves: states go from one to the next through the output and cells alone."""
        exact = floor_divide(self.tasks, self.waves) * self.waves == self.tasks
        return exact and len(self.layer.op.phases) == 1 and self.layer.steps != 1

    @property
    def state_rows(self) -> int:
        """Rows of scratch memory that a thread needs for cells."""
        if not self.in_waves:
            return self.rows
        return upper_bound(self.layer.directions * self.blocks) * self.rows

    def packing(self) -> Packing:
        """R as panels, in each of them the phases, ``[H, gates, units of the panel]``; zeros fill the last vector."""
        layer, phases = self.layer, self.layer.op.phases

        def pack(array: Array) -> Array:
            split = array.reshape(layer.directions, layer.size, layer.op.gates, layer.size)
            padded = np.pad(split, [(0, 0)] * 3 + [(0, layer.padded - layer.size)])
            return np.concatenate([padded[d][:, list(p), a:b].ravel() for d, a, b, p in self._pieces()])

        return Packing(f"recurrent, panels of {self.most}×{layer.lanes} units, gates {phases}", pack)

    def _pieces(self) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
        """The packed pieces: direction, first unit, unit behind the last one, gates."""
        width = self.most * self.layer.lanes
        for direction in range(self.layer.directions):
            for first in range(0, self.layer.padded, width):
                for phase in self.layer.op.phases:
                    yield direction, first, min(first + width, self.layer.padded), phase


def tilings(layer: Layer, target: Target) -> list[Tiling]:
    """The tilings worth a try, the most promising first."""
    gates, batch = max(map(len, layer.op.phases)), max(1, tuning_value(layer.batch))
    sums = target.registers * 3 // 4
    fewest = -(-batch // max(1, sums // gates))
    heights = sorted({-(-batch // blocks) for blocks in (fewest, 2 * fewest)}, reverse=True)
    shapes = [(rows, width) for rows in heights for width in _widths(layer, sums // (gates * rows))]
    whole = [Tiling(layer, rows, width, in_waves=False) for rows, width in shapes]
    waves = [Tiling(layer, rows, width, in_waves=True) for rows, width in shapes]
    waves = [tiling for tiling in waves if tiling.can_have_waves]
    pairs = (waves, whole) if _is_one_task(whole[0]) else (whole, waves)
    return [tiling for pair in zip_longest(*pairs) for tiling in pair if tiling is not None]


def _widths(layer: Layer, most: int) -> list[int]:
    """Vectors of a panel."""
    return [width for width in (4, 2, 1) if width <= max(1, min(most, layer.vectors))][:2]


MANY_PRODUCTS = 1 << 17
"""Steps of so many products with R are worth a wait of all threads in each."""


def _is_one_task(tiling: Tiling) -> bool:
    """Whether one thread would do all of a layer that is large enough for several."""
    layer = tiling.layer
    return tuning_value(tiling.tasks) == 1 and layer.op.gates * layer.size**2 >= MANY_PRODUCTS


def tiling_at(layer: Layer, options: RecurrentOptions) -> Tiling:
    """The tiling that options name."""
    return Tiling(layer, options.rows, options.vectors, options.waves)
