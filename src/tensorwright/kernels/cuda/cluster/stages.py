"""How the blocks of a cluster compute one region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

from tensorwright.codegen.cuda.nest import (
    GroupEmitter,
    Rows,
    RowsEmitter,
    elements_apart,
    outermost_reductions,
    rows_apart,
)
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.flatten import FlatComputation, flatten
from tensorwright.codegen.values import Pointer
from tensorwright.graph.expression import Load, Reduce, stride_along, walk
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic
from tensorwright.kernels.cuda.fragments.tiling import Tiling
from tensorwright.kernels.cuda.fragments.write import FragmentKernel
from tensorwright.kernels.cuda.problem import Problem
from tensorwright.kernels.tactic import AnyConfig, Config, Packing, TacticOptions
from tensorwright.tensor.dim import Dim, product, tuning_value
from tensorwright.tensor.layout import Layout

CYCLES = 1700
"""In a microsecond, of a scheduler; of which a multiprocessor has four."""
SCHEDULERS = 4
SETTLING = 0.6
"""Microseconds of a stage in which nothing is computed: the first loads, the barrier."""
LOAD = 0.25
"""Microseconds that a product waits for what it loads at once."""
BASE, TERM, SHARING = 60, 8, 30
"""Instructions of a thread for an element, for each term of its sums, and for adding up those of a warp."""
SCATTERED = 100
"""As many more for each term whose factor lies elsewhere for every thread of a warp."""
PRODUCT_BASE, PRODUCT_STEP = 500, 30
"""Instructions of a warp for a piece of a product, and for each step of the depth beside those that multiply."""


@dataclass(frozen=True)
class Cluster(TacticOptions):
    """Blocks that wait for each other between stages, and reach each other's shared memory; threads: of each."""

    blocks: int
    threads: int

    @property
    def all_threads(self) -> int:
        return self.blocks * self.threads

    def microseconds(self, instructions: int, pieces: int, threads: int) -> float:
        """What pieces take that are so many instructions for so many threads of a block."""
        rounds, warps = ceil(pieces / self.blocks), ceil(min(threads, self.threads) / WARP / SCHEDULERS)
        return SETTLING + rounds * warps * instructions / CYCLES


class Stage(Protocol):
    """A region, the layouts of its operands, and how constants are packed; grid: pieces of it along x and y, each for
    one block. shared_bytes: that a block takes. waits: whether it waits for the stage before by itself. microseconds:
    that it is expected to take.
    """

    @property
    def region(self) -> Region: ...

    @property
    def inputs(self) -> tuple[Layout, ...]: ...

    @property
    def output(self) -> Layout: ...

    @property
    def packings(self) -> tuple[Packing | None, ...]: ...

    @property
    def grid(self) -> tuple[Dim, Dim]: ...

    @property
    def shared_bytes(self) -> int: ...

    @property
    def waits(self) -> bool: ...

    @property
    def microseconds(self) -> float: ...

    def write(self, emitter: GroupEmitter, output: Pointer) -> None:
        """Emit what a block does for the piece that its builder says it is."""


@dataclass(frozen=True)
class _Configured:
    """What has the layouts of a config."""

    region: Region
    config: AnyConfig

    @property
    def inputs(self) -> tuple[Layout, ...]:
        return self.config.inputs

    @property
    def output(self) -> Layout:
        return self.config.output


@dataclass(frozen=True)
class ProductStage(_Configured):
    """A product of the tensor cores."""

    config: Config[Tiling]
    problem: Problem
    arithmetic: Arithmetic
    packings: tuple[Packing | None, ...]
    microseconds: float
    waits: bool = True

    @property
    def grid(self) -> tuple[Dim, Dim]:
        x, y, _ = self.config.options.grid(self.problem)
        return x, y

    @property
    def shared_bytes(self) -> int:
        return self.config.options.shared_bytes

    def write(self, emitter: GroupEmitter, output: Pointer) -> None:
        tiling = self.config.options
        FragmentKernel(self.region, self.config, self.problem, tiling, self.arithmetic, emitter, output).write()


@dataclass(frozen=True)
class ElementStage(_Configured):
    """Anything else: a thread for each element, or a warp."""

    flat: FlatComputation
    rows: Rows
    microseconds: float
    shared_bytes: int = 0
    waits: bool = False

    @property
    def packings(self) -> tuple[Packing | None, ...]:
        return (None,) * len(self.config.inputs)

    @property
    def grid(self) -> tuple[Dim, Dim]:
        return self.rows.blocks, 1

    def write(self, emitter: GroupEmitter, output: Pointer) -> None:
        emitter.group_size = self.rows.group_size
        RowsEmitter(self.flat, self.rows, emitter, output, self.region.output.type.dtype).run()


def product_microseconds(problem: Problem, tiling: Tiling, cluster: Cluster) -> float:
    """What a product is expected to take."""
    x, y, _ = (tuning_value(size) for size in tiling.grid(problem))
    splitting = 2 * (4 * tiling.row_tiles + 16 * tiling.column_groups) if tiling.splits else 0
    multiplying = tiling.units * (12 + 8 if tiling.splits else 4)
    step = PRODUCT_STEP + 10 * tiling.row_tiles + 8 * tiling.column_groups + splitting + multiplying
    instructions = PRODUCT_BASE + ceil(problem.steps / tiling.parts) * step
    loads = ceil(x * y / cluster.blocks) * tiling.rounds(problem)
    return LOAD * loads + cluster.microseconds(instructions, x * y, cluster.threads)


def element_stage(region: Region, config: AnyConfig, cluster: Cluster) -> ElementStage:
    """A region by single threads or by warps, whichever is expected to be faster."""
    operands = list(zip(region.input_types, config.inputs, strict=True))
    flat = flatten(region.computation, operands, (region.output.type, config.output))
    shared = rows_apart(flat, WARP)
    ways = [elements_apart(flat), *([shared] if shared is not None else [])]
    timed = [(_element_microseconds(flat, rows, cluster), number) for number, rows in enumerate(ways)]
    microseconds, chosen = min(timed)
    return ElementStage(region, config, flat, replace(ways[chosen], block=cluster.threads), microseconds)


def _element_microseconds(flat: FlatComputation, rows: Rows, cluster: Cluster) -> float:
    reductions = outermost_reductions(flat.body)
    terms = sum(tuning_value(product(v.extent for v in node.variables)) for node in reductions)
    threads = tuning_value(product(v.extent for v in rows.rows)) * rows.group_size
    of_term = TERM + SCATTERED * sum(_is_scattered(node, flat, rows) for node in reductions)
    instructions = BASE + of_term * terms
    if rows.group_size > 1:
        inner = ceil(tuning_value(product(v.extent for v in rows.inner)) / rows.group_size)
        instructions = BASE * max(1, inner) + of_term * ceil(terms / rows.group_size) + SHARING
    return cluster.microseconds(instructions, ceil(threads / cluster.threads), threads)


def _is_scattered(node: Reduce, flat: FlatComputation, rows: Rows) -> bool:
    """Whether neighbouring threads read elements that are no neighbours."""
    own = node.variables if rows.group_size > 1 else flat.variables
    loads = [load for load in walk(node.body) if isinstance(load, Load)]
    return any(stride_along(address, own[-1]) not in (0, 1) for load in loads for address in load.index if own)
