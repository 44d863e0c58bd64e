from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from tensorflow_graphs import GraphMaker
from tensorwright.compat import uff
from tensorwright.compat.uff.model import Orders
from tensorwright.ops.elementwise import Unary
from uff_models import ModelMaker


class Recorder(tw.ILogger):
    def __init__(self):
        super().__init__()
        self.messages: list[tuple[tw.Severity, str]] = []

    def log(self, severity, msg):
        self.messages.append((severity, msg))


@pytest.fixture
def parser(monkeypatch):
    recorder = Recorder()
    made = tw.UffParser()
    monkeypatch.setattr(made, "logger", recorder)
    return made


def digits() -> ModelMaker:
    """A small classifier of images 1×6×6."""
    rng = np.random.default_rng(3)
    model = ModelMaker()
    model.input((-1, 6, 6, 1))
    kernel = model.number(rng.normal(size=(3, 3, 1, 4)).astype(np.float32), "kernel")
    model.node("Conv", "x", kernel, name="conv", inputs_orders=Orders(("N+C", "+CK")), strides=[1, 1])
    model.node("Activation", "conv", name="relu", func="relu")
    model.node("Flatten", "relu", name="flat")
    weights = model.number((rng.normal(size=(64, 3)) / 16).astype(np.float32), "weights")
    model.node("FullyConnected", "flat", weights, name="fc", inputs_orders=Orders(("NC", "CK")))
    model.node("Softmax", "fc", name="out")
    model.output("out")
    return model


def expected(x: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    kernel, weights = rng.normal(size=(3, 3, 1, 4)), rng.normal(size=(64, 3))
    views = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), (1, 2))
    image = np.maximum(np.einsum("nijhw,hwo->nijo", views, kernel[:, :, 0]), 0)
    scores = np.exp(image.reshape(len(x), 64) @ weights / 16)
    return scores / scores.sum(1, keepdims=True)


def built(network: tw.NetworkDefinition, max_batch_size: int = 4) -> tw.Engine:
    builder = tw.Builder()
    builder.max_batch_size = max_batch_size
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    return builder.build_engine(network, config)


def parsed(parser: tw.UffParser, model: bytes, dtype: object = tw.float32, flags: int = 0) -> tw.NetworkDefinition:
    network = tw.Builder().create_network(flags)
    assert parser.parse_buffer(model, network, dtype), parser.get_error(0)
    return network


