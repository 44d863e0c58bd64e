"""Boxes that overlap better ones, with tied scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.case import Array
from regions.example import Example, Symbols
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.detection import BoxSuppression
from tensorwright.tensor.dim import Dim, evaluate, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 4)


@dataclass(frozen=True)
class Suppressed:
    """shared: all classes have the same boxes."""

    op: BoxSuppression
    classes: int
    shared: bool
    places: int
    batch: Dim = BATCH

    def region(self, rng: np.random.Generator) -> Region:
        scores = TensorType(FLOAT32, (self.batch, self.classes, self.places))
        boxes = TensorType(FLOAT32, (self.batch, 1 if self.shared else self.classes, self.places, 4))
        return region_of([apply(self.op, input_value("scores", scores), input_value("boxes", boxes))])


class SuppressionExample(Example):
    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[Array]:
        shapes = [tuple(evaluate(dim, symbols) for dim in type.shape) for type in region.input_types]
        scores = rng.uniform(0, 1, shapes[0]).astype(np.float32)
        scores[..., ::4] = scores[..., :1]  # Ties.
        return [scores, boxes(rng, *shapes[1][:-1])]


def boxes(rng: np.random.Generator, *shape: int) -> Array:
    """Corners of boxes of all sizes in the unit square."""
    corner, size = rng.uniform(0, 1, (*shape, 2)), rng.uniform(0.05, 0.4, (*shape, 2))
    return np.concatenate([corner, corner + size], axis=-1).astype(np.float32)


SUPPRESSIONS = {
    "shared": Suppressed(BoxSuppression(5, 0.45, 0.3), 3, True, 40),
    "own": Suppressed(BoxSuppression(30, 0.3, 0.0), 2, False, 37),
    "few-candidates": Suppressed(BoxSuppression(10, 0.6, 0.5, candidates=7), 4, True, 64),
    "decay": Suppressed(BoxSuppression(50, 0.9, 0.1, decay=0.8), 2, False, 50),
    "none-are-good": Suppressed(BoxSuppression(3, 0.5, 2.0), 1, True, 9),
    "one": Suppressed(BoxSuppression(1, 0.5, 0.0), 1, True, 1),
}

EXAMPLES = tuple(SuppressionExample(f"suppression-{name}", spec) for name, spec in SUPPRESSIONS.items())
