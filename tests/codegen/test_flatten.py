"""Addresses stay inside the operands, also for the lanes beyond the channels of a blocked output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphs import drawn, given
from tensorwright.codegen.flatten import flatten
from tensorwright.graph.expression import Load, walk
from tensorwright.graph.graph import Value, apply
from tensorwright.graph.region import region_of
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.indexing import Gather
from tensorwright.tensor.dim import bounds
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN, Layout

BLOCKED = Layout(16)


def _convolution(rng: np.random.Generator) -> Value:
    """Six channels in two groups: in lane 15 there would be group 5."""
    return apply(Convolution((1,), (0,), (0,), (1,), 2), given("x", 3, 40, 7), drawn(rng, 6, 20, 1))


def _gather(rng: np.random.Generator) -> Value:
    """Lane 15 would ask for the index at 15 of three."""
    return apply(Gather(0), given("rows", 3, 5), given("index", 2, 3, dtype=INT64))


@pytest.mark.parametrize("make", [_convolution, _gather])
def test_lanes_beyond_the_channels_read_nothing_outside(
    make: Callable[[np.random.Generator], Value], rng: np.random.Generator
) -> None:
    region = region_of([make(rng)])
    for layout in (PLAIN, BLOCKED):
        layouts = [layout if type.rank == 3 and type.shape[0] == 3 else PLAIN for type in region.input_types]
        operands = list(zip(region.input_types, layouts, strict=True))
        flat = flatten(region.computation, operands, (region.output.type, BLOCKED))
        for node in walk(flat.body):
            if isinstance(node, Load) and node.guard is None:
                type, own = operands[node.operand]
                assert bounds(node.index[0])[1] < bounds(own.elements(type.shape))[1], (layout, node)
