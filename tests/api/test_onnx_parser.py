"""Models parsed into networks, edited, and built in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tensorwright as tw
from tensorwright.graph.evaluate import evaluate_graph

DEMO = Path(__file__).parents[2] / "demo"
EXPLICIT = 1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


@pytest.fixture(scope="module")
def digit():
    data = (DEMO / "digits" / "digit-07-label-2.pgm").read_bytes()[-784:]
    return np.frombuffer(data, np.uint8).reshape(1, 1, 28, 28).astype(np.float32) / np.float32(255)


@pytest.fixture
def network():
    return tw.Builder().create_network(EXPLICIT)


@pytest.fixture
def lenet(network):
    assert tw.OnnxParser(network).parse_from_file(DEMO / "lenet.onnx")
    return network


def model(*nodes, shape=("batch", 4), initializers=(), outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def evaluated(network, **inputs):
    return evaluate_graph(network.to_graph(), inputs)


def test_a_parsed_network_has_the_model_s_names_and_values(lenet, digit):
    assert lenet.name == "lenet"
    assert [lenet.get_input(0).name, lenet.get_output(0).name] == ["image", "probabilities"]
    assert lenet.get_input(0).shape == (-1, 1, 28, 28)
    assert lenet.find_tensor("pool2").shape == (-1, 50, 4, 4)
    (probabilities,) = evaluated(lenet, image=digit).values()
    assert probabilities.argmax() == 2
    assert lenet.to_graph().symbols()[0] == tw.Symbol("batch", 1, 1, 16)
    assert lenet.to_graph(max_batch_size=99).symbols()[0] == tw.Symbol("batch", 1, 99, 99)


def test_a_parsed_network_can_be_edited(lenet, digit):
    lenet.unmark_output(lenet.get_output(0))
    lenet.mark_output(lenet.find_tensor("logits"))
    (before,) = evaluated(lenet, image=digit).values()
    bias = next(layer for layer in lenet if layer.name == "fc2.bias")
    bias.weights = np.zeros(10, np.float32)
    (unbiased,) = evaluated(lenet, image=digit).values()
    original = {i.name: numpy_helper.to_array(i) for i in onnx.load(DEMO / "lenet.onnx").graph.initializer}
    np.testing.assert_allclose(unbiased, before - original["fc2.bias"], rtol=1e-4, atol=1e-5)
    relu = next(layer for layer in lenet if getattr(layer, "operator", "") == "Relu")
    negated = lenet.add_unary(relu.get_input(0), tw.UnaryOperation.NEG, name="negate")
    relu.set_input(0, negated.get_output())
    assert not np.allclose(evaluated(lenet, image=digit)["logits"], unbiased)
    pool = next(layer for layer in lenet if layer.name == "pool2")
    pool.set_attribute("strides", (1, 1))
    with pytest.raises(tw.NetworkError, match=r"add_operator 'flatten'.*|add_operator 'fc1'"):
        lenet.to_graph()
    with pytest.raises(tw.NetworkError, match="Pool has no attribute 'stride'; it has mode, window"):
        pool.set_attribute("stride", 1)


def test_the_batch_of_a_parsed_network_can_be_fixed(lenet):
    lenet.get_input(0).shape = (3, 1, 28, 28)
    assert lenet.get_output(0).shape == (3, 10)
    assert lenet.to_graph().symbols() == ()


def test_a_network_without_flags_takes_a_model_if_it_is_empty():
    builder = tw.Builder()
    network = builder.create_network()
    assert tw.OnnxParser(network).parse((DEMO / "lenet.onnx").read_bytes())
    assert not network.has_implicit_batch_dimension
    filled = builder.create_network()
    filled.add_input("x", tw.float32, (3,))
    parser = tw.OnnxParser(filled)
    assert not parser.parse((DEMO / "lenet.onnx").read_bytes())
    assert "implicit batch and is not empty" in parser.get_error(0).desc()


def test_all_errors_of_a_model_are_listed(network):
    bad = model(
        helper.make_node("Nonsense", ["x"], ["a"], name="first", domain="my.own"),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("MoreNonsense", ["b"], ["y"], name="second", domain="my.own"),
    )
    parser = tw.OnnxParser(network)
    assert not parser.parse(bad.SerializeToString())
    found = {(parser.get_error(n).node_name(), parser.get_error(n).node_operator()) for n in range(parser.num_errors)}
    assert found == {("first", "Nonsense"), ("second", "MoreNonsense")}
    assert all(parser.get_error(n).code() is tw.ErrorCode.UNSUPPORTED_NODE for n in range(parser.num_errors))
    assert network.num_layers == network.num_inputs == 0
    parser.clear_errors()
    assert not parser.parse(b"this is no model")
    assert parser.num_errors == 1
    assert parser.get_error(0).code() is tw.ErrorCode.MODEL_DESERIALIZE_FAILED
    assert not parser.parse_from_file("no/such/file.onnx")
    assert "no/such/file.onnx" in str(parser.get_error(1))
    assert parser.supports_operator("Conv")
    assert not parser.supports_operator("Nonsense")


def test_outputs_that_are_inputs_or_the_same_value_are_outputs_of_their_own(network, rng):
    tiny = model(
        helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"]), outputs=("y", "z", "x")
    )
    assert tw.OnnxParser(network).parse(tiny.SerializeToString())
    x = rng.normal(size=(3, 4)).astype(np.float32)
    results = evaluated(network, x=x)
    assert set(results) == {"x", "y", "z"}
    np.testing.assert_array_equal(results["x"], x)
    np.testing.assert_array_equal(results["z"], np.maximum(x, 0))


def test_shapes_that_depend_on_unknown_dimensions_follow_the_profile(network, rng):
    """Reshape to [batch · 2, 2]: the symbol is in an operator's attribute."""
    tiny = model(
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Mul", ["batch", "two"], ["rows"]),
        helper.make_node("Concat", ["rows", "two"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
        initializers=[("zero", np.array([0])), ("two", np.array([2]))],
    )
    assert tw.OnnxParser(network).parse(tiny.SerializeToString())
    profile = tw.OptimizationProfile()
    profile.set_shape("x", (2, 4), (5, 4), (300, 4))
    graph = network.to_graph(profile.ranges)
    (symbol,) = graph.symbols()
    assert (symbol.min, symbol.opt, symbol.max) == (2, 5, 300)
    x = rng.normal(size=(250, 4)).astype(np.float32)
    np.testing.assert_array_equal(evaluate_graph(graph, {"x": x})["y"], x.reshape(500, 2))
    network.get_input(0).shape = (6, 4)
    assert network.get_output(0).shape == (12, 2)


def test_a_table_cut_to_a_dimension_bounds_the_dimension(network, rng):
    """x + positions[:length], as models with position embeddings do."""
    table = rng.normal(size=(600, 2)).astype(np.float32)
    tiny = model(
        helper.make_node("Shape", ["x"], ["length"], start=1, end=2),
        helper.make_node("Slice", ["table", "zero", "length"], ["positions"]),
        helper.make_node("Add", ["x", "positions"], ["y"]),
        shape=("batch", "length", 2),
        initializers=[("zero", np.array([0])), ("table", table)],
    )
    assert tw.OnnxParser(network).parse(tiny.SerializeToString())
    assert {s.name: s.max for s in network.to_graph().symbols()} == {"batch": 16, "length": 512}
    profile = tw.OptimizationProfile()
    profile.set_shape("x", (1, 1, 2), (1, 8, 2), (1000, 300, 2))
    x = rng.normal(size=(700, 250, 2)).astype(np.float32)
    (y,) = evaluate_graph(network.to_graph(profile.ranges), {"x": x}).values()
    np.testing.assert_allclose(y, x + table[:250], rtol=1e-5, atol=1e-6)
    profile.set_shape("x", (1, 1, 2), (1, 8, 2), (1, 700, 2))
    with pytest.raises(tw.NetworkError, match=r"'length' can be from 1 to 600 by .*, 1 to 700 is asked for"):
        network.to_graph(profile.ranges)


@pytest.mark.parametrize("form", ["path", "text", "bytes", "model", "network", "graph"])
def test_build_takes_a_model_in_any_form(form, rng, tmp_path, network):
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    made = model(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=[("w", weights)])
    onnx.save(made, tmp_path / "tiny.onnx")
    assert tw.OnnxParser(network).parse(made.SerializeToString())
    source = {
        "path": tmp_path / "tiny.onnx",
        "text": str(tmp_path / "tiny.onnx"),
        "bytes": made.SerializeToString(),
        "model": made,
        "network": network,
        "graph": network.to_graph(),
    }[form]
    engine = tw.build(source, level=0, threads=1)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(engine({"x": x})["y"], x @ weights, rtol=1e-4, atol=1e-5)
    assert engine.max_batch_size == 16


def test_build_takes_shapes_and_refuses_what_it_cannot_build(rng, network, tmp_path):
    made = model(helper.make_node("Exp", ["x"], ["y"]))
    assert tw.build(made, level=0, threads=1, shapes={"batch": (1, 2, 5)}).max_batch_size == 5
    with pytest.raises(tw.BuildError, match="found int"):
        tw.build(3)
    with pytest.raises(tw.BuildError, match="shapes are for models"):
        tw.build(network, shapes={"x": (1, 4)})
    with pytest.raises(tw.BuildError, match="expected one or several of fp32, bf16, fp16"):
        tw.build(made, precision="float8")
    with pytest.raises(tw.ImportFailure, match="no/model"):
        tw.build("no/model.onnx")


def test_build_reports_progress(capsys):
    made = model(helper.make_node("Exp", ["x"], ["y"]))

    class Heard:
        def __init__(self):
            self.events = []

        def phase(self, name, steps):
            self.events.append("phase")

        def step(self, description):
            self.events.append("step")

        def done(self):
            self.events.append("done")

    heard = Heard()
    tw.build(made, level=0, threads=1, progress=heard)
    assert heard.events[0] == "phase"
    assert "step" in heard.events
    assert heard.events[-1] == "done"
    tw.build(made, level=0, threads=1, progress=True)
