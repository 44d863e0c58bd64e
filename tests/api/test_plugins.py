"""Plugins: for custom layers of models, for layers by name, and as layers of a network."""

from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from caffe_models import definition, layer, model
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.ops.elementwise import Unary
from uff_models import ModelMaker

EXPLICIT = 1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
SWISH = definition(layer("Mine", name="swish") + layer("ReLU", name="relu", bottoms="out", tops="end"), data=(2, 3))


class Swish(tw.Plugin):
    """x sigmoid(beta x)"""

    def __init__(self, beta=1.0):
        self.beta = beta

    def add_layers(self, network, inputs, node):
        (x,) = inputs
        assert x.shape == (2, 3)
        beta = network.add_constant((1, 1), np.full((1, 1), self.beta, np.float32)).get_output()
        scaled = network.add_elementwise(x, beta, tw.ElementWiseOperation.PROD)
        gate = network.add_activation(scaled.get_output(), tw.ActivationType.SIGMOID)
        return network.add_elementwise(x, gate.get_output(), tw.ElementWiseOperation.PROD)


class Dense(tw.Plugin):
    """A layer with weights, without the batch: two outputs."""

    counts_batch = False

    def add_layers(self, network, inputs, node):
        assert inputs[0].shape == (2, 1, 1)
        kernel, bias = node.weights
        count = node.fields["inner_product_param"]["num_output"]
        dense = network.add_fully_connected(inputs[0], count, 2 * kernel, bias)
        return [dense.get_output(0), network.add_unary(dense.get_output(0), tw.UnaryOperation.NEG).get_output(0)]


class Factory:
    def __init__(self, **plugins):
        self.plugins, self.asked = plugins, []

    def is_plugin(self, layer_name):
        self.asked.append(layer_name)
        return layer_name in self.plugins

    def create_plugin(self, layer_name, weights, fields):
        return self.plugins[layer_name]


def swish(x, beta=1.0):
    return x / (1 + np.exp(-beta * x.astype(np.float64)))


def evaluated(network, **inputs):
    return evaluate_graph(network.to_graph(), inputs)


def test_a_layer_of_an_unknown_type(rng):
    x = rng.uniform(-3, 3, (2, 3)).astype(np.float32)
    for by_name in (False, True):
        parser, network = tw.CaffeParser(), tw.Builder().create_network(EXPLICIT)
        if by_name:
            parser.plugin_factory = Factory(swish=Swish(2.0))
        else:
            parser.register_plugin("Mine", Swish(2.0))
        blobs = parser.parse_buffers(SWISH, model({"none": [np.zeros(1)]}), network)
        network.mark_output(blobs["out"])
        np.testing.assert_allclose(evaluated(network, data=x)["out"], swish(x, 2), rtol=1e-6)
        if by_name:
            assert parser.plugin_factory.asked == ["swish", "relu"]


def test_a_plugin_gets_parameters_that_nobody_described(rng):
    text = definition(
        layer(
            "Mine",
            'mine_param { beta: 2.5 name: "a b" flags: true kinds: [1, 2] part { x: -3 } part { x: 4 } mode: MAX } '
            "param { lr_mult: 1 }",
        )
        + layer("ReLU", "other_param { a: 1 }", name="relu", bottoms="out", tops="end"),
        data=(2, 3),
    )
    seen = {}

    def plugin(node):
        seen.update(node.fields)
        return node.inputs[0]

    messages = []

    class Kept(tw.ILogger):
        def log(self, severity, msg):
            messages.append(msg)

    parser, network = tw.CaffeParser(), tw.Builder().create_network(EXPLICIT)
    parser.logger = Kept()
    parser.register_plugin("Mine", plugin)
    assert parser.parse_buffers(text, model({"none": [np.zeros(1)]}), network)["out"].shape == (2, 3)
    assert seen == {
        "mine_param": {
            "beta": 2.5, "name": "a b", "flags": True, "kinds": [1, 2], "part": [{"x": -3}, {"x": 4}], "mode": "MAX"
        }
    }  # fmt: skip
    assert [message for message in messages if "mine_param" in message] == []
    assert sum("'other_param' of Layer is not known and has no effect" in message for message in messages) == 1


