"""Recurrent layers: what the inputs give to the gates is one product for all steps, and the steps are one operator.

Formulas as in the ONNX operator specification; W, R and B hold the gates one after the other: W is [D, G·H, I], R
[D, G·H, H], B [D, 2·G·H], P [D, 3·H], for D directions and G gates, in the order i, o, f, c (LSTM) or z, r, h (GRU).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.graph.op import Op
from tensorwright.importers.compose import joined, part
from tensorwright.importers.composer import Composer
from tensorwright.ops import activation
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.indexing import GatherElements
from tensorwright.ops.mathematics import accumulator
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.recurrent import GRU, LSTM, RNN, Direction, Extra, Recurrence
from tensorwright.tensor.dim import Dim, bounds
from tensorwright.tensor.dtype import INT64

Initial = Sequence[Value | None]
Floats = tuple[float, ...] | None
Strings = tuple[str, ...] | None


def rnn(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, initial: Initial,
    *, activation_alpha: Floats = None, activation_beta: Floats = None, activations: Strings = None,
    clip: float | None = None, direction: str = "forward", layout: int = 0,
) -> list[Value]:  # fmt: skip
    op = RNN((), directed(node, direction), clip)
    functions = _functions(node, op, activations or (), ("Tanh",), activation_alpha, activation_beta)
    return _Layer(node, x, w, r, b, lengths, initial, None, layout == 1, op, functions).results()


def gru(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, initial: Initial,
    *, activation_alpha: Floats = None, activation_beta: Floats = None, activations: Strings = None,
    clip: float | None = None, direction: str = "forward", layout: int = 0, linear_before_reset: int = 0,
) -> list[Value]:  # fmt: skip
    op = GRU((), directed(node, direction), clip, (), linear_before_reset != 0)
    functions = _functions(node, op, activations or (), ("Sigmoid", "Tanh"), activation_alpha, activation_beta)
    return _Layer(node, x, w, r, b, lengths, initial, None, layout == 1, op, functions).results()


def lstm(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, initial: Initial,
    p: Value | None = None, *, activation_alpha: Floats = None, activation_beta: Floats = None,
    activations: Strings = None, clip: float | None = None, direction: str = "forward", input_forget: int = 0,
    layout: int = 0,
) -> list[Value]:  # fmt: skip
    op = LSTM((), directed(node, direction), clip, (), input_forget != 0)
    functions = _functions(node, op, activations or (), ("Sigmoid", "Tanh", "Tanh"), activation_alpha, activation_beta)
    return _Layer(node, x, w, r, b, lengths, initial, p, layout == 1, op, functions).results()


DIRECTIONS: Mapping[str, Direction] = {name: name for name in get_args(Direction)}


def directed(node: Composer, direction: str) -> Direction:
    if direction not in DIRECTIONS:
        node.fail(f"direction must be forward, reverse or bidirectional, found {direction}")
    return DIRECTIONS[direction]


@dataclass(frozen=True)
class _Layer:
    """A layer as foreign models have it.

    x: ``[T, N, I]``, or ``[N, T, I]`` with `batch_first`; states have the batch in front then, too. initial: the hidden
    states before the first step, and the cells of an LSTM. op: without its functions and extras. functions: those of
    all directions.
    """

    node: Composer
    x: Value
    w: Value
    r: Value
    b: Value | None
    lengths: Value | None
    initial: Initial
    p: Value | None
    batch_first: bool
    op: Recurrence
    functions: tuple[Op, ...]

    @property
    def directions(self) -> int:
        return len(self.op.directions)

    @property
    def size(self) -> Dim:
        """Hidden units."""
        return self.r.type.shape[2]

    def __post_init__(self) -> None:
        for value, name in ((self.x, "X"), (self.w, "W"), (self.r, "R")):
            if value.type.rank != 3:
                self.node.fail(f"input {name}: expected rank 3, found {value.type}")
        if bounds(self.r.type.shape[1] - self.op.gates * self.size)[1] < 0:
            self.node.fail(f"input R: expected {self.op.gates} times as many rows as columns, found {self.r.type}")

    def results(self) -> list[Value]:
        """All hidden states ``[T, D, N, H]``, then each state after the last step ``[D, N, H]``; with `batch_first`
        ``[N, T, D, H]`` and ``[N, D, H]``.
        """
        states, finals = self._states()
        order = (1, 0, 2, 3) if self.batch_first else (0, 2, 1, 3)
        return [self.node.transpose(states, order), *(self._outward(final) for final in finals)]

    def _outward(self, final: Value) -> Value:
        """A state ``[1, N, D, H]`` as models have it."""
        node, (_, batch, directions, size) = self.node, final.type.shape
        flat = node.reshape(final, (batch, directions, size))
        return flat if self.batch_first else node.transpose(flat, (1, 0, 2))

    def _states(self) -> tuple[Value, list[Value]]:
        """The hidden states ``[T, N, D, H]``, and each state after the last step ``[1, N, D, H]``."""
        each = len(self.functions) // self.directions
        if self.directions > 1 and not _alike(self.functions[:each], self.functions[each:]):
            ways = [self._one_way(number)._states() for number in (0, 1)]
            both = joined(self.node, [states for states, _ in ways], 2)
            return both, [joined(self.node, final, 2) for final in zip(*(last for _, last in ways), strict=True)]
        extras, further = self._extras()
        op = replace(self.op, functions=self.functions[:each], extras=extras)
        hidden = self._first(0)
        given = [self._gates(), self.node.transpose(self.r, (0, 2, 1)), hidden]
        if isinstance(op, LSTM):
            given.append(self.node.cast(self._first(1), accumulator(hidden.type.dtype)))
        states = self.node.apply(op, *given, *further)
        finals = [self._final(states, hidden)]
        if isinstance(op, LSTM):
            with_cells = self.node.apply(replace(op, gives_cells=True), *given, *further)
            finals.append(part(self.node, with_cells, {0: (states.type.shape[0], 1)}))
        return states, finals

    def _one_way(self, number: int) -> _Layer:
        """One of two directions alone."""
        node, each, axis = self.node, len(self.functions) // 2, 1 if self.batch_first else 0
        b, p = (None if v is None else part(node, v, {0: (number, 1)}) for v in (self.b, self.p))
        return replace(
            self,
            w=part(node, self.w, {0: (number, 1)}),
            r=part(node, self.r, {0: (number, 1)}),
            b=b,
            p=p,
            initial=[None if v is None else part(node, v, {axis: (number, 1)}) for v in self.initial],
            op=replace(self.op, direction="reverse" if number else "forward"),
            functions=self.functions[number * each : (number + 1) * each],
        )

    def _gates(self) -> Value:
        """What the inputs give to all gates at all times ``[T, N, D·G·H]``."""
        node = self.node
        data = node.transpose(self.x, (1, 0, 2)) if self.batch_first else self.x
        rows = self.directions * self.op.gates * self.size
        total = node.apply(MatMul(False, True), data, node.reshape(self.w, (rows, self.w.type.shape[2])))
        if self.b is None:
            return total
        of_inputs, of_states = self._bias(0), self._bias(1)
        if self._keeps_bias:
            last = (self.op.gates - 1) * self.size
            others = part(node, of_states, {1: (0, last)})
            zeros = node.expand(node.scalar(0, others), (self.directions, self.size))
            of_states = joined(node, [others, zeros], 1)
        return node.add(total, node.reshape(node.add(of_inputs, of_states), (rows,)))

    def _bias(self, half: int) -> Value:
        """The half of the bias for the inputs (0) or for the states (1)."""
        assert self.b is not None
        count = self.op.gates * self.size
        return part(self.node, self.b, {1: (half * count, count)})

    @property
    def _keeps_bias(self) -> bool:
        """Whether the last gate's bias for the states is not simply added."""
        return self.b is not None and isinstance(self.op, GRU) and self.op.linear_before_reset

    def _extras(self) -> tuple[tuple[Extra, ...], list[Value]]:
        found: dict[Extra, Value] = {}
        if self._keeps_bias:
            found["bias"] = part(self.node, self._bias(1), {1: ((self.op.gates - 1) * self.size, self.size)})
        if self.p is not None:
            found["peepholes"] = self.node.reshape(self.p, (self.directions, 3, self.size))
        if self.lengths is not None:
            found["lengths"] = self.lengths
        return tuple(found), list(found.values())

    def _first(self, number: int) -> Value:
        """A state before the first step."""
        value = self.initial[number]
        if value is None:
            zeros = np.zeros(self.node.static((self.directions, 1, self.size), "hidden_size"))
            return self.node.constant(zeros, self.x.type.dtype)
        return self.node.transpose(value, (1, 0, 2)) if self.batch_first else value

    def _final(self, states: Value, first: Value) -> Value:
        """The hidden state of every sequence after its last step; of one without steps the first state."""
        steps = states.type.shape[0]
        ways = [
            part(self.node, states, {0: (0 if backwards or self.lengths is not None else steps - 1, 1), 2: (d, 1)})
            for d, backwards in enumerate(self.op.directions)
        ]
        if self.lengths is None:
            return joined(self.node, ways, 2)
        node, batch = self.node, states.type.shape[1]
        lengths = node.reshape(node.cast(self.lengths, INT64), (1, batch, 1, 1))
        last = node.binary("max", node.subtract(lengths, node.constant(1, INT64)), node.constant(0, INT64))
        for d, backwards in enumerate(self.op.directions):
            if not backwards:
                every = part(node, states, {2: (d, 1)})
                ways[d] = node.apply(GatherElements(0), every, node.expand(last, (1, batch, 1, self.size)))
        some = node.binary("less", node.constant(0, INT64), lengths)
        before = node.transpose(first, (1, 0, 2))
        before = node.reshape(before, (1, *before.type.shape))
        return node.select(some, joined(node, ways, 2), before)


