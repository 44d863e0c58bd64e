"""The networks that are measured on GPUs: whatever the batch, they compute the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.gpu.models import bert, vit

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.tensor.dtype import FLOAT32


@pytest.mark.parametrize(
    "make",
    [
        lambda batch: vit(batch, FLOAT32, layers=1, width=48),
        lambda batch: bert(batch, layers=1, width=48, length=5, dtype=FLOAT32),
    ],
    ids=["vit", "bert"],
)
def test_a_batch_is_so_many_times_the_network(make: Callable[[int], Graph], rng: np.random.Generator) -> None:
    three, one = make(3), make(1)
    (name, value), *_ = three.inputs
    given = rng.standard_normal([int(extent) for extent in value.type.shape]).astype(np.float32)
    (together,) = evaluate_graph(three, {name: given}).values()
    for number in range(3):
        (alone,) = evaluate_graph(one, {name: given[number : number + 1]}).values()
        np.testing.assert_allclose(together[number : number + 1], alone, rtol=1e-4, atol=1e-4)
