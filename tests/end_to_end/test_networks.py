"""Small networks built and run: fusion, memory sharing, layouts, threads and batches change nothing but the speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from graphs import binary, drawn, given, network, unary
from targets import SINGLE
from tensorwright.backends.cpu import CpuBackend
from tensorwright.base.errors import WorkspaceError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.target import Target
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import Config, Kernel
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Reshape, Transpose
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol

SYMBOLS = {"batch": 3}


def relu(x: Value) -> Value:
    return apply(Relu(), x)


def convolution(x: Value, outputs: int, kernel: int, rng: np.random.Generator, stride: int = 1) -> Value:
    channels, pad = x.type.shape[1], kernel // 2
    assert isinstance(channels, int)
    weights = drawn(rng, outputs, channels, kernel, kernel, low=-0.5, high=0.5)
    op = Convolution((stride, stride), (pad, pad), (pad, pad), (1, 1))
    return apply(op, x, weights, drawn(rng, outputs))


def max_pool(x: Value) -> Value:
    return apply(Pool("max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1), False, False), x)


def concatenation(*values: Value) -> Value:
    return apply(Concatenation(1), *values)


def residual(rng: np.random.Generator) -> Graph:
    x = given("x", 1, 3, 12, 10)
    stem = relu(convolution(x, 32, 3, rng))
    inner = relu(convolution(stem, 32, 1, rng))
    return network(relu(binary("add", convolution(inner, 32, 3, rng), stem)))


def dense(rng: np.random.Generator) -> Graph:
    x = given("x", 1, 3, 8, 8)
    features = relu(convolution(x, 32, 3, rng))
    for _ in range(3):
        features = concatenation(features, relu(convolution(features, 16, 3, rng)))
    return network(max_pool(features))


def uneven_concatenation(rng: np.random.Generator) -> Graph:
    x = given("x", 1, 3, 8, 8)
    return network(convolution(concatenation(convolution(x, 20, 3, rng), convolution(x, 7, 1, rng), x), 24, 3, rng))


def doubled(rng: np.random.Generator) -> Graph:
    x = given("x", 1, 16, 6, 6)
    return network(convolution(concatenation(x, x), 16, 3, rng), concatenation(convolution(x, 16, 1, rng), x))


def several_outputs(rng: np.random.Generator) -> Graph:
    x = given("x", 2, 6)
    middle = unary("exp", x)
    view = apply(Reshape((3, 4)), middle)
    return network(middle, view, x, drawn(rng, 2, 2), middle, binary("mul", view, 2.0))


def classifier(rng: np.random.Generator) -> Graph:
    x = given("x", symbol("batch", 1, 2, 5), 3, 9, 9)
    features = max_pool(relu(convolution(x, 20, 3, rng)))
    pooled = apply(Reduction("mean", (2, 3), False), features)
    logits = binary("add", apply(MatMul(), pooled, drawn(rng, 20, 7)), drawn(rng, 7))
    return network(apply(Softmax(1), logits), features)


def attention(rng: np.random.Generator) -> Graph:
    x = given("x", symbol("batch", 1, 1, 4), 6, 16)

    def heads(weights: Value) -> Value:
        split = apply(Reshape((x.type.shape[0], 6, 4, 4)), apply(MatMul(), x, weights))
        return apply(Transpose((0, 2, 1, 3)), split)

    queries, keys, values = (heads(drawn(rng, 16, 16)) for _ in range(3))
    scores = binary("mul", apply(MatMul(transpose_b=True), queries, keys), 0.5)
    mixed = apply(Transpose((0, 2, 1, 3)), apply(MatMul(), apply(Softmax(3), scores), values))
    return network(binary("add", apply(Reshape((x.type.shape[0], 6, 16)), mixed), x))


def shared_input(rng: np.random.Generator) -> Graph:
    x, y = given("x", 1, 4, 5, 5), given("y", 1, 4, 5, 5)
    total = binary("add", x, y)
    return network(binary("mul", total, unary("tanh", total)), binary("sub", unary("neg", total), y))


def overwritten(rng: np.random.Generator) -> Graph:
    """A concatenation that is read last where one of its operands is still needed."""
    features = relu(given("x", 1, 8, 4, 4))
    both = concatenation(features, unary("tanh", features))
    return network(concatenation(features, unary("exp", both)))


GRAPHS = [
    residual,
    dense,
    doubled,
    uneven_concatenation,
    several_outputs,
    classifier,
    attention,
    shared_input,
    overwritten,
]


def check(graph: Graph, engine: Engine, rng: np.random.Generator, batch: int = 3) -> None:
    symbols = {"batch": batch}
    shapes = {n: tuple(batch if not isinstance(d, int) else d for d in v.type.shape) for n, v in graph.inputs}
    inputs = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    expected = evaluate_graph(graph, inputs, symbols if graph.symbols() else None)
    actual = engine(inputs)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=2e-5 * max(1.0, float(np.abs(array).max())))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("make", GRAPHS)
def test_built_network_equals_references(
    make: Callable[[np.random.Generator], Graph], threads: int, rng: np.random.Generator
) -> None:
    graph = make(rng)
    engine = Engine(build(graph, BuildConfig(level=0, threads=threads)))
    for batch in (1, 3) if graph.symbols() else (1,):
        check(graph, engine, rng, batch)
        check(graph, engine, rng, batch)


@pytest.mark.parametrize("instruction_set", SINGLE[1:])
@pytest.mark.parametrize("make", GRAPHS)
def test_narrower_instruction_sets(
    make: Callable[[np.random.Generator], Graph], instruction_set: str, rng: np.random.Generator
) -> None:
    graph = make(rng)
    check(graph, Engine(build(graph, BuildConfig(level=0, threads=2, instruction_set=instruction_set))), rng)


@pytest.mark.parametrize("make", GRAPHS)
def test_without_rewrites_and_fusion(make: Callable[[np.random.Generator], Graph], rng: np.random.Generator) -> None:
    graph = make(rng)
    check(graph, Engine(build(graph, BuildConfig(level=0, threads=1, optimise=False))), rng)


@pytest.mark.parametrize("make", [residual, classifier])
def test_tuned(make: Callable[[np.random.Generator], Graph], rng: np.random.Generator) -> None:
    graph = make(rng)
    plan = build(graph, BuildConfig(level=2, threads=2, timing_cache=""))
    check(graph, Engine(plan), rng)
    steps = plan.report["steps"]
    assert isinstance(steps, list)
    assert any(isinstance(step, dict) and step["milliseconds"] for step in steps)


def test_concatenations_of_whole_blocks_take_no_step(rng: np.random.Generator) -> None:
    plan = build(dense(rng), BuildConfig(level=0, threads=1))
    assert "Concatenation" not in str(plan.report["steps"])


def test_arena_is_at_its_lower_bound_for_a_chain(rng: np.random.Generator) -> None:
    plan = build(residual(rng), BuildConfig(level=0, threads=1))
    assert plan.report["arena"]["ratio"] <= 1.05  # type: ignore[index, call-overload, operator]


@settings(max_examples=25)
@hypothesis_given(st.data())
def test_random_graphs(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = [given("x", 1, 16, 6, 6), given("y", 1, 5, 6, 6)]
    for _ in range(data.draw(st.integers(1, 7))):
        a, b = (values[data.draw(st.integers(0, len(values) - 1))] for _ in range(2))
        kind = data.draw(st.sampled_from(["convolution", "relu", "tanh", "concat", "add", "softmax"]))
        if kind == "convolution":
            values.append(
                convolution(a, data.draw(st.sampled_from([5, 16, 32])), data.draw(st.sampled_from([1, 3])), rng)
            )
        elif kind == "concat":
            values.append(concatenation(a, b))
        elif kind == "add" and a.type.shape == b.type.shape:
            values.append(binary("add", a, b))
        elif kind == "softmax":
            values.append(apply(Softmax(1), a))
        else:
            values.append(relu(a) if kind == "relu" else unary("tanh", a))
    graph = network(values[-1], *(v for v in values[2:-1] if data.draw(st.booleans())))
    check(graph, Engine(build(graph, BuildConfig(level=0, threads=2))), rng)


def test_layers_without_workspace_stand_in(rng: np.random.Generator) -> None:
    graph = attention(rng)
    check(graph, Engine(build(graph, BuildConfig(level=0, threads=2, max_workspace_size=0))), rng)


def test_an_impossible_limit_names_layer_need_and_limit() -> None:
    graph = network(unary("exp", given("x", 2, 3), name="exp"))
    with pytest.raises(WorkspaceError, match=r"layer 'exp'.*needs 8192 bytes, the limit is 1024.*raise"):
        build(graph, BuildConfig(level=0, threads=2, max_workspace_size=1024), CpuBackend((Hungry(),)))


class Hungry(Generic):
    """The generic tactic, as if it needed scratch memory."""

    name = "hungry"

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        return replace(super().emit(region, config, target), workspace=4096)
