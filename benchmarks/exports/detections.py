"""Whether two engines found the same: boxes are compared as sets, since near-ties change their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAR = 1e-2
"""A found box is the expected one if no corner is so far away, as a share of the largest coordinate."""
SCORES_APART = 1e-3
"""So far its score may lie from the expected one."""


@dataclass(frozen=True)
class Agreement:
    """found, expected: how many boxes. unmatched: those of either that the other lacks.

    difference: the largest difference of scores, and of coordinates as a share of the largest, of those that match.
    """

    found: int
    expected: int
    unmatched: int
    difference: float


def agreement(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Agreement:
    """Match (boxes, scores, labels), each box with the nearest of its label whose score is near, best scores first."""
    boxes, scores, labels = found[:3]
    free, worst, matched = np.ones(len(scores), bool), 0.0, 0
    extent = max(float(np.abs(expected[0]).max(initial=0)), 1e-30)
    for box, score, label in sorted(zip(*expected[:3], strict=True), key=lambda one: -one[1]):
        apart = np.abs(boxes - box).max(axis=1, initial=0) / extent
        apart = np.maximum(apart, np.abs(scores - score))
        fits = free & (labels == label) & (apart <= NEAR) & (np.abs(scores - score) <= SCORES_APART)
        if not fits.any():
            continue
        nearest = int(np.where(fits, apart, np.inf).argmin())
        free[nearest], worst, matched = False, max(worst, float(apart[nearest])), matched + 1
    lacking = len(scores) + len(expected[1]) - 2 * matched
    return Agreement(len(scores), len(expected[1]), lacking, worst)
