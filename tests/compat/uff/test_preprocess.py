"""Preprocessors change graphs before they are converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from tensorflow_graphs import GraphMaker
from tensorwright.compat import uff
from tensorwright.compat.graphsurgeon import DynamicGraph, create_node, create_plugin_node
from tensorwright.compat.uff.command import main
from tensorwright.importers.tensorflow.read import data_inputs
from tensorwright.importers.uff.fields import field_value
from tensorwright.importers.uff.read import UffModel, read_model
from tensorwright.tensor.dtype import FLOAT32

CONFIGURATION = """
import graphsurgeon as gs
import numpy as np

image = gs.create_node("Input", op="Placeholder", dtype=np.float32, shape=[1, 8, 8, 3])
boxes = gs.create_plugin_node("NMS", op="NMS_TRT", confidence=0.5, top=100, normalised=True, sizes=[1, 2],
                              ratios=[0.5, 2], names=["a", "b"])
namespaces = {"Preprocessor": image, "Postprocessor": boxes}


def preprocess(dynamic_graph):
    dynamic_graph.remove(dynamic_graph.find_nodes_by_op("Assert"), remove_exclusive_dependencies=True)
    dynamic_graph.forward_inputs(dynamic_graph.find_nodes_by_op("Identity"))
    dynamic_graph.collapse_namespaces(namespaces)
    dynamic_graph.remove(dynamic_graph.graph_outputs, remove_exclusive_dependencies=False)
    dynamic_graph.find_nodes_by_op("NMS_TRT")[0].input.remove("Input")
"""


def detector() -> GraphMaker:
    """An image that is scaled, a convolution, and boxes that are decoded and split off."""
    graph = GraphMaker()
    x = graph.placeholder((1, 8, 8, 3), "image_tensor")
    graph.add("Assert", graph.add("Greater", x, graph.constant(np.float32(0), "zero"), name="is_fine"), name="check")
    scaled = graph.add("Mul", x, graph.constant(np.float32(2), "Preprocessor/two"), name="Preprocessor/mul")
    scaled = graph.add("Sub", scaled, graph.constant(np.float32(1), "Preprocessor/one"), name="Preprocessor/sub")
    kernel = graph.add("Identity", graph.constant(np.ones((1, 1, 3, 4), np.float32), "w"), name="w/read")
    conv = graph.add("Conv2D", graph.add("Identity", scaled, name="passed"), kernel, name="conv", padding="SAME",
                     strides=[1, 1, 1, 1])  # fmt: skip
    relu = graph.add("Relu", conv, "^check", name="relu")
    boxes = graph.add("Frob", relu, relu, conv, scaled, name="Postprocessor/decode")
    graph.add("Frob", boxes, graph.constant(3, "Postprocessor/number"), name="Postprocessor/inner/suppress")
    graph.add("Neg", "Postprocessor/inner/suppress", name="detection_boxes")
    return graph


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CONFIGURATION)
    return path


def names(nodes) -> list[str]:
    return [node.name for node in nodes]


def check(model: UffModel) -> None:
    fields = {key: field_value(key, data, model.referenced) for key, data in model.nodes["NMS"].fields.items()}
    assert fields == {
        "confidence": 0.5, "top": 100, "normalised": True, "sizes": (1, 2), "ratios": (0.5, 2.0), "names": ("a", "b"),
    }  # fmt: skip
    assert model.nodes["NMS"].operation == "_NMS_TRT"
    assert list(model.nodes["NMS"].inputs) == ["relu", "conv"]
    assert list(model.nodes["conv"].inputs) == ["Input", "w"]
    assert set(model.nodes) == {"NMS", "relu", "conv", "w", "Input", "MarkOutput_0"}


def test_a_file_collapses_scopes_into_plugins(configuration: Path, tmp_path: Path) -> None:
    check(read_model(uff.from_tensorflow(detector().message, ["NMS"], str(configuration), quiet=True)))
    frozen = tmp_path / "detector.pb"
    frozen.write_bytes(detector().bytes())
    assert main([str(frozen), "-O", "NMS", "-p", str(configuration), "-q"]) == 0
    check(read_model(tmp_path / "detector.uff"))


def test_a_function_serves_as_well() -> None:
    def preprocess(graph: DynamicGraph) -> None:
        graph.append(create_node("Input", op="Placeholder", dtype=np.float32, shape=[None, 8, 8, 3]))
        graph.find_nodes_by_name("conv")[0].input[0] = "Input"

    model = read_model(uff.from_tensorflow(detector().message, ["relu"], preprocess, quiet=True))
    shape = field_value("shape", model.nodes["Input"].fields["shape"], model.referenced)
    assert (shape, set(model.nodes)) == ((-1, 8, 8, 3), {"Input", "w", "conv", "relu", "MarkOutput_0"})


def test_nodes_are_found_in_several_ways() -> None:
    graph = DynamicGraph(detector().bytes())
    assert names(graph.graph_inputs) == ["image_tensor"]
    assert names(graph.graph_outputs) == ["detection_boxes"]
    assert names(graph.find_nodes_by_op({"Relu", "Neg"})) == ["relu", "detection_boxes"]
    assert names(graph.find_nodes_by_path("Postprocessor/inner")) == ["Postprocessor/inner/suppress"]
    assert names(graph.find_nodes_by_name(["w", "conv", "nothing"])) == ["w", "conv"]


def test_what_only_removed_nodes_needed_goes_with_them() -> None:
    graph = DynamicGraph(detector().message)
    graph.remove(graph.find_nodes_by_op("Assert"), remove_exclusive_dependencies=True)
    assert {"check", "is_fine", "zero"}.isdisjoint(graph.node_map)
    assert "image_tensor" in graph.node_map
    assert list(graph.node_map["relu"].input) == ["conv"]
    other = DynamicGraph(detector().message)
    other.remove(other.node_map["check"])
    assert {"is_fine", "zero"} <= set(other.node_map)


def test_excluded_nodes_stay_and_the_source_is_left_alone() -> None:
    source = detector()
    before = source.bytes()
    graph = DynamicGraph(source.message)
    kept = graph.find_nodes_by_op("Sub")
    graph.collapse_namespaces({"Preprocessor": create_plugin_node("Scale", factor=2)}, exclude_nodes=kept)
    assert [one.node for one in data_inputs(graph.node_map["Preprocessor/sub"])] == ["Scale"]
    assert list(graph.node_map["Scale"].input) == ["image_tensor"]
    assert source.bytes() == before
    assert graph.node_map["Scale"].attr["factor"].i == 2


def test_errors_name_the_preprocessor(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    for text, message in {
        "x = 1": r"wrong\.py': expected a function preprocess\(dynamic_graph\), found none",
        "import graphsurgeon\n1 / 0": r"wrong\.py': ZeroDivisionError",
        "def preprocess(graph):\n    graph.nodes_of()": r"wrong\.py': AttributeError: .* no attribute 'nodes_of'",
    }.items():
        path.write_text(text)
        with pytest.raises(tw.ImportFailure, match=message):
            uff.from_tensorflow(detector().message, ["relu"], path)
    with pytest.raises(tw.ImportFailure, match=r"missing\.py': FileNotFoundError"):
        uff.from_tensorflow(detector().message, ["relu"], tmp_path / "missing.py")
    with pytest.raises(tw.ImportFailure, match="attribute 'speed': expected numbers, strings or an element type"):
        create_node("a", speed=object())
    assert create_node("a", dtype=FLOAT32.numpy).attr["dtype"].type == 1
