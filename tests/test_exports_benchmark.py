"""How the benchmark of exports compares what detectors find."""

from __future__ import annotations

import numpy as np
from benchmarks.exports.detections import agreement


def test_boxes_are_sets(rng: np.random.Generator) -> None:
    boxes = rng.uniform(0, 100, (20, 4)).astype(np.float32)
    scores, labels = np.linspace(0.9, 0.1, 20, dtype=np.float32), np.arange(20) % 3
    order = rng.permutation(20)
    same = agreement((boxes[order], scores[order] + 1e-4, labels[order]), (boxes, scores, labels))
    assert (same.found, same.expected, same.unmatched) == (20, 20, 0)
    assert 0.9e-4 < same.difference < 1.1e-4
    assert agreement((boxes[1:], scores[1:], labels[1:]), (boxes, scores, labels)).unmatched == 1
    assert agreement((boxes, scores, labels + 1), (boxes, scores, labels)).unmatched == 40
    moved = boxes + np.float32(0.05 * boxes.max())
    assert agreement((moved, scores, labels), (boxes, scores, labels)).unmatched > 20
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert agreement(none, (boxes, scores, labels)).unmatched == 20
    assert agreement(none, none).unmatched == 0
