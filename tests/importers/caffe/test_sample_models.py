"""Real models, where TENSORWRIGHT_SAMPLE_MODELS names a folder with them (in its subfolder caffe)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.caffe import read_network

FOLDER = Path(os.environ.get("TENSORWRIGHT_SAMPLE_MODELS", "none")) / "caffe"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="TENSORWRIGHT_SAMPLE_MODELS names no folder with models")

TRAINED = (
    ("lenet", (2, 1, 28, 28)),
    ("det1_relu", (1, 3, 60, 48)),
    ("det2_relu", (2, 3, 24, 24)),
    ("det3_relu", (2, 3, 48, 48)),
)


@pytest.mark.parametrize(("name", "shape"), TRAINED)
def test_a_trained_network_matches_opencv(rng: np.random.Generator, name: str, shape: tuple[int, ...]):
    cv2 = pytest.importorskip("cv2")
    text, weights = FOLDER / f"{name}.prototxt", FOLDER / f"{name}.caffemodel"
    network = read_network(text, weights, shapes={"data": shape})
    assert network.warnings == ()
    x = rng.uniform(-1, 1, shape).astype(np.float32)
    net = cv2.dnn.readNetFromCaffe(str(text), str(weights))
    net.setInput(x, "data")
    found = evaluate_graph(network.graph, {"data": x})
    for (output, actual), expected in zip(found.items(), net.forward(list(found)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5, err_msg=output)


@pytest.mark.parametrize(
    ("name", "classes", "weights"),
    [("bvlc_alexnet", 1000, 60_965_224), ("bvlc_googlenet", 1000, 6_998_552), ("cifar10_full", 10, 89_578)],
)
def test_a_definition_without_a_model(name: str, classes: int, weights: int):
    network = read_network(FOLDER / f"{name}.prototxt")
    assert [value.type.shape[1] for _, value in network.graph.outputs] == [classes]
    (warning,) = network.warnings
    assert f"all weights are random, {weights} values" in warning
