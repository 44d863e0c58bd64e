"""All passes together: any graph computes what it computed before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from graphs import assert_equivalent, binary, constant, drawn, given, network, operators, optimised, unary
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.graph.verify import verify
from tensorwright.importers.onnx.translate import import_onnx
from tensorwright.ops.activation import Clip, Gelu, Relu, Sigmoid
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Cast, Identity
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import BatchNormalization, Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Expand, Pad, Reshape, Slice, Transpose
from tensorwright.passes.pipeline import optimise
from tensorwright.passes.rewrite import joined_name
from tensorwright.tensor.dim import is_static, symbol
from tensorwright.tensor.dtype import FLOAT32, FLOAT64

DEMO = Path(__file__).parents[2] / "demo"
BATCH = symbol("batch", 1, 2, 4)
Draw = Callable[[st.SearchStrategy], object]


def elementwise(draw, rng: np.random.Generator, x: Value) -> Value:
    name = draw(st.sampled_from(["neg", "abs", "tanh", "relu", "clip", "sigmoid", "gelu", "identity", "cast"]))
    low, high = (float(end) for end in rng.integers(-2, 3, 2))
    operators = {"relu": Relu(), "clip": Clip(low, high), "sigmoid": Sigmoid(), "gelu": Gelu(), "identity": Identity()}
    if name == "cast":
        return apply(Cast(FLOAT32), apply(Cast(FLOAT64), x))
    return apply(operators[name], x) if name in operators else unary(name, x)


def with_constant(draw, rng: np.random.Generator, x: Value) -> Value:
    """A function of x and a constant that varies along some static axes."""
    function = draw(st.sampled_from(["add", "sub", "mul", "div", "max", "min"]))
    axes = draw(st.sets(st.integers(0, max(0, x.type.rank - 1))))
    shape = [n if axis in axes and is_static(n) else 1 for axis, n in enumerate(x.type.shape)]
    numbers = draw(st.sampled_from(["random", "zero", "one", "minus-one"]))
    array = {
        "random": rng.uniform(0.25, 2, shape) * rng.choice([-1, 1]),
        "zero": np.zeros(shape),
        "one": np.ones(shape),
        "minus-one": -np.ones(shape),
    }[numbers]
    array = np.ones(shape) if function == "div" and numbers == "zero" else array
    other = constant(array)
    left = draw(st.booleans()) and function != "div"
    return binary(function, other, x) if left else binary(function, x, other)


def with_another(draw, rng: np.random.Generator, x: Value, pool: list[Value]) -> Value:
    fitting = [value for value in pool if value.type == x.type]
    return binary(draw(st.sampled_from(["add", "sub", "mul", "max"])), x, draw(st.sampled_from(fitting)))


def moved(draw, rng: np.random.Generator, x: Value) -> Value:
    rank = x.type.rank
    if rank == 0:
        return x
    kind = draw(st.sampled_from(["transpose", "merge", "split", "one", "slice", "pad", "expand"]))
    axis = draw(st.integers(0, max(0, rank - 1)))
    shape = x.type.shape
    if kind == "transpose":
        return apply(Transpose(tuple(draw(st.permutations(range(rank))))), x)
    if kind == "one":
        return apply(Reshape((*shape[:axis], 1, *shape[axis:])), x) if rank < 5 else x
    if kind == "merge" and axis + 1 < rank:
        return apply(Reshape((*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])), x)
    if kind == "split" and rank < 5 and is_static(shape[axis]) and shape[axis] % 2 == 0:
        return apply(Reshape((*shape[:axis], 2, shape[axis] // 2, *shape[axis + 1 :])), x)
    if kind == "slice" and is_static(shape[axis]) and shape[axis] > 1:
        starts = tuple(1 if a == axis else 0 for a in range(rank))
        extents = tuple(n - 1 if a == axis else n for a, n in enumerate(shape))
        return apply(Slice(starts, extents, (1,) * rank), x)
    if kind == "pad":
        pads = tuple(1 if a == axis else 0 for a in range(rank))
        return apply(Pad(pads, (0,) * rank), x)
    if kind == "expand" and shape[axis] == 1:
        return apply(Expand((*shape[:axis], 2, *shape[axis + 1 :])), x)
    return x


def weighted(draw, rng: np.random.Generator, x: Value) -> Value:
    """A product, convolution or normalisation with constants."""
    kind = draw(st.sampled_from(["matmul", "conv", "bn", "softmax", "reduce", "concat"]))
    rank, last = x.type.rank, x.type.shape[-1:]
    axis = draw(st.integers(0, max(0, rank - 1)))
    if kind == "matmul" and rank >= 2 and is_static(last[0]):
        return apply(MatMul(), x, drawn(rng, last[0], 3))
    channels = x.type.shape[1] if rank >= 3 else None
    if kind == "conv" and rank in (3, 4) and is_static(channels) and all(bound(n) >= 1 for n in x.type.shape[2:]):
        ones = (1,) * (rank - 2)
        pads = (draw(st.integers(0, 1)),) * (rank - 2)
        return apply(Convolution(ones, pads, pads, ones, 1), x, drawn(rng, 4, channels, *ones))
    if kind == "bn" and rank >= 3 and is_static(channels):
        return apply(BatchNormalization(), x, *(drawn(rng, channels, low=0.5) for _ in range(4)))
    if kind == "softmax" and rank:
        return apply(Softmax(axis), x)
    if kind == "reduce" and rank:
        function = draw(st.sampled_from(["mean", "max", "add"]))
        return apply(Reduction(function, (axis,), draw(st.booleans())), x)
    if kind == "concat" and rank:
        return apply(Concatenation(axis), x, x)
    return x


def bound(extent) -> int:
    return extent if isinstance(extent, int) else 1


@st.composite
def random_graphs(draw) -> Graph:
    """Graphs of up to sixteen operators on two inputs, and one to three outputs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    batch = draw(st.sampled_from([1, 2, BATCH]))
    pool = [given("x", batch, 4, 2, 3), given("y", batch, 6)]
    for _ in range(draw(st.integers(1, 16))):
        # The newest values most of the time: long chains have more to rewrite.
        x = draw(st.sampled_from(pool[-2:] if draw(st.booleans()) else pool))
        step = draw(st.sampled_from([elementwise, with_constant, with_another, moved, moved, weighted]))
        made = step(draw, rng, x, pool) if step is with_another else step(draw, rng, x)
        if made.type.max_bytes < 1 << 15:
            pool.append(made)
    outputs = [pool[-1], *(draw(st.sampled_from(pool)) for _ in range(draw(st.integers(0, 2))))]
    graph = network(*outputs)
    return Graph(tuple((v.name, v) for v in pool[:2]), graph.outputs)


