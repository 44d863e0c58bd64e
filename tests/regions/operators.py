"""The shared cases: every operator by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.case import Array, Case
from cases.collection import CASES
from regions.example import Example, Symbols
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.tune.tolerance import FAST_ALGORITHM_BOUND, Tolerance


@dataclass(frozen=True)
class OneOperator:
    case: Case

    def region(self, rng: np.random.Generator) -> Region:
        return region_for(self.case)


def region_for(case: Case) -> Region:
    """The region of a case, all of its inputs variables."""
    value = apply(case.op, *(input_value(f"in{number}", type) for number, type in enumerate(case.types)))
    return region_of([value], value if value.op.kind in ("anchor", "reduction") else None)


@dataclass(frozen=True)
class OperatorExample(Example):
    """Inputs and tolerance are those of the case."""

    spec: OneOperator

    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[Array]:
        return self.spec.case.arrays(rng)

    def tolerance(self, region: Region, symbols: Symbols, *, exact: bool) -> Tolerance:
        least = self.spec.case.scaled_tolerance
        return Tolerance(least if exact else max(least, FAST_ALGORITHM_BOUND))


EXAMPLES = tuple(OperatorExample(repr(case), OneOperator(case), (case.symbols,)) for case in CASES)
