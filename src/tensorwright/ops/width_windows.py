"""The windows along the width of an image as channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Computation, Load, all_of, inside, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect_inputs
from tensorwright.ops.checks import expect_rank
from tensorwright.ops.mathematics import positions
from tensorwright.tensor.dim import floor_divide, remainder
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class WidthWindows(Op):
    """``y[n, k · C + c, h, w] = x[n, c, h, w · stride + k − before]``, zero outside, for k below `window`.

    Input ``[N, C, H, W]``, output ``[N, window · C, H, positions]``: what a convolution over few channels reads.
    """

    window: int
    stride: int
    before: int
    positions: int
    kind: ClassVar[Kind] = "opaque"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect_rank(self, inputs[0], 4)
        n, c, h, _ = inputs[0].shape
        return TensorType(inputs[0].dtype, (n, self.window * c, h, self.positions))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        reach = (self.positions - 1) * self.stride + self.window
        after = max(0, reach - self.before - x.shape[3])
        padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (self.before, after)))
        last = (self.positions - 1) * self.stride + 1
        return np.concatenate([padded[..., k : k + last : self.stride] for k in range(self.window)], axis=1)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        n, channel, h, w = positions(variables)
        source = w * self.stride + floor_divide(channel, x.shape[1]) - self.before
        guard = all_of(inside(source, x.shape[3]))
        return Computation(variables, Load(0, (n, remainder(channel, x.shape[1]), h, source), x.dtype, guard))
