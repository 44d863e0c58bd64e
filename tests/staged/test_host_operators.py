"""Operators that the host implements itself, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

import tensorwright as tw
from importers.onnx.models import Arrays, model_of, node
from tensorwright.base.errors import ExecutionError

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


TREE = {
    "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
    "nodes_values": [0.0, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "n_targets": 1,
    "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0],
    "target_weights": [1.0, 2.0],
}  # fmt: skip


def regressor(child: int) -> ModelProto:
    made = node("TreeEnsembleRegressor", "x", "y", domain=ML, nodes_truenodeids=[child, 0, 0], **TREE)
    return model_of([made], {"x": (TensorProto.FLOAT, [1, 2])}, ["y"], domains={ML: 3})


def test_trees_without_an_end_are_refused() -> None:
    x = np.float32([[0, -1]])
    actual, expected = both(regressor(1), {"x": x})
    np.testing.assert_array_equal(actual, expected)
    with (
        tw.build(regressor(0), level=0, threads=1, timing_cache="") as engine,
        pytest.raises(ExecutionError, match=r"'y'.*node \(0, 0\) of a tree lies below itself"),
    ):
        engine({"x": x})


def test_trees_whose_nodes_share_all_below_them_are_refused() -> None:
    count = 64
    ends = [*range(1, count), 0]
    made = node(
        "TreeEnsemble", "x", "y", domain=ML, n_targets=1, tree_roots=[0], nodes_featureids=[0] * count,
        nodes_splits=numpy_helper.from_array(np.zeros(count, np.float32)),
        nodes_modes=numpy_helper.from_array(np.zeros(count, np.uint8)),
        nodes_truenodeids=ends, nodes_falsenodeids=ends, nodes_trueleafs=[0] * (count - 1) + [1],
        nodes_falseleafs=[0] * (count - 1) + [1], leaf_targetids=[0],
        leaf_weights=numpy_helper.from_array(np.ones(1, np.float32)),
    )  # fmt: skip
    model = model_of([made], {"x": (TensorProto.FLOAT, [1, 2])}, ["y"], opset=21, domains={ML: 5})
    with (
        tw.build(model, level=0, threads=1, timing_cache="") as engine,
        pytest.raises(ExecutionError, match="more than 1048576 branches"),
    ):
        engine({"x": np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize("pattern", ["(a+)+b", r"a*\d?b", "(a|aa)+"])
def test_patterns_match_in_time_that_grows_with_the_text_alone(pattern: str) -> None:
    model = model_of([node("RegexFullMatch", "x", "y", pattern=pattern)], {"x": (8, [3])}, ["y"])
    texts = np.array(["a" * 64, "a" * 64 + "b", "a" * 64 + "c"], object)
    actual, expected = both(model, {"x": texts})
    np.testing.assert_array_equal(actual, expected)