@settings(max_examples=200)
@for_all(graph=random_graphs(), seed=st.integers(0, 2**16))
def test_random_graphs_compute_the_same(graph: Graph, seed: int):
    rng = np.random.default_rng(seed)
    optimised(graph, rng, symbols={"batch": 3}, tolerance=1e-4)


@settings(max_examples=40)
@for_all(graph=random_graphs())
def test_a_second_run_finds_nothing(graph: Graph):
    once = optimise(graph)
    twice = optimise(once)
    assert operators(twice) == operators(once)


def test_the_demo_network(rng: np.random.Generator):
    (path,) = DEMO.glob("**/*.onnx")
    graph = import_onnx(path)
    result = optimise(graph, check=True)
    assert set(operators(result)) <= {"Convolution", "Pool", "Relu", "Reshape", "MatMul", "Binary", "Softmax"}
    assert_equivalent(graph, result, rng, {s.name: 3 for s in graph.symbols()})


def test_verification_finds_wrong_types():
    x = given("x", 3)
    wrong = Value(Relu(), (x,), given("y", 4).type, "wrong")
    with pytest.raises(AssertionError, match="infers"):
        verify(network(wrong))


def test_verification_finds_unlisted_inputs():
    graph = network(unary("exp", given("x", 3)))
    with pytest.raises(AssertionError, match="no input of the graph"):
        verify(Graph((), graph.outputs))


def test_verification_finds_names_that_stand_twice():
    x = given("x", 3)
    with pytest.raises(AssertionError, match="one name"):
        verify(Graph((("x", x),), (("y", unary("exp", x)), ("y", x))))


def test_long_names_keep_their_ends():
    values = [given(f"layer{number}", 1) for number in range(9)]
    assert joined_name(*values) == "layer0 + … + layer8"
    assert joined_name(*values[:2], values[0]) == "layer0 + layer1"
