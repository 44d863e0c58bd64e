"""Boxes that overlap better ones: the reference against numbers by hand, scores that are no numbers, networks."""

from __future__ import annotations

import numpy as np
import pytest

from regions.suppression import boxes as boxes_in
from tensorwright.base.errors import ShapeError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.cpu.suppression import Suppression
from tensorwright.ops.detection import BoxSuppression, overlaps
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, FLOAT64
from tensorwright.tensor.type import TensorType
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.reference import expected_output


def region_for(op: BoxSuppression, scores: tuple[Dim, ...], boxes: tuple[Dim, ...]) -> Region:
    inputs = [input_value("scores", TensorType(FLOAT32, scores)), input_value("boxes", TensorType(FLOAT32, boxes))]
    return region_of([apply(op, *inputs)])


def test_boxes_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [0, 0, 2, 2.1], [5, 5, 6, 6], [2, 2, 1, 1]], np.float32)
    found = overlaps(boxes[0].astype(float), boxes.astype(float))
    np.testing.assert_allclose(found, [1, 1 / 3, 4 / 4.2, 0, 0], rtol=1e-6)
    scores = np.array([[[0.5, 0.9, 0.6, 0.1, 0.2]]], np.float32)

    def kept(**options) -> list[int]:
        op = BoxSuppression(**{"limit": 4, "overlap": 0.5, "score": 0.15} | options)
        return op.reference(scores, boxes[None, None])[0, 0].tolist()

    assert kept() == [1, 2, 4, -1]
    assert kept(overlap=0.3) == [1, 4, -1, -1]
    assert kept(overlap=1.0) == [1, 2, 0, 4]
    assert kept(score=0.05) == [1, 2, 4, 3]
    assert kept(limit=1) == [1]
    assert kept(candidates=2) == [1, 2, -1, -1]
    assert kept(overlap=0.97, decay=0.5) == [1, 2, 4, -1]
    tied = BoxSuppression(3, 0.5, 0.0).reference(np.ones((1, 1, 3)), boxes[None, None, 1:4])
    assert tied[0, 0].tolist() == [0, 1, 2]


def test_scores_that_are_not_numbers_are_left_out(rng: np.random.Generator):
    op, target = BoxSuppression(4, 0.5, 0.0), TARGETS[best_instruction_set()]
    region = region_for(op, (1, 1, 8), (1, 1, 8, 4))
    scores = np.full((1, 1, 8), np.nan, np.float32)
    scores[0, 0, 5] = 1
    (config,) = Suppression().configs(region, target)
    kernel = Suppression().emit(region, config, target)
    found = run_kernel(region, kernel, target, [scores, boxes_in(rng, 1, 1, 8)])
    assert found.tolist() == [[[5, -1, -1, -1]]]


def test_zeros_of_both_signs_are_tied():
    op, target = BoxSuppression(4, 0.5, -1.0), TARGETS[best_instruction_set()]
    region = region_for(op, (1, 1, 4), (1, 1, 4, 4))
    (config,) = Suppression().configs(region, target)
    boxes = np.float32([[[[0, 0, 1, 1], [2, 0, 3, 1], [4, 0, 5, 1], [6, 0, 7, 1]]]])
    scores = np.float32([[[-0.5, -0.0, 0.0, -0.0]]])
    found = run_kernel(region, Suppression().emit(region, config, target), target, [scores, boxes])
    assert found.tolist() == op.reference(scores, boxes).tolist() == [[[1, 2, 3, 0]]]


def test_any_number_of_boxes(rng: np.random.Generator):
    op, target = BoxSuppression(40, 0.3, 0.2), TARGETS[best_instruction_set()]
    places = symbol("p", 0, 30, 70)
    region = region_for(op, (2, 2, places), (2, 1, places, 4))
    (config,) = Suppression().configs(region, target)
    kernel = Suppression().emit(region, config, target)
    for count in (0, 1, 2, 37, 64, 70):
        scores, boxes = rng.uniform(0, 1, (2, 2, count)).astype(np.float32), boxes_in(rng, 2, 1, count)
        found = run_kernel(region, kernel, target, [scores, boxes], {"p": count})
        np.testing.assert_array_equal(found, op.reference(scores, boxes))


def test_many_boxes_are_not_computed_by_reference(rng: np.random.Generator) -> None:
    """All pairs of them would take longer than the rest of the build."""
    region = region_for(BoxSuppression(20_000, 0.5, 0.0), (1, 1, 20_000), (1, 1, 20_000, 4))
    arrays = [rng.uniform(0, 1, (1, 1, 20_000)).astype(np.float32), boxes_in(rng, 1, 1, 20_000)]
    assert expected_output(region, arrays, {}, rng, 4) is None


def test_only_its_own_tactic_computes_it():
    op = BoxSuppression(4, 0.5, 0.0)
    region = region_for(op, (1, 2, 8), (1, 1, 8, 4))
    for name in TARGETS:
        usable = [tactic.name for tactic in tactics() if tactic.configs(region, TARGETS[name])]
        assert usable == ["suppression"]
        assert not Generic().configs(region, TARGETS[name])
        (config,) = Suppression().configs(region, TARGETS[name])
        assert compile_object(Suppression().emit(region, config, TARGETS[name]).code, TARGETS[name])


@pytest.mark.parametrize(
    ("op", "scores", "boxes", "message"),
    [
        (BoxSuppression(1, 0.5, 0.0), (1, 2, 3), (1, 3, 3, 4), r"expected \[1, 2 or 1, 3, 4\]"),
        (BoxSuppression(0, 0.5, 0.0), (1, 2, 3), (1, 1, 3, 4), "limit: expected at least 1"),
        (BoxSuppression(1, 0.5, 0.0, 0), (1, 2, 3), (1, 1, 3, 4), "candidates: expected at least 1"),
        (BoxSuppression(1, 0.5, 0.0), (1, symbol("c", 1, 2, 3), 3), (1, 1, 3, 4), "C to be fixed"),
    ],
)
def test_what_does_not_fit(op: BoxSuppression, scores, boxes, message: str):
    with pytest.raises(ShapeError, match=message):
        op.infer([TensorType(FLOAT32, scores), TensorType(FLOAT32, boxes)])
    with pytest.raises(ShapeError, match="expected float32"):
        op.infer([TensorType(FLOAT64, scores), TensorType(FLOAT32, boxes)])


def test_networks_with_it_are_tuned(rng: np.random.Generator) -> None:
    """Its region has symbols, but no mathematics to look for them in."""
    batch = symbol("n", 1, 2, 4)
    op = BoxSuppression(5, 0.3, 0.1)
    region = region_for(op, (batch, 2, 30), (batch, 1, 30, 4))
    inputs = tuple((value.name, value) for value in region.inputs)
    plan = build(Graph(inputs, (("kept", region.output),)), BuildConfig(level=1, threads=1, timing_cache=""))
    boxes, scores = boxes_in(rng, 3, 1, 30), rng.uniform(0, 1, (3, 2, 30)).astype(np.float32)
    with Engine(plan) as engine:
        np.testing.assert_array_equal(engine({"scores": scores, "boxes": boxes})["kept"], op.reference(scores, boxes))