def test_a_model_is_parsed_and_built(parser, rng):
    assert parser.register_input("x", (1, 6, 6), 0)
    assert parser.register_output("out")
    network = parsed(parser, digits().serialized())
    assert network.has_implicit_batch_dimension
    assert network.get_input(0).shape == (1, 6, 6)
    assert (network.num_outputs, network.get_output(0).name, network.get_output(0).shape) == (1, "out", (3,))
    engine = built(network)
    x = rng.uniform(-1, 1, (3, 1, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(engine({"x": x})["out"], expected(x), atol=1e-4)


def test_files_explicit_batch_and_half_weights(parser, rng, tmp_path):
    file = tmp_path / "model.uff"
    file.write_bytes(digits().serialized())
    parser.register_input("x", (6, 6, 1), tw.UffInputOrder.NHWC)
    network = tw.Builder().create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    assert parser.parse(file, network, "float16")
    assert network.get_input(0).shape == (-1, 6, 6, 1)
    x = rng.uniform(-1, 1, (2, 1, 6, 6)).astype(np.float32)
    found = built(network)({"x": x.transpose(0, 2, 3, 1).copy()})["out"]
    np.testing.assert_allclose(found, expected(x), atol=5e-3)
    assert np.abs(found - expected(x)).max() > 1e-6


def test_marked_outputs_several_outputs_and_outputs_of_one_value(parser):
    model = digits()
    model.node("Identity", "relu", name="same")
    parser.register_input("x", (1, 6, 6))
    for name in ("relu", "same", "fc"):
        parser.register_output(name)
    network = parsed(parser, model.serialized())
    assert [network.get_output(i).name for i in range(3)] == ["relu", "same", "fc"]
    assert network.get_output(0).shape == network.get_output(1).shape == (4, 4, 4)
    marked = tw.UffParser()
    marked.register_input("x", (1, 6, 6))
    assert [t.name for t in [parsed(marked, model.serialized()).get_output(0)]] == ["out"]


def test_a_parsed_network_stays_editable(parser, rng):
    parser.register_input("x", (1, 6, 6))
    parser.register_output("fc")
    network = parsed(parser, digits().serialized())
    twice = network.add_elementwise(network.get_output(0), network.get_output(0), tw.ElementWiseOperation.SUM)
    twice.get_output(0).name = "twice"
    network.mark_output(twice.get_output(0))
    x = rng.uniform(-1, 1, (1, 1, 6, 6)).astype(np.float32)
    found = built(network)({"x": x})
    np.testing.assert_allclose(found["twice"], 2 * found["fc"], rtol=1e-6)


def test_plugins_make_custom_nodes_and_operators_of_tensorflow_need_none(parser):
    model = ModelMaker()
    model.input((-1, 4))
    model.node("_Negated", "x", name="y")
    model.output("y")
    parser.register_input("x", (4,), tw.UffInputOrder.NC)
    parser.register_plugin("_Negated", lambda node: node.apply(Unary("neg"), *node.inputs))
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    np.testing.assert_array_equal(built(parsed(parser, model.serialized()))({"x": x})["y"], -x)

    graph = GraphMaker()
    graph.add("Tile", graph.placeholder((-1, 4)), graph.constant([1, 2]), name="y")
    other = tw.UffParser()
    other.register_input("x", (4,), 2)
    network = parsed(other, uff.from_tensorflow(graph.message, ["y"], quiet=True))
    np.testing.assert_array_equal(built(network)({"x": x})["y"], np.tile(x, (1, 2)))


def test_a_number_that_is_no_order_is_tolerated_with_a_warning(parser):
    assert parser.register_input("x", (1, 6, 6), 3)
    assert parser.register_input("z", (1, 6, 6), 2)
    assert [severity for severity, _ in parser.logger.messages] == [tw.Severity.WARNING] * 2
    assert "the third argument is the order, not the number of the input" in parser.logger.messages[0][1]
    other = tw.UffParser()
    other.register_input("x", (1, 6, 6), 3)
    assert parsed(other, digits().serialized()).get_input(0).shape == (1, 6, 6)


def failed(parser: tw.UffParser, model: bytes, network: tw.NetworkDefinition | None = None) -> list[str]:
    target = tw.Builder().create_network() if network is None else network
    assert not parser.parse_buffer(model, target)
    assert parser.logger.messages[-1][0] is tw.Severity.ERROR
    found = [str(parser.get_error(i)) for i in range(parser.num_errors)]
    parser.clear_errors()
    assert parser.num_errors == 0
    return found


def test_what_is_wrong_is_logged_and_kept(parser):
    data = digits().serialized()
    assert "register_input('x', dims, order)" in failed(parser, data)[0]
    parser.register_input("x", (1, 6, 6))
    assert "not a UFF model" in failed(parser, b"\xff\xff")[0]
    network = tw.Builder().create_network()
    network.add_input("y", tw.float32, (1,))
    assert "expected an empty network" in failed(parser, data, network)[0]
    parser.register_output("outt")
    assert "the nodes with the nearest names are 'out'" in failed(parser, data)[0]
    assert not parser.register_input("w", (0, 2))
    assert not parser.register_input("w", ("a",))
    assert not parser.register_input("w", (1, 2, 3), "NCHW")
    assert [parser.get_error(i).desc().split(":")[0] for i in range(3)] == ["register_input 'w'"] * 3


def test_each_unsupported_node_is_an_error(parser):
    model = ModelMaker()
    model.input((-1, 4))
    model.node("_NMS_TRT", "x", name="nms")
    model.node("_Proposal", "x", name="proposal")
    model.output(model.node("Concat", "nms", "proposal", axis=1))
    parser.register_input("x", (4,), 2)
    network = tw.Builder().create_network()
    assert not parser.parse_buffer(model.serialized(), network)
    found = {(parser.get_error(i).node_operator(), parser.get_error(i).node_name()) for i in range(parser.num_errors)}
    assert found == {("_NMS_TRT", "nms"), ("_Proposal", "proposal")}
    assert network.num_layers == network.num_inputs == 0


def test_a_constant_takes_the_place_of_an_input() -> None:
    model = ModelMaker()
    model.output(model.node("Binary", model.input((-1, 3)), model.input((), "keep_prob"), func="mul", name="y"))
    parser, network = tw.UffParser(), tw.Builder().create_network()
    parser.register_input("x", (3,), tw.UffInputOrder.NC)
    assert not parser.parse_buffer(model.serialized(), network)
    assert "register_input('keep_prob', dims, order)" in str(parser.get_error(0))
    assert parser.register_constant("keep_prob", 0.5)
    assert parser.parse_buffer(model.serialized(), network), parser.get_error(1)
    assert network.num_inputs == 1
