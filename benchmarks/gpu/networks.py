"""The networks that are measured on GPUs, by name, with their inputs and what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.gpu.models import MODELS, TYPES, in_integers
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.graph.op import Array
from tensorwright.importers.onnx.translate import import_onnx
from tensorwright.tune.tolerance import relative_error

LARGEST_ERROR = 0.05


def network(name: str, batch: int, type: str) -> Graph:
    """A network by name; "lenet" is the demo's."""
    if name != "lenet":
        made = MODELS[name](batch, TYPES[type])
        return in_integers(made) if type == "int8" else made
    graph = import_onnx("demo/lenet.onnx")
    return import_onnx("demo/lenet.onnx", shapes={n: (batch, *v.type.shape[1:]) for n, v in graph.inputs})


def drawn_inputs(graph: Graph) -> dict[str, Array]:
    """Random numbers for all inputs; the same in every process."""
    rng = np.random.default_rng(7)
    shapes = {n: ([int(d) for d in v.type.shape], v.type.dtype.numpy) for n, v in graph.inputs}
    return {n: rng.standard_normal(shape).astype(dtype) for n, (shape, dtype) in shapes.items()}


@dataclass(frozen=True)
class Task:
    """A network of one input and one output that a peer is to compute; `expected` is the output of the first image."""

    item: str
    name: str
    type: str
    graph: Graph
    given: Array
    expected: Array

    def error(self, output: Array) -> float:
        """The largest difference of the first image's output, relative to its largest magnitude.

        Raises:
            ValueError: it is larger than any rounding explains, so that the peer has computed something else.
        """
        found = relative_error(output[:1], self.expected)
        if not found < LARGEST_ERROR:
            raise ValueError(f"{self.item}: expected an error below {LARGEST_ERROR}, found {found}")
        return found


def task(item: str) -> Task:
    """What a network "NAME:BATCH:TYPE" has to compute, by the operators' references in float64."""
    name, batch, type = item.split(":")
    graph, one = network(name, int(batch), type), network(name, 1, type)
    ((_, given),) = drawn_inputs(graph).items()
    (expected,) = evaluate_graph(one, _first(one, given)).values()
    return Task(item, name, type, graph, given, expected)


def _first(one: Graph, given: Array) -> Mapping[str, Array]:
    ((name, _),) = one.inputs
    return {name: given[:1]}
