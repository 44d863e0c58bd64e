"""Every case and every small network on the null device: compiled, tuned, planned, saved, loaded and run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cases.case import Case, assert_close
from cases.collection import CASES as ALL_CASES
from end_to_end.test_networks import GRAPHS, check
from graphs import network
from regions.operators import region_for
from tensorwright.base.errors import BuildError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, input_value
from tensorwright.ops.indexing import IndexRange
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import expression
from tensorwright.tensor.dtype import BOOL
from tensorwright.tensor.type import TensorType

CASES = [case for case in ALL_CASES if not isinstance(case.op, IndexRange)]
"""A range of indices is an operator of the builder itself: no network has it as an output."""

CONFIG = BuildConfig(level=3, device="null", timing_cache="")


def graph_of(case: Case) -> Graph:
    """The case as a network, with one more input that nobody reads: its shape says the symbols."""
    region = region_for(case)
    sizes = input_value("sizes", TensorType(BOOL, tuple(map(expression, region.symbols))))
    graph = network(region.output)
    return Graph((*graph.inputs, ("sizes", sizes)), graph.outputs)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_cases(case: Case, tmp_path: Path, rng: np.random.Generator) -> None:
    graph, arrays = graph_of(case), case.arrays(rng)
    Engine(build(graph, CONFIG)).save(tmp_path / "case.plan")
    inputs = {f"in{i}": np.array(a, order="C") for i, a in enumerate(arrays)}
    inputs["sizes"] = np.ones([case.symbols[s.name] for s in region_for(case).symbols], np.bool_)
    (found,) = load(tmp_path / "case.plan")(inputs).values()
    assert_close(found, case.expected(arrays).astype(found.dtype), case.scaled_tolerance)


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_networks(make: Callable[[np.random.Generator], Graph], rng: np.random.Generator) -> None:
    graph = make(rng)
    check(graph, Engine(build(graph, CONFIG)), rng)


def test_other_targets_are_refused() -> None:
    with pytest.raises(BuildError, match="no target 'avx2' of the null device; expected numpy"):
        build(graph_of(ALL_CASES[0]), BuildConfig(device="null", instruction_set="avx2"))


def test_other_devices_are_refused() -> None:
    with pytest.raises(BuildError, match="no device 'abacus'; expected one of cpu, cuda, null"):
        build(graph_of(ALL_CASES[0]), BuildConfig(device="abacus"))
