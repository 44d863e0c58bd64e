"""Whether the kernels of a rig's tactics compute what an example says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cases.case import Array
from regions.example import Example, Symbols
from regions.rigs import Rig
from regions.sampling import Choose, key_of
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import AnyConfig, AnyTactic, Kernel
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dtype import FLOAT16
from tensorwright.tune.reference import Expected, whole_output
from tensorwright.tune.tolerance import Tolerance, disagreement, loosened, rounding_unit


def applicable(
    rig: Rig[Any], region: Region, target: str, tactics: Collection[AnyTactic[Any]] | None = None
) -> Iterator[tuple[AnyTactic[Any], Sequence[AnyConfig]]]:
    """The tactics, of a rig or those given, that compute a region, with their configs."""
    for tactic in rig.tactics if tactics is None else tactics:
        if tactic.joins == bool(region.stages):
            configs = tactic.configs(region, rig.targets[target])
            if configs:
                yield tactic, configs


@dataclass(frozen=True)
class Problem:
    """Inputs of some sizes and what comes of them.

    inexact: the same for algorithms that round more: sums in float16 are off by a part of what they usually are, which
    the largest result, where it is clipped or one of few, may be far below.
    """

    symbols: Symbols
    arrays: list[Array]
    expected: Expected
    inexact: Expected


class Trial:
    """An example, its inputs, and what comes of them, for the kernels of all targets of a rig."""

    def __init__(self, example: Example, rig: Rig[Any], rng: np.random.Generator) -> None:
        self._example, self._rig, self._rng = example, rig, rng
        self.region = example.region(rng)

    @cached_property
    def _problems(self) -> Sequence[Problem]:
        return [self._problem(symbols) for symbols in self._example.sizes_of(self.region)]

    def _problem(self, symbols: Symbols) -> Problem:
        arrays = self._example.inputs(self.region, symbols, self._rng)
        expected = whole_output(self.region, arrays, symbols)
        spread = 2 * rounding_unit(FLOAT16) * _usual_sum(self.region, arrays, symbols)
        return Problem(symbols, arrays, expected, replace(expected, spread=expected.spread + spread))

    def check(self, target: str, choose: Choose, known: str = "") -> int:
        """Compile and run the kernels of the chosen configs for a target. How many there were.

        known: a target whose kernels are checked, too; those that are the same for this one are left out.

        Raises:
            AssertionError: a result is wrong; the message names the tactic, its config and the target.
        """
        count = 0
        for tactic, configs in applicable(self._rig, self.region, target):
            for config in choose(key_of(self._example, tactic, target), configs):
                kernel = tactic.emit(self.region, config, self._rig.targets[target])
                if known and self._has(known, tactic, config, kernel):
                    continue
                count += 1
                try:
                    self._check_one(tactic, kernel, target)
                except AssertionError as error:
                    raise AssertionError(f"{tactic.name} {config} on {target}: {error}") from error
        return count

    def _has(self, target: str, tactic: AnyTactic[Any], config: AnyConfig, kernel: Kernel) -> bool:
        """Whether a kernel is the one for another target, too."""
        other = self._rig.targets[target]
        return (
            config in tactic.configs(self.region, other) and tactic.emit(self.region, config, other).text == kernel.text
        )

    def _check_one(self, tactic: AnyTactic[Any], kernel: Kernel, target: str) -> None:
        rig, region = self._rig, self.region
        compiled = rig.compiled(kernel, target)
        for problem in self._problems:
            if rig.runs(target, tactic, region, problem.symbols):
                tolerance = self._example.tolerance(region, problem.symbols, exact=tactic.exact)
                tolerance = loosened(tolerance, tactic.rounding, region)
                expected = problem.expected if tactic.exact else problem.inexact
                for way, actual in rig.outputs(region, kernel, compiled, problem.arrays, problem.symbols, self._rng):
                    wrong = difference(actual, expected, tolerance)
                    assert not wrong, f"{dict(problem.symbols)} {way} {wrong}"


def _usual_sum(region: Region, arrays: Sequence[Array], symbols: Symbols) -> float:
    """The largest root of the sum of the squares of what a product of float16 adds up; 0 for other regions."""
    anchor = region.anchor
    if anchor is None or not isinstance(anchor.op, Convolution | MatMul):
        return 0.0
    factors = anchor.inputs[:2]
    if any(value not in region.inputs or value.type.dtype != FLOAT16 for value in factors):
        return 0.0
    squares = [np.square(arrays[region.input_number(value)].astype(np.float64)) for value in factors]
    with np.errstate(all="ignore"):
        sums = anchor.op.specialised(symbols).reference(*squares)
    return float(np.sqrt(np.max(sums, initial=0.0, where=np.isfinite(sums))))


def difference(actual: Array, expected: Expected, tolerance: Tolerance) -> str:
    """Why an output is not the expected one; empty if it is. What is infinite or no number is compared, too."""
    if actual.shape != expected.values.shape:
        return f"shape {actual.shape} in place of {expected.values.shape}"
    wanted = expected.values
    if wanted.dtype.kind == "f":
        with np.errstate(over="ignore"):
            wanted = wanted.astype(actual.dtype).astype(np.float64)
    wrong = disagreement(actual, wanted, tolerance, expected.spread)
    if wrong or wanted.dtype.kind != "f":
        return wrong
    odd = ~np.isfinite(wanted)
    same = np.array_equal(actual.astype(np.float64)[odd], wanted[odd], equal_nan=True)
    return "" if same else "elements that are infinite or not a number differ"
