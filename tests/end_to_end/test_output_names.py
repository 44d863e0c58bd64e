"""Outputs that are inputs: the engine gives a copy under a name of its own, which survives the plan's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import tensorwright as tw
from tensorflow_graphs import GraphMaker
from tensorwright.base.errors import NetworkError
from tensorwright.runtime.engine import Engine
from uff_models import ModelMaker

EXPLICIT = 1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def built(network: tw.NetworkDefinition) -> Engine:
    builder = tw.Builder()
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    return builder.build_engine(network, config)


def by_network(flags: int) -> Engine:
    network = tw.Builder().create_network(flags)
    x = network.add_input("x", tw.float32, (2, 3) if flags else (3,))
    y = network.add_unary(x, tw.UnaryOperation.EXP).get_output(0)
    y.name = "y"
    network.mark_output(x)
    network.mark_output(y)
    return built(network)


def onnx_model() -> bytes:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "twice", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def by_onnx_parser() -> Engine:
    network = tw.Builder().create_network(EXPLICIT)
    parser = tw.OnnxParser(network)
    assert parser.parse(onnx_model()), parser.get_error(0)
    return built(network)


def by_frozen_graph() -> Engine:
    graph = GraphMaker()
    graph.add("Exp", graph.placeholder((-1, 3)), name="y")
    return tw.build(graph.bytes(), outputs=["x", "y"], level=0)


def by_uff_parser() -> Engine:
    model = ModelMaker()
    model.node("Unary", model.input((-1, 3)), func="exp", name="y")
    network, parser = tw.Builder().create_network(), tw.UffParser()
    parser.register_input("x", (3,), tw.UffInputOrder.NC)
    parser.register_output("x")
    parser.register_output("y")
    assert parser.parse_buffer(model.serialized(), network), parser.get_error(0)
    return built(network)


WAYS: dict[str, Callable[[], Engine]] = {
    "explicit batch": lambda: by_network(EXPLICIT),
    "implicit batch": lambda: by_network(0),
    "ONNX": lambda: tw.build(onnx_model(), level=0),
    "OnnxParser": by_onnx_parser,
    "frozen graph": by_frozen_graph,
    "UffParser": by_uff_parser,
}


@pytest.mark.parametrize("way", WAYS)
def test_an_input_that_is_an_output_is_copied(way: str, tmp_path: Path, rng: np.random.Generator) -> None:
    WAYS[way]().save(tmp_path / "model.plan")
    engine = tw.load(tmp_path / "model.plan")
    x = rng.normal(size=(1 if way in ("implicit batch", "UffParser") else 2, 3)).astype(np.float32)
    found = engine({"x": x})
    assert list(found) == ["x_output", "y"]
    np.testing.assert_array_equal(found["x_output"], x)
    np.testing.assert_allclose(found["y"], np.exp(x), rtol=1e-5)


def test_two_outputs_of_one_name_are_refused() -> None:
    graph = GraphMaker()
    graph.add("Exp", graph.placeholder((2,)), name="y")
    with pytest.raises(NetworkError, match="several outputs named 'y'"):
        tw.build(graph.bytes(), outputs=["y", "y"], level=0)
