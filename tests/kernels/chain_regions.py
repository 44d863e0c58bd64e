"""Chains of convolutions for tests: a depthwise one with its neighbours, joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.convolution_regions import following
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

Pair = tuple[int, int]
ONE: Pair = (1, 1)
NONE: Pair = (0, 0)


@dataclass(frozen=True)
class Link:
    """A convolution of a chain, depthwise if `outputs` is 0. `tail` as for the shapes of single convolutions; also
    "shortcut", the sum with the chain's own input.
    """

    outputs: int = 0
    kernel: Pair = ONE
    strides: Pair = ONE
    begin: Pair = NONE
    end: Pair | None = None
    dilations: Pair = ONE
    tail: str = "bias"


def depthwise(kernel: int = 3, stride: int = 1, tail: str = "bias clip") -> Link:
    pad = kernel // 2
    return Link(0, (kernel, kernel), (stride, stride), (pad, pad), tail=tail)


@dataclass(frozen=True)
class Chain:
    """Convolutions one after the other."""

    name: str
    x: tuple[Dim, ...]
    links: tuple[Link, ...]

    def __repr__(self) -> str:
        return self.name

    def region(self, rng: np.random.Generator) -> Region:
        return joined(self.after(input_value("x", TensorType(FLOAT32, self.x)), rng))

    def after(self, x: Value, rng: np.random.Generator) -> list[Region]:
        """The regions of the chain's links, applied to a value."""
        source, stages = x, []
        for link in self.links:
            channels = x.type.shape[1]
            assert isinstance(channels, int)
            groups, outputs = (1, link.outputs) if link.outputs else (channels, channels)
            inner = channels // groups
            bound = (inner * link.kernel[0] * link.kernel[1]) ** -0.5
            weights = rng.uniform(-bound, bound, (outputs, inner, *link.kernel)).astype(np.float32)
            operands = [x, constant_value(weights_of(weights))]
            if "bias" in link.tail:
                operands.append(constant_value(weights_of(rng.uniform(-1, 1, outputs).astype(np.float32))))
            end = link.begin if link.end is None else link.end
            anchor = apply(Convolution(link.strides, link.begin, end, link.dilations, groups), *operands)
            values = [anchor]
            for word in link.tail.split():
                if word == "shortcut":
                    values.append(apply(Binary("add"), values[-1], source))
                else:
                    values += following(word, values[-1], rng)
            stages.append(region_of(values, anchor))
            x = values[-1]
        return stages
