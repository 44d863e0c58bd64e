"""Branches, loops, sequences and functions: all resolved while the model is read."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from importers.onnx.models import model_of, node, run
from tensorwright.base.errors import ImportFailure
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx import import_onnx, read_network

X = {"x": (TensorProto.FLOAT, [2, 3])}


def body(nodes: list[object], inputs: str, outputs: str) -> GraphProto:
    infos = [[ValueInfoProto(name=name) for name in text.split()] for text in (inputs, outputs)]
    return helper.make_graph(nodes, "body", *infos)


def tensor(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape or (2, 3)).astype(np.float32)


@pytest.mark.parametrize("yes", [True, False])
def test_if_with_a_known_condition(yes: bool, rng: np.random.Generator) -> None:
    then = body([node("Relu", "x", "t")], "", "t")
    otherwise = body([node("RandomUniformLike" if yes else "Neg", "x", "e")], "", "e")
    branch = node("If", "condition", "y", then_branch=then, else_branch=otherwise)
    x = tensor(rng)
    (y,) = run(model_of([branch], X, ["y"], constants={"condition": np.array(yes)}), {"x": x})
    np.testing.assert_array_equal(y, np.maximum(x, 0) if yes else -x)


def test_if_with_a_shape_dependent_condition(rng: np.random.Generator) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "rows"),
        node("Equal", "rows zero", "condition"),
        node(
            "If", "condition", "y",
            then_branch=body([node("Relu", "x", "t")], "", "t"), else_branch=body([node("Neg", "x", "e")], "", "e"),
        ),
    ]  # fmt: skip
    inputs = {"x": (TensorProto.FLOAT, ["n", 3])}
    x = tensor(rng)
    (y,) = run(model_of(nodes, inputs, ["y"], constants={"zero": np.int64(0)}), {"x": x})
    np.testing.assert_array_equal(y, -x)


def test_if_with_an_unknown_condition_is_refused() -> None:
    then, otherwise = body([node("Relu", "x", "t")], "", "t"), body([node("Neg", "x", "e")], "", "e")
    branch = node("If", "condition", "y", then_branch=then, else_branch=otherwise)
    inputs = {**X, "condition": (TensorProto.BOOL, [])}
    with pytest.raises(ImportFailure, match="the condition of If has to be a constant"):
        import_onnx(model_of([branch], inputs, ["y"]))


def test_loop_is_unrolled(rng: np.random.Generator) -> None:
    """``s += x · number`` for three rounds, with the sums of all rounds stacked."""
    nodes = [
        node("Cast", "number", "n", to=TensorProto.FLOAT),
        node("Mul", "x n", "p"),
        node("Add", "state p", "next"),
        node("Identity", "going", "on"),
        node("Identity", "next", "seen"),
    ]
    loop = node("Loop", "rounds _ x", "last all", body=body(nodes, "number going state", "on next seen"))
    x = tensor(rng)
    last, every = run(model_of([loop], X, ["last", "all"], constants={"rounds": np.int64(3)}), {"x": x})
    np.testing.assert_allclose(last, x * 4, rtol=1e-6)
    np.testing.assert_allclose(every, np.stack([x, x * 2, x * 4]), rtol=1e-6)


def test_scan_is_unrolled(rng: np.random.Generator) -> None:
    nodes = [node("Add", "state part", "next"), node("Identity", "next", "seen")]
    scan = node(
        "Scan", "start x", "last all", num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1],
        body=body(nodes, "state part", "next seen"),
    )  # fmt: skip
    x = tensor(rng)
    last, every = run(model_of([scan], X, ["last", "all"], constants={"start": np.zeros(2, np.float32)}), {"x": x})
    np.testing.assert_allclose(every, np.cumsum(x, 1), rtol=1e-6)
    np.testing.assert_allclose(last, x.sum(1), rtol=1e-5)


def test_sequences_exist_only_while_reading(rng: np.random.Generator) -> None:
    nodes = [
        node("SplitToSequence", "x", "parts", axis=1, keepdims=0),
        node("SequenceAt", "parts two", "third"),
        node("SequenceErase", "parts zero", "rest"),
        node("SequenceInsert", "rest third zero", "more"),
        node("SequenceLength", "more", "count"),
        node("ConcatFromSequence", "more", "y", axis=0, new_axis=1),
    ]
    constants = {"two": np.int64(2), "zero": np.int64(0)}
    x = tensor(rng)
    y, count = run(model_of(nodes, X, ["y", "count"], constants=constants), {"x": x})
    np.testing.assert_array_equal(y, x.T[[2, 1, 2]])
    assert count == 3


def shifting_function() -> object:
    """``scale · x + shift`` with an attribute and a default."""
    nodes = [
        helper.make_node("Constant", [], ["factor"]),
        node("Mul", "x factor", "p"),
        node("Add", "p shift", "y"),
    ]
    reference = nodes[0].attribute.add(name="value_float", type=1)
    reference.ref_attr_name = "scale"
    imports = [helper.make_opsetid("", 20)]
    default = helper.make_attribute("scale", 2.0)
    return helper.make_function("own", "Shift", ["x", "shift"], ["y"], nodes, imports, attribute_protos=[default])


@pytest.mark.parametrize(("attributes", "factor"), [({"scale": 3.0}, 3), ({}, 2)])
def test_functions_of_the_model(attributes: dict[str, float], factor: float, rng: np.random.Generator) -> None:
    x = tensor(rng)
    call = node("Shift", "x one", "y", domain="own", **attributes)
    model = model_of(
        [call], X, ["y"], constants={"one": np.float32(1)}, domains={"own": 1}, functions=[shifting_function()]
    )
    (y,) = run(model, {"x": x})
    np.testing.assert_allclose(y, x * factor + 1, rtol=1e-6)


def test_attributes_of_functions_are_refused_outside_of_them() -> None:
    flatten = node("Flatten", "x", "y", axis=1)
    flatten.attribute[0].ref_attr_name = "scale"
    with pytest.raises(ImportFailure, match="'axis' refers to 'scale' of a function; it is in none"):
        import_onnx(model_of([flatten], X, ["y"]))


def test_functions_that_call_themselves_are_refused() -> None:
    again = helper.make_function(
        "own", "Again", ["x"], ["y"], [node("Again", "x", "y", domain="own")], [helper.make_opsetid("own", 1)]
    )
    model = model_of([node("Again", "x", "y", domain="own")], X, ["y"], domains={"own": 1}, functions=[again])
    with pytest.raises(ImportFailure, match="'Again' call itself"):
        import_onnx(model)


@pytest.mark.parametrize("operator", ["Attention", "RotaryEmbedding", "AffineGrid", "HannWindow"])
def test_operators_known_by_their_definition_only(operator: str) -> None:
    from tensorwright.importers.onnx.registry import handler_of

    assert handler_of("", operator) is None, "the cases of test_node_cases.py show the handler; remove the name here"


def recurrent(operator: str, gates: int, direction: str, rng: np.random.Generator, **attributes: object) -> ModelProto:
    both, hidden, size = 2 if direction == "bidirectional" else 1, 5, 4
    constants = {
        "w": tensor(rng, both, gates * hidden, size),
        "r": tensor(rng, both, gates * hidden, hidden),
        "b": tensor(rng, both, 2 * gates * hidden),
        "lengths": np.int32([6, 3, 4]),
        "h": tensor(rng, both, 3, hidden),
    }
    call = node(operator, "x w r b lengths h", "y last", hidden_size=hidden, direction=direction, **attributes)
    return model_of([call], {"x": (TensorProto.FLOAT, [6, 3, size])}, ["y", "last"], constants=constants)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("operator", "gates", "attributes"),
    [
        ("RNN", 1, {}),
        ("GRU", 3, {}),
        ("GRU", 3, {"linear_before_reset": 1}),
        ("LSTM", 4, {}),
        ("LSTM", 4, {"clip": 0.5}),
    ],
)
def test_recurrent_layers_as_onnx_runtime(
    operator: str, gates: int, attributes: dict[str, object], direction: str, rng: np.random.Generator
) -> None:
    model = recurrent(operator, gates, direction, rng, **attributes)
    x = tensor(rng, 6, 3, 4)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for actual, expected in zip(run(model, {"x": x}), session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_names_of_values(rng: np.random.Generator) -> None:
    model = model_of([node("Relu", "x", "a", name="first"), node("Neg", "a", "y")], X, ["y"])
    network = read_network(model)
    assert network.names["a"].name == "first"
    assert network.names["y"].name == "y"
    assert network.graph.outputs[0][1] is network.names["y"]
    x = tensor(rng)
    np.testing.assert_array_equal(evaluate_graph(network.graph, {"x": x})["y"], -np.maximum(x, 0))


@pytest.mark.parametrize(("position", "expected"), [(-1, "acb"), (-2, "cab"), (0, "cab"), (2, "abc")])
def test_a_tensor_is_inserted_before_a_position(position: int, expected: str, rng: np.random.Generator) -> None:
    arrays = {name: tensor(rng, 1, 2) for name in "abc"}
    nodes = [
        node("SequenceConstruct", "a b", "s"),
        node("SequenceInsert", "s c place", "t"),
        node("ConcatFromSequence", "t", "y", axis=0),
    ]
    model = model_of(nodes, arrays, ["y"], constants={"place": np.int64(position)})
    np.testing.assert_array_equal(run(model, arrays)[0], np.concatenate([arrays[name] for name in expected]))


@pytest.mark.parametrize("position", [-3, 3])
def test_a_tensor_is_not_inserted_outside_of_a_sequence(position: int, rng: np.random.Generator) -> None:
    arrays = {name: tensor(rng, 1, 2) for name in "abc"}
    nodes = [node("SequenceConstruct", "a b", "s"), node("SequenceInsert", "s c place", "y")]
    with pytest.raises(ImportFailure, match=f"position {position} is outside of a sequence of 2: expected -2 to 2"):
        import_onnx(model_of(nodes, arrays, ["y"], constants={"place": np.int64(position)}))


def test_functions_that_make_too_many_nodes_are_refused_before_they_are_opened() -> None:
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "Twice0", ["x"], ["y"], [node("Relu", "x", "y")], imports)]
    for number in range(1, 40):
        called = f"Twice{number - 1}"
        nodes = [node(called, "x", "m", domain="own"), node(called, "m", "y", domain="own")]
        functions.append(helper.make_function("own", f"Twice{number}", ["x"], ["y"], nodes, imports))
    call = node("Twice39", "x", "y", domain="own")
    model = model_of([call], X, ["y"], domains={"own": 1}, functions=functions)
    with pytest.raises(ImportFailure, match="functions make 1649267441662 nodes, no more than 65536"):
        import_onnx(model)


def test_loops_in_loops_are_unrolled_as_far_as_that_is_bounded() -> None:
    made = [node("Add", "v0 one", "o0")]
    for number in range(1, 5):
        inputs, outputs = f"i{number} c{number} v{number - 1}", f"on{number} o{number - 1}"
        infos = [[ValueInfoProto(name=name) for name in text.split()] for text in (inputs, outputs)]
        body = helper.make_graph([*made, node("Identity", f"c{number}", f"on{number}")], "body", *infos)
        made = [node("Loop", f"trips yes v{number}", f"o{number}", body=body)]
    constants = {"trips": np.int64(250), "yes": np.array(True), "one": np.float32(1)}
    with pytest.raises(ImportFailure, match="of more than 32768 nodes are not unrolled"):
        import_onnx(model_of(made, {"v4": (1, [2])}, ["o4"], constants=constants))
