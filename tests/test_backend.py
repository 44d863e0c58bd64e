"""ONNX's backend interface."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from importers.onnx.models import model_of, node
from tensorwright import backend
from tensorwright.base.errors import ExecutionError

FAST = {"level": 0, "threads": 1}


def test_prepared_models_take_inputs_in_order_and_by_name(rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal((2, 3)).astype(np.float32) for _ in range(2))
    model = model_of([node("Sub", "a b", "y"), node("Neg", "y", "z")], {"a": a, "b": b}, ["z", "y"])
    prepared = backend.prepare(model, "CPU:0", **FAST)
    for inputs in ([a, b], {"a": a, "b": b}):
        outputs = prepared.run(inputs)
        np.testing.assert_array_equal(outputs.y, a - b)
        np.testing.assert_array_equal(outputs[0], b - a)
    with pytest.raises(ExecutionError, match=r"expected 2 inputs \('a', 'b'\), found 1"):
        prepared.run([a])


def test_one_array_and_numbers_of_numpy_are_inputs() -> None:
    model = model_of([node("Neg", "x", "y")], {"x": (TensorProto.FLOAT, [])}, ["y"])
    for x in (np.float32(3), [np.float32(3)], np.array(3, np.float32)):
        assert backend.run_model(model, x, **FAST)[0] == -3


def test_nodes_run_alone(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3)).astype(np.float32)
    (y,) = backend.run_node(node("Relu", "x", "y"), [x], opset_version=13, **FAST)
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_other_devices_are_refused() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(ExecutionError, match="device 'CUDA:1' is not supported"):
        backend.prepare(model_of([], {}, []), "CUDA:1")
