"""Regions of attention in two-byte types."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

SWAPPED = (0, 2, 1, 3)
BATCH = symbol("batch", 1, 2, 5)


@dataclass(frozen=True)
class Heads:
    """q ``[*lead, rows, depth]``, k ``[*lead, columns, depth]``, v ``[*lead, columns, width]``.

    mask: the shape of what is added to the scores. turned: whether all lie as ``[batch, rows, heads, …]``. after:
    whether a relu follows.
    """

    lead: tuple[Dim, ...]
    rows: int
    columns: int
    depth: int
    width: int
    scale: float | None = None
    mask: tuple[Dim, ...] = ()
    turned: bool = False
    after: bool = False
    dtype: DType = FLOAT16

    def region(self) -> Region:
        before: list[Region] = []

        def given(name: str, rows: int, columns: int) -> Value:
            if not self.turned:
                return input_value(name, TensorType(self.dtype, (*self.lead, rows, columns)))
            batch, heads = self.lead
            source = input_value(name, TensorType(self.dtype, (batch, rows, heads, columns)))
            before.append(region_of([apply(Transpose(SWAPPED), source)]))
            return before[-1].output

        q, k = given("q", self.rows, self.depth), given("k", self.columns, self.depth)
        v = given("v", self.columns, self.width)
        product = apply(MatMul(transpose_b=True), q, k)
        values = [product]
        if self.scale is not None:
            number = constant_value(weights_of(self.dtype.numpy.type(self.scale).reshape(())))
            values.append(apply(Binary("mul"), values[-1], number))
        if self.mask:
            values.append(apply(Binary("add"), values[-1], input_value("mask", TensorType(self.dtype, self.mask))))
        powers = apply(Softmax(values[-1].type.rank - 1), values[-1])
        result = apply(MatMul(), powers, v)
        finished = [result, *([apply(Relu(), result)] if self.after else [])]
        stages = [region_of(values, product), region_of([powers], powers), region_of(finished, result)]
        if self.turned:
            stages.append(region_of([apply(Transpose(SWAPPED), finished[-1])]))
        return joined([*before, *stages])


HEADS = {
    "plain": Heads((3,), 32, 64, 64, 64),
    "heads": Heads((1, 12), 128, 128, 64, 64, 0.125, turned=True),
    "odd": Heads((2, 3), 7, 130, 24, 40, 0.25, after=True),
    "one-row": Heads((4,), 1, 50, 16, 32),
    "few-columns": Heads((2, 2), 21, 6, 32, 64, 0.5, (2, 1, 1, 6)),
    "mask-of-rows": Heads((2, 3), 33, 40, 24, 16, None, (1, 1, 33, 40)),
    "long": Heads((2,), 30, 700, 8, 16),
    "wide": Heads((2,), 19, 80, 128, 128, 0.1, turned=False),
    "batch": Heads((BATCH, 4), 20, 36, 16, 16, 0.25, (BATCH, 1, 1, 36), turned=True),
    "bfloat16": Heads((2, 2), 40, 40, 32, 32, 0.25, dtype=BFLOAT16),
}
