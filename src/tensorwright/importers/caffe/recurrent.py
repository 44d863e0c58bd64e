"""Recurrent layers.

Bottoms are x ``[T, N, ...]``, the markers ``[T, N]`` of where sequences go on (1) or start (0), and perhaps a further
input ``[N, ...]`` that is the same at all times. With `expose_hidden` the first states follow as bottoms, and the last
ones as tops, each ``[1, N, H]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.importers.compose import joined, part
from tensorwright.ops import recurrent as ops
from tensorwright.ops.activation import Sigmoid
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, product

_NOT_READ = ("weight_filler", "bias_filler", "debug_info")


@reads("recurrent_param", _NOT_READ)
def LSTM(
    layer: Layer, x: Value, goes_on: Value, *others: Value, num_output: Unsigned, expose_hidden: bool = False
) -> list[Value]:
    """Blobs: W of x ``[4·H, I]``, bias ``[4·H]``, W of the further input, R ``[4·H, H]``; gates i, f, o, g.

    With m the marker: ``c' = m f ∘ c + i ∘ g``, ``h' = o ∘ tanh(c')``, where the gates see ``m h``.
    """
    further, first = _others(layer, goes_on, others, 2 if expose_hidden else 0, num_output)
    gates, recurrence = _transformed(layer, x, further, 4 * num_output), 3 if further is not None else 2
    weights = layer.weights(recurrence, (4 * num_output, num_output), "weights of the state")
    op = ops.LSTM((Sigmoid(), Unary("tanh"), Unary("tanh")), extras=("markers",))
    order = [(gate * num_output, num_output) for gate in (0, 2, 1, 3)]
    gates = joined(layer, [part(layer, gates, {2: one}) for one in order], 2)
    weights = joined(layer, [part(layer, weights, {0: one}) for one in order], 0)
    given = [gates, *_state(layer, weights, first), goes_on]
    states = layer.apply(op, *given)
    outputs = [layer.reshape(states, (*states.type.shape[:2], num_output))]
    if expose_hidden:
        steps, ends = states.type.shape[0], (states, layer.apply(replace(op, gives_cells=True), *given))
        outputs += [_row(layer, rows, at) for rows, at in zip(ends, (steps - 1, steps), strict=True)]
    return outputs


@reads("recurrent_param", _NOT_READ)
def RNN(
    layer: Layer, x: Value, goes_on: Value, *others: Value, num_output: Unsigned, expose_hidden: bool = False
) -> list[Value]:
    """Blobs: W of x, bias, W of the further input, R ``[H, H]``, W of the output ``[H, H]``, its bias.

    With m the marker: ``h' = tanh(W x + b + R (m h))``, ``o = tanh(V h' + d)``.
    """
    further, (hidden, _) = _others(layer, goes_on, others, 1 if expose_hidden else 0, num_output)
    gates, next = _transformed(layer, x, further, num_output), 3 if further is not None else 2
    square = (num_output, num_output)
    weights = layer.weights(next, square, "weights of the state")
    output = layer.weights(next + 1, square, "weights of the output")
    bias = layer.weights(next + 2, (num_output,), "bias of the output", spread="bias")
    op = ops.RNN((Unary("tanh"),), extras=("markers",))
    states = layer.apply(op, gates, *_state(layer, weights, [hidden]), goes_on)
    flat = layer.reshape(states, (*states.type.shape[:2], num_output))
    shown = layer.unary("tanh", layer.add(layer.apply(MatMul(False, True), flat, output), bias))
    return [shown, _row(layer, states, states.type.shape[0] - 1)] if expose_hidden else [shown]


def _state(layer: Layer, weights: Value, first: Sequence[Value]) -> list[Value]:
    """R as the operators take it, and the states before the first step."""
    rows, size = weights.type.shape
    turned = layer.transpose(layer.reshape(weights, (1, rows, size)), (0, 2, 1))
    return [turned, *(layer.reshape(state, (1, *state.type.shape)) for state in first)]


def _row(layer: Layer, states: Value, number: Dim) -> Value:
    """One row of ``[T, N, 1, H]`` as ``[1, N, H]``."""
    picked = part(layer, states, {0: (number, 1)})
    return layer.reshape(picked, (1, states.type.shape[1], states.type.shape[3]))


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
    layer.check_constant((1, size), "the first states")
    zeros = layer.constant(np.zeros((1, size)), goes_on.type.dtype)
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
