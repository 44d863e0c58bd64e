"""Chains of convolutions: a depthwise one with its neighbours, joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import examples
from regions.following import following, weights
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)
Pair = tuple[int, int]
ONE: Pair = (1, 1)
NONE: Pair = (0, 0)


@dataclass(frozen=True)
class Link:
    """A convolution of a chain, depthwise if `outputs` is 0.

    tail: "bias", then as for single convolutions; also "shortcut", the sum with the chain's own input.
    """

    outputs: int = 0
    kernel: Pair = ONE
    strides: Pair = ONE
    begin: Pair = NONE
    end: Pair | None = None
    dilations: Pair = ONE
    tail: str = "bias"

    def stage(self, x: Value, source: Value, rng: np.random.Generator) -> Region:
        """Of a chain that begins with `source`."""
        dtype, channels = x.type.dtype, x.type.shape[1]
        assert isinstance(channels, int)
        groups, outputs = (1, self.outputs) if self.outputs else (channels, channels)
        inner = channels // groups
        bound = (inner * self.kernel[0] * self.kernel[1]) ** -0.5
        operands = [x, weights(rng, dtype, outputs, inner, *self.kernel, low=-bound, high=bound)]
        if self.tail.startswith("bias"):
            operands.append(weights(rng, dtype, outputs))
        end = self.begin if self.end is None else self.end
        values = [apply(Convolution(self.strides, self.begin, end, self.dilations, groups), *operands)]
        for word in self.tail.removeprefix("bias").split():
            last = values[-1]
            is_shortcut = word == "shortcut"
            values.append(apply(Binary("add"), last, source) if is_shortcut else following(word, last, rng))
        return region_of(values, values[0])


def depthwise(kernel: int = 3, stride: int = 1, tail: str = "bias clip") -> Link:
    pad = kernel // 2
    return Link(0, (kernel, kernel), (stride, stride), (pad, pad), tail=tail)


@dataclass(frozen=True)
class Chain:
    """Convolutions one after the other."""

    x: tuple[Dim, ...]
    links: tuple[Link, ...]
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        return joined(self.after(input_value("x", TensorType(self.dtype, self.x)), rng))

    def after(self, x: Value, rng: np.random.Generator) -> list[Region]:
        """The regions of the chain's links, applied to a value."""
        stages: list[Region] = []
        for link in self.links:
            stages.append(link.stage(stages[-1].output if stages else x, x, rng))
        return stages


CHAINS = {
    "small": Chain((2, 17, 7, 5), (Link(33, tail="bias clip"), depthwise(), Link(20, tail="bias add"))),
    "residual": Chain((BATCH, 20, 13, 9), (Link(36, tail="bias clip"), depthwise(), Link(20, tail="bias shortcut"))),
    "7x7": Chain((1, 20, 7, 7), (Link(40, tail="bias relu"), depthwise(5), Link(24, tail="bias add relu"))),
    "stride": Chain((2, 17, 12, 14), (Link(33, tail="bias hardswish"), depthwise(3, 2), Link(40, tail="scale"))),
    "first-layers": Chain((1, 3, 21, 23), (Link(20, (3, 3), (2, 2), (1, 1), tail="bias clip"), depthwise(), Link(16))),
    "dilated": Chain((1, 18, 11, 10), (Link(20), Link(0, (3, 3), (1, 1), (2, 2), dilations=(2, 2)), Link(8, tail=""))),
    "lopsided": Chain((1, 16, 9, 8), (Link(16, tail="add"), Link(0, (4, 2), (2, 1), (0, 1), (3, 0)), Link(33))),
    "far-padding": Chain((1, 16, 5, 6), (Link(18), Link(0, (2, 2), (1, 1), (3, 3)), Link(16))),
    "sparse": Chain((1, 16, 9, 9), (Link(18), Link(0, (1, 1), (2, 2)), Link(16))),
    "one-row": Chain((1, 16, 1, 9), (Link(18), Link(0, (1, 3), (1, 1), (0, 1)), Link(16))),
    "depthwise-first": Chain((BATCH, 20, 13, 9), (depthwise(3, 1, "bias clip"), Link(20, tail="bias add"))),
    "depthwise-first-stride": Chain((1, 33, 9, 11), (depthwise(5, 2, "scale add"), Link(48, tail="bias relu"))),
    "depthwise-last": Chain((BATCH, 20, 7, 7), (Link(40, tail="bias clip"), depthwise(3, 1, "bias add relu"))),
    "depthwise-last-stride": Chain((1, 4, 13, 10), (Link(50, (3, 3), tail="bias"), depthwise(3, 2, "bias hardswish"))),
}  # fmt: skip

EXAMPLES = examples("chain", CHAINS)
