"""The two calls for recurrent layers: with weights set gate by gate, and with all weights in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.api.checks import index, member
from tensorwright.api.enums import LayerType, RNNDirection, RNNGateType, RNNInputMode, RNNOperation
from tensorwright.api.layer import Network, Setting
from tensorwright.api.layers.convolution import trained
from tensorwright.api.layers.recurrent import STACKED, Gate, Key, RecurrentLayer
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import count
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.dtype import INT32
from tensorwright.tensor.weights import Weights

if TYPE_CHECKING:
    from tensorwright.importers.composer import Composer

FLAT: Mapping[RNNOperation, tuple[Gate, ...]] = MappingProxyType(
    {
        **STACKED,
        RNNOperation.LSTM: (Gate.FORGET, Gate.INPUT, Gate.CELL, Gate.OUTPUT),
    }
)
"""The gates in the order of the flat weights of `add_rnn`."""


class RNNv2Layer(RecurrentLayer):
    """x ``[..., S, E]`` → states ``[..., S, directions·H]`` and last states ``[..., layers·directions, H]``.

    Weights and biases are set gate by gate; biases that are not set are zero.
    """

    type = LayerType.RNN_V2
    call = "add_rnn_v2"
    settled = False

    @property
    def seq_lengths(self) -> Tensor | None:
        """How long each sequence is: int32 with the leading axes of the input; None for all of full length."""
        return self._optional("seq_lengths")

    @seq_lengths.setter
    def seq_lengths(self, tensor: Tensor | None) -> None:
        self._set_optional("seq_lengths", tensor)

    def set_weights_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool, weights: object) -> None:
        """The matrix of a gate, ``[H, E]`` for the input (or ``[H, directions·H]``), ``[H, H]`` for the state."""
        self._set((layer_index, gate, is_w), False, weights)

    def get_weights_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool) -> npt.NDArray[np.generic] | None:
        """What was set; None for nothing."""
        found = self._parameters.get(((layer_index, gate, is_w), False))
        return None if found is None else found.array

    def set_bias_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool, bias: object) -> None:
        """The bias of a gate, ``[H]``, of the half for the input or of that for the state."""
        self._set((layer_index, gate, is_w), True, bias)

    def get_bias_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool) -> npt.NDArray[np.generic] | None:
        """What was set; None for nothing."""
        found = self._parameters.get(((layer_index, gate, is_w), True))
        return None if found is None else found.array

    def weights_of_gate(self, key: Key, is_bias: bool) -> Weights | None:
        return self._parameters.get((key, is_bias))

    def lower(self, *inputs: Value) -> Sequence[Value]:
        given = self.operands(inputs)
        x = given["input"]
        if x.type.rank < 2 + self.batch_axes:
            raise NetworkError(f"input: expected steps and elements as its last dimensions, found {show(x.type.shape)}")
        *lead, steps, elements = x.type.shape
        self.require_steps(steps)
        flat, states = product(tuple(lead)), self.layer_count * self.directions
        composer = _composer(self.name)
        lengths = given.get("seq_lengths")
        if lengths is not None:
            if lengths.type.dtype != INT32 or lengths.type.shape != tuple(lead):
                raise NetworkError(f"seq_lengths: expected int32 {show(tuple(lead))}, found {lengths.type}")
            lengths = composer.reshape(lengths, (flat,))
        first = [
            self._first(composer, given.get(role), (*lead, states, self.hidden_size), role)
            for role in ("hidden_state", "cell_state")
        ]
        every, last = self.stacked(composer.reshape(x, (flat, steps, elements)), first[0], first[1], lengths)
        outputs = [composer.reshape(every, (*lead, steps, self.directions * self.hidden_size))]
        return outputs + [composer.reshape(one, (*lead, states, self.hidden_size)) for one in last]

    def _first(self, composer: Composer, state: Value | None, shape: tuple[Dim, ...], role: str) -> Value | None:
        if state is None:
            return None
        if state.type.shape != shape:
            raise NetworkError(f"{role}: expected {show(shape)}, found {show(state.type.shape)}")
        return composer.reshape(state, (product(shape[:-2]), *shape[-2:]))

    def _set(self, key: Key, is_bias: bool, weights: object) -> None:
        call = f"{self.where}: set_{'bias' if is_bias else 'weights'}_for_gate"
        layer, gate, is_input = key
        index(f"{call}: layer_index", layer, 0, 2 * self.layer_count)
        if member(RNNGateType)(f"{call}: gate", gate) not in STACKED[self.op]:
            gates = ", ".join(one.name for one in STACKED[self.op])
            raise NetworkError(f"{call}: {self.op.name} has the gates {gates}, found {gate.name}")
        self._parameters[(layer, gate, bool(is_input)), is_bias] = trained(call, weights)
        self.changed()


class RNNLayer(RecurrentLayer):
    """x ``[..., S, N, E]`` → states ``[..., S, N, directions·H]`` and last states ``[..., layers·directions, N, H]``.

    The weights of all gates follow each other: for each layer W of its gates, then R of its gates; biases likewise.
    Gates are in the order f, i, c, o (LSTM) or z, r, h (GRU).
    """

    type = LayerType.RNN
    call = "add_rnn"

    weights = Setting(trained)
    bias = Setting(trained)

    def __init__(
        self,
        network: Network,
        name: str | None,
        input: Tensor,
        layer_count: int,
        hidden_size: int,
        max_seq_length: int,
        op: RNNOperation,
        mode: RNNInputMode,
        direction: RNNDirection,
        weights: object,
        bias: object,
    ) -> None:
        super().__init__(network, name, input, layer_count, hidden_size, max_seq_length, op)
        self.input_mode = mode
        self.direction = direction
        self.weights = weights
        self.bias = bias

    def weights_of_gate(self, key: Key, is_bias: bool) -> Weights | None:
        flat = self.bias if is_bias else self.weights
        keys = [
            (layer, gate, is_input)
            for layer in range(self.layer_count * self.directions)
            for is_input in (True, False)
            for gate in FLAT[self.op]
        ]
        ends = np.cumsum([0, *(prod(self.shape_of(one, is_bias)) for one in keys)]).tolist()
        if count(flat) != ends[-1]:
            what = "bias" if is_bias else "weights"
            raise NetworkError(f"{what}: expected {ends[-1]} values for all gates together, found {count(flat)}")
        start, stop = list(pairwise(ends))[keys.index(key)]
        array = flat.array.reshape(-1)[start:stop]
        return trained("weights", array) if array.size else None

    def lower(self, *inputs: Value) -> Sequence[Value]:
        given = self.operands(inputs)
        x = given["input"]
        if x.type.rank < 3 + self.batch_axes:
            raise NetworkError(f"input: expected steps, batch and elements, found {show(x.type.shape)}")
        *lead, steps, batch, elements = x.type.shape
        self.require_steps(steps)
        rank, flat = len(lead), product((*lead, batch))
        swapped = (*range(rank), rank + 1, rank, rank + 2)
        composer, states = _composer(self.name), self.layer_count * self.directions
        wanted = (*lead, states, batch, self.hidden_size)
        first = []
        for role in ("hidden_state", "cell_state"):
            state = given.get(role)
            if state is not None and state.type.shape != wanted:
                raise NetworkError(f"{role}: expected {show(wanted)}, found {show(state.type.shape)}")
            turned = None if state is None else composer.transpose(state, swapped)
            first.append(None if turned is None else composer.reshape(turned, (flat, states, self.hidden_size)))
        data = composer.reshape(composer.transpose(x, swapped), (flat, steps, elements))
        every, last = self.stacked(data, first[0], first[1], None)
        values = [(every, steps, self.directions * self.hidden_size)]
        values += [(one, states, self.hidden_size) for one in last]
        return [
            composer.transpose(composer.reshape(value, (*lead, batch, rows, columns)), swapped)
            for value, rows, columns in values
        ]


def _composer(name: str) -> Composer:
    from tensorwright.importers.composer import Composer

    return Composer(name)
