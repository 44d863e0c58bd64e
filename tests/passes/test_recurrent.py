"""Recurrent layers in graphs: steps that are shared, and steps as operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cases.case import assert_close
from graphs import network, operators, unary
from recurrent_layers import LAYERS, OF_LSTM, Given, expected
from tensorwright.base.errors import BuildError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import apply, input_value
from tensorwright.ops.recurrent import LSTM, Recurrence
from tensorwright.passes.pipeline import optimise
from tensorwright.passes.recurrent import unrolled
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType


def test_steps_are_shared_with_who_needs_the_cells(rng: np.random.Generator) -> None:
    op = LSTM(OF_LSTM, "bidirectional")
    given = Given(op)
    arrays = given.draw(rng)
    inputs = [input_value(role, type) for role, type in given.types.items()]
    states, cells = (apply(one, *inputs) for one in (op, replace(op, gives_cells=True)))
    graph = network(unary("neg", states), cells)
    found = optimise(graph)
    assert operators(graph)["LSTM"] == 2
    assert operators(found)["LSTM"] == 1
    results = evaluate_graph(found, arrays)
    assert_close(results["out0"], -expected(op, arrays), 1e-6)
    assert_close(results["out1"], expected(replace(op, gives_cells=True), arrays), 1e-6)


@pytest.mark.parametrize("changes", [{"clip": 1.0}, {"direction": "reverse"}], ids=str)
def test_steps_of_other_layers_are_not_shared(changes: dict[str, object]) -> None:
    other = replace(LSTM(OF_LSTM, gives_cells=True), **changes)
    inputs = [input_value(role, type) for role, type in Given(other).types.items()]
    graph = network(apply(LSTM(OF_LSTM), *inputs), apply(other, *inputs))
    assert operators(optimise(graph))["LSTM"] == 2


@pytest.mark.parametrize("name", LAYERS)
def test_steps_as_operators(name: str, rng: np.random.Generator) -> None:
    given = Given(LAYERS[name])
    arrays = given.draw(rng)
    graph = unrolled(network(given.value(arrays)), lambda value: False)
    assert not any(isinstance(value.op, Recurrence) for value in graph.order())
    assert_close(evaluate_graph(graph, arrays)["out0"], expected(given.op, arrays), 1e-6)


def test_layers_with_a_kernel_stay(rng: np.random.Generator) -> None:
    given = Given(LAYERS["lstm"])
    graph = network(given.value(given.draw(rng)))
    assert unrolled(graph, lambda value: True).outputs == graph.outputs


def test_an_unknown_number_of_steps_needs_a_kernel(rng: np.random.Generator) -> None:
    given = Given(LAYERS["lstm"], symbol("t", 1, 4, 9))
    graph = network(given.value(given.draw(rng, {"t": 4})))
    with pytest.raises(BuildError, match=r"LSTM over a number of steps that is known only at run time \(t\)"):
        build(graph, BuildConfig(device="null"))


@pytest.mark.parametrize("config", [BuildConfig(device="null"), BuildConfig(level=0, exclude_tactics=("recurrent",))])
@pytest.mark.parametrize(("name", "dtype"), [("lstm both", FLOAT32), ("gru", FLOAT16)])
def test_builds_without_a_kernel(name: str, dtype: DType, config: BuildConfig, rng: np.random.Generator) -> None:
    given = Given(LAYERS[name], 3, 2, 5, dtype)
    arrays = given.draw(rng)
    with Engine(build(network(given.value(arrays)), config)) as engine:
        (found,) = engine({role: array for role, array in arrays.items() if role != "recurrence"}).values()
    assert_close(found, expected(given.op, arrays), 1e-5 if given.dtype != FLOAT16 else 4e-3)
