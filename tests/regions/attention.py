"""Attention: scores, softmax and values in one, with masks, and with heads that are read and written where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.case import Array
from regions.example import Example, examples
from regions.following import following
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.ops.cache import CachedMatMul
from tensorwright.ops.elementwise import Binary, ReplaceNan
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Slice, Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

BATCH = symbol("batch", 1, 2, 5)
PAST, LENGTH = symbol("past", 0, 20, 90), symbol("length", 1, 7, 40)
TOTAL = PAST + LENGTH
SWAPPED = (0, 2, 1, 3)


def _part(everything: Value, number: int, heads: Dim) -> Value:
    batch, rows, _, depth = everything.type.shape
    return apply(Slice((0, 0, number * heads, 0), (batch, rows, heads, depth), (1, 1, 1, 1)), everything)


@dataclass(frozen=True)
class Heads:
    """q ``[*lead, rows, depth]``, k ``[*lead, columns, depth]``, v ``[*lead, columns, width]``.

    between: what follows the scores, in words: see `following`, and "mask" (a variable of shape `mask`), "masked" (the
    columns from the third on get -inf in the last row and all get it in the first). after: what follows the result.
    turned: which of q, k, v and the output are read or written through a transposition of heads and rows.
    together: q, k and v, all turned, are parts of one tensor ``[batch, rows, 3 heads, depth]``.
    plain_keys: k is given as ``[*lead, depth, columns]``. guarded: NaNs of the softmax are replaced by 0.
    room: so many rows have k and v, of which the first count; 0 for as many as count.
    """

    lead: tuple[Dim, ...]
    rows: Dim
    columns: Dim
    depth: int
    width: int
    between: str = ""
    mask: tuple[Dim, ...] = ()
    after: str = ""
    turned: str = ""
    together: bool = False
    plain_keys: bool = False
    values_lead: tuple[Dim, ...] | None = None
    guarded: bool = False
    dtype: DType = FLOAT32
    room: int = 0

    def region(self, rng: np.random.Generator) -> Region:
        before: list[Region] = []
        wide = (*self.lead[:1], self.rows, 3 * self.lead[-1], self.depth) if self.together else ()
        everything = input_value("qkv", TensorType(self.dtype, wide))

        def given(name: str, rows: Dim, columns: Dim, lead: tuple[Dim, ...]) -> Value:
            if name not in self.turned:
                return input_value(name, TensorType(self.dtype, (*lead, rows, columns)))
            batch, heads = lead
            source = input_value(name, TensorType(self.dtype, (batch, rows, heads, columns)))
            if self.together:
                before.append(region_of([_part(everything, "qkv".index(name), heads)]))
                source = before[-1].output
            before.append(region_of([apply(Transpose(SWAPPED), source)]))
            return before[-1].output

        count = self.room or self.columns
        keys = (self.depth, count) if self.plain_keys else (count, self.depth)
        q, k = given("q", self.rows, self.depth, self.lead), given("k", *keys, self.lead)
        v = given("v", count, self.width, self.lead if self.values_lead is None else self.values_lead)
        scores = CachedMatMul(self.columns, True) if self.room else MatMul(transpose_b=not self.plain_keys)
        values = [apply(scores, q, k)]
        for word in self.between.split():
            values.append(self._followed(word, values[-1], rng))
        powers = apply(Softmax(values[-1].type.rank - 1), values[-1])
        softmax = [powers, *([apply(ReplaceNan(), powers)] if self.guarded else [])]
        finished = [apply(CachedMatMul(self.columns) if self.room else MatMul(), softmax[-1], v)]
        for word in self.after.split():
            finished.append(following(word, finished[-1], rng))
        stages = [region_of(values, values[0]), region_of(softmax, powers), region_of(finished, finished[0])]
        if "o" in self.turned:
            stages.append(region_of([apply(Transpose(SWAPPED), finished[-1])]))
        return joined([*before, *stages])

    def _followed(self, word: str, value: Value, rng: np.random.Generator) -> Value:
        match word:
            case "mask":
                return apply(Binary("add"), value, input_value("mask", TensorType(self.dtype, self.mask)))
            case "masked":
                return apply(Binary("add"), value, constant_value(weights_of(self.infinities())))
        return following(word, value, rng)

    def infinities(self) -> Array:
        assert isinstance(self.rows, int)
        assert isinstance(self.columns, int)
        mask = np.zeros((self.rows, self.columns), self.dtype.numpy)
        mask[0], mask[-1, 2:] = -np.inf, -np.inf
        return mask


HEADS = {
    "smallest": Heads((), 1, 2, 1, 2),
    "one-row": Heads((3,), 1, 5, 20, 32, after="columns"),
    "image": Heads((1, 2), 197, 197, 64, 64),
    "odd": Heads((2, 3), 7, 130, 20, 37, "half", after="columns relu"),
    "few-columns": Heads((2, 2), 21, 5, 32, 64, "half mask", (2, 1, 1, 5)),
    "mask-of-rows": Heads((2, 3), 33, 40, 20, 20, "mask", (1, 1, 33, 40)),
    "mask-of-heads": Heads((2, 3), 9, 40, 20, 20, "mask half", (3, 9, 1)),
    "masked": Heads((2,), 19, 37, 16, 24, "masked"),
    "long": Heads((2,), 30, 700, 8, 16),
    "keys-by-column": Heads((4,), 20, 50, 12, 20, plain_keys=True),
    "values-of-all": Heads((3, 2), 20, 50, 12, 20, values_lead=(1, 2)),
    "batch": Heads((BATCH, 3), 17, 20, 16, 32, "mask", (BATCH, 1, 1, 20)),
    "turned": Heads((2, 3), 33, 29, 20, 24, turned="qkvo", after="columns"),
    "turned-batch": Heads((BATCH, 4), 20, 20, 16, 16, "half", turned="qkvo"),
    "together": Heads((BATCH, 3), 21, 21, 20, 20, "half", turned="qkvo", together=True),
    "together-in-eights": Heads((2, 3), 37, 37, 24, 24, "half", turned="qkvo", together=True),
    "turned-inside": Heads((2, 3), 9, 29, 20, 24, turned="kv"),
    "turned-outside": Heads((2, 3), 9, 29, 20, 24, turned="qo"),
    "guarded": Heads((2,), 19, 37, 16, 24, "masked", guarded=True),
    "past": Heads((BATCH, 3), LENGTH, TOTAL, 20, 37, "half mask", (BATCH, 1, LENGTH, TOTAL)),
    "past-turned": Heads((BATCH, 2), LENGTH, TOTAL, 16, 16, "half", turned="qo", guarded=True),
    "past-by-column": Heads((2,), 5, TOTAL, 12, 20, after="columns", plain_keys=True),
    "cache": Heads((2,), 3, 9, 8, 16, "half", room=12),
    "cache-past": Heads((BATCH, 2), LENGTH, TOTAL, 16, 20, "half", turned="qo", room=130),
    "unknown-rows": Heads((BATCH, 2), LENGTH, 30, 20, 24, turned="qkvo"),
}

HALF = {
    "plain": Heads((3,), 32, 64, 64, 64, dtype=FLOAT16),
    "heads": Heads((1, 12), 128, 128, 64, 64, "half", turned="qkvo", dtype=FLOAT16),
    "odd": Heads((2, 3), 7, 130, 24, 40, "half", after="relu", dtype=FLOAT16),
    "image": Heads((1, 2), 197, 197, 64, 64, "half", turned="qkvo", together=True, dtype=FLOAT16),
    "odd-columns": Heads((1, 2), 19, 37, 16, 24, "half", turned="qkvo", dtype=FLOAT16),
    "one-row": Heads((4,), 1, 50, 16, 32, dtype=FLOAT16),
    "few-columns": Heads((2, 2), 21, 6, 32, 64, "half mask", (2, 1, 1, 6), dtype=FLOAT16),
    "mask-of-rows": Heads((2, 3), 33, 40, 24, 16, "mask", (1, 1, 33, 40), dtype=FLOAT16),
    "long": Heads((2,), 30, 700, 8, 16, dtype=FLOAT16),
    "wide": Heads((2,), 19, 80, 128, 128, "half", dtype=FLOAT16),
    "batch": Heads((BATCH, 4), 20, 36, 16, 16, "half mask", (BATCH, 1, 1, 36), turned="qkvo", dtype=FLOAT16),
    "together": Heads((2, 3), 37, 37, 24, 24, "half", turned="qkvo", together=True, dtype=FLOAT16),
    "cache": Heads((2, 2), 17, 40, 32, 32, "half", dtype=FLOAT16, room=64),
    "bfloat16": Heads((2, 2), 40, 40, 32, 32, "half", dtype=BFLOAT16),
}
"""For tensor cores."""

TILES = {
    "guarded": Heads((2,), 19, 37, 32, 24, "masked", guarded=True, dtype=BFLOAT16),
    "turned": Heads((1, 3), 70, 70, 32, 32, "half mask", (1, 1, 1, 70), turned="qkvo", dtype=BFLOAT16),
    "together": Heads((BATCH, 2), 33, 33, 64, 64, "half", turned="qkvo", together=True, dtype=BFLOAT16),
    "long": Heads((1,), 40, 300, 96, 33, "half", after="columns", dtype=BFLOAT16),
    "one-row": Heads((3,), 1, 20, 32, 17, dtype=BFLOAT16),
    "cache": Heads((2, 2), 5, 21, 32, 24, "half", dtype=BFLOAT16, room=30),
    "plain-keys": Heads((2,), 20, 39, 32, 24, plain_keys=True, dtype=BFLOAT16),
    "depth-in-pairs": Heads((2,), 18, 34, 42, 16, dtype=BFLOAT16),
}
"""For tile registers."""

EXAMPLES = (
    *examples("attention", HEADS),
    *(Example(f"tiles-attention-{name}", heads) for name, heads in TILES.items()),
    *(Example(f"half-attention-{name}", heads) for name, heads in HALF.items()),
)
