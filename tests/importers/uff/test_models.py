"""UFF models as a whole: how inputs and outputs are laid out, custom operators, weights, and what the errors say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tensorwright.base.errors import ImportFailure
from tensorwright.compat.uff.model import Orders
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.verify import verify
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.uff import RegisteredInput, import_uff, read_network
from tensorwright.importers.uff.messages import meta_graph_class
from tensorwright.importers.uff.node import CustomNode
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dtype import FLOAT16, FLOAT64
from uff_models import ModelMaker, evaluated

Generator = np.random.Generator


def convolutional(orders: tuple[str, str], shape: tuple[int, ...], rng: Generator) -> ModelMaker:
    """A 1×1 convolution from 3 to 2 channels, and a sum over the first axis behind the batch."""
    model = ModelMaker()
    model.input(shape)
    kernel = model.number(rng.normal(size=(1, 1, 3, 2)).astype(np.float32), "kernel")
    model.node("Conv", "x", kernel, name="conv", inputs_orders=Orders(orders), strides=[1, 1])
    model.node("Activation", "conv", name="relu", func="relu")
    model.node("Reduce", "relu", name="rows", func="sum", axes=[1], keepdims=False)
    model.output("relu")
    return model


def dense(x: np.ndarray, model: ModelMaker) -> np.ndarray:
    kernel = read_network(model.serialized(), {"x": RegisteredInput((3, 4, 5))}).names["kernel"]
    weights = kernel.op.weights.array
    return np.maximum(x @ weights[0, 0], 0)


@pytest.mark.parametrize("shape", [(-1, 4, 5, 3), (-1, -1, -1, 3), ()])
def test_images_come_in_and_go_out_as_they_are_registered(shape: tuple[int, ...], rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), shape, rng)
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = dense(x, model)
    np.testing.assert_allclose(evaluated(model, {"x": x}, "NHWC"), expected, atol=1e-5)
    first = x.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(evaluated(model, {"x": first}, "NCHW"), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_a_model_with_channels_first_takes_either_order(rng: Generator) -> None:
    model = convolutional(("NC+", "+CK"), (-1, 3, 4, 5), rng)
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = dense(x, model).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(evaluated(model, {"x": x.transpose(0, 3, 1, 2)}, "NCHW"), expected, atol=1e-5)
    np.testing.assert_allclose(evaluated(model, {"x": x}, "NHWC"), expected, atol=1e-5)


def test_axes_mean_what_they_meant_in_the_model(rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), (-1, 4, 5, 3), rng)
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    network = import_uff(model.serialized(), {"x": RegisteredInput((3, 4, 5))}, ["rows"])
    found = evaluate_graph(network, {"x": x.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(found["rows"], dense(x, model).sum(1), atol=1e-5)


def test_dimensions_that_fit_only_as_chw_count_so_whatever_order_is_said(rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), (-1, 4, 5, 3), rng)
    network = import_uff(model.serialized(), {"x": RegisteredInput((3, 4, 5), "NHWC")})
    assert network.inputs[0][1].type.shape[1:] == (3, 4, 5)
    assert network.outputs[0][1].type.shape[1:] == (2, 4, 5)


def test_a_row_of_numbers_may_be_registered_as_an_image(rng: Generator) -> None:
    model = ModelMaker()
    model.input((-1, 12))
    model.output(model.node("FullyConnected", "x", model.number(np.eye(12, 2, dtype=np.float32))))
    x = rng.normal(size=(2, 3, 2, 2)).astype(np.float32)
    for order in ("NCHW", "NC"):
        np.testing.assert_allclose(evaluated(model, {"x": x}, order), x.reshape(2, 12)[:, :2])


def test_without_operators_on_images_the_declared_shape_decides(rng: Generator) -> None:
    model = ModelMaker()
    model.input((-1, 2, 2, 3))
    model.output(model.node("Flatten", "x"))
    x = rng.normal(size=(2, 2, 2, 3)).astype(np.float32)
    first = x.transpose(0, 3, 1, 2).copy()
    np.testing.assert_array_equal(evaluated(model, {"x": first}, "NCHW"), x.reshape(2, 12))
    other = ModelMaker()
    other.input((-1, 3, 2, 2))
    other.output(other.node("Flatten", "x"))
    np.testing.assert_array_equal(evaluated(other, {"x": first}, "NCHW"), first.reshape(2, 12))


def test_a_constant_may_have_no_data_at_all() -> None:
    model = ModelMaker()
    model.input((-1, 3))
    model.output(model.node("Concat", "x", model.number(np.empty((1, 0), np.float32), name="empty"), axis=1))
    message = meta_graph_class().FromString(model.serialized())
    message.referenced_data["weights_empty"].Clear()
    network = import_uff(message.SerializeToString(), {"x": RegisteredInput((3,), "NC")}, batch=1)
    x = np.arange(3, dtype=np.float32).reshape(1, 3)
    np.testing.assert_array_equal(next(iter(evaluate_graph(network, {"x": x}).values())), x)


def test_constants_take_the_place_of_inputs() -> None:
    model = ModelMaker()
    model.output(model.node("Binary", model.input((-1, 3)), model.input((), "keep"), func="mul", name="y"))
    x = np.arange(3, dtype=np.float32).reshape(1, 3)
    np.testing.assert_array_equal(evaluated(model, {"x": x}, constants={"keep": 2}), 2 * x)
    with pytest.raises(ImportFailure, match="a constant: there is no node 'kept'"):
        evaluated(model, {"x": x}, constants={"kept": 2})


def test_two_dimensions_in_the_wrong_order_are_doubted(rng: Generator) -> None:
    model = ModelMaker()
    model.input((-1, 20, 8))
    kernel = model.number(rng.normal(size=(3, 8, 4)).astype(np.float32))
    model.output(model.node("Conv", "x", kernel, inputs_orders=Orders(("N+C", "+CK"))))
    x = rng.normal(size=(2, 20, 8)).astype(np.float32)
    assert evaluated(model, {"x": x}, "NHWC").shape == (2, 18, 4)
    with pytest.raises(ImportFailure, match=r"registered as NCHW, .* register them as NHWC"):
        evaluated(model, {"x": x}, "NCHW")


def test_a_batch_of_one_in_a_shape_stands_for_any() -> None:
    model = ModelMaker()
    model.input((1, 4))
    model.output(model.node("Reshape", "x", model.number([1, 2, 2])))
    network = import_uff(model.serialized(), {"x": RegisteredInput((4,), "NC")})
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(next(iter(evaluate_graph(network, {"x": x}).values())), x.reshape(3, 2, 2))


def test_outputs_are_registered_ones_or_those_that_are_marked(rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), (), rng)
    given = {"x": RegisteredInput((3, 4, 5))}
    assert [name for name, _ in import_uff(model.serialized(), given).outputs] == ["relu"]
    network = import_uff(model.serialized(), given, ["conv", "MarkOutput_0"])
    verify(network)
    assert [name for name, _ in network.outputs] == ["conv", "MarkOutput_0"]
    unmarked = ModelMaker()
    unmarked.input((1, 2))
    with pytest.raises(ImportFailure, match="no output is registered, and the file marks none"):
        import_uff(unmarked.serialized(), {"x": RegisteredInput((2,), "NC")})


def test_half_weights_are_stored_as_such_and_computed_in_single(rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), (), rng)
    network = import_uff(model.serialized(), {"x": RegisteredInput((3, 4, 5))}, weights=FLOAT16)
    types = {value.type.dtype.name for value in network.order() if value.op.name == "ConstantTensor"}
    assert types == {"float16"}
    assert network.outputs[0][1].type.dtype.name == "float32"
    with pytest.raises(ImportFailure, match="expected float32 or float16, found float64"):
        import_uff(model.serialized(), {"x": RegisteredInput((3, 4, 5))}, weights=FLOAT64)
    large = ModelMaker()
    large.input((1, 2))
    large.output(large.node("Binary", "x", large.number(np.full(2, 1e5, np.float32), "big"), func="mul"))
    with pytest.raises(ImportFailure, match=r"node 'big' \(Const\): a weight is outside the range of float16"):
        import_uff(large.serialized(), {"x": RegisteredInput((2,), "NC")}, weights=FLOAT16)


def custom_model() -> ModelMaker:
    model = ModelMaker()
    model.input((-1, 4))
    model.node("_Negated", "x", name="first", times=3)
    model.node("_Other", "first", name="second")
    model.output("second")
    return model


def test_custom_operators_reach_who_knows_them() -> None:
    seen: list[CustomNode] = []

    def plugin(node: CustomNode):
        seen.append(node)
        return node.apply(Unary("neg"), *node.inputs) if node.operation == "Negated" else node.inputs[0]

    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(evaluated(custom_model(), {"x": x}, custom=plugin), -x)
    assert [(node.operation, node.name, dict(node.fields)) for node in seen] == [
        ("Negated", "first", {"times": 3}),
        ("Other", "second", {}),
    ]


def test_unknown_operators_are_reported_together() -> None:
    model = custom_model()
    model.node("Frob", "x", name="third")
    model.node("Pool", "x", name="fourth", func="max", kernel=[2, 2], spin=1)
    given = {"x": RegisteredInput((4,), "NC")}
    with pytest.raises(UnsupportedNodes) as caught:
        import_uff(model.serialized(), given, ["second", "third", "fourth"])
    found = {(f.operator, f.node): f.reason for f in caught.value.findings}
    assert set(found) == {("_Negated", "first"), ("_Other", "second"), ("Frob", "third"), ("Pool", "fourth")}
    assert found["_Negated", "first"] == "a custom operator, and there is no plugin of this name"
    assert found["Pool", "fourth"] == "field spin is not supported"
    with pytest.raises(UnsupportedNodes) as caught:
        import_uff(model.serialized(), given, ["second"], custom=lambda node: None)
    assert [f.node for f in caught.value.findings] == ["first"]


def failing(model: ModelMaker, *outputs: str, **inputs: RegisteredInput) -> str:
    with pytest.raises(ImportFailure) as caught:
        import_uff(model.serialized(), inputs, outputs)
    return str(caught.value)


def test_errors_name_what_is_wrong(rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), (-1, 4, 5, 3), rng)
    image = RegisteredInput((3, 4, 5))
    assert "there is no node 'rel'; the nodes with the nearest names are 'relu'" in failing(model, "rel", x=image)
    assert "a registered input: there is no node 'y'" in failing(model, y=image)
    message = failing(model, other=image)
    assert "there is no node 'other'" in message
    message = failing(model)
    assert (
        "needs the input 'x', which is not registered: register_input('x', dims, order); the file says [4, 5, 3]"
        in message
    )
    wrong = failing(model, x=RegisteredInput((7, 4, 5)))
    assert "node 'conv' (Conv): 1 groups of the 3 channels of kernel" in wrong
    with pytest.raises(ImportFailure, match=r"dimensions must be positive, found \[0, 2\]"):
        RegisteredInput((0, 2))


def test_structural_damage_is_named(tmp_path: Path) -> None:
    model = ModelMaker()
    model.node("Binary", "b", "b", name="a", func="add")
    model.node("Identity", "a", name="b")
    assert "the nodes form a cycle: 'a' -> 'b' -> 'a'" in failing(model, "a")
    model = ModelMaker()
    model.node("Identity", "nothing", name="a")
    assert "an input of node 'a' (Identity): there is no node 'nothing'" in failing(model, "a")
    model = ModelMaker()
    model.node("Const", name="c", dtype=FLOAT16, shape=[1 << 40, 1 << 40], values="abc")
    assert "node 'c' (Const): attribute values must be bytes, found 'abc'" in failing(model, "c")
    model = ModelMaker()
    model.constant("c", np.zeros(3, np.float32))
    data = model.serialized().replace(b"weights_c", b"weights_d", 1)
    with pytest.raises(ImportFailure, match="field 'values' refers to 'weights_d', which the file lacks"):
        import_uff(data, {}, ["c"])
    for content, expected in ((b"", "empty"), (b"\x08\x01", "it has no graph"), (b"\x0a\xff", "damaged or truncated")):
        file = tmp_path / "m.uff"
        file.write_bytes(content)
        with pytest.raises(ImportFailure, match=expected):
            import_uff(file, {})


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 1 << 60, 1 << 60), "needs"), ((-3,), "none that a constant can have"), ((2,), "needs 8 bytes")],
)
def test_a_constant_that_lies_is_refused(shape: tuple[int, ...], expected: str) -> None:
    model = ModelMaker()
    model.constant("c", np.zeros(3, np.float32))
    fields = model._graph.nodes[0].fields
    fields["shape"].i_list.val[:] = shape
    assert expected in failing(model, "c")


def test_the_transposes_of_an_image_are_all_that_a_layout_costs(rng: Generator) -> None:
    model = convolutional(("N+C", "+CK"), (), rng)
    network = import_uff(model.serialized(), {"x": RegisteredInput((4, 5, 3), "NHWC")})
    assert sum(isinstance(value.op, Transpose) for value in network.order()) == 2
