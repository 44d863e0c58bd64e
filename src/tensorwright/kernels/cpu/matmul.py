"""Products with a constant right factor, packed at build time: linear layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder, Pointer, Register, literal
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.generic import region_symbols
from tensorwright.kernels.matmul.cut import Panel, Panels, RowTiles, part_of
from tensorwright.kernels.matmul.loops import LeftMatrix, TileLoop
from tensorwright.kernels.matmul.problem import Problem, problem_of
from tensorwright.kernels.matmul.rows import row_epilogue
from tensorwright.kernels.matmul.shapes import task_groups, tile_shapes
from tensorwright.kernels.matmul.tile import Factor
from tensorwright.kernels.tactic import Array, Config, Kernel, Packing, plain_inputs, signature
from tensorwright.tensor.dim import Dim, ceil_divide, expression, is_static, product, tuning_value
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.layout import PLAIN

UNROLL = 4
BLOCK_ROWS = 256
"""Rows of a that one pass over all panels shares."""


@dataclass(frozen=True)
class Plan:
    """How a product is cut: tiles of rows, panels of columns, and tasks = blocks of rows × panels × groups of tiles."""

    tiles: RowTiles
    panels: Panels
    groups: int

    @property
    def blocks(self) -> Dim:
        rows = self.tiles.batches * self.tiles.rows
        return ceil_divide(rows, BLOCK_ROWS)

    @property
    def tasks(self) -> Dim:
        return self.blocks * self.panels.count * self.groups


class PackedMatMul:
    """Panels of b, [depth][columns of the panel], pass through the second-level cache; tiles of rows go past them."""

    name = "matmul_packed"

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        problem = problem_of(region)
        if problem is None or not _applies(problem):
            return []
        plain = plain_inputs(region)
        return [Config(plain, PLAIN, options) for options in _options(problem, target)]

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        plan = _plan(problem, config.option("rows"), config.option("vectors"), config.option("groups"), target)
        symbols = region_symbols(region)
        builder = FunctionBuilder(target=target)
        inputs = [Pointer(f"%in{i}") for i in range(len(region.inputs))]
        values = {symbol.name: Register(f"%s{i}", INT64) for i, symbol in enumerate(symbols)}
        _Writer(region, problem, plan, ScalarEmitter(builder, target, inputs, values), target).write()
        packings: list[Packing | None] = [None] * len(inputs)
        packings[problem.b.number] = _packing(problem, plan.panels)
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=plan.tasks,
            packings=tuple(packings),
            symbols=symbols,
        )


TACTICS = (PackedMatMul(),)


def _applies(problem: Problem) -> bool:
    flat = not problem.a.transposed or problem.a.is_matrix
    known = isinstance(problem.columns, int) and problem.columns > 1 and is_static(problem.depth)
    return flat and known and problem.b.is_constant and problem.b.is_matrix and problem.a.number != problem.b.number


def _options(problem: Problem, target: Target) -> Iterator[tuple[tuple[str, int], ...]]:
    assert isinstance(problem.columns, int)
    whole = Panels(problem.columns, target.float_lanes, 1).vectors
    for rows, vectors in tile_shapes(target, whole):
        plan = _plan(problem, rows, vectors, 1, target)
        units = tuning_value(plan.blocks) * plan.panels.count
        tiles = max(1, tuning_value(plan.tiles.count) // tuning_value(plan.blocks))
        yield ("rows", rows), ("vectors", vectors), ("groups", task_groups(tiles, units))


def _plan(problem: Problem, most: int, vectors: int, groups: int, target: Target) -> Plan:
    assert isinstance(problem.columns, int)
    batches, rows = _batches_and_rows(problem, most)
    return Plan(RowTiles(batches, rows, most), Panels(problem.columns, target.float_lanes, vectors), groups)


def _batches_and_rows(problem: Problem, most: int) -> tuple[Dim, Dim]:
    """All rows, as known numbers of rows in a perhaps unknown number of batches if that gives whole tiles."""
    extents = [*problem.batch, problem.rows]
    inner = 1
    while extents and isinstance(extents[-1], int):
        inner, extents = inner * extents[-1], extents[:-1]
    outer = product(extents)
    return (outer, inner) if inner >= most else (1, outer * inner)


def _packing(problem: Problem, panels: Panels) -> Packing:
    transposed = problem.b.transposed

    def pack(array: Array) -> Array:
        matrix = array.reshape(array.shape[-2:])
        matrix = matrix.T if transposed else matrix
        padded = np.pad(matrix, ((0, 0), (0, panels.vectors * panels.lanes - panels.columns)))
        edges = [panels.first_vector(panel) * panels.lanes for panel in range(panels.count + 1)]
        return np.concatenate([padded[:, a:b].reshape(-1) for a, b in pairwise(edges)])

    name = f"panels of {panels.most}×{panels.lanes} columns{', transposed' if transposed else ''}"
    return Packing(name, pack)


@dataclass(frozen=True)
class _Writer:
    region: Region
    problem: Problem
    plan: Plan
    emitter: ScalarEmitter
    target: Target

    def write(self) -> None:
        emitter, builder, plan = self.emitter, self.emitter.builder, self.plan
        loop = builder.begin_loop(Register("%begin", INT64), Register("%end", INT64))
        task, panel = Variable("task", plan.tasks), Variable("panel", plan.panels.count)
        emitter.values[task] = loop.index
        with emitter.scope():
            number = expression(task)
            emitter.values[panel] = emitter.integer(number // plan.groups % plan.panels.count)
            part = number // (plan.groups * plan.panels.count) * plan.groups + number % plan.groups
            parts = plan.blocks * plan.groups
            first, stop = (part_of(plan.tiles.count, parts, p) for p in (part, part + 1))
            for kind, which in plan.panels.kinds:
                self._panel(kind, which, expression(panel), (first, stop))
        builder.end_loop(loop)

    def _panel(self, kind: Panel, which: range, panel: Dim, piece: tuple[Dim, Dim]) -> None:
        emitter, builder = self.emitter, self.emitter.builder
        label = None
        if len(which) < self.plan.panels.count:
            above = builder.compare("sge", emitter.integer(panel), literal(which.start, INT64))
            below = builder.compare("slt", emitter.integer(panel), literal(which.stop, INT64))
            label = builder.begin_if(builder.binary("and", above, below))
        with emitter.scope():
            self._tiles(kind, panel, piece)
        if label is not None:
            builder.end_if(label)

    def _tiles(self, kind: Panel, panel: Dim, piece: tuple[Dim, Dim]) -> None:
        emitter, builder, problem, lanes = self.emitter, self.emitter.builder, self.problem, self.target.float_lanes
        epilogue = row_epilogue(self.region, lanes)
        column = self.plan.panels.first_vector(panel) * lanes
        emitter.values[epilogue.column] = emitter.integer(column)
        packed = builder.offset(Pointer(f"%in{problem.b.number}"), emitter.integer(column * problem.depth), FLOAT32)
        left = LeftMatrix(Pointer(f"%in{problem.a.number}"), problem.a.row_step, problem.a.column_step)
        right = Factor(packed, literal(kind.vectors * lanes, INT64), is_padded=True)
        following = builder.offset(packed, emitter.integer(problem.depth * kind.vectors * lanes), FLOAT32)
        loop = TileLoop(emitter, epilogue, Pointer("%out"), problem.depth, UNROLL, following)
        loop.run(self.plan.tiles, piece, left, right, kind)
