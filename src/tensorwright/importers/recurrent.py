"""Recurrent layers, unrolled over the time steps.

Formulas as in the ONNX operator specification; W, R and B hold the gates one after the other: one direction of W is
[gates·H, I], of R [gates·H, H], of B [2·gates·H], of P [3·H]; in front stands the direction. Gates are in the order i,
o, f, c (LSTM) or z, r, h (GRU).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import element, part, stacked
from tensorwright.importers.composer import Composer
from tensorwright.ops import activation
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import INT64

LONGEST_SEQUENCE = 256
"""Longer sequences are not unrolled."""

Function = Callable[[Value], Value]
Initial = Sequence[Value | None]
Floats = tuple[float, ...] | None
Strings = tuple[str, ...] | None


@dataclass(frozen=True)
class Layer:
    """One direction of a recurrent layer: weights [gates·H, I] and [gates·H, H], bias [2·gates·H], peepholes [3·H]."""

    node: Composer
    weights: Value
    recurrence: Value
    bias: Value | None
    peepholes: Value | None
    hidden: Dim
    functions: Sequence[Function]
    clip: float | None

    def gates(self, x: Value, source: Value, number: int, first: int, count: int) -> list[Value]:
        """``x Wᵀ + b`` of `count` gates from gate `first` on; `number` is 0 for the W half of the bias, 1 for R."""
        node, rows = self.node, {0: (first * self.hidden, count * self.hidden)}
        result = node.apply(MatMul(False, True), x, part(node, source, rows))
        if self.bias is not None:
            half = part(node, self.bias, {0: (self.bias.type.shape[0] // 2 * number, self.bias.type.shape[0] // 2)})
            result = node.add(result, part(node, half, rows))
        return [part(node, result, {1: (gate * self.hidden, self.hidden)}) for gate in range(count)]

    def squash(self, number: int, x: Value) -> Value:
        """Activation function number `number`, after clipping."""
        clipped = x if self.clip is None else self.node.apply(activation.Clip(-self.clip, self.clip), x)
        return self.functions[number](clipped)

    def peep(self, number: int, x: Value, cell: Value) -> Value:
        if self.peepholes is None:
            return x
        weights = part(self.node, self.peepholes, {0: (number * self.hidden, self.hidden)})
        return self.node.add(x, self.node.multiply(weights, cell))


State = tuple[Value, ...]
Step = Callable[[Layer, Value, State], State]


def rnn(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, initial: Initial,
    *, activation_alpha: Floats = None, activation_beta: Floats = None, activations: Strings = None,
    clip: float | None = None, direction: str = "forward", layout: int = 0,
) -> list[Value]:  # fmt: skip
    def step(layer: Layer, now: Value, state: State) -> State:
        (seen,), (kept,) = layer.gates(now, layer.weights, 0, 0, 1), layer.gates(state[0], layer.recurrence, 1, 0, 1)
        return (layer.squash(0, node.add(seen, kept)),)

    names = activations or ("Tanh",) * directions(node, direction)
    functions = _functions(node, names, activation_alpha, activation_beta)
    return _unroll(node, x, w, r, b, lengths, initial, None, step, functions, 1, clip, direction, layout)


def gru(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, initial: Initial,
    *, activation_alpha: Floats = None, activation_beta: Floats = None, activations: Strings = None,
    clip: float | None = None, direction: str = "forward", layout: int = 0, linear_before_reset: int = 0,
) -> list[Value]:  # fmt: skip
    def step(layer: Layer, now: Value, state: State) -> State:
        (hidden,) = state
        update, reset, fresh = layer.gates(now, layer.weights, 0, 0, 3)
        old_update, old_reset = layer.gates(hidden, layer.recurrence, 1, 0, 2)
        z = layer.squash(0, node.add(update, old_update))
        gate = layer.squash(0, node.add(reset, old_reset))
        if linear_before_reset:
            (kept,) = layer.gates(hidden, layer.recurrence, 1, 2, 1)
            kept = node.multiply(gate, kept)
        else:
            (kept,) = layer.gates(node.multiply(gate, hidden), layer.recurrence, 1, 2, 1)
        candidate = layer.squash(1, node.add(fresh, kept))
        rest = node.subtract(node.scalar(1, z), z)
        return (node.add(node.multiply(rest, candidate), node.multiply(z, hidden)),)

    names = activations or ("Sigmoid", "Tanh") * directions(node, direction)
    functions = _functions(node, names, activation_alpha, activation_beta)
    return _unroll(node, x, w, r, b, lengths, initial, None, step, functions, 2, clip, direction, layout)


def lstm(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, initial: Initial,
    p: Value | None = None, *, activation_alpha: Floats = None, activation_beta: Floats = None,
    activations: Strings = None, clip: float | None = None, direction: str = "forward", input_forget: int = 0,
    layout: int = 0,
) -> list[Value]:  # fmt: skip
    def step(layer: Layer, now: Value, state: State) -> State:
        hidden, cell = state
        seen, kept = layer.gates(now, layer.weights, 0, 0, 4), layer.gates(hidden, layer.recurrence, 1, 0, 4)
        gate_i, gate_o, gate_f, gate_c = (node.add(a, b) for a, b in zip(seen, kept, strict=True))
        i = layer.squash(0, layer.peep(0, gate_i, cell))
        f = node.subtract(node.scalar(1, i), i) if input_forget else layer.squash(0, layer.peep(2, gate_f, cell))
        new = node.add(node.multiply(f, cell), node.multiply(i, layer.squash(1, gate_c)))
        o = layer.squash(0, layer.peep(1, gate_o, new))
        return node.multiply(o, layer.functions[2](new)), new

    names = activations or ("Sigmoid", "Tanh", "Tanh") * directions(node, direction)
    functions = _functions(node, names, activation_alpha, activation_beta)
    return _unroll(node, x, w, r, b, lengths, initial, p, step, functions, 3, clip, direction, layout)


def directions(node: Composer, direction: str) -> int:
    if direction not in ("forward", "reverse", "bidirectional"):
        node.fail(f"direction must be forward, reverse or bidirectional, found {direction}")
    return 2 if direction == "bidirectional" else 1


def _unroll(
    node: Composer, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None,
    initial: Sequence[Value | None], p: Value | None, step: Step, functions: Sequence[Function],
    per_direction: int, clip: float | None, direction: str, layout: int,
) -> list[Value]:  # fmt: skip
    """Outputs: all hidden states [time, directions, batch, H], then each state after the last step."""
    data = node.transpose(x, (1, 0, 2)) if layout else x
    steps, batch, hidden = data.type.shape[0], data.type.shape[1], r.type.shape[2]
    if not isinstance(steps, int) or steps > LONGEST_SEQUENCE:
        node.unsupported(f"sequences of known length up to {LONGEST_SEQUENCE} are supported, found {steps}")
    every: list[Value] = []
    last: list[list[Value]] = [[] for _ in initial]
    for number in range(directions(node, direction)):
        own = functions[number * per_direction : (number + 1) * per_direction]
        bias, peepholes = (None if value is None else element(node, value, 0, number) for value in (b, p))
        weights, recurrence = (element(node, value, 0, number) for value in (w, r))
        layer = Layer(node, weights, recurrence, bias, peepholes, hidden, own, clip)
        zeros = node.expand(node.scalar(0, data), (batch, hidden))
        state = tuple(_start(node, value, number, layout, zeros) for value in initial)
        backwards = direction == "reverse" or number == 1
        outputs, state = _run(layer, data, steps, state, step, lengths, backwards, zeros)
        every.append(stacked(node, outputs, 0))
        for collected, value in zip(last, state, strict=True):
            collected.append(value)
    y = stacked(node, every, 1)
    finals = [stacked(node, collected, 0) for collected in last]
    if layout:
        return [node.transpose(y, (2, 0, 1, 3)), *(node.transpose(final, (1, 0, 2)) for final in finals)]
    return [y, *finals]


def _start(node: Composer, value: Value | None, number: int, layout: int, zeros: Value) -> Value:
    return zeros if value is None else element(node, value, 1 if layout else 0, number)


def _run(
    layer: Layer, data: Value, steps: int, state: State, step: Step, lengths: Value | None, backwards: bool, rest: Value
) -> tuple[list[Value], State]:
    """All hidden states in the order of time, and the last state; beyond a sequence's end the state stays."""
    node, outputs = layer.node, {}
    for time in reversed(range(steps)) if backwards else range(steps):
        new = step(layer, element(node, data, 0, time), state)
        shown = new[0]
        if lengths is not None:
            column = node.reshape(node.cast(lengths, INT64), (lengths.type.shape[0], 1))
            inside = node.binary("less", node.constant(time, INT64), column)
            new = tuple(node.select(inside, after, before) for after, before in zip(new, state, strict=True))
            shown = node.select(inside, shown, rest)
        state, outputs[time] = new, shown
    return [outputs[time] for time in range(steps)], state


