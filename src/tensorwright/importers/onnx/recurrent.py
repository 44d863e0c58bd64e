"""Recurrent operators."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.onnx.node import Node
from tensorwright.importers.recurrent import Floats, Strings, gru, lstm, rnn


def RNN(
    node: Node, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, *, activation_alpha: Floats = None, activation_beta: Floats = None,
    activations: Strings = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0,
) -> list[Value]:  # fmt: skip
    return rnn(
        node, x, w, r, b, lengths, [initial_h], activation_alpha=activation_alpha, activation_beta=activation_beta,
        activations=activations, clip=clip, direction=direction, layout=layout,
    )  # fmt: skip


def GRU(
    node: Node, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, *, activation_alpha: Floats = None, activation_beta: Floats = None,
    activations: Strings = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> list[Value]:  # fmt: skip
    return gru(
        node, x, w, r, b, lengths, [initial_h], activation_alpha=activation_alpha, activation_beta=activation_beta,
        activations=activations, clip=clip, direction=direction, layout=layout,
        linear_before_reset=linear_before_reset,
    )  # fmt: skip


def LSTM(
    node: Node, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, initial_c: Value | None = None, p: Value | None = None, *,
    activation_alpha: Floats = None, activation_beta: Floats = None, activations: Strings = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int | None = None,
    input_forget: int = 0, layout: int = 0,
) -> list[Value]:  # fmt: skip
    return lstm(
        node, x, w, r, b, lengths, [initial_h, initial_c], p, activation_alpha=activation_alpha,
        activation_beta=activation_beta, activations=activations, clip=clip, direction=direction,
        input_forget=input_forget, layout=layout,
    )  # fmt: skip
