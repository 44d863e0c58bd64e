"""Recurrent layers, random inputs for them, and the regions that they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cases.case import Array, reference_of
from graphs import constant
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.activation import Sigmoid
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.mathematics import accumulator
from tensorwright.ops.recurrent import GRU, LSTM, RNN, Recurrence
from tensorwright.tensor.dim import Dim, evaluate
from tensorwright.tensor.dtype import FLOAT32, INT32, DType
from tensorwright.tensor.type import TensorType

TANH = Unary("tanh")
OF_LSTM, OF_GRU = (Sigmoid(), TANH, TANH), (Sigmoid(), TANH)

LAYERS: Mapping[str, Recurrence] = {
    "rnn": RNN((TANH,)),
    "rnn reverse lengths": RNN((TANH,), "reverse", 0.7, ("lengths",)),
    "gru": GRU(OF_GRU),
    "gru both lengths": GRU(OF_GRU, "bidirectional", None, ("lengths",)),
    "gru linear": GRU(OF_GRU, "reverse", None, ("bias", "markers"), True),
    "lstm": LSTM(OF_LSTM),
    "lstm markers": LSTM(OF_LSTM, "forward", None, ("markers",), False, True),
    "lstm both": LSTM(OF_LSTM, "bidirectional", 0.5, ("peepholes", "lengths"), False, True),
    "lstm input forget": LSTM(OF_LSTM, "reverse", None, ("lengths",), True),
}


@dataclass(frozen=True)
class Given:
    """A layer with extents. only: the states before the first step are the same for all sequences."""

    op: Recurrence
    steps: Dim = 4
    batch: Dim = 3
    size: int = 19
    dtype: DType = FLOAT32
    constant: bool = True
    only: bool = False

    @property
    def types(self) -> dict[str, TensorType]:
        d, g, states = len(self.op.directions), self.op.gates, 1 if self.only else self.batch
        shapes: dict[str, tuple[Dim, ...]] = {
            "gates": (self.steps, self.batch, d * g * self.size),
            "recurrence": (d, self.size, g * self.size),
            "hidden": (d, states, self.size),
            "cells": (d, states, self.size),
            "bias": (d, self.size),
            "peepholes": (d, 3, self.size),
            "lengths": (self.batch,),
            "markers": (self.steps, self.batch),
        }
        special = {"cells": accumulator(self.dtype), "lengths": INT32}
        return {role: TensorType(special.get(role, self.dtype), shapes[role]) for role in self.op.roles}

    def draw(self, rng: np.random.Generator, symbols: Mapping[str, int] | None = None) -> dict[str, Array]:
        """Inputs by role; of two sequences or more, one has no steps and one all of them."""
        found: dict[str, Array] = {}
        for role, type in self.types.items():
            shape = tuple(evaluate(dim, symbols or {}) for dim in type.shape)
            array = rng.uniform(-1, 1, shape) / (np.sqrt(self.size) if role == "recurrence" else 1)
            if role == "markers":
                array = rng.choice([0.0, 1.0, 0.5], shape)
            if role == "lengths":
                steps = evaluate(self.steps, symbols or {})
                array = rng.permutation(np.resize([steps, 0, *rng.integers(1, steps + 1, 5)], shape))
            found[role] = array.astype(type.dtype.numpy)
        return found

    def value(self, arrays: Mapping[str, Array], prefix: str = "") -> Value:
        """The layer on inputs, whose names are roles with a prefix; R is a constant if it is to be one."""
        fixed = {"recurrence"} if self.constant else set()
        inputs = [
            constant(arrays[role], type.dtype) if role in fixed else input_value(prefix + role, type)
            for role, type in self.types.items()
        ]
        return apply(self.op, *inputs)

    def region(self, arrays: Mapping[str, Array]) -> Region:
        return region_of([self.value(arrays)])


def expected(op: Recurrence, arrays: Mapping[str, Array]) -> Array:
    return reference_of(op, list(arrays.values()))
