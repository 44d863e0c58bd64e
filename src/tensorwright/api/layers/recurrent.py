"""Recurrent layers: stacks of RNN, LSTM or GRU cells in one or both directions.

With x the input and h the state of the step before, σ the sigmoid and ∘ the product of elements:

- RELU, TANH: ``h' = f(W[i] x + R[i] h + Wb[i] + Rb[i])``
- LSTM: ``i, f, o = σ(W x + R h + Wb + Rb)``, ``c' = f ∘ c + i ∘ tanh(W[c] x + R[c] h + Wb[c] + Rb[c])``,
  ``h' = o ∘ tanh(c')``
- GRU: ``z, r = σ(W x + R h + Wb + Rb)``, ``n = tanh(W[h] x + Wb[h] + r ∘ (R[h] h + Rb[h]))``,
  ``h' = (1 - z) ∘ n + z ∘ h``

Several layers are numbered in order; with two directions, layer ``2 k`` is the forward and ``2 k + 1`` the backward
cell of layer k of the stack, and both read the outputs of both before them, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.api.checks import integer, member
from tensorwright.api.enums import RNNDirection, RNNGateType, RNNInputMode, RNNOperation
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import count, shaped
from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.weights import Weights

if TYPE_CHECKING:
    from tensorwright.importers.composer import Composer

Gate = RNNGateType
Floats = npt.NDArray[np.float32]

STACKED: Mapping[RNNOperation, tuple[Gate, ...]] = MappingProxyType(
    {
        RNNOperation.RELU: (Gate.INPUT,),
        RNNOperation.TANH: (Gate.INPUT,),
        RNNOperation.LSTM: (Gate.INPUT, Gate.OUTPUT, Gate.FORGET, Gate.CELL),
        RNNOperation.GRU: (Gate.UPDATE, Gate.RESET, Gate.HIDDEN),
    }
)
"""The gates of an operation in the order in which the operators take them."""

Key = tuple[int, RNNGateType, bool]
"""A layer, a gate, and whether it is about the input (W) or the state (R)."""


class RecurrentLayer(Layer):
    """What both recurrent layers have in common.

    Outputs: all states, the last states, and for LSTM the last cells.
    """

    direction = Setting(member(RNNDirection))
    input_mode = Setting(member(RNNInputMode))

    def __init__(
        self,
        network: Network,
        name: str | None,
        input: Tensor,
        layer_count: int,
        hidden_size: int,
        max_seq_length: int,
        op: RNNOperation,
    ) -> None:
        self._op = member(RNNOperation)(f"{self.call}: op", op)
        super().__init__(network, name, [input], 3 if op is RNNOperation.LSTM else 2)
        self._roles = ["input"]
        self._parameters: dict[tuple[Key, bool], Weights] = {}
        self.layer_count = integer(1)("layer_count", layer_count)
        self.hidden_size = integer(1)("hidden_size", hidden_size)
        self.max_seq_length = integer(1)("max_seq_length", max_seq_length)
        self.direction = RNNDirection.UNIDIRECTION
        self.input_mode = RNNInputMode.LINEAR

    @property
    def op(self) -> RNNOperation:
        """Which cells; said when the layer is added."""
        return self._op

    @property
    def data_length(self) -> int:
        """The elements of the input at one time."""
        extent = self.get_input(0).type.shape[-1]
        if not isinstance(extent, int):
            raise self.error(f"input: expected a last dimension that is known, found {extent}")
        return extent

    @property
    def hidden_state(self) -> Tensor | None:
        """The states before the first step; None for zeros."""
        return self._optional("hidden_state")

    @hidden_state.setter
    def hidden_state(self, tensor: Tensor | None) -> None:
        self._set_optional("hidden_state", tensor)

    @property
    def cell_state(self) -> Tensor | None:
        """The cells of an LSTM before the first step; None for zeros."""
        return self._optional("cell_state")

    @cell_state.setter
    def cell_state(self, tensor: Tensor | None) -> None:
        if tensor is not None and self.op is not RNNOperation.LSTM:
            raise self.error(f"cell_state: only LSTM has cells, this is {self.op.name}")
        self._set_optional("cell_state", tensor)

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.direction is RNNDirection.BIDIRECTION else 1

    def operands(self, inputs: Sequence[Value]) -> dict[str, Value]:
        """The values of the inputs by what they are."""
        return dict(zip(self._roles, inputs, strict=True))

    def weights_of_gate(self, key: Key, is_bias: bool) -> Weights | None:
        """Weights or bias of a gate; None for none."""
        raise NotImplementedError

    def shape_of(self, key: Key, is_bias: bool) -> tuple[int, ...]:
        """The shape of the weights of a gate, or of its bias. Without an input matrix it has no rows."""
        layer, _, is_input = key
        if is_bias:
            return (self.hidden_size,)
        if not is_input:
            return (self.hidden_size, self.hidden_size)
        if layer >= self.directions:
            return (self.hidden_size, self.directions * self.hidden_size)
        return (0 if self.input_mode is RNNInputMode.SKIP else self.hidden_size, self.data_length)

    def stacked(
        self, data: Value, hidden: Value | None, cell: Value | None, lengths: Value | None
    ) -> tuple[Value, list[Value]]:
        """All states [N, S, directions·H], and the last states [N, layers·directions, H] (and cells).

        Args:
            data: the input [N, S, E].
            hidden: the first states [N, layers·directions, H].
            cell: the first cells, like the states.
            lengths: how long each sequence is, [N] of int32.
        """
        from tensorwright.importers.compose import joined
        from tensorwright.importers.composer import Composer
        from tensorwright.importers.failures import Unsupported

        composer, finals = Composer(self.name), list[list[Value]]()
        self._require_skippable(data)
        try:
            for layer in range(self.layer_count):
                states = [self._of_layer(composer, state, layer) for state in (hidden, cell)]
                every, *last = self._one(composer, data, layer, states, lengths)
                time, batch = data.type.shape[1], data.type.shape[0]
                data = composer.reshape(every, (batch, time, self.directions * self.hidden_size))
                finals.append(last)
            return data, [joined(composer, values, 1) for values in zip(*finals, strict=True)]
        except (Unsupported, ImportFailure) as error:
            raise NetworkError(str(error)) from None

    def _one(
        self, composer: Composer, data: Value, layer: int, states: Sequence[Value | None], lengths: Value | None
    ) -> list[Value]:
        """One layer of the stack: states [N, S, directions, H], and the last ones [N, directions, H]."""
        from tensorwright.importers.recurrent import gru, lstm, rnn

        cells = range(layer * self.directions, (layer + 1) * self.directions)
        weights, recurrence = (
            composer.constant(np.stack([self._matrix(cell, is_input) for cell in cells])) for is_input in (True, False)
        )
        bias = composer.constant(np.stack([self._bias(cell) for cell in cells]))
        direction = "bidirectional" if self.directions == 2 else "forward"
        given = (composer, data, weights, recurrence, bias, lengths)
        if self.op is RNNOperation.LSTM:
            return lstm(*given, states, direction=direction, layout=1)
        if self.op is RNNOperation.GRU:
            return gru(*given, states[:1], direction=direction, layout=1, linear_before_reset=1)
        names = (self.op.name.capitalize(),) * self.directions
        return rnn(*given, states[:1], activations=names, direction=direction, layout=1)

    def _of_layer(self, composer: Composer, state: Value | None, layer: int) -> Value | None:
        from tensorwright.importers.compose import part

        return None if state is None else part(composer, state, {1: (layer * self.directions, self.directions)})

    def _matrix(self, cell: int, is_input: bool) -> Floats:
        """The matrices of all gates of a cell, one below the other."""
        return np.concatenate([self._gate(cell, gate, is_input) for gate in STACKED[self.op]])

    def _gate(self, cell: int, gate: Gate, is_input: bool) -> Floats:
        shape = self.shape_of((cell, gate, is_input), False)
        if not prod(shape):
            return np.eye(self.hidden_size, dtype=np.float32)
        weights = self.weights_of_gate((cell, gate, is_input), False)
        what = f"layer {cell}, gate {gate.name}, {'input' if is_input else 'state'}"
        if weights is None:
            raise NetworkError(f"{what}: has no weights; {show(shape)} = {prod(shape)} values are needed")
        return _floats(weights, shape, what)

    def _bias(self, cell: int) -> Floats:
        parts = []
        for is_input in (True, False):
            for gate in STACKED[self.op]:
                weights = self.weights_of_gate((cell, gate, is_input), True)
                shape, what = (self.hidden_size,), f"layer {cell}, gate {gate.name}: bias"
                parts.append(np.zeros(shape, np.float32) if weights is None else _floats(weights, shape, what))
        return np.concatenate(parts)

    def _require_skippable(self, data: Value) -> None:
        if self.input_mode is RNNInputMode.SKIP and data.type.shape[-1] != self.hidden_size:
            raise NetworkError(
                f"input_mode SKIP: the input goes to the gates as it is, so it needs {self.hidden_size} elements at a "
                f"time, found {show(data.type.shape)}"
            )

    def require_steps(self, found: Dim) -> None:
        """Refuse an input with another number of steps than was said."""
        if found != self.max_seq_length:
            raise NetworkError(f"input: expected max_seq_length = {self.max_seq_length} steps, found {found}")

    def _optional(self, role: str) -> Tensor | None:
        return self._inputs[self._roles.index(role)] if role in self._roles else None

    def _set_optional(self, role: str, tensor: Tensor | None) -> None:
        if role in self._roles:
            del self._inputs[self._roles.index(role)]
            self._roles.remove(role)
        if tensor is not None:
            self._inputs.append(self._checked_input(len(self._inputs), tensor))
            self._roles.append(role)
        self.changed()


def _floats(weights: Weights, shape: tuple[int, ...], what: str) -> Floats:
    if count(weights) != prod(shape):
        raise NetworkError(f"{what}: expected {show(shape)} = {prod(shape)} values, found {count(weights)}")
    return shaped(weights, shape, weights.type.dtype).array.astype(np.float32)
