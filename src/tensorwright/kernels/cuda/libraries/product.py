"""Products, and convolutions that are products, by cuBLASLt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.devices.cuda.libraries.cublas import Cublas
from tensorwright.devices.cuda.libraries.fields import MOST
from tensorwright.devices.cuda.libraries.matmul import algorithms
from tensorwright.devices.cuda.libraries.product import Product
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.libraries.finish import Finish, finish_of, operand_number
from tensorwright.kernels.cuda.libraries.kernel import Algorithm, CallKernel, assumed_share, call_kernel, number_of
from tensorwright.kernels.cuda.problem import Problem, problem_of
from tensorwright.kernels.tactic import Config, Packing, Tactic, plain_inputs
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.layout import PLAIN

MOST_WORKSPACE = 32 << 20
"""Bytes that an algorithm may need."""
MOST_ALGORITHMS = 8
TURNED = Packing("columns one behind the other", lambda array: np.ascontiguousarray(np.swapaxes(array, -1, -2)))


class LibraryProduct(Tactic[CudaTarget, Algorithm]):
    """Products of fixed sizes, in the types and with the sums of the other tactics for tensor cores."""

    name = "cublas product"
    dtypes: ClassVar[tuple[DType, ...]] = (FLOAT16, BFLOAT16, FLOAT32)

    def __init__(self, cublas: Cublas) -> None:
        self._cublas = cublas
        self._proposed = cache(self._asked)

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Algorithm]]:
        product = self._product(region)
        if product is None:
            return []
        version = number_of(self._cublas.version)
        ways = (True, False) if _may_turn(region, product) else (False,)
        ranked = [
            Algorithm(rank, version, turned) for turned in ways for rank in range(len(self._proposed(product, turned)))
        ]
        return [Config(plain_inputs(region), PLAIN, one) for one in sorted(ranked, key=lambda one: one.rank)]

    def efficiency(self, region: Region, config: Config[Algorithm]) -> float:
        found = self._product(region)
        assert found is not None
        return assumed_share(region, found.dtype, tf32=found.tf32)

    def emit(self, region: Region, config: Config[Algorithm], target: CudaTarget) -> CallKernel:
        product, options = self._product(region), config.options
        assert product is not None
        packings: list[Packing | None] = [None] * len(region.inputs)
        if options.turned:
            packings[product.right - 1] = TURNED
        in_place = () if product.residual is None else (product.residual - 1,)
        call = self._proposed(product, options.turned)[options.rank]
        return call_kernel(config, call, tuple(packings), in_place)

    def _asked(self, product: Product, turned: bool) -> list[Product]:
        """What the library proposes for a product, whose columns are turned or not."""
        asked = replace(product, transposed=product.transposed != turned)
        return algorithms(self._cublas, asked, MOST_WORKSPACE, MOST_ALGORITHMS)

    def _product(self, region: Region) -> Product | None:
        problem, finish = problem_of(region, self.dtypes, moving=True), finish_of(region, -1)
        if problem is None or finish is None or region.anchor is None or not isinstance(region.anchor.op, MatMul):
            return None
        sizes = _sizes(problem)
        if sizes is None or sizes.largest > MOST:
            return None
        return _product_of(region, problem, finish, sizes, tf32=self.rounding > 0)


class LibraryTf32Product(LibraryProduct):
    """Of factors of float32 that are rounded to 10 bits of a mantissa."""

    name = "cublas tf32 product"
    dtypes = (FLOAT32,)
    rounding = 2**-11


@dataclass(frozen=True)
class _Sizes:
    """A product's batches and rows, and elements between matrices of both factors."""

    batch: int
    rows: int
    left_step: int
    right_step: int

    @property
    def largest(self) -> int:
        return max(self.batch, self.rows)


def _sizes(problem: Problem) -> _Sizes | None:
    """None where they are open, or matrices do not follow each other at one distance."""
    steps = () if problem.moving is None else problem.moving.batch_steps
    axes = [(axis.extent, axis.step, step) for axis, step in zip(problem.row_axes, steps, strict=False)]
    rows, batch, left, right = problem.batch_rows, 1, 0, 0
    for extent, left_step, right_step in reversed(axes):
        if not (isinstance(extent, int) and isinstance(left_step, int) and isinstance(right_step, int)):
            return None
        if extent == 1:
            continue
        if batch == 1:
            left, right = left_step, right_step
        elif (left_step, right_step) != (batch * left, batch * right):
            return None
        batch *= extent
    return _Sizes(batch, rows, left, right) if isinstance(rows, int) and rows * batch else None


def _product_of(region: Region, problem: Problem, finish: Finish, sizes: _Sizes, *, tf32: bool) -> Product:
    return Product(
        dtype=problem.dtype,
        rows=sizes.rows,
        depth=problem.channels,
        columns=problem.columns,
        batch=sizes.batch,
        left_step=sizes.left_step,
        right_step=sizes.right_step,
        transposed=problem.transposed,
        left=1 + problem.left,
        right=1 + problem.right,
        bias=operand_number(region, finish.bias),
        residual=operand_number(region, finish.residual),
        activation=finish.activation,
        tf32=tf32,
    )


def _may_turn(region: Region, product: Product) -> bool:
    """Whether columns are constants, which a build can bring into any order."""
    return is_constant(region.inputs[product.right - 1])