def _functions(node: Composer, names: Sequence[str], alphas: Floats, betas: Floats) -> list[Function]:
    """The activation functions; alphas and betas are listed for those functions only that have them."""
    left_alpha, left_beta, found = list(alphas or ()), list(betas or ()), []
    for name in names:
        if name.lower() not in FUNCTIONS:
            node.unsupported(f"activation {name} is not supported")
        make, alpha, beta = FUNCTIONS[name.lower()]
        if alpha is not None and left_alpha:
            alpha = left_alpha.pop(0)
        if beta is not None and left_beta:
            beta = left_beta.pop(0)
        found.append(_bind(node, make, alpha, beta))
    return found


def _bind(node: Composer, make: Make, alpha: float | None, beta: float | None) -> Function:
    return lambda x: make(node, x, alpha or 0.0, beta or 0.0)


Make = Callable[[Composer, Value, float, float], Value]
FUNCTIONS: Mapping[str, tuple[Make, float | None, float | None]] = {
    "relu": (lambda node, x, *_: node.apply(activation.Relu(), x), None, None),
    "tanh": (lambda node, x, *_: node.unary("tanh", x), None, None),
    "sigmoid": (lambda node, x, *_: node.apply(activation.Sigmoid(), x), None, None),
    "affine": (lambda node, x, a, b: node.add(node.multiply(x, node.scalar(a, x)), node.scalar(b, x)), 1.0, 0.0),
    "leakyrelu": (lambda node, x, a, _: node.apply(activation.LeakyRelu(a), x), 0.01, None),
    "thresholdedrelu": (lambda node, x, a, _: node.apply(activation.ThresholdedRelu(a), x), 1.0, None),
    "scaledtanh": (lambda node, x, a, b: node.apply(activation.ScaledTanh(a, b), x), 1.0, 1.0),
    "hardsigmoid": (lambda node, x, a, b: node.apply(activation.HardSigmoid(a, b), x), 0.2, 0.5),
    "elu": (lambda node, x, a, _: node.apply(activation.Elu(a), x), 1.0, None),
    "softsign": (lambda node, x, *_: node.apply(activation.Softsign(), x), None, None),
    "softplus": (lambda node, x, *_: node.apply(activation.Softplus(), x), None, None),
}
"""Functions with the defaults of their alpha and beta; None where a function has no such number."""
