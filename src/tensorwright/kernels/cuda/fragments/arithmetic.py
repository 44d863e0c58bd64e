"""How a warp multiplies the fragments of one step of the depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tensorwright.codegen.cuda.matrix import below_tf32, multiply_16x8, word_rounded_to_tf32
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.dtype import FLOAT32, DType

Words = list[list[Register]]
"""For each row four words of it, or for each 16 columns, half a step each, four words of theirs; i32."""
Sums = list[list[Register]]
"""Four sums for each tile of 16 columns by 8 rows, row tiles outermost."""


class Arithmetic(Protocol):
    """splits: whether each product takes three instructions, of factors that are sums of two."""

    @property
    def splits(self) -> bool: ...

    def multiply(self, builder: ThreadBuilder, left: Words, right: Words, sums: Sums) -> Sums:
        """The sums with the products of one step."""


@dataclass(frozen=True)
class Products:
    """Two instructions for each tile of 16 columns by 8 rows, which multiply numbers as they are."""

    dtype: DType
    target: CudaTarget
    splits: bool = False

    def multiply(self, builder: ThreadBuilder, left: Words, right: Words, sums: Sums) -> Sums:
        found, tiles = list(sums), len(right) // 2
        for half in range(2):
            for row, words in enumerate(left):
                for tile in range(tiles):
                    number = row * tiles + tile
                    weights, activations = right[2 * tile + half], words[2 * half : 2 * half + 2]
                    found[number] = multiply_16x8(
                        builder, self.target, self.dtype, weights, activations, found[number], turned=True
                    )
        return found


@dataclass(frozen=True)
class RoundedProducts:
    """float32 as TF32. packed: whether right factors are constants, which were rounded when they were packed."""

    target: CudaTarget
    packed: bool = True
    splits: bool = False

    def multiply(self, builder: ThreadBuilder, left: Words, right: Words, sums: Sums) -> Sums:
        right = right if self.packed else _rounded(builder, right)
        return Products(FLOAT32, self.target).multiply(builder, _rounded(builder, left), right, sums)


@dataclass(frozen=True)
class SplitProducts:
    """float32 as TF32: each factor is the sum of two, ``a = h + l``, and ``hh' + hl' + lh'`` is added up.

    Tensor cores read h of a, and l is what they drop. They drop as much of their sums, which therefore are those of one
    step; steps are added up in float32. What is left out is below 2^-20 of a product.
    """

    target: CudaTarget
    splits: bool = True

    def multiply(self, builder: ThreadBuilder, left: Words, right: Words, sums: Sums) -> Sums:
        zeros, plain = [[literal(0.0, FLOAT32)] * 4 for _ in sums], Products(FLOAT32, self.target)
        lower_left, lower_right = (
            [[below_tf32(builder, w) for w in words] for words in part] for part in (left, right)
        )
        parts = plain.multiply(builder, left, lower_right, zeros)
        parts = plain.multiply(builder, lower_left, right, parts)
        parts = plain.multiply(builder, left, right, parts)
        return [[builder.add(a, b) for a, b in zip(*pair, strict=True)] for pair in zip(sums, parts, strict=True)]


def _rounded(builder: ThreadBuilder, words: Words) -> Words:
    return [[word_rounded_to_tf32(builder, word) for word in own] for own in words]
