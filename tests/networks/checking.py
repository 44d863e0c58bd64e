"""Whether a network is computed right in a configuration."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from networks.judge import Arrays, by_onnx_runtime, computed, disagreement, expectation, graph_of
from networks.network import Network
from networks.running import Configuration, Running
from tensorwright.base.errors import TensorwrightError
from tensorwright.passes.pipeline import OPTIONAL_PASSES, optimise

Outcome = Literal["equal", "different", "refused", "failed", "judges differ"]
RUNS = 3
TURNS = ((2, False), (2, True), (3, True), (5, False), (16, True))
"""By how many threads, one after the other, in which order a program is run."""

MORE_TRIALS = 24


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


def check(network: Network, configurations: Sequence[Configuration], seed: int) -> Verdict:
    """Build and run a network in each configuration on fresh inputs, under each assignment of its symbols."""
    rng = np.random.default_rng([seed, 1])
    compared, runtime = 0, ""
    try:
        graph = graph_of(network)
        inputs = [network.draw(rng, run % network.assignments) for run in range(RUNS)]
        expected = [expectation(graph, arrays, rng) for arrays in inputs]
        refereed = by_onnx_runtime(network, inputs)
        if isinstance(refereed, str):
            runtime = refereed
        else:
            for arrays, right, found in zip(inputs, expected, refereed, strict=True):
                wrong = _wrong(graph, arrays, right, found, rng)
                compared += len(found)
                if wrong:
                    return Verdict("judges differ", f"ONNX Runtime: {wrong}", compared)
        late = OPTIONAL_PASSES if seed % 2 else ()
        found = computed(optimise(graph, late_passes=late, check=True), inputs[0])
        compared += len(found)
        wrong = _wrong(graph, inputs[0], expected[0], found, rng)
        if wrong:
            return Verdict("different", f"rewritten: {wrong}", compared, runtime)
        for configuration in configurations:
            with Running(graph, configuration) as running:
                for arrays, right in zip(inputs, expected, strict=True):
                    found = running.run(arrays, right.outputs)
                    compared += len(found)
                    wrong = _wrong(graph, arrays, right, found, rng)
                    if wrong:
                        return Verdict("different", f"{wrong} [{configuration}]", compared, runtime)
                for threads, backwards in TURNS:
                    found = running.run_in_turns(inputs[0], expected[0].outputs, threads, backwards=backwards)
                    compared += len(found)
                    wrong = _wrong(graph, inputs[0], expected[0], found, rng)
                    if wrong:
                        how = f"{threads} threads, one after the other{', backwards' if backwards else ''}"
                        return Verdict("different", f"{wrong} [{how}; {configuration}]", compared, runtime)
    except TensorwrightError as error:
        return Verdict("refused", f"{type(error).__name__}: {error}", compared, runtime)
    except Exception as error:  # noqa: BLE001  # Whatever it is, it is a defect to report.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rsplit('/', 1)[-1]}:{place.name}"
        return Verdict("failed", f"{type(error).__name__} in {where}: {error}", compared, runtime)
    return Verdict("equal", "", compared, runtime)


def _wrong(graph: object, inputs: Arrays, right: object, found: Arrays, rng: np.random.Generator) -> str:
    """The first output that is wrong, also when the allowed error is found with more trials."""
    for name, array in found.items():
        wrong = disagreement(array, right.outputs[name], right.errors[name])
        if wrong and array.dtype.kind not in "iub":
            right = expectation(graph, inputs, rng, MORE_TRIALS)
            wrong = disagreement(array, right.outputs[name], right.errors[name])
        if wrong:
            return f"output {name}: {wrong}"
    return ""
