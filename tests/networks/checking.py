"""Whether a network is computed right in a configuration."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np

from networks.judge import (
    Arrays,
    Expectation,
    by_onnx_runtime,
    computed,
    disagreement,
    expectation,
    for_onnx_runtime,
    graph_of,
)
from networks.network import Network
from networks.running import Configuration, Running
from tensorwright.base.errors import TensorwrightError
from tensorwright.graph.graph import Graph
from tensorwright.passes.pipeline import optimise

Outcome = Literal["equal", "different", "refused", "failed", "judges differ"]
RUNS = 3
TURNS = ((2, False), (2, True), (3, True), (5, False), (16, True))
"""By how many threads, one after the other, in which order a program is run."""

MORE_TRIALS = 24
DEFECTS = ("a defect of tensorwright", "every kernel for it was rejected")
"""What the project says of its own mistakes."""


@dataclass(frozen=True)
class Verdict:
    """outcome: "different" where the engine gives other results than the reference, "judges differ" where ONNX Runtime
    does, "refused" where the project says in one of its own errors that it cannot, "failed" for any other exception.
    """

    outcome: Outcome
    detail: str = ""
    comparisons: int = 0
    runtime: str = ""

    @property
    def is_bad(self) -> bool:
        return self.outcome not in ("equal", "refused")

    @property
    def kind(self) -> str:
        """The detail without the numbers and names of this one network."""
        return f"{self.outcome}: " + re.sub(r"'[^']*'|\[[^\]]*\]|\([^)]*\)|[-+]?\d[\w.+-]*", "…", self.detail)[:160]


Allowing = Callable[[Expectation], Expectation]
"""What else is expected of somebody who may be off by more."""

Found = tuple[str, int, Arrays]
"""How a network was computed, the number of the inputs, and the outputs."""


def check(network: Network, configurations: Sequence[Configuration], seed: int) -> Verdict:
    """Build and run a network in each configuration on fresh inputs, under each assignment of its symbols."""
    rng = np.random.default_rng([seed, 1])
    compared, runtime = 0, ""
    try:
        graph = graph_of(network)
        inputs = [network.draw(rng, run % network.assignments) for run in range(RUNS)]
        expected = [expectation(graph, arrays, rng) for arrays in inputs]
        refereed = by_onnx_runtime(network, inputs)
        runtime = refereed if isinstance(refereed, str) else ""
        judged = [] if isinstance(refereed, str) else [("ONNX Runtime", n, found) for n, found in enumerate(refereed)]
        computed_here = _computed(graph, configurations, inputs, [right.outputs for right in expected])
        for how, number, found in chain(judged, computed_here):
            compared += len(found)
            is_runtime = how == "ONNX Runtime"
            allowing = partial(for_onnx_runtime, network) if is_runtime else _unchanged
            wrong = _wrong(graph, inputs[number], expected[number], found, rng, allowing)
            if wrong:
                outcome: Outcome = "judges differ" if is_runtime else "different"
                return Verdict(outcome, f"{wrong} [{how}]", compared, runtime)
    except TensorwrightError as error:
        is_defect = any(
            words in str(error) for words in ("a defect of tensorwright", "every kernel for it was rejected")
        )
        return Verdict("failed" if is_defect else "refused", f"{type(error).__name__}: {error}", compared, runtime)
    except Exception as error:  # noqa: BLE001  # Whatever it is, it is a defect to report.
        return Verdict("failed", foreign(error), compared, runtime)
    return Verdict("equal", "", compared, runtime)


def foreign(error: BaseException) -> str:
    """What to say of an error that is not one of the project's: its class, where it was raised, its message."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.filename.rsplit('/', 1)[-1]}:{place.name}: {error}"


def _computed(
    graph: Graph,
    configurations: Sequence[Configuration],
    inputs: Sequence[Arrays],
    outputs: Sequence[Arrays],
) -> Iterator[Found]:
    """By the rewritten graph, by engines, and by their programs in turns. outputs: of the right shapes."""
    yield "rewritten", 0, computed(optimise(graph, check=True), inputs[0])
    for configuration in configurations:
        with Running(graph, configuration) as running:
            for number, arrays in enumerate(inputs):
                yield str(configuration), number, running.run(arrays, outputs[number])
            for threads, backwards in TURNS:
                how = f"{threads} threads, one after the other{', backwards' if backwards else ''}; {configuration}"
                yield how, 0, running.run_in_turns(inputs[0], outputs[0], threads, backwards=backwards)


def _unchanged(right: Expectation) -> Expectation:
    return right


def _wrong(
    graph: Graph, inputs: Arrays, right: Expectation, found: Arrays, rng: np.random.Generator, allowing: Allowing
) -> str:
    """The first output that is wrong, also when the allowed error is found with more trials."""
    right = allowing(right)
    for name, array in found.items():
        wrong = disagreement(array, right.outputs[name], right.errors[name])
        if wrong and array.dtype.kind not in "iub":
            right = allowing(expectation(graph, inputs, rng, MORE_TRIALS))
            wrong = disagreement(array, right.outputs[name], right.errors[name])
        if wrong:
            return f"output {name}: {wrong}"
    return ""
