"""Operators that the host implements itself, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto

import tensorwright as tw
from importers.onnx.models import Arrays, model_of, node

ML = "ai.onnx.ml"


def both(model: ModelProto, arrays: Arrays) -> tuple[object, object]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tw.build(model, level=0, threads=1, timing_cache="") as engine:
        return engine(dict(arrays))["y"], session.run(["y"], dict(arrays))[0]


def test_regions_are_pooled(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 9, 12)).astype(np.float32)
    rois = np.float32([[0, 1, 2, 20, 15], [1, -4, 0, 7, 40], [0, 5, 5, 5, 5], [1, 30, 30, 40, 50]])
    made = node("MaxRoiPool", "x rois", "y", pooled_shape=[3, 2], spatial_scale=0.5)
    actual, expected = both(model_of([made], {"x": x, "rois": rois}, ["y"]), {"x": x, "rois": rois})
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_conditions_may_be_longer_than_the_axis(axis: int | None, rng: np.random.Generator) -> None:
    condition = np.array([False, True, True, True, False, True, True])
    arrays = {"x": rng.standard_normal((2, 3)).astype(np.float32), "c": condition}
    made = node("Compress", "x c", "y", **({} if axis is None else {"axis": axis}))
    actual, expected = both(model_of([made], arrays, ["y"]), arrays)
    np.testing.assert_array_equal(actual, expected)


def test_scores_become_maps(rng: np.random.Generator) -> None:
    x = rng.random((3, 2)).astype(np.float32)
    made = node("ZipMap", "p", "y", domain=ML, classlabels_strings=["cat", "dog"])
    model = model_of([node("Softmax", "x", "p"), made], {"x": x}, ["y"], domains={ML: 1})
    actual, expected = both(model, {"x": x})
    assert [list(row) for row in actual] == [list(row) for row in expected]
    np.testing.assert_allclose([list(r.values()) for r in actual], [list(r.values()) for r in expected], rtol=1e-5)


def test_categories_are_mapped_both_ways() -> None:
    cats = {"cats_int64s": [4, 7], "cats_strings": ["a", "b"], "domain": ML}
    forward = model_of(
        [node("CategoryMapper", "x", "y", default_int64=-3, **cats)], {"x": (8, [3])}, ["y"], domains={ML: 1}
    )
    actual, expected = both(forward, {"x": np.array(["b", "c", "a"], object)})
    np.testing.assert_array_equal(actual, expected)
    back = model_of(
        [node("CategoryMapper", "x", "y", default_string="?", **cats)], {"x": (7, [3])}, ["y"], domains={ML: 1}
    )
    actual, expected = both(back, {"x": np.int64([7, 5, 4])})
    assert list(actual) == list(expected) == ["b", "?", "a"]


def test_samples_follow_the_probabilities() -> None:
    x = np.log(np.float32([[0.1, 0.6, 0.3], [0.5, 0.5, 1e-30]]))
    made = node("Multinomial", "x", "y", sample_size=4000, seed=3.0, dtype=TensorProto.INT64)
    with tw.build(model_of([made], {"x": x}, ["y"]), level=0, threads=1, timing_cache="") as engine:
        first, second = engine(x)["y"], engine(x)["y"]
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.int64
    shares = [np.bincount(row, minlength=3) / 4000 for row in first]
    np.testing.assert_allclose(shares, np.exp(x), atol=0.05)
