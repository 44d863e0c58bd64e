"""Whole networks: the nine that the onnx package ships, two of them computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import is_constant
from tensorwright.importers.onnx import import_onnx

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NETWORKS = sorted(path.stem for path in LIGHT.glob("light_*.onnx"))


@pytest.mark.parametrize("network", NETWORKS)
def test_light_networks_are_imported(network: str) -> None:
    graph = import_onnx(LIGHT / f"{network}.onnx")
    for value in graph.order():
        assert not value.inputs or not all(map(is_constant, value.inputs)), f"{value.name} should be folded"


@pytest.mark.parametrize("network", ["light_shufflenet", "light_squeezenet"])
def test_light_networks_give_the_stored_outputs(network: str) -> None:
    graph = import_onnx(LIGHT / f"{network}.onnx")
    ((name, value),) = graph.inputs
    shape = value.type.tuning_shape
    size = int(np.prod(shape))
    ramp = (np.arange(size).reshape(shape) / size).astype(np.float32)
    stored = TensorProto.FromString((LIGHT / f"{network}_output_0.pb").read_bytes())
    (actual,) = evaluate_graph(graph, {name: ramp}).values()
    np.testing.assert_allclose(actual, numpy_helper.to_array(stored), rtol=1e-3, atol=1e-7)


def test_there_are_nine() -> None:
    assert len(NETWORKS) == 9
