"""Large products with a constant right factor by one level of Strassen's algorithm: seven products for eight."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder, Pointer, Register
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.generic import region_symbols
from tensorwright.kernels.matmul.grid import TALLEST_OF_UNKNOWN
from tensorwright.kernels.matmul.problem import Problem, problem_of
from tensorwright.kernels.matmul.quarters import PRODUCTS, Quarters
from tensorwright.kernels.matmul.shapes import tile_shapes
from tensorwright.kernels.matmul.strassen import Strassen
from tensorwright.kernels.rows.epilogue import row_epilogue
from tensorwright.kernels.tactic import Array, Config, Kernel, Packing, plain_inputs, signature
from tensorwright.tensor.dim import Dim, is_static, product, tuning_value
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.layout import PLAIN

FEWEST_ROWS = 64
SHORTEST_DEPTH = 64
BLOCKS = (256, 128, 64)
"""Rows of a whose combinations workspace holds at a time."""


class StrassenMatMul:
    """Panels of combinations of b, made at build time, pass through the second-level cache; tiles of a go past them.

    The error is a few times that of the plain product: for factors drawn evenly around zero at most 1e-5 of the largest
    element of the result at a depth of 4096.
    """

    name = "matmul_strassen"
    exact = False

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        problem = problem_of(region)
        if problem is None or not problem.is_linear or problem.a.transposed:
            return []
        if not isinstance(problem.columns, int) or not isinstance(problem.depth, int):
            return []
        if tuning_value(_rows(problem)) < FEWEST_ROWS or problem.depth < SHORTEST_DEPTH:
            return []
        if problem.columns < 4 * target.float_lanes:
            return []
        half = -(-problem.columns // (2 * target.float_lanes))
        plain = plain_inputs(region)
        return [
            Config(plain, PLAIN, (("rows", tallest), ("vectors", vectors), ("block", block)))
            for block in BLOCKS
            for tallest, vectors in _tile_shapes(problem, target, half)
            if block == BLOCKS[0] or tuning_value(_rows(problem)) > block
        ]

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        quarters = _quarters(problem, config, target)
        symbols = region_symbols(region)
        builder = FunctionBuilder(target=target)
        inputs = [Pointer(f"%in{i}") for i in range(len(region.inputs))]
        values = {symbol.name: Register(f"%s{i}", INT64) for i, symbol in enumerate(symbols)}
        emitter = ScalarEmitter(builder, target, inputs, values)
        a, b = emitter.operands[problem.a.number], emitter.operands[problem.b.number]
        epilogue = row_epilogue(region, target.float_lanes)
        Strassen(emitter, epilogue, quarters, a, b, Pointer("%out"), Pointer("%workspace")).write()
        packings: list[Packing | None] = [None] * len(inputs)
        packings[problem.b.number] = _packing(problem, quarters)
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=quarters.tasks,
            packings=tuple(packings),
            symbols=symbols,
            workspace=(PRODUCTS * quarters.factor_elements + 4 * quarters.buffer_elements) * FLOAT32.size,
        )


TACTICS: tuple[StrassenMatMul, ...] = ()


def _rows(problem: Problem) -> Dim:
    return product([problem.batches, problem.rows])


def _tile_shapes(problem: Problem, target: Target, vectors: int) -> list[tuple[int, int]]:
    most = target.registers if is_static(_rows(problem)) else TALLEST_OF_UNKNOWN
    return list(dict.fromkeys((min(rows, most), width) for rows, width in tile_shapes(target, vectors)))


def _quarters(problem: Problem, config: Config, target: Target) -> Quarters:
    assert isinstance(problem.columns, int)
    assert isinstance(problem.depth, int)
    option = config.option
    return Quarters(
        _rows(problem),
        problem.depth,
        problem.columns,
        target.float_lanes,
        option("block"),
        option("rows"),
        option("vectors"),
    )


def _packing(problem: Problem, quarters: Quarters) -> Packing:
    transposed = problem.b.transposed
    width = f"{quarters.most}×{quarters.lanes}"
    name = f"seven combinations of quarters, panels of {width} columns{', transposed' if transposed else ''}"
    return Packing(name, lambda array: quarters.pack(_matrix(array, transposed)))


def _matrix(array: Array, transposed: bool) -> Array:
    matrix = array.reshape(array.shape[-2:])
    return matrix.T if transposed else matrix