def test_a_factory_comes_before_the_types_that_are_known(rng):
    text = definition(
        layer("InnerProduct", "inner_product_param { num_output: 4 }", name="ip", tops="a b"), data=(5, 2, 1, 1)
    )
    kernel, bias = rng.random((4, 2), np.float32), rng.random(4, np.float32)
    parser, network = tw.CaffeParser(), tw.Builder().create_network(EXPLICIT)
    parser.plugin_factory = Factory(ip=Dense())
    blobs = parser.parse_buffers(text, model({"ip": [kernel, bias]}), network)
    for name in "ab":
        network.mark_output(blobs[name])
    x = rng.random((5, 2, 1, 1), np.float32)
    found = evaluated(network, data=x)
    np.testing.assert_allclose(found["a"][..., 0, 0], x[..., 0, 0] @ (2 * kernel.T) + bias, rtol=1e-5)
    np.testing.assert_array_equal(found["b"], -found["a"])


def test_an_unknown_layer_without_a_plugin_is_an_error():
    parser, network = tw.CaffeParser(), tw.Builder().create_network(EXPLICIT)
    parser.plugin_factory = Factory()
    assert parser.parse_buffers(SWISH, None, network) is None
    assert parser.get_error(0).operator == "Mine"


def test_custom_nodes_of_uff_by_name_and_by_operator(rng):
    made = ModelMaker()
    made.input((-1, 3))
    made.node("_Swish", "x", name="y", beta=3.0)
    made.output("y")
    x = rng.uniform(-3, 3, (2, 3)).astype(np.float32)

    for by_name in (False, True):
        parser = tw.UffParser()
        parser.register_input("x", (3,), tw.UffInputOrder.NC)
        if by_name:
            parser.plugin_factory = Factory(y=lambda node: node.apply(Unary("neg"), *node.inputs))
        else:
            parser.register_plugin("_Swish", AnyBatch())
        network = tw.Builder().create_network()
        assert parser.parse_buffer(made.serialized(), network)
        found = evaluated(network, x=x)["y"]
        np.testing.assert_allclose(found, -x if by_name else swish(x, 3.0), rtol=1e-6)


class AnyBatch(tw.Plugin):
    """Swish of vectors, whose beta is a field, without the batch."""

    counts_batch = False

    def add_layers(self, network, inputs, node):
        (x,) = inputs
        assert x.shape == (3,)
        beta = network.add_constant((1,), np.array([node.fields["beta"]], np.float32)).get_output()
        scaled = network.add_elementwise(x, beta, tw.ElementWiseOperation.PROD)
        gate = network.add_activation(scaled.get_output(), tw.ActivationType.SIGMOID)
        return [network.add_elementwise(x, gate.get_output(), tw.ElementWiseOperation.PROD).get_output()]


def test_a_plugin_as_a_layer_is_built_and_can_be_edited(rng):
    builder = tw.Builder()
    builder.max_batch_size = 4
    network = builder.create_network()
    x, other = (network.add_input(name, tw.float32, (3,)) for name in ("x", "other"))
    added = network.add_plugin([x], AnyBatch(), fields={"beta": 2.0}, name="swish")
    assert (added.num_outputs, added.type, added.get_output(0).shape) == (1, tw.LayerType.PLUGIN, (3,))
    added.set_input(0, other)
    total = network.add_elementwise(added.get_output(0), x, tw.ElementWiseOperation.SUM)
    total.get_output(0).name = "y"
    network.mark_output(total.get_output(0))
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    engine = builder.build_engine(network, config)
    a, b = rng.uniform(-3, 3, (2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(engine({"x": a, "other": b})["y"], swish(b, 2) + a, rtol=1e-5, atol=1e-6)


def test_what_is_no_plugin_is_refused():
    network = tw.Builder().create_network(EXPLICIT)
    x = network.add_input("x", tw.float32, (2, 3))
    with pytest.raises(tw.NetworkError, match=r"add_plugin: expected a plugin.*found int.*machine code"):
        network.add_plugin([x], 3)
    with pytest.raises(tw.NetworkError, match=r"Nothing\.add_layers returned NoneType"):
        network.add_plugin([x], Nothing(), name="p")
    with pytest.raises(tw.NetworkError, match="returned str; expected the value of each output"):
        network.add_plugin([x], lambda node: "y")
    parser = tw.CaffeParser()
    parser.plugin_factory = Factory(swish=None)
    assert parser.parse_buffers(SWISH, None, network_of()) is None
    assert "create_plugin('swish'): expected a plugin" in parser.get_error(0).desc()


class Nothing(tw.Plugin):
    def add_layers(self, network, inputs, node):
        return None


def network_of():
    return tw.Builder().create_network(EXPLICIT)
