"""Choosing boxes among many that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tensorwright.graph.op import Array, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_rank, show
from tensorwright.tensor.dim import is_static, upper_bound
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.type import TensorType

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoxSuppression(Op):
    """The boxes of every class that are kept, best first, when boxes that overlap a better one are dropped.

    Inputs: scores ``[N, C, P]``, boxes ``[N, C or 1, P, 4]`` (left, top, right, bottom), both float32. Output, int64:
    positions of boxes ``[N, C, limit]``, -1 where fewer are kept. Boxes are taken by falling score, of equal scores the
    first box first; one is kept unless its intersection over union with a kept one exceeds the threshold.

    Attributes:
        limit: the largest number of boxes kept.
        overlap: the threshold.
        score: boxes with a score above it are taken.
        candidates: the largest number of boxes taken, whether they are kept or not; None for all.
        decay: after a box was kept, a threshold above 1/2 is multiplied with it.
    """

    limit: int
    overlap: float
    score: float
    candidates: int | None = None
    decay: float = 1.0
    is_sequential: ClassVar[bool] = True

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        scores, boxes = inputs
        for type, name in ((scores, "scores"), (boxes, "boxes")):
            expect(type.dtype == FLOAT32, self, f"input {name}: expected float32, found {type.dtype}; cast it")
        expect_rank(self, scores, 3, 3, "scores")
        n, c, p = scores.shape
        fits = boxes.shape in ((n, c, p, 4), (n, 1, p, 4))
        expect(fits, self, f"input boxes: expected [{n}, {c} or 1, {p}, 4], found {show(boxes.shape)}")
        expect(is_static(c), self, f"input scores: expected C to be fixed, found {show(scores.shape)}")
        expect(self.limit >= 1, self, f"limit: expected at least 1, found {self.limit}")
        some = self.candidates is None or self.candidates >= 1
        expect(some, self, f"candidates: expected at least 1 or None, found {self.candidates}")
        return TensorType(INT64, (n, c, self.limit))

    def comparisons(self, scores: TensorType) -> int:
        """How many pairs of boxes of one class are compared at most."""
        _, _, places = map(upper_bound, scores.shape)
        return places * min(self.limit, places)

    def reference(self, *inputs: Array) -> Array:
        scores, boxes = (np.asarray(array, dtype=np.float64) for array in inputs)
        result = np.full((*scores.shape[:2], self.limit), -1, dtype=np.int64)
        for n, c in np.ndindex(*scores.shape[:2]):
            kept = self._kept(scores[n, c], boxes[n, min(c, boxes.shape[1] - 1)])
            result[n, c, : len(kept)] = kept
        return result

    def _kept(self, scores: Floats, boxes: Floats) -> list[int]:
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > self.score][: self.candidates]
        kept: list[int] = []
        threshold = self.overlap
        for candidate in order:
            if len(kept) == self.limit:
                break
            if not kept or np.max(overlaps(boxes[candidate], boxes[kept])) <= threshold:
                kept.append(int(candidate))
                threshold *= self.decay if threshold > 0.5 else 1
        return kept


def overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of a box with others, 0 where they do not meet."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    sides = high - low
    meet = (sides > 0).all(axis=1)
    common = np.where(meet, sides[:, 0] * sides[:, 1], 0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=meet))
