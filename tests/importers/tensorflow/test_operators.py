"""Every operator gives what TensorFlow gives."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tensorflow_oracle
from tensorflow_cases import CASES, REMOVED, Case
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.tensorflow.translate import NEUTRAL, OPERATORS

EXPECTED = np.load(tensorflow_oracle.EXPECTED)
WITHOUT_CASE = {
    "BroadcastArgs", "Const", "EnsureShape", "Merge", "PlaceholderWithDefault", "Print", "RefSwitch", "ResourceGather",
    "Switch", "Where",
}  # fmt: skip
"""Tested in test_graphs.py, or pure aliases."""


@pytest.mark.parametrize("case", [case for case in CASES if case.operator not in REMOVED], ids=lambda case: case.name)
def test_an_operator_gives_what_tensorflow_gave(case: Case) -> None:
    graph, inputs, outputs = case.build()
    found = evaluated(graph.bytes(), inputs, outputs)
    for name in outputs:
        assert_same(found[name], EXPECTED[f"{case.name}/{name}"], case.tolerance)


def test_batch_norm_with_global_normalization() -> None:
    (case,) = (case for case in CASES if case.operator == "BatchNormWithGlobalNormalization")
    graph, inputs, outputs = case.build()
    mean, variance, beta, gamma = (constant_of(graph, index) for index in range(1, 5))
    expected = (inputs["x0"] - mean) / np.sqrt(variance + 0.001) * gamma + beta
    np.testing.assert_allclose(evaluated(graph.bytes(), inputs, outputs)["y"], expected, rtol=1e-5, atol=1e-5)


def test_top_k_with_an_attribute() -> None:
    (case,) = (case for case in CASES if case.operator == "TopK")
    graph, inputs, outputs = case.build()
    found = evaluated(graph.bytes(), inputs, outputs)
    order = np.argsort(-inputs["x0"], axis=-1)[:, :2]
    np.testing.assert_array_equal(found["y:1"], order)
    np.testing.assert_array_equal(found["y"], np.take_along_axis(inputs["x0"], order, -1))


def test_every_operator_has_a_case() -> None:
    assert set(handlers_in(OPERATORS)) - {case.operator for case in CASES} == WITHOUT_CASE


def test_case_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_operators_give_what_tensorflow_gives() -> None:
    for case in CASES:
        if case.operator not in REMOVED:
            graph, inputs, outputs = case.build()
            found = evaluated(graph.bytes(), inputs, outputs)
            for name, expected in zip(outputs, tensorflow_oracle.run(graph.bytes(), inputs, outputs), strict=True):
                assert_same(found[name], np.asarray(expected), case.tolerance)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_attributes_and_their_defaults_are_those_of_tensorflow() -> None:
    from tensorflow.python.framework import op_def_registry

    for operator, handler in handlers_in(OPERATORS).items():
        definition = op_def_registry.get(operator)
        assert definition is not None, operator
        assert {attr.name for attr in definition.attr} <= handler.attributes | NEUTRAL, operator
        parameters = inspect.signature(handler.function).parameters
        for attr in definition.attr:
            kind = attr.default_value.WhichOneof("value")
            if attr.name in handler.attributes and kind in ("i", "f", "b"):
                assert parameters[attr.name].default == pytest.approx(getattr(attr.default_value, kind)), operator


def evaluated(data: bytes, inputs: dict[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    network = import_tensorflow(data, outputs=outputs)
    return evaluate_graph(network, {name: inputs[name] for name, _ in network.inputs})


def assert_same(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype.kind == "f":
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=0, atol=tolerance * scale)
    else:
        np.testing.assert_array_equal(found, expected)


def constant_of(graph, index: int) -> np.ndarray:
    return np.frombuffer(graph.message.node[index].attr["value"].tensor.tensor_content, np.float32)
