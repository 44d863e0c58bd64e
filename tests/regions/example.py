"""What an example is: a region, sizes to run it with, inputs that make sense to it, and how close results must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

import numpy as np

from cases.case import Array
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, DType
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.tolerance import FAST_ALGORITHM_BOUND, Tolerance, tolerance_of

Symbols = Mapping[str, int]
LEAST = 1e-5
"""Allowed error in float32 relative to the largest magnitude: the numbers here are small, and so are most sums."""


class Spec(Protocol):
    """Makes a region, with constants drawn at random."""

    def region(self, rng: np.random.Generator) -> Region: ...


@dataclass(frozen=True)
class Example:
    """sizes: values of the symbols; by default the smallest, the tuned and the largest ones."""

    name: str
    spec: Spec
    sizes: tuple[Symbols, ...] = ()

    def __repr__(self) -> str:
        return self.name

    def region(self, rng: np.random.Generator) -> Region:
        return self.spec.region(rng)

    def sizes_of(self, region: Region) -> Sequence[Symbols]:
        return self.sizes or usual_sizes(region.symbols)

    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[Array]:
        """Row-major arrays for all inputs, constants with their own elements."""
        return random_inputs(region, symbols, rng)

    def tolerance(self, region: Region, symbols: Symbols, *, exact: bool) -> Tolerance:
        """exact: whether a kernel adds up the products of the definition."""
        return tolerance_of(region, symbols, LEAST if exact else FAST_ALGORITHM_BOUND)


class BytesExample(Example):
    """All bytes occur in what is of bytes."""

    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[Array]:
        drawn = super().inputs(region, symbols, rng)
        return [
            rng.integers(0, 256, array.shape).astype(np.uint8).view(array.dtype)
            if array.dtype in (np.uint8, np.int8) and not is_constant(value)
            else array
            for value, array in zip(region.inputs, drawn, strict=True)
        ]


def usual_sizes(symbols: Sequence[Symbol]) -> Sequence[Symbols]:
    """The smallest, the tuned and the largest values."""
    extremes = [{s.name: getattr(s, which) for s in symbols} for which in ("min", "opt", "max")]
    return [values for number, values in enumerate(extremes) if values not in extremes[:number]]


def examples(family: str, specs: Mapping[str, Spec]) -> tuple[Example, ...]:
    """Examples of all specs, those that have a `dtype` in two-byte types, too: every third one in either."""
    found = [Example(f"{family}-{name}", spec) for name, spec in specs.items()]
    return (*found, *(narrow for number, example in enumerate(found) for narrow in _narrow(example, number)))


def _narrow(example: Example, number: int) -> Iterable[Example]:
    kinds: Sequence[DType] = ((), (FLOAT16,), (BFLOAT16,))[number % 3]
    for dtype in kinds:
        if is_dataclass(example.spec) and "dtype" in (field.name for field in fields(example.spec)):
            spec: Any = replace(example.spec, dtype=dtype)  # type: ignore[type-var]
            yield replace(example, name=f"{example.name}-{dtype.name}", spec=spec)
