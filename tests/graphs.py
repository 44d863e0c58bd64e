"""Small graphs to rewrite, and the comparison of what they compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cases.case import Array, Operand, assert_close
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Input, Value, apply, constant_value, input_value
from tensorwright.graph.op import Op
from tensorwright.ops.elementwise import Binary, Unary
from tensorwright.passes.pipeline import PASSES, optimise
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


def given(name: str, *shape: Dim, dtype: DType = FLOAT32) -> Value:
    """A network input."""
    return input_value(name, TensorType(dtype, shape))


def constant(array: npt.ArrayLike, dtype: DType = FLOAT32, name: str = "constant") -> Value:
    return constant_value(weights_of(np.asarray(array).astype(dtype.numpy)), name)


def drawn(rng: np.random.Generator, *shape: int, low: float = -2.0, high: float = 2.0) -> Value:
    """A constant of random elements."""
    return constant(rng.uniform(low, high, shape))


def unary(function: str, x: Value, name: str = "") -> Value:
    return apply(Unary(function), x, name=name)


def binary(function: str, a: Value, b: Value | float, name: str = "") -> Value:
    """A function of two values; a number is a constant of the other's type."""
    right = b if isinstance(b, Value) else constant(b, a.type.dtype)
    return apply(Binary(function), a, right, name=name)


def network(*outputs: Value) -> Graph:
    """The graph of some outputs, called out0, out1, ..., with all inputs that they need."""
    found = Graph((), tuple((f"out{number}", value) for number, value in enumerate(outputs)))
    inputs = tuple((value.name, value) for value in found.order() if isinstance(value.op, Input))
    return Graph(inputs, found.outputs)


def operators(graph: Graph) -> Counter[str]:
    """How often each operator is applied."""
    names = [value.op.name for value in graph.order()]
    return Counter(name for name in names if name not in ("Input", "ConstantTensor"))


def only(graph: Graph, kind: type[Op]) -> Value:
    """The one value of an operator class."""
    (found,) = (value for value in graph.order() if isinstance(value.op, kind))
    return found


def arrays_for(graph: Graph, rng: np.random.Generator, symbols: Mapping[str, int]) -> dict[str, Array]:
    """Random inputs."""
    return {name: Operand(value.type.dtype, value.type.shape).draw(rng, symbols) for name, value in graph.inputs}


def assert_equivalent(
    before: Graph,
    after: Graph,
    rng: np.random.Generator,
    symbols: Mapping[str, int] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Assert that two graphs have the same signature and compute the same of random inputs."""
    for left, right in ((before.inputs, after.inputs), (before.outputs, after.outputs)):
        assert [(name, value.type) for name, value in left] == [(name, value.type) for name, value in right]
    arrays = arrays_for(before, rng, symbols or {})
    expected = evaluate_graph(before, arrays, symbols)
    actual = evaluate_graph(after, arrays, symbols)
    for name, array in expected.items():
        assert_close(actual[name], array, tolerance)


def optimised(
    graph: Graph,
    rng: np.random.Generator,
    *,
    symbols: Mapping[str, int] | None = None,
    tolerance: float = 1e-5,
) -> Graph:
    """The graph after all passes, each verified, and the whole compared with the original."""
    result = optimise(graph, passes=PASSES, check=True)
    assert_equivalent(graph, result, rng, symbols, tolerance)
    return result
