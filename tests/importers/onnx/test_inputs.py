"""Unknown dimensions of inputs: symbols, their ranges and their names."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from importers.onnx.models import model_of, node
from tensorwright.base.errors import ImportFailure
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx import import_onnx
from tensorwright.importers.onnx.inputs import Shapes
from tensorwright.tensor.dim import Symbol, symbol


def relu(*shape: int | str | None) -> ModelProto:
    return model_of([node("Relu", "x", "y")], {"x": (TensorProto.FLOAT, shape)}, ["y"])


def symbols(model: ModelProto, shapes: Shapes | None = None) -> tuple[Symbol, ...]:
    return import_onnx(model, shapes=shapes).symbols()


def test_defaults() -> None:
    assert symbols(relu("batch", 3, None, "w")) == (
        Symbol("batch", 1, 1, 16),
        Symbol("w", 1, 128, 512),
        Symbol("x_2", 1, 128, 512),
    )


@pytest.mark.parametrize(
    "shapes",
    [
        {"batch": (2, 4, 8)},
        {"x": (("batch", 2, 4, 8), 3)},
        {"x": ((2, 4, 8), None)},
        {"x": ("batch", 3), "batch": (2, 4, 8)},
        {"x": (symbol("batch", 2, 4, 8), 3)},
        {"batch": Symbol("batch", 2, 4, 8)},
    ],
)
def test_ways_to_give_a_range(shapes: Shapes) -> None:
    assert symbols(relu("batch", 3), shapes) == (Symbol("batch", 2, 4, 8),)


def test_lists_and_integers_of_numpy_are_as_good() -> None:
    assert symbols(relu("batch", 3), {"x": [[2, 4, 8], np.int64(3)]}) == (Symbol("batch", 2, 4, 8),)
    assert not symbols(relu("batch", 3), {"batch": np.int32(5)})


@pytest.mark.parametrize("shapes", [{"batch": 5}, {"x": (5, 3)}, {"batch": (5, 5, 5)}])
def test_a_fixed_dimension_is_no_symbol(shapes: Shapes) -> None:
    graph = import_onnx(relu("batch", 3), shapes=shapes)
    assert graph.outputs[0][1].type.shape == (5, 3)
    assert not graph.symbols()


def test_an_unknown_rank_needs_a_shape() -> None:
    model = model_of([node("Relu", "x", "y")], {"x": (TensorProto.FLOAT, None)}, ["y"])
    with pytest.raises(ImportFailure, match="rank is unknown"):
        import_onnx(model)
    assert import_onnx(model, shapes={"x": ("n", 4)}).outputs[0][1].type.shape[1] == 4


def test_all_unknown_ranks_are_named_at_once() -> None:
    inputs = {"a": (TensorProto.FLOAT, None), "b": (TensorProto.FLOAT, [3]), "c": (TensorProto.FLOAT, None)}
    model = model_of([node("Add", "a b", "d"), node("Add", "c d", "y")], inputs, ["y"])
    with pytest.raises(ImportFailure, match=r"inputs 'a', 'c': .*shapes=\{'a': \(\.\.\.\), 'c': \(\.\.\.\)\}"):
        import_onnx(model)
    with pytest.raises(ImportFailure, match=r"input 'c': its rank is unknown"):
        import_onnx(model, shapes={"a": (3,)})


def test_minus_one_keeps_what_the_model_says() -> None:
    assert symbols(relu("batch", 3), {"x": (-1, 3)}) == symbols(relu("batch", 3), None)
    assert symbols(relu("batch", 3), {"x": (-1, -1), "batch": (2, 4, 8)}) == (Symbol("batch", 2, 4, 8),)


def test_constants_take_the_place_of_inputs() -> None:
    inputs = {"x": (TensorProto.FLOAT, [2]), "scale": (TensorProto.FLOAT, [])}
    model = model_of([node("Mul", "x scale", "y")], inputs, ["y"])
    network = import_onnx(model, constants={"scale": 3})
    assert [name for name, _ in network.inputs] == ["x"]
    assert evaluate_graph(network, {"x": np.ones(2, np.float32)})["y"].tolist() == [3, 3]
    with pytest.raises(ImportFailure, match=r"there is no input 'scal'.*'scale'"):
        import_onnx(model, constants={"scal": 3})


def test_a_name_means_the_same_for_all_inputs() -> None:
    inputs = {name: (TensorProto.FLOAT, ["batch", 2]) for name in ("a", "b")}
    model = model_of([node("Add", "a b", "y")], inputs, ["y"])
    assert symbols(model, {"b": ((1, 2, 3), 2)}) == (Symbol("batch", 1, 2, 3),)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"bach": 3}, "no input or dimension named 'bach'; it has 'batch'"),
        ({"x": (1, 4)}, "input 'x' axis 1: the model fixes it to 3"),
        ({"x": (1,)}, "1 dimensions, the model has 2"),
        ({"batch": (3, 2, 1)}, "0 <= min <= opt <= max"),
        ({"batch": "many"}, "expected for 'batch' an integer, .* found 'many'"),
        ({"batch": 2.5}, "expected for 'batch' an integer, .* found 2.5"),
        ({"x": ("batch", 3.0)}, "expected for 'x' an integer, .* found"),
        ([("x", 3)], "expected a mapping"),
    ],
)
def test_ranges_that_do_not_fit_are_explained(shapes: Shapes, message: str) -> None:
    with pytest.raises(ImportFailure, match=message):
        import_onnx(relu("batch", 3), shapes=shapes)


def test_initializers_are_no_inputs(rng) -> None:
    import numpy as np

    inputs = {"x": (TensorProto.FLOAT, [2]), "w": (TensorProto.FLOAT, [2])}
    model = model_of([node("Add", "x w", "y")], inputs, ["y"], constants={"w": np.float32([1, 2])})
    assert [name for name, _ in import_onnx(model).inputs] == ["x"]
