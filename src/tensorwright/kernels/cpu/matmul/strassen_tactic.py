"""Large products with a constant right factor by one level of Strassen's algorithm: seven products for eight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.matmul.grid import TALLEST_OF_UNKNOWN
from tensorwright.kernels.cpu.matmul.quarters import Quarters
from tensorwright.kernels.cpu.matmul.shapes import tile_shapes
from tensorwright.kernels.cpu.matmul.strassen import Strassen
from tensorwright.kernels.cpu.rows.epilogue import row_epilogue
from tensorwright.kernels.matmul.problem import Problem, problem_of
from tensorwright.kernels.numerics import FLOATS
from tensorwright.kernels.tactic import Array, Config, Kernel, Packing, Tactic, TacticOptions, plain_inputs
from tensorwright.kernels.work import Work, work
from tensorwright.tensor.dim import Dim, is_static, product, tuning_value
from tensorwright.tensor.layout import PLAIN

FEWEST_ROWS = 64
COMBINATION_FLOPS = 8
"""What combining quarters of a costs for one of its elements, in operations of the product that take as long."""
BLOCKS = (256, 128, 64)
"""Rows of a whose combinations workspace holds at a time."""


@dataclass(frozen=True)
class StrassenOptions(TacticOptions):
    """rows, vectors: the largest tile; block: rows of a whose combinations workspace holds."""

    rows: int
    vectors: int
    block: int


@dataclass(frozen=True)
class StrassenMatMul(Tactic[Target, StrassenOptions]):
    """Panels of b, in quarters of which one is a combination, pass through the second-level cache, where the other
    combinations are made of them; tiles of a go past them.

    The error is about twice that of the plain product. Measured for factors drawn evenly from around zero, relative to
    the largest element of the result: 2e-6 at a depth of 768, 4e-6 at 3072.

    shorter, longer: the least extents of b for which this pays, by measurement with 128 to 784 rows on one core: it won
    4 to 11 per cent at 192 × 768, 384 × 1536, 768 × 768, 768 × 3072 and 3072 × 768, and lost up to 7 at 256 × 256,
    384 × 384 and 96 × 384.
    """

    shorter: int = 192
    longer: int = 768
    name = "matmul_strassen"
    exact = False
    spreads = True

    def configs(self, region: Region, target: Target) -> Sequence[Config[StrassenOptions]]:
        problem = problem_of(region)
        if problem is None or problem.numerics.left not in FLOATS or not problem.is_linear or problem.a.transposed:
            return []
        if not isinstance(problem.columns, int) or not isinstance(problem.depth, int):
            return []
        shorter, longer = sorted((problem.depth, problem.columns))
        if tuning_value(_rows(problem)) < FEWEST_ROWS or shorter < self.shorter or longer < self.longer:
            return []
        half = -(-problem.columns // (2 * target.lanes(problem.numerics.total)))
        plain = plain_inputs(region)
        return [
            Config(plain, PLAIN, StrassenOptions(tallest, vectors, block))
            for block in BLOCKS
            for tallest, vectors in _tile_shapes(problem, target, half)
            if block == BLOCKS[0] or tuning_value(_rows(problem)) > block
        ]

    def work(self, region: Region, config: Config[StrassenOptions], target: Target) -> Work:
        """Floating-point operations of seven products and of combining a; bytes as of the plain product."""
        problem, direct = problem_of(region), work(region)
        assert problem is not None
        quarters, rows = _quarters(problem, config.options, target), _rows(problem)
        saved = rows * (quarters.columns * quarters.depth // 4)
        flops = direct.flops - saved + rows * (quarters.depth * COMBINATION_FLOPS)
        return Work(flops, direct.bytes)

    def emit(self, region: Region, config: Config[StrassenOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        quarters = _quarters(problem, config.options, target)
        symbols = region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, inputs = emitter.builder, emitter.operands
        a, b = emitter.operands[problem.a.number], emitter.operands[problem.b.number]
        epilogue = row_epilogue(region, quarters.lanes)
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
            workspace=quarters.workspace * quarters.total.size,
        )


TACTICS = (StrassenMatMul(),)


def _rows(problem: Problem) -> Dim:
    return product([problem.batches, problem.rows])


def _tile_shapes(problem: Problem, target: Target, vectors: int) -> list[tuple[int, int]]:
    most = target.registers if is_static(_rows(problem)) else TALLEST_OF_UNKNOWN
    return list(dict.fromkeys((min(rows, most), width) for rows, width in tile_shapes(target, vectors)))


def _quarters(problem: Problem, options: StrassenOptions, target: Target) -> Quarters:
    assert isinstance(problem.columns, int)
    assert isinstance(problem.depth, int)
    return Quarters(
        _rows(problem),
        problem.depth,
        problem.columns,
        problem.numerics,
        target.lanes(problem.numerics.total),
        options.block,
        options.rows,
        options.vectors,
    )


def _packing(problem: Problem, quarters: Quarters) -> Packing:
    transposed = problem.b.transposed
    width = f"{quarters.most}×{quarters.lanes}"
    name = f"three quarters and a combination, panels of {width} columns{', transposed' if transposed else ''}"
    return Packing(name, lambda array: quarters.pack(_matrix(array, transposed)))


def _matrix(array: Array, transposed: bool) -> Array:
    matrix = array.reshape(array.shape[-2:])
    return matrix.T if transposed else matrix