def _alike(some: Sequence[Op], others: Sequence[Op]) -> bool:
    return all(a.same(b) for a, b in zip(some, others, strict=True))


def _functions(
    node: Composer, op: Recurrence, names: Sequence[str], usual: tuple[str, ...], alphas: Floats, betas: Floats
) -> tuple[Op, ...]:
    """The functions of all directions; alphas and betas are listed for those functions only that have them."""
    left, count = (list(alphas or ()), list(betas or ())), len(usual) * len(op.directions)
    listed = tuple(names or usual * len(op.directions))
    if len(listed) != count:
        node.fail(f"activations: expected {count}, found {', '.join(listed)}")
    return tuple(_function(node, name, left) for name in listed)


def _function(node: Composer, name: str, left: Sequence[list[float]]) -> Op:
    """left: the alphas and the betas that are not taken yet."""
    if name.lower() not in FUNCTIONS:
        node.unsupported(f"activation {name} is not supported")
    make, *defaults = FUNCTIONS[name.lower()]
    return make(*(given.pop(0) if given else default for default, given in zip(defaults, left, strict=False)))


FUNCTIONS: Mapping[str, tuple[Callable[..., Op], *tuple[float, ...]]] = {
    "relu": (activation.Relu,),
    "tanh": (lambda: Unary("tanh"),),
    "sigmoid": (activation.Sigmoid,),
    "affine": (activation.Affine, 1.0, 0.0),
    "leakyrelu": (activation.LeakyRelu, 0.01),
    "thresholdedrelu": (activation.ThresholdedRelu, 1.0),
    "scaledtanh": (activation.ScaledTanh, 1.0, 1.0),
    "hardsigmoid": (activation.HardSigmoid, 0.2, 0.5),
    "elu": (activation.Elu, 1.0),
    "softsign": (activation.Softsign,),
    "softplus": (activation.Softplus,),
}
"""Operators with the defaults of alpha and beta, if they have any."""
