"""Products by weights of a few bits, with a scale for each block of the reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Apply, Computation, IndexValue, Load, Variable, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_rank
from tensorwright.ops.mathematics import call, constant, convert, position, positions, reduce_over
from tensorwright.tensor.dtype import FLOAT32, INT32, UINT8
from tensorwright.tensor.type import TensorType

BITS = (2, 4, 8)


@dataclass(frozen=True, eq=False)
class BlockMatMul(Op):
    """``y[..., n] = Σ a[..., k] · (q[n, k] − zero[n, k / block]) · scale[n, k / block]`` over k, in float32.

    Inputs: a ``float32[*A, K]`` of rank 2 or more; q ``uint8[N, K · bits / 8]``, elements of `bits` bits, the lowest
    bits of a byte first; scale ``float32[N, blocks]``; optionally zero ``uint8[N, blocks]``, half of the range
    without. Output: ``float32[*A, N]``. K is a multiple of the elements in a byte; the last block may be shorter.
    """

    bits: int
    block: int
    kind: ClassVar[Kind] = "anchor"

    @property
    def per_byte(self) -> int:
        """Elements in a byte."""
        return 8 // self.bits

    @property
    def middle(self) -> int:
        """The zero point where none is given."""
        return 1 << (self.bits - 1)

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 3, 4)
        a, q, scale, *zero = inputs
        expect(self.bits in BITS and self.block >= 1, self, f"expected {BITS} bits and blocks, found {self}")
        expect_rank(self, a, 2, 64, "a")
        types = [(a, FLOAT32, "a"), (q, UINT8, "q"), (scale, FLOAT32, "scale"), *((one, UINT8, "zero") for one in zero)]
        for type, wanted, name in types:
            expect(type.dtype == wanted, self, f"input {name}: expected {wanted}, found {type.dtype}; cast it")
        depth, columns = a.shape[-1], q.shape[0] if q.rank == 2 else 0
        expect(isinstance(depth, int), self, f"the last axis of a has to be known, found {a}")
        assert isinstance(depth, int)
        packed = (columns, depth // self.per_byte)
        expect(depth % self.per_byte == 0 and q.shape == packed, self, f"expected q {packed} for a {a}, found {q}")
        blocks = (columns, -(-depth // self.block))
        for type in inputs[2:]:
            expect(type.shape == blocks, self, f"expected scales and zero points {blocks}, found {type}")
        return TensorType(FLOAT32, (*a.shape[:-1], columns))

    def reference(self, *inputs: Array) -> Array:
        a, q, scale, *zero = inputs
        return np.asarray(np.matmul(a, self.weights(q, scale, *zero).T.astype(a.dtype)))

    def weights(self, q: Array, scale: Array, zero: Array | None = None) -> npt.NDArray[np.float64]:
        """The weights ``[N, K]``."""
        bytes = q.astype(np.uint8)
        parts = [(bytes >> np.uint8(shift)) & np.uint8((1 << self.bits) - 1) for shift in range(0, 8, self.bits)]
        whole = np.stack(parts, axis=-1).reshape(q.shape[0], -1).astype(np.float64)
        block = np.arange(whole.shape[1]) // self.block
        middle = np.full(scale.shape, self.middle) if zero is None else zero
        return (whole - middle.astype(np.float64)[:, block]) * scale.astype(np.float64)[:, block]

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        *lead, column = positions(variables)
        inner = Variable("r0", inputs[0].shape[-1])
        k = position(inner)
        byte = convert(Load(1, (column, k // self.per_byte), UINT8), INT32)
        shift = convert(IndexValue(k % self.per_byte * self.bits), INT32)
        mask = constant((1 << self.bits) - 1, INT32)
        whole = Apply("bit_and", (Apply("shift_right", (byte, shift), INT32), mask), INT32)
        at = (column, k // self.block)
        zero = convert(Load(3, at, UINT8), INT32) if len(inputs) > 3 else constant(self.middle, INT32)
        weight = call("mul", convert(call("sub", whole, zero), FLOAT32), Load(2, at, FLOAT32))
        total = reduce_over("add", (inner,), call("mul", Load(0, (*lead, k), FLOAT32), weight))
        return Computation(variables, total)
