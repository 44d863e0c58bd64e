"""A matrix product region in normal form."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.numerics import Numerics, numerics_of
from tensorwright.ops.cache import CachedMatMul
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.type import Shape


@dataclass(frozen=True)
class Operand:
    """One factor of a product: which input of the region it is, its shape, and whether it comes transposed.

    It may have more rows, as they lie, than the product reads.
    """

    number: int
    value: Value
    transposed: bool

    @property
    def shape(self) -> Shape:
        return self.value.type.shape

    @property
    def is_constant(self) -> bool:
        return is_constant(self.value)

    @property
    def is_matrix(self) -> bool:
        """Whether there is one matrix for all batches."""
        return all(extent == 1 for extent in self.shape[:-2])

    @property
    def row_step(self) -> Dim:
        """Elements between neighbouring rows, as the product sees them."""
        return 1 if self.transposed else self.shape[-1]

    @property
    def column_step(self) -> Dim:
        """Elements between neighbouring columns, as the product sees them."""
        return self.shape[-1] if self.transposed else 1

    def offset(self, batch: tuple[Dim, ...]) -> Dim:
        """Elements before the matrix at an index of the product's batch axes."""
        lead = self.shape[:-2]
        own = batch[len(batch) - len(lead) :]
        total: Dim = 0
        for extent, index in zip(lead, own, strict=True):
            total = total * extent + (0 if extent == 1 else index)
        return total * self.shape[-2] * self.shape[-1]


@dataclass(frozen=True)
class Problem:
    """``y[*batch, rows, columns] = epilogue(Σ over depth of a · b)``, in the types of `numerics`."""

    a: Operand
    b: Operand
    batch: Shape
    rows: Dim
    columns: Dim
    depth: Dim
    numerics: Numerics

    @property
    def batches(self) -> Dim:
        return product(self.batch)

    @property
    def shares_right(self) -> bool:
        """Whether all batches share b and the rows of a lie evenly, so that they are the rows of one product."""
        return self.b.is_matrix and (self.a.is_matrix or not self.a.transposed)

    @property
    def is_linear(self) -> bool:
        """Whether b is one constant matrix for all rows."""
        return self.shares_right and self.b.is_constant and self.a.number != self.b.number

    def all_rows(self, most: int) -> tuple[Dim, Dim]:
        """The rows of all batches: known numbers of rows in a perhaps unknown number of batches.

        The batches are one if that is needed to fill tiles of `most` rows.
        """
        extents = [*self.batch, self.rows]
        inner = 1
        while extents and isinstance(extents[-1], int):
            inner, extents = inner * extents[-1], extents[:-1]
        outer = product(extents)
        return (outer, inner) if inner >= most else (1, outer * inner)


def problem_of(region: Region) -> Problem | None:
    """The product that a region is built around, or None if it is none that the kernels here compute."""
    anchor = region.anchor
    if anchor is None or not isinstance(anchor.op, MatMul | CachedMatMul) or not region.is_elementwise_around_anchor:
        return None
    left, right = anchor.inputs
    numerics = numerics_of(left.type.dtype, right.type.dtype, anchor.type.dtype)
    if left not in region.inputs or right not in region.inputs or numerics is None:
        return None
    a = Operand(region.input_number(left), left, anchor.op.transpose_a)
    b = Operand(region.input_number(right), right, anchor.op.transpose_b)
    *batch, rows, columns = anchor.type.shape
    depth = a.shape[-2] if a.transposed else a.shape[-1]
    return Problem(a, b, tuple(batch), rows, columns, depth, numerics)
