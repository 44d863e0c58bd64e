"""First layers: the windows of few channels along the width become channels, so that tensor cores have a depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Computation, Load, all_of, inside, variables_for
from tensorwright.graph.graph import Graph, Value, apply, constant_value, is_constant, weights_in
from tensorwright.graph.op import Array, Kind, Op
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.mathematics import positions
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


@dataclass(frozen=True, eq=False)
class WidthWindows(Op):
    """``y[n, k · C + c, h, w] = x[n, c, h, w · stride + k − before]``, zero outside, for k below `window`.

    Input ``[N, C, H, W]``, output ``[N, window · C, H, positions]``.
    """

    window: int
    stride: int
    before: int
    positions: int
    kind: ClassVar[Kind] = "opaque"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
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
        source = w * self.stride + channel // x.shape[1] - self.before
        guard = all_of(inside(source, x.shape[3]))
        return Computation(variables, Load(0, (n, channel % x.shape[1], h, source), x.dtype, guard))


def widen_first_layers(graph: Graph) -> Graph:
    """Convolutions over fewer than 8 channels as one over windows: ``conv(x, K×L) = conv(windows(x), K×1)``."""
    return graph.rebuild(_widened)


def _widened(value: Value) -> Value | None:
    op = value.op
    if not isinstance(op, Convolution) or op.groups != 1 or len(op.strides) != 2 or op.dilations != (1, 1):
        return None
    x, weights, *bias = value.inputs
    channels, width = x.type.shape[1], weights.type.shape[3]
    if channels >= 8 or not is_constant(weights):
        return None
    window = -(-width * channels // 8) * 8 // channels if 8 % channels == 0 else -(-width // 8) * 8
    windows = WidthWindows(window, op.strides[1], op.pads_begin[1], value.type.shape[3])
    array = weights_in(weights).array
    padded = np.pad(array, ((0, 0), (0, 0), (0, 0), (0, window - width)))
    moved = padded.transpose(0, 3, 1, 2).reshape(array.shape[0], window * channels, array.shape[2], 1)
    kernel = constant_value(weights_of(np.ascontiguousarray(moved)))
    narrow = Convolution((op.strides[0], 1), (op.pads_begin[0], 0), (op.pads_end[0], 0), (1, 1))
    return apply(narrow, apply(windows, x, name=value.name), kernel, *bias, name=value.name)
