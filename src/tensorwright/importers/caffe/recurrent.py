"""Recurrent layers, unrolled over the time steps.

Bottoms are x ``[T, N, ...]``, the markers ``[T, N]`` of where sequences go on (1) or start (0), and perhaps a further
input ``[N, ...]`` that is the same at all times. With `expose_hidden` the first states follow as bottoms, and the last
ones as tops, each ``[1, N, H]``.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.importers.compose import element, part, stacked
from tensorwright.ops.activation import Sigmoid
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import product

LONGEST_SEQUENCE = 256
"""Longer sequences are not unrolled."""

_NOT_READ = ("weight_filler", "bias_filler", "debug_info")


@reads("recurrent_param", _NOT_READ)
def LSTM(
    layer: Layer, x: Value, goes_on: Value, *others: Value, num_output: Unsigned, expose_hidden: bool = False
) -> list[Value]:
    """Blobs: W of x ``[4·H, I]``, bias ``[4·H]``, W of the further input, R ``[4·H, H]``; gates i, f, o, g.

    With m the marker: ``c' = m f ∘ c + i ∘ g``, ``h' = o ∘ tanh(c')``, where the gates see ``m h``.
    """
    further, (hidden, cell) = _others(layer, goes_on, others, 2 if expose_hidden else 0, num_output)
    inputs, recurrence = _transformed(layer, x, further, 4 * num_output), 3 if further is not None else 2
    weights = layer.weights(recurrence, (4 * num_output, num_output), "weights of the state")
    outputs = []
    for step in range(_steps(layer, x)):
        marker = _marker(layer, goes_on, step)
        kept = layer.apply(MatMul(False, True), layer.multiply(hidden, marker), weights)
        total = layer.add(element(layer, inputs, 0, step), kept)
        i, f, o, g = (part(layer, total, {1: (gate * num_output, num_output)}) for gate in range(4))
        i, f, o = (layer.apply(Sigmoid(), gate) for gate in (i, f, o))
        old = layer.multiply(layer.multiply(f, marker), cell)
        cell = layer.add(old, layer.multiply(i, layer.unary("tanh", g)))
        hidden = layer.multiply(o, layer.unary("tanh", cell))
        outputs.append(hidden)
    return [stacked(layer, outputs, 0), *_last(layer, [hidden, cell] if expose_hidden else [])]


@reads("recurrent_param", _NOT_READ)
def RNN(
    layer: Layer, x: Value, goes_on: Value, *others: Value, num_output: Unsigned, expose_hidden: bool = False
) -> list[Value]:
    """Blobs: W of x, bias, W of the further input, R ``[H, H]``, W of the output ``[H, H]``, its bias.

    With m the marker: ``h' = tanh(W x + b + R (m h))``, ``o = tanh(V h' + d)``.
    """
    further, (hidden, _) = _others(layer, goes_on, others, 1 if expose_hidden else 0, num_output)
    inputs, next = _transformed(layer, x, further, num_output), 3 if further is not None else 2
    square = (num_output, num_output)
    weights = layer.weights(next, square, "weights of the state")
    output = layer.weights(next + 1, square, "weights of the output")
    bias = layer.weights(next + 2, (num_output,), "bias of the output", spread="bias")
    outputs = []
    for step in range(_steps(layer, x)):
        marker = _marker(layer, goes_on, step)
        kept = layer.apply(MatMul(False, True), layer.multiply(hidden, marker), weights)
        hidden = layer.unary("tanh", layer.add(element(layer, inputs, 0, step), kept))
        outputs.append(layer.unary("tanh", layer.add(layer.apply(MatMul(False, True), hidden, output), bias)))
    return [stacked(layer, outputs, 0), *_last(layer, [hidden] if expose_hidden else [])]


def _others(
    layer: Layer, goes_on: Value, others: Sequence[Value], states: int, size: int
) -> tuple[Value | None, tuple[Value, Value]]:
    """The further input, and the first hidden state and cell."""
    if size < 1:
        layer.fail(f"num_output: expected at least 1, found {size}")
    if goes_on.type.rank != 2:
        layer.fail(f"expected the second bottom, where sequences go on, to have 2 axes, found {goes_on.type}")
    batch = goes_on.type.shape[1]
    if len(others) not in (states, states + 1):
        layer.fail(f"expected {2 + states} or {3 + states} bottoms, found {2 + len(others)}")
    further = others[0] if len(others) > states else None
    zeros = layer.expand(layer.scalar(0.0, goes_on), (batch, size))
    first = [layer.reshape(state, (batch, size)) for state in others[len(others) - states :]]
    hidden, cell = (*first, *(zeros,) * (2 - len(first)))
    return further, (hidden, cell)


def _transformed(layer: Layer, x: Value, further: Value | None, rows: int) -> Value:
    """What the gates see of the inputs, at all times ``[T, N, rows]``."""
    if x.type.rank < 2:
        layer.fail(f"expected the first bottom to have at least 2 axes, steps and batch, found {x.type}")
    steps, batch, *rest = x.type.shape
    width = product(tuple(rest))
    flat = layer.reshape(x, (steps, batch, width))
    total = layer.apply(MatMul(False, True), flat, layer.weights(0, (rows, width), "weights of the input"))
    total = layer.add(total, layer.weights(1, (rows,), "bias", spread="bias"))
    if further is None:
        return total
    wide = layer.reshape(further, (1, batch, product(further.type.shape[1:])))
    weights = layer.weights(2, (rows, wide.type.shape[2]), "weights of the further input")
    return layer.add(total, layer.apply(MatMul(False, True), wide, weights))


def _steps(layer: Layer, x: Value) -> int:
    steps = x.type.shape[0]
    if not isinstance(steps, int) or steps > LONGEST_SEQUENCE:
        layer.unsupported(f"sequences of known length up to {LONGEST_SEQUENCE} are supported, found {steps}")
    return steps


def _marker(layer: Layer, goes_on: Value, step: int) -> Value:
    return layer.reshape(element(layer, goes_on, 0, step), (goes_on.type.shape[1], 1))


def _last(layer: Layer, states: Sequence[Value]) -> list[Value]:
    return [stacked(layer, [state], 0) for state in states]
