"""From a frozen TensorFlow graph to an engine in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from tensorflow_graphs import GraphMaker

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7 - 1


def classifier() -> GraphMaker:
    """``probabilities = softmax(scores)``, ``scores = x w``, for a batch of any size."""
    graph = GraphMaker()
    graph.add("MatMul", graph.placeholder((-1, 4)), graph.constant(WEIGHTS), name="scores")
    graph.add("Softmax", "scores", name="probabilities")
    return graph


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1, 1, (5, 4)).astype(np.float32)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "message"])
def test_a_frozen_graph_is_built(kind: str, x: np.ndarray, tmp_path: Path) -> None:
    graph, path = classifier(), tmp_path / ("g.pbtxt" if kind == "text" else "frozen.pb")
    path.write_bytes(str(graph.message).encode() if kind == "text" else graph.bytes())
    source = {"bytes": graph.bytes(), "message": graph.message}.get(kind, path)
    scores = np.exp(x.astype(float) @ WEIGHTS)
    found = tw.build(source, level=0, threads=1)({"x": x})
    assert list(found) == ["probabilities"]
    np.testing.assert_allclose(found["probabilities"], scores / scores.sum(1, keepdims=True), atol=1e-6)


def test_outputs_and_shapes_can_be_named(x: np.ndarray) -> None:
    engine = tw.build(classifier().bytes(), outputs=["scores"], shapes={"batch": (1, 5, 5)}, level=0, threads=1)
    assert engine.max_batch_size == 5
    np.testing.assert_allclose(engine(x)["scores"], x @ WEIGHTS, atol=1e-5)
    with pytest.raises(tw.ImportFailure, match="no node 'score'; the nodes with the nearest names are 'scores'"):
        tw.build(classifier().bytes(), outputs=["score"])


def test_what_no_build_takes_is_refused(tmp_path: Path) -> None:
    network = tw.Builder().create_network()
    with pytest.raises(tw.BuildError, match="outputs are for models in files"):
        tw.build(network, outputs=["y"])
    with pytest.raises(tw.BuildError, match="weights are for a Caffe network; this is a frozen TensorFlow graph"):
        tw.build(classifier().bytes(), weights="net.caffemodel")
    with pytest.raises(tw.ImportFailure, match=r"cannot be read .*; expected a frozen TensorFlow graph"):
        tw.build(tmp_path / "missing.pb")
