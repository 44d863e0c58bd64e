"""Recurrent layers: all steps in one operator, in both directions, of sequences of several lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.case import Array
from recurrent_layers import LAYERS, Given
from regions.example import Example, Symbols
from tensorwright.graph.graph import is_constant, weights_in
from tensorwright.graph.region import Region
from tensorwright.tensor.dim import symbol


@dataclass(frozen=True)
class Layer:
    given: Given

    def region(self, rng: np.random.Generator) -> Region:
        sizes = {"t": 1, "n": 1}
        return self.given.region(self.given.draw(rng, sizes))


@dataclass(frozen=True)
class LayerExample(Example):
    """Lengths are those of sequences that there are."""

    spec: Layer

    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[Array]:
        drawn = self.spec.given.draw(rng, symbols).values()
        return [
            weights_in(value).array if is_constant(value) else array
            for value, array in zip(region.inputs, drawn, strict=True)
        ]


OPEN = Given(LAYERS["lstm both"], symbol("t", 1, 4, 9), symbol("n", 1, 3, 70), 21)

EXAMPLES = (
    *(LayerExample(f"recurrent-{name.replace(' ', '-')}", Layer(Given(op))) for name, op in LAYERS.items()),
    LayerExample("recurrent-open", Layer(OPEN)),
)
